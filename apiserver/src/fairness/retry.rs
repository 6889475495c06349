//! How long refused clients are told to stay away: longer while many are refused, and shorter again when none is.

use std::time::{Duration, Instant};

use super::limits::{REFUSALS_PER_SECOND, RETRY_AFTER_S_MAX};

#[derive(Debug)]
pub(super) struct RetryAfter {
    seconds: u32,
    /// Refusals since then: as long as whoever is refused stays away.
    refused: u32,
    since: Instant,
}

impl RetryAfter {
    pub fn new(now: Instant) -> Self {
        RetryAfter { seconds: 1, refused: 0, since: now }
    }

    /// Counts a refusal; the answer is how many seconds it is told.
    pub fn refused(&mut self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.since);
        if passed >= Duration::from_secs(self.seconds.into()) {
            if self.refused >= REFUSALS_PER_SECOND * self.seconds {
                self.seconds = RETRY_AFTER_S_MAX.min(self.seconds + 1);
            } else {
                let quiet = u32::try_from(passed.as_secs()).unwrap_or(u32::MAX) / self.seconds;
                self.seconds = self.seconds.saturating_sub(quiet).max(1);
            }
            (self.refused, self.since) = (0, now);
        }
        self.refused += 1;
        self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_the_refusals_and_goes_back() {
        let began = Instant::now();
        let mut retry = RetryAfter::new(began);
        let mut told = |second: u64, times: u32| {
            (0..times).map(|_| retry.refused(began + Duration::from_secs(second))).max().unwrap_or_default()
        };
        assert_eq!([told(0, 2), told(1, 2), told(2, 3)], [1, 1, 1]);
        assert_eq!([told(3, 6), told(4, 1), told(5, 9)], [2, 2, 3]);
        assert_eq!(told(8, 1), 4);
        assert_eq!(told(20, 1), 1, "quiet for three times as long");
        assert_eq!((21..600).map(|second| told(second, 100)).max(), Some(RETRY_AFTER_S_MAX));
    }
}
