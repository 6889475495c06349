//! How much of the past is kept.

use std::time::Duration;

use kontiki_model::Retention;

use crate::limits::{
    HISTORY_AGE, HISTORY_BYTES, HISTORY_SENSITIVE_AGE, HISTORY_SENSITIVE_BYTES, HISTORY_SHORT_AGE, HISTORY_SHORT_BYTES,
};

/// What one class of objects keeps of its past: both limits hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retain {
    pub bytes: u64,
    pub age: Duration,
}

/// How much history is kept, by the class that an object's head names. What is past the normal limits goes in every class; the
/// other two may let go of theirs earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    pub normal: Retain,
    pub short: Retain,
    /// What is dropped here is shredded: no file of the log's directory holds it any longer.
    pub sensitive: Retain,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        HistoryLimits {
            normal: Retain { bytes: HISTORY_BYTES, age: HISTORY_AGE },
            short: Retain { bytes: HISTORY_SHORT_BYTES, age: HISTORY_SHORT_AGE },
            sensitive: Retain { bytes: HISTORY_SENSITIVE_BYTES, age: HISTORY_SENSITIVE_AGE },
        }
    }
}

impl HistoryLimits {
    pub fn of(&self, class: Retention) -> Retain {
        match class {
            Retention::Normal => self.normal,
            Retention::Short => self.short,
            Retention::Sensitive => self.sensitive,
        }
    }
}
