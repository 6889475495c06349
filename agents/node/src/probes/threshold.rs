//! When results in a row change a verdict. Pure.

pub struct Threshold {
    verdict: bool,
    success: u64,
    failure: u64,
    last: bool,
    in_a_row: u64,
    /// The verdict was never told: its first confirmation is news.
    untold: bool,
}

impl Threshold {
    pub fn new(assumed: bool, success: u64, failure: u64) -> Threshold {
        Threshold { verdict: assumed, success, failure, last: assumed, in_a_row: 0, untold: true }
    }

    /// Takes one result in; the verdict if there is something to tell: it has changed, it was never told, or a
    /// failure threshold was reached once more.
    pub fn count(&mut self, healthy: bool) -> Option<bool> {
        if healthy != self.last {
            self.last = healthy;
            self.in_a_row = 0;
        }
        self.in_a_row += 1;
        let needed = if healthy { self.success } else { self.failure };
        if self.in_a_row < needed {
            return None;
        }
        let news = self.verdict != healthy || self.untold || (!healthy && self.in_a_row == needed);
        self.verdict = healthy;
        self.untold = false;
        news.then_some(healthy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(assumed: bool, success: u64, failure: u64, results: &str) -> String {
        let mut threshold = Threshold::new(assumed, success, failure);
        results
            .chars()
            .map(|result| match threshold.count(result == '+') {
                Some(true) => 'Y',
                Some(false) => 'N',
                None => '.',
            })
            .collect()
    }

    #[test]
    fn only_rows_change_a_verdict() {
        assert_eq!(run(false, 1, 3, "+++---+"), "Y....NY");
        assert_eq!(run(true, 1, 3, "--+---"), "..Y..N");
        assert_eq!(run(false, 2, 1, "+-++"), ".N.Y");
        assert_eq!(run(true, 1, 1, "++-"), "Y.N");
    }
}
