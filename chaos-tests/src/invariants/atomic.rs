//! The events of one command belong together: nothing is told between them, and no state is shown that has only some of them.

use kontiki_model::Revision;
use kontiki_raft::Event;

use super::{Violation, brief, violated};

const PROMISE: &str = "events of one command come together";

/// `owed` is the next event of a command of which the watcher has been told a part; `told`, what it was told instead of it.
pub fn check(owed: Option<&Event>, told: Option<&Event>) -> Result<(), Violation> {
    match (owed, told) {
        (None, _) => Ok(()),
        (Some(owed), Some(told)) if owed.revision() == told.revision() => Ok(()),
        (Some(owed), told) => {
            let told = told.map_or("nothing".to_owned(), brief);
            violated(PROMISE, format!("{told} where {} was to follow at once", brief(owed)))
        }
    }
}

/// A revision that a state or a bookmark shows: it is not between two events of one command.
pub fn check_shown(revision: Revision, goes_on: bool) -> Result<(), Violation> {
    if goes_on { violated(PROMISE, format!("revision {revision} shows half a command")) } else { Ok(()) }
}
