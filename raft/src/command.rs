//! The payload of one log entry: facts only, chosen before it is proposed.

use std::collections::HashSet;

use bincode::{Decode, Encode};
use kontiki_model::{Head, Key, Revision};
use serde::{Deserialize, Serialize};

use crate::limits::{COMMAND_PARTS_MAX, KEY_PART_BYTES_MAX};

/// Who asked for a write, for history, audit and `why`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Author {
    pub user: String,
    /// Who really asked, where they acted as `user`; else empty.
    pub impersonator: String,
    pub user_agent: String,
    /// The API verb: create, update, patch, delete, ...
    pub verb: String,
    pub request_id: String,
}

/// What must hold of a key at apply, or the whole command is rejected.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
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
    /// Removing what is not there rejects the command as `Expect::Present` would.
    Delete { key: Key, last: Option<(Head, Vec<u8>)> },
}

/// Mutations that happen together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
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
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// `found` is the revision and the uid of what is stored.
    #[error("precondition {expect:?} does not hold for {key:?}: found {found:?}")]
    Precondition { key: Key, expect: Expect, found: Option<(Revision, String)> },
    #[error("written for term {written_for}, the log is in term {current}")]
    StaleTerm { written_for: u64, current: u64 },
}

/// Why a command must not enter the log at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the command touches {0:?} more than once")]
    KeyTwice(Key),
    #[error("the command has {0} parts; the limit is {COMMAND_PARTS_MAX}")]
    TooManyParts(usize),
    #[error(
        "{0:?} is not a key: a part is longer than {KEY_PART_BYTES_MAX} bytes, or holds a zero byte, or names nothing"
    )]
    Key(Key),
}

impl Mutation {
    pub fn key(&self) -> &Key {
        match self {
            Mutation::Put { key, .. } | Mutation::Delete { key, .. } => key,
        }
    }
}

impl Command {
    /// What holds of every command in the log, whatever the state is.
    pub fn validate(&self) -> Result<(), Malformed> {
        let parts = self.mutations.len().max(self.preconditions.len());
        if parts > COMMAND_PARTS_MAX {
            return Err(Malformed::TooManyParts(parts));
        }
        let mut touched = HashSet::with_capacity(self.mutations.len());
        for mutation in &self.mutations {
            if !touched.insert(mutation.key()) {
                return Err(Malformed::KeyTwice(mutation.key().clone()));
            }
        }
        let expected = self.preconditions.iter().map(|precondition| &precondition.key);
        match touched.into_iter().chain(expected).find(|key| !well_formed(key)) {
            Some(key) => Err(Malformed::Key(key.clone())),
            None => Ok(()),
        }
    }
}

fn well_formed(key: &Key) -> bool {
    let fits = |part: &String| part.len() <= KEY_PART_BYTES_MAX && !part.as_bytes().contains(&0);
    [&key.resource, &key.namespace, &key.name].into_iter().all(fits) && !key.resource.is_empty() && !key.name.is_empty()
}
