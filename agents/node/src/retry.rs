//! Pauses between attempts: doubling, with jitter, so that many agents do not come back in step.

use std::time::Duration;

use rand::Rng;

#[derive(Clone, Copy, Debug)]
pub struct Retry {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Retry {
    pub fn new(first: Duration, max: Duration) -> Retry {
        Retry { first, max, next: first }
    }

    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The pause before the next attempt.
    pub fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause.mul_f64(rand::rng().random_range(0.8..1.2))
    }
}
