//! What must hold whatever happens, one file each. All pure: they judge observations, they make none.
pub mod acknowledged;
pub mod atomic;
pub mod bookmarkable;
pub mod consecutive;
pub mod identical;
pub mod leaders;
pub mod ordered;
pub mod past;
pub mod reads;
pub mod reliable;
pub mod resumable;
pub mod revisions;
pub mod unique;
pub mod watch;

use kontiki_model::Revision;
use kontiki_raft::{Event, EventKind, Stored};

use crate::model::{ModelEvent, ModelObject};

/// A promise that was broken, and how it was seen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{promise}: {seen}")]
pub struct Violation {
    pub promise: &'static str,
    pub seen: String,
}

pub fn violated<T>(promise: &'static str, seen: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { promise, seen: seen.into() })
}

/// An event is what the model says it is, to the last byte.
pub fn same_event(seen: &Event, expected: &ModelEvent) -> bool {
    let Event { kind, object, previous, time_ms, .. } = seen;
    let previous: Option<(Revision, Vec<u8>)> = previous.as_ref().map(|one| (one.revision, one.body.to_vec()));
    (*kind, &object.key, object.revision, &*object.head, &object.body[..], previous, *time_ms)
        == (
            expected.kind,
            &expected.key,
            expected.revision,
            &expected.head,
            &expected.body[..],
            expected.previous.clone(),
            expected.time_ms,
        )
}

pub fn same_object(seen: &Stored, expected: &ModelObject) -> bool {
    (seen.revision, &*seen.head, &seen.body[..]) == (expected.revision, &expected.head, &expected.body[..])
}

pub fn brief(event: &Event) -> String {
    let kind = match event.kind {
        EventKind::Created => '+',
        EventKind::Updated => '~',
        EventKind::Deleted => '-',
    };
    format!("{}{kind}{}/{}", event.revision(), event.object.key.resource, event.object.key.name)
}
