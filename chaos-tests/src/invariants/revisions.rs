//! Revisions are consecutive: a command's events follow one another, and what was before them.

use std::sync::Arc;

use kontiki_raft::Event;

use super::{Violation, same_event, violated};
use crate::model::ModelEvent;

/// The events that an acknowledged command is said to have had.
pub fn check(seen: &[Arc<Event>], expected: &[ModelEvent]) -> Result<(), Violation> {
    if seen.len() != expected.len() {
        return violated("a command has one event per mutation", format!("{} of {}", seen.len(), expected.len()));
    }
    for (seen, expected) in seen.iter().zip(expected) {
        if seen.revision() != expected.revision {
            return violated(
                "revisions are consecutive",
                format!("{} instead of {}", seen.revision(), expected.revision),
            );
        }
        if !same_event(seen, expected) {
            return violated("an event is what the command said", format!("{seen:?} instead of {expected:?}"));
        }
    }
    Ok(())
}
