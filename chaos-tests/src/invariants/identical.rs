//! All servers apply the same: the same event under the same revision, and so the same state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kontiki_model::{Key, Revision};
use kontiki_raft::{Event, Stored};

use super::{Violation, brief, violated};

const PROMISE: &str = "all servers apply the same";

/// What a server made of a revision, and what the first server did.
pub fn check_event(server: u64, known: &Event, seen: &Event) -> Result<(), Violation> {
    let facts = |event: &Event| (event.kind, event.object.clone(), event.index, event.time_ms, event.cause);
    // What came before may be older than the server's history.
    let previous = |event: &Event| event.previous.as_ref().map(|stored| stored.revision);
    let known_previous = previous(seen).is_none() || previous(seen) == previous(known);
    if facts(known) == facts(seen) && known_previous {
        return Ok(());
    }
    violated(PROMISE, format!("server {server} has {} where {} is", said(seen), said(known)))
}

fn said(event: &Event) -> String {
    format!("{} of entry {}, {:?}", brief(event), event.index, String::from_utf8_lossy(&event.object.body))
}

/// A server's live objects and what the events make of them.
pub fn check_state(
    server: u64,
    at: Revision,
    seen: &[Stored],
    expected: &BTreeMap<Key, Arc<Event>>,
) -> Result<(), Violation> {
    if seen.iter().eq(expected.values().map(|event| &event.object)) {
        return Ok(());
    }
    let names = |revisions: Vec<(Revision, &str)>| format!("{revisions:?}");
    let seen = names(seen.iter().map(|one| (one.revision, one.key.name.as_str())).collect());
    let expected = expected.values().map(|event| (event.revision(), event.object.key.name.as_str())).collect();
    violated(PROMISE, format!("server {server} at {at} holds {seen} instead of {}", names(expected)))
}

/// Who a server thinks the voters are, and who another one does.
pub fn check_voters(server: u64, seen: &BTreeSet<u64>, expected: &BTreeSet<u64>) -> Result<(), Violation> {
    if seen == expected {
        return Ok(());
    }
    violated(PROMISE, format!("server {server} knows the voters {seen:?} where another knows {expected:?}"))
}
