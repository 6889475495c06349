//! Revisions are consecutive: none is left out, none is used again, and the events of a later entry have the later ones.

use std::sync::Arc;

use kontiki_model::Revision;
use kontiki_raft::Event;

use super::{Violation, brief, violated};

const PROMISE: &str = "revisions are consecutive";

/// A server's events from one revision to another.
pub fn check(first: Revision, last: Revision, run: &[Arc<Event>]) -> Result<(), Violation> {
    let told: Vec<Revision> = run.iter().map(|event| event.revision()).collect();
    if told.iter().copied().eq(first..=last) {
        Ok(())
    } else {
        violated(PROMISE, format!("{told:?} from {first} to {last}"))
    }
}

/// The next event of all.
pub fn follows(last: Option<&Event>, next: &Event) -> Result<(), Violation> {
    let (revision, index, time_ms) = last.map_or((0, 0, 0), |last| (last.revision(), last.index, last.time_ms));
    if next.revision() == revision + 1 && next.index >= index && next.time_ms >= time_ms {
        return Ok(());
    }
    violated(PROMISE, format!("{} of entry {} after revision {revision} of entry {index}", brief(next), next.index))
}

/// A write that began after another one's answer has the later revision.
pub fn in_time(earlier: Revision, later: Revision) -> Result<(), Violation> {
    if earlier < later {
        Ok(())
    } else {
        violated(PROMISE, format!("{later} was given to a write that began after {earlier} was answered"))
    }
}
