//! What is read of the past is what was there then.

use kontiki_model::{Key, Revision};
use kontiki_raft::{Event, Stored};

use super::{Violation, violated};

pub fn check(key: &Key, at: Revision, seen: Option<&Stored>, expected: Option<&Event>) -> Result<(), Violation> {
    if seen == expected.map(|event| &event.object) {
        return Ok(());
    }
    let (seen, expected) = (seen.map(|stored| stored.revision), expected.map(Event::revision));
    violated("the past is told as it was", format!("{} at {at}: {seen:?} instead of {expected:?}", key.name))
}
