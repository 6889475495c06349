//! Time as the machine sees it: milliseconds since the epoch, handed in. Knows the API's one-second grain.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

/// Milliseconds since the Unix epoch.
pub type Millis = i64;

/// Now. Only executors call it; decisions are handed the time.
pub fn now() -> Millis {
    Timestamp::now().as_millisecond()
}

/// `metav1.Time` has no fraction of a second: one that is sent is rejected or cut by strict readers.
pub fn api_time(at: Millis) -> Time {
    Time(Timestamp::from_second(at.div_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH))
}

pub fn millis(time: &Time) -> Millis {
    time.0.as_millisecond()
}

/// A duration as Go prints it: `250ms`, `10s`, `1m20.5s`, `1h0m0s`.
pub fn go_duration(ms: Millis) -> String {
    if ms < 1000 {
        return if ms <= 0 { "0s".to_owned() } else { format!("{ms}ms") };
    }
    let (minutes, rest) = (ms / 60_000, ms % 60_000);
    let fraction = format!("{:03}", rest % 1000);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let seconds = format!("{}{point}{fraction}s", rest / 1000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        let table = [
            (0, "0s"),
            (312, "312ms"),
            (10_000, "10s"),
            (1_050, "1.05s"),
            (80_000, "1m20s"),
            (300_000, "5m0s"),
            (60_500, "1m0.5s"),
            (3_600_000, "1h0m0s"),
        ];
        for (ms, expected) in table {
            assert_eq!(go_duration(ms), expected);
        }
    }
}
