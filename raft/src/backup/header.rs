//! What a backup says of itself before its data: enough to know what it is without unpacking it.

use std::collections::BTreeMap;

use kontiki_model::Revision;
use serde::{Deserialize, Serialize};

use super::BackupError;

/// Where and when a backup was taken: what the log cannot know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Which cluster this is, as its operator knows it.
    pub cluster: String,
    pub server: String,
    /// The program and its version.
    pub program: String,
    pub taken_ms: i64,
}

/// A state that a backup tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Revision(Revision),
    /// In milliseconds since the epoch.
    Time(i64),
}

/// What is in a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    pub format: u32,
    #[serde(flatten)]
    pub origin: Origin,
    /// The last log entry in it.
    pub term: u64,
    pub index: u64,
    /// The first and the last revision it can be restored to.
    pub first_revision: Revision,
    pub last_revision: Revision,
    /// When the first retained and the last event happened.
    pub first_time_ms: Option<i64>,
    pub last_time_ms: Option<i64>,
    /// Live objects per resource, at the last revision.
    pub objects: BTreeMap<String, u64>,
    pub files: u64,
    pub bytes: u64,
}

impl Header {
    /// The revision itself, if the backup can tell the state at it.
    pub fn check(&self, revision: Revision) -> Result<Revision, BackupError> {
        let (first, last) = (self.first_revision, self.last_revision);
        if (first..=last).contains(&revision) {
            return Ok(revision);
        }
        Err(BackupError::OutOfRange { asked: revision, first, last })
    }

    /// Before its first event nothing was, or nothing is known; what came after it was taken it does not know.
    pub fn check_time(&self, time_ms: i64) -> Result<(), BackupError> {
        let last = self.last_time_ms.unwrap_or_default().max(self.origin.taken_ms);
        match self.first_time_ms.is_some_and(|first| (first..=last).contains(&time_ms)) {
            true => Ok(()),
            false => Err(BackupError::TimeOutOfRange),
        }
    }
}
