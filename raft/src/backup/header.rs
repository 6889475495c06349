//! What a backup says of itself before its data: enough to know what it is without unpacking it.

use std::collections::BTreeMap;

use kontiki_model::Revision;
use serde::{Deserialize, Serialize};

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
