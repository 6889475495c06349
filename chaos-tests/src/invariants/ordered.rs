//! A watch tells events in the order of their revisions.

use kontiki_model::Revision;
use kontiki_raft::Event;

use super::{Violation, brief, violated};

/// `last` is the last event that the watcher was told.
pub fn check(last: Option<Revision>, event: &Event) -> Result<(), Violation> {
    match last {
        Some(last) if event.revision() < last => {
            violated("a watch is ordered", format!("{} after {last}", brief(event)))
        }
        _ => Ok(()),
    }
}
