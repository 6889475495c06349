//! A bookmark is never ahead of what was told, nor of what happened, and never goes back.

use kontiki_model::Revision;
use kontiki_raft::Event;

use super::{Violation, brief, violated};

/// `next` is the first event that the watcher was not told; `present`, the newest revision of all.
pub fn check(told: Revision, next: Option<&Event>, present: Revision, bookmark: Revision) -> Result<(), Violation> {
    match next {
        Some(next) if next.revision() <= bookmark => {
            violated("a bookmark passes no event", format!("{bookmark} passes {}", brief(next)))
        }
        _ if bookmark < told || bookmark > present => violated(
            "a bookmark is between the last event and the present",
            format!("{bookmark} is not between {told} and {present}"),
        ),
        _ => Ok(()),
    }
}
