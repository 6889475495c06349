//! What fails again and again is told when it begins, when its reason is another one, and when it is over: not each time.

use tokio::time::Instant;

use crate::limits::TOLD_INTERVAL;

/// Of one thing that is tried until it works; whoever tries it words what is told.
#[derive(Debug, Default)]
pub struct Outage(Option<Told>);

#[derive(Debug)]
struct Told {
    reason: String,
    at: Instant,
    kept_back: u64,
}

impl Outage {
    /// It has failed. If that is to be told: how often it was not since the last time. Another reason is told at once, but no
    /// sooner than [`TOLD_INTERVAL`] after the one before: two that take turns are not told each time.
    pub fn failed(&mut self, reason: &str) -> Option<u64> {
        let kept_back = match &mut self.0 {
            None => 0,
            Some(told) if told.reason != reason && told.at.elapsed() >= TOLD_INTERVAL => told.kept_back,
            Some(told) => {
                told.kept_back += 1;
                return None;
            }
        };
        self.0 = Some(Told { reason: reason.to_owned(), at: Instant::now(), kept_back: 0 });
        Some(kept_back)
    }

    /// It works. Whether it had failed, which is to be told.
    pub fn over(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_beginning_another_reason_and_the_end_are_told() {
        let mut outage = Outage::default();
        assert!(!outage.over());
        assert_eq!(["a", "a", "b", "a", "b"].map(|why| outage.failed(why)), [Some(0), None, None, None, None]);
        tokio::time::advance(TOLD_INTERVAL).await;
        assert_eq!(["a", "b", "a"].map(|why| outage.failed(why)), [None, Some(5), None]);
        assert!(outage.over() && !outage.over());
        assert_eq!(outage.failed("b"), Some(0));
    }
}
