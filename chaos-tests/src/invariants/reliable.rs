//! A watch leaves no event out, and tells only what happened, as it happened.

use kontiki_raft::Event;

use super::{Violation, brief, violated};

/// `expected` is the next event of the watcher's scope.
pub fn check(expected: Option<&Event>, event: &Event) -> Result<(), Violation> {
    let Some(expected) = expected else {
        return violated("a watch tells only what happened", brief(event));
    };
    if event.revision() != expected.revision() {
        return violated("a watch leaves no gap", format!("{} instead of {}", brief(event), brief(expected)));
    }
    if (event.kind, &event.object, event.index) != (expected.kind, &expected.object, expected.index) {
        return violated(
            "a watch tells what happened as it happened",
            format!("{} is not {}", brief(event), brief(expected)),
        );
    }
    Ok(())
}

/// `missing` is an event that a watcher, long after everything has calmed down, has still not been told.
pub fn complete(missing: Option<&Event>) -> Result<(), Violation> {
    match missing {
        None => Ok(()),
        Some(event) => violated("a watch tells everything in the end", brief(event)),
    }
}
