//! What openraft counts its batches with, in one kilobyte. The crate of this name on the registry fills tables for sixteen
//! resolutions, 26 MB that stay resident, before it counts anything; openraft has no setting that avoids them, and Kontiki never shows
//! these counts (its own are in `/metrics`). This one has what openraft calls, and one bucket per power of two.

use std::{fmt, marker::PhantomData};

/// A bucket for zero, and one per bit length.
const BUCKETS: usize = u64::BITS as usize + 1;

/// Counts of values by their bit length. `T` is for the registry crate's sliding windows, which openraft does not use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: [u64; BUCKETS],
    windows: PhantomData<T>,
}

/// The value below or at which a share of all samples lies, as the upper end of its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

/// Several histograms by name, in the order they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsciiChart {
    pub histograms: Vec<(&'static str, Histogram)>,
}

impl<T> Histogram<T> {
    pub const fn new() -> Self {
        Histogram { counts: [0; BUCKETS], windows: PhantomData }
    }

    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    pub fn record_n(&mut self, value: u64, count: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.counts[bucket] = self.counts[bucket].saturating_add(count);
    }

    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |total, count| total.saturating_add(*count))
    }

    /// The upper end of the bucket that the sample at this share (0 to 1) of all is in; 0 if there is none.
    pub fn percentile(&self, share: f64) -> u64 {
        let rank = (self.total() as f64 * share).ceil().max(1.0);
        let mut seen = 0.0;
        let bucket = self.counts.iter().position(|count| {
            seen += *count as f64;
            seen >= rank
        });
        match bucket {
            None | Some(0) => 0,
            Some(bits) => u64::MAX >> (BUCKETS - 1 - bits),
        }
    }

    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.1),
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PercentileStats { samples, p50, p90, p99, p99_9, .. } = self;
        write!(out, "{samples} samples, p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p99_9}")
    }
}

impl AsciiChart {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(mut self, name: &'static str, histogram: Histogram) -> Self {
        self.histograms.push((name, histogram));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_by_their_bit_length() {
        let mut sizes = Histogram::<()>::new();
        assert_eq!(sizes.percentile(0.5), 0);
        for (value, count) in [(0, 1), (1, 1), (5, 7), (u64::MAX, 1)] {
            sizes.record_n(value, count);
        }
        assert_eq!(sizes.total(), 10);
        assert_eq!([0.0, 0.1, 0.2, 0.3, 0.9, 1.0].map(|share| sizes.percentile(share)), [0, 0, 1, 7, 7, u64::MAX]);
        assert_eq!(sizes.percentile_stats().p50, 7);
    }
}
