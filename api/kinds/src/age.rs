//! Durations as kubectl prints them (`duration.HumanDuration`).

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

/// The time since an RFC 3339 time, or `<unknown>` where there is none.
pub fn age(since: &Value, now: DateTime<Utc>) -> String {
    match time(since) {
        Some(since) => human_duration(now - since),
        None => "<unknown>".to_owned(),
    }
}

/// An RFC 3339 time of an object; `None` for null.
pub fn time(value: &Value) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|time| time.to_utc())
}

/// At most two units, fewer the longer it is: `119s`, `2m5s`, `10m`, `3h5m`, `47h`, `2d1h`, `8d`, `2y3d`, `8y`.
///
/// Up to two seconds in the future read as `0s` (clocks differ); more is `<invalid>`.
pub fn human_duration(duration: TimeDelta) -> String {
    let seconds = duration.num_seconds();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    let two = |whole: i64, unit: char, rest: i64, rest_unit: char| match rest {
        0 => format!("{whole}{unit}"),
        rest => format!("{whole}{unit}{rest}{rest_unit}"),
    };
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => two(days, 'd', hours % 24, 'h'),
        () if days < 365 * 2 => format!("{days}d"),
        () if days < 365 * 8 => two(days / 365, 'y', days % 365, 'd'),
        () => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubectl_prints_them() {
        let (minute, hour, day) = (60, 3600, 86400);
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (2 * minute, "2m"),
            (2 * minute + 5, "2m5s"),
            (9 * minute + 59, "9m59s"),
            (10 * minute + 59, "10m"),
            (179 * minute, "179m"),
            (3 * hour, "3h"),
            (3 * hour + 5 * minute, "3h5m"),
            (8 * hour + 59 * minute, "8h"),
            (47 * hour, "47h"),
            (2 * day, "2d"),
            (2 * day + hour, "2d1h"),
            (8 * day + hour, "8d"),
            (729 * day, "729d"),
            (730 * day, "2y"),
            (733 * day, "2y3d"),
            (8 * 365 * day + 20 * day, "8y"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human_duration(TimeDelta::seconds(seconds)), text, "{seconds}");
        }
        assert_eq!(human_duration(TimeDelta::milliseconds(-1900)), "0s");
        assert_eq!(age(&Value::Null, Utc::now()), "<unknown>");
    }
}
