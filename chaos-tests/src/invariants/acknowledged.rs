//! What was acknowledged is in the log: under the revisions that were told, for good.

use kontiki_model::Revision;
use kontiki_raft::{Command, Event, Mutation};

use super::{Violation, brief, violated};

const PROMISE: &str = "what was acknowledged stays";

/// An acknowledged command, and what stands under its revisions in the end.
pub fn check<'a>(
    command: &Command,
    first: Revision,
    found: impl Fn(Revision) -> Option<&'a Event>,
) -> Result<(), Violation> {
    for (mutation, revision) in command.mutations.iter().zip(first..) {
        match found(revision) {
            None => return violated(PROMISE, format!("{} of revision {revision} is lost", mutation.key().name)),
            Some(event) if !is(event, mutation) => {
                return violated(
                    PROMISE,
                    format!("{} stands where {} was promised", brief(event), mutation.key().name),
                );
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn is(event: &Event, mutation: &Mutation) -> bool {
    match mutation {
        Mutation::Put { key, body, .. } => event.object.key == *key && event.object.body[..] == body[..],
        Mutation::Delete { key, .. } => event.object.key == *key,
    }
}
