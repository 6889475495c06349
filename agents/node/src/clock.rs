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
