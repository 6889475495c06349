//! Time as this process has really watched it. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Grows with the clock, but by no more than a bound at once: while the process was paused, or the machine asleep, nobody
/// could be heard, and silence in that time says nothing about the nodes. Steps of the wall clock do not exist here.
pub struct Watched {
    last: Option<Instant>,
    now: Duration,
    step_max: Duration,
}

impl Watched {
    pub fn new(step_max: Duration) -> Self {
        Watched { last: None, now: Duration::ZERO, step_max }
    }

    pub fn advance(&mut self, to: Instant) {
        if let Some(last) = self.last.replace(to) {
            self.now += to.saturating_duration_since(last).min(self.step_max);
        }
    }

    /// Since the first [`Watched::advance`].
    pub fn now(&self) -> Duration {
        self.now
    }
}

pub fn whole_seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_of_the_process_is_no_silence_of_the_nodes() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut time = Watched::new(second * 5);
        let mut at = |seconds: u32| {
            time.advance(start + second * seconds);
            time.now().as_secs()
        };
        assert_eq!([at(0), at(1), at(3), at(100), at(101)], [0, 1, 3, 8, 9]);
    }
}
