//! What apply made of one mutation.

use std::sync::Arc;

use bytes::Bytes;
use kontiki_model::{Head, Key, Revision};

use crate::Author;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub time_ms: i64,
    pub author: Arc<Author>,
    pub cause: Option<Revision>,
}
