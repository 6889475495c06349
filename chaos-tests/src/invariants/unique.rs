//! A watch tells each event once, however often it is resumed.

use kontiki_model::Revision;
use kontiki_raft::Event;

use super::{Violation, brief, violated};

/// `told` is the revision up to which the watcher was told everything.
pub fn check(told: Revision, event: &Event) -> Result<(), Violation> {
    if event.revision() > told {
        return Ok(());
    }
    violated("a watch tells each event once", format!("{} to one who was told up to {told}", brief(event)))
}
