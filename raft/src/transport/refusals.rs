//! Connections that were refused, told to the log without flooding it: whoever is refused comes again, many times a second.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::limits::REFUSAL_INTERVAL;

/// Clones share what was told.
#[derive(Clone, Default)]
pub struct Refusals(Arc<Mutex<Option<Told>>>);

struct Told {
    why: String,
    at: Instant,
    /// The same, since then.
    again: u64,
}

impl Refusals {
    pub fn tell(&self, error: &impl Display) {
        if let Some(again) = self.note(error.to_string()) {
            tracing::warn!(%error, again, "refused a connection");
        }
    }

    /// How often the same was kept back, if it is to be told now.
    fn note(&self, why: String) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let again = match &mut *told {
            Some(told) if told.why == why && told.at.elapsed() < REFUSAL_INTERVAL => {
                told.again += 1;
                return None;
            }
            Some(told) if told.why == why => told.again,
            Some(_) | None => 0,
        };
        *told = Some(Told { why, at: Instant::now(), again: 0 });
        Some(again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_is_told_once_in_a_while_and_something_else_at_once() {
        let refusals = Refusals::default();
        let note = |why: &str| refusals.note(why.to_owned());
        assert_eq!([note("a"), note("a"), note("a"), note("b"), note("a")], [Some(0), None, None, Some(0), Some(0)]);
        assert_eq!([note("a"), note("a")], [None, None]);
        tokio::time::advance(REFUSAL_INTERVAL).await;
        assert_eq!([note("a"), note("a")], [Some(2), None]);
    }
}
