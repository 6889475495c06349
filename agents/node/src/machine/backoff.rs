//! Crash loop back-off: how long a container that ends again and again must wait. Knows no container.

use crate::{
    clock::Millis,
    limits::{CRASH_BACKOFF_FIRST_MS, CRASH_BACKOFF_MAX_MS, CRASH_BACKOFF_RESET_MS},
};

/// The delay that the next restart must keep from the last exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub delay_ms: Millis,
    /// When the delay was last raised, that is, when the container was last restarted.
    pub raised_ms: Millis,
}

impl Backoff {
    /// What is left to wait after an exit at `finished_ms`; `None` when the container may start.
    pub fn remaining(current: Option<Backoff>, finished_ms: Millis, now_ms: Millis) -> Option<Millis> {
        let backoff = current?;
        if finished_ms - backoff.raised_ms > CRASH_BACKOFF_RESET_MS {
            return None;
        }
        let left = finished_ms + backoff.delay_ms - now_ms;
        (left > 0).then_some(left)
    }

    /// The back-off after a restart at `now_ms` that follows an exit at `finished_ms`.
    pub fn raised(current: Option<Backoff>, finished_ms: Millis, now_ms: Millis) -> Backoff {
        let delay_ms = match current {
            Some(backoff) if finished_ms - backoff.raised_ms <= CRASH_BACKOFF_RESET_MS => {
                (backoff.delay_ms * 2).min(CRASH_BACKOFF_MAX_MS)
            }
            Some(_) | None => CRASH_BACKOFF_FIRST_MS,
        };
        Backoff { delay_ms, raised_ms: now_ms }
    }

    /// What a new agent assumes of a container it finds with `restarts` behind it: the delay those restarts had led to.
    pub fn assumed(restarts: u32, started_ms: Millis) -> Option<Backoff> {
        let doublings = restarts.checked_sub(1)?.min(16);
        let delay_ms = (CRASH_BACKOFF_FIRST_MS << doublings).min(CRASH_BACKOFF_MAX_MS);
        Some(Backoff { delay_ms, raised_ms: started_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_five_minutes_and_resets_after_ten() {
        let mut now = 0;
        let mut backoff = None;
        let mut delays = Vec::new();
        for _ in 0..8 {
            assert_eq!(Backoff::remaining(backoff, now, now + 1_000_000), None);
            let next = Backoff::raised(backoff, now, now);
            delays.push(next.delay_ms / 1000);
            backoff = Some(next);
            now += next.delay_ms;
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300, 300]);
        let raised = backoff.unwrap().raised_ms;
        assert_eq!(Backoff::remaining(backoff, raised + 600_000, raised + 600_000), Some(300_000));
        assert_eq!(Backoff::remaining(backoff, raised + 600_001, raised + 600_001), None);
        assert_eq!(Backoff::raised(backoff, raised + 600_001, raised + 600_001).delay_ms, CRASH_BACKOFF_FIRST_MS);
    }

    #[test]
    fn a_new_agent_assumes_what_the_restarts_led_to() {
        assert_eq!(Backoff::assumed(0, 5), None);
        assert_eq!(Backoff::assumed(1, 5), Some(Backoff { delay_ms: 10_000, raised_ms: 5 }));
        assert_eq!(Backoff::assumed(3, 5), Some(Backoff { delay_ms: 40_000, raised_ms: 5 }));
        assert_eq!(Backoff::assumed(90, 5), Some(Backoff { delay_ms: 300_000, raised_ms: 5 }));
    }
}
