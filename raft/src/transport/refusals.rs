//! Connections that were refused, told to the log without flooding it: whoever is refused comes again, many times a second.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::limits::TOLD_INTERVAL;
use crate::outage::Outage;

/// Clones share what was told.
#[derive(Clone, Default)]
pub struct Refusals(Arc<Mutex<Refused>>);

#[derive(Default)]
struct Refused {
    outage: Outage,
    last: Option<Instant>,
}

impl Refusals {
    pub fn tell(&self, error: &impl Display) {
        let error = error.to_string();
        if let Some(kept_back) = self.note(&error) {
            tracing::warn!(error, kept_back, "refused a connection");
        }
    }

    /// Nobody says that it is over: it is once nobody was refused for a while.
    fn note(&self, why: &str) -> Option<u64> {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.last.replace(Instant::now()).is_some_and(|last| last.elapsed() >= TOLD_INTERVAL) {
            refused.outage.over();
        }
        refused.outage.failed(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn callers_who_take_turns_are_told_once_and_again_when_they_come_back() {
        let refusals = Refusals::default();
        let note = |why: &str| refusals.note(why);
        assert_eq!([note("a"), note("a"), note("b"), note("a")], [Some(0), None, None, None]);
        tokio::time::advance(TOLD_INTERVAL).await;
        assert_eq!([note("a"), note("a")], [Some(0), None]);
    }
}
