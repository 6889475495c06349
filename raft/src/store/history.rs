//! How much of the past is kept.

use std::time::Duration;

use crate::limits::{HISTORY_AGE, HISTORY_BYTES, HISTORY_SHORT_AGE, HISTORY_SHORT_BYTES};

/// What one class of objects keeps of its past: both limits hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retain {
    pub bytes: u64,
    pub age: Duration,
}

/// How much history is kept, for most objects and for those whose head says `short_lived`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    pub normal: Retain,
    pub short: Retain,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        HistoryLimits {
            normal: Retain { bytes: HISTORY_BYTES, age: HISTORY_AGE },
            short: Retain { bytes: HISTORY_SHORT_BYTES, age: HISTORY_SHORT_AGE },
        }
    }
}
