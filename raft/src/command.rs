//! The payload of one log entry: facts only, chosen before it is proposed.

use bincode::{Decode, Encode};
use kontiki_model::{Head, Key, Revision};

/// Who asked for a write, for history, audit and `why`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Author {
    pub user: String,
    pub user_agent: String,
    /// The API verb: create, update, patch, delete, ...
    pub verb: String,
    pub request_id: String,
}

/// What must hold of a key at apply, or the whole command is rejected.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Expect {
    Absent,
    Present,
    Revision(Revision),
    Uid(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Precondition {
    pub key: Key,
    pub expect: Expect,
}

/// One change of one object. A command may touch a key only once.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Mutation {
    /// Creates or replaces. `body` is canonical JSON without `resourceVersion`.
    Put { key: Key, head: Head, body: Vec<u8> },
    /// Removes. `last`, when given, is the final form of the object that watchers see; otherwise the stored one.
    Delete { key: Key, last: Option<(Head, Vec<u8>)> },
}

/// Mutations that happen together or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Command {
    pub author: Author,
    /// The revision this write reacts to (`Kontiki-Cause` header).
    pub cause: Option<Revision>,
    /// Raft term the writer was started in; apply refuses the command if the entry's own term is newer.
    pub term: Option<u64>,
    /// Milliseconds since the epoch, chosen by the proposer.
    pub time_ms: i64,
    pub preconditions: Vec<Precondition>,
    pub mutations: Vec<Mutation>,
}

/// Why apply changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum Rejection {
    #[error("precondition {expect:?} does not hold for {key:?}: found {found:?}")]
    Precondition { key: Key, expect: Expect, found: Option<(Revision, String)> },
    #[error("written for term {written_for}, the log is in term {current}")]
    StaleTerm { written_for: u64, current: u64 },
}
