//! What apply made of one mutation.

use std::sync::Arc;

use bincode::{Decode, Encode};
use bytes::Bytes;
use kontiki_model::{Head, Key, Revision};

use crate::Author;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum EventKind {
    Created,
    Updated,
    Deleted,
}

/// An object as the store holds it. `body` has no `resourceVersion`; splice it in at `head.splice`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub key: Key,
    pub revision: Revision,
    pub head: Arc<Head>,
    pub body: Bytes,
}

/// One change, as history keeps it and watchers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    /// The object after the change; for `Deleted` its last form. `object.revision` is the event's revision.
    pub object: Stored,
    /// The object before the change (for selectors that it enters or leaves).
    pub previous: Option<Stored>,
    /// Raft log index of the entry.
    pub index: u64,
    /// Milliseconds since the epoch; never earlier than the event before it.
    pub time_ms: i64,
    pub author: Arc<Author>,
    pub cause: Option<Revision>,
}

impl Event {
    pub fn revision(&self) -> Revision {
        self.object.revision
    }

    /// What the event holds in memory, about.
    pub fn bytes(&self) -> usize {
        let previous = self.previous.as_ref().map_or(0, |stored| stored.body.len());
        EVENT_BYTES_BASE + self.object.body.len() + previous
    }
}

/// Head, key, author and bookkeeping of an event in memory.
const EVENT_BYTES_BASE: usize = 1024;
