//! How many seats a level wanted over a period: those in use and those waited for.

use std::time::Instant;

/// Integrals over time, so that a change costs a few additions.
#[derive(Debug)]
pub(super) struct Demand {
    seats: u32,
    high: u32,
    /// When the period began, and up to when it is summed.
    began: Instant,
    summed: Instant,
    sum: f64,
    squares: f64,
}

/// What a period came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Wanted {
    pub high: f64,
    /// The mean and one standard deviation, at most `high`.
    pub envelope: f64,
}

impl Demand {
    pub fn new(now: Instant) -> Self {
        Demand { seats: 0, high: 0, began: now, summed: now, sum: 0.0, squares: 0.0 }
    }

    pub fn set(&mut self, now: Instant, seats: u32) {
        self.sum_up(now);
        self.seats = seats;
        self.high = self.high.max(seats);
    }

    /// Ends the period and begins the next.
    pub fn take(&mut self, now: Instant) -> Wanted {
        self.sum_up(now);
        let (high, seconds) = (f64::from(self.high), (now - self.began).as_secs_f64());
        let envelope = if seconds > 0.0 {
            let mean = self.sum / seconds;
            let variance = (self.squares / seconds - mean * mean).max(0.0);
            (mean + variance.sqrt()).min(high)
        } else {
            f64::from(self.seats)
        };
        *self = Demand { seats: self.seats, high: self.seats, ..Demand::new(now) };
        Wanted { high, envelope }
    }

    /// Clocks of several threads may be told out of order; that is no time at all.
    fn sum_up(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.summed).as_secs_f64();
        let seats = f64::from(self.seats);
        self.sum += seats * seconds;
        self.squares += seats * seats * seconds;
        self.summed = self.summed.max(now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_wanted_is_weighed_by_how_long() {
        let began = Instant::now();
        let at = |millis: u64| began + Duration::from_millis(millis);
        let mut demand = Demand::new(began);
        demand.set(at(0), 10);
        demand.set(at(500), 0);
        let Wanted { high, envelope } = demand.take(at(1000));
        assert_eq!(high, 10.0);
        assert!((envelope - 10.0).abs() < 1e-9, "5 on average, deviating by 5: {envelope}");
        demand.set(at(1900), 100);
        let Wanted { high, envelope } = demand.take(at(2000));
        assert_eq!(high, 100.0);
        assert!((envelope - 40.0).abs() < 1e-9, "10 on average, deviating by 30: {envelope}");
        // What is still wanted is wanted in the next period too.
        assert_eq!(demand.take(at(3000)), Wanted { high: 100.0, envelope: 100.0 });
        demand.set(at(3000), 0);
        assert_eq!(demand.take(at(3000)), Wanted { high: 100.0, envelope: 0.0 }, "a period without length");
    }
}
