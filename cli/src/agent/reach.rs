//! Whether any server answers this agent, and how long it leaves them alone when none does. Pure.

use std::time::{Duration, Instant};

/// After all servers have failed once, and at the most. A certificate that has run out fails at once and for good: asked without
/// a pause, and by everything that runs here, servers and logs would hear of nothing else.
const PAUSE_FIRST: Duration = Duration::from_millis(300);
const PAUSE_MAX: Duration = Duration::from_secs(8);

#[derive(Debug, Default)]
pub struct Reach {
    /// Connections, or attempts at one, since the last answer.
    fruitless: usize,
    /// Until when no server is tried, and why.
    pause: Option<(Instant, String)>,
}

impl Reach {
    /// Why no server is to be tried now.
    pub fn pausing(&self, now: Instant) -> Option<&str> {
        self.pause.as_ref().filter(|(until, _)| now < *until).map(|(_, why)| why.as_str())
    }

    /// Nothing was had of a server, one of so many; `true` if all are silent.
    pub fn failed(&mut self, servers: usize, why: &str, now: Instant) -> bool {
        self.fruitless += 1;
        let rounds = self.fruitless / servers.max(1);
        let Some(doublings) = rounds.checked_sub(1) else { return false };
        let factor = 1u32.checked_shl(u32::try_from(doublings).unwrap_or(u32::MAX)).unwrap_or(u32::MAX);
        let pause = PAUSE_FIRST.saturating_mul(factor).min(PAUSE_MAX);
        self.pause = Some((now + pause, why.to_owned()));
        true
    }

    /// A server has answered: any is as good as new.
    pub fn answered(&mut self) {
        *self = Reach::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_all_fail_are_left_alone_for_longer_and_longer() {
        let (mut reach, now) = (Reach::default(), Instant::now());
        let pause = |reach: &Reach| {
            let whole = (0..100).map(|tenth| Duration::from_millis(tenth * 100));
            whole.take_while(|after| reach.pausing(now + *after).is_some()).count()
        };
        let mut seen = Vec::new();
        for _ in 0..16 {
            let silent = reach.failed(2, "expired", now);
            assert_eq!(silent, !seen.is_empty());
            seen.push(pause(&reach));
        }
        assert_eq!(seen, [0, 3, 3, 6, 6, 12, 12, 24, 24, 48, 48, 80, 80, 80, 80, 80]);
        assert_eq!(reach.pausing(now), Some("expired"));
        reach.answered();
        assert_eq!(reach.pausing(now), None);
        assert!(!reach.failed(2, "refused", now) && reach.failed(2, "refused", now));
    }
}
