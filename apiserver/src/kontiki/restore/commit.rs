//! A plan's commands, proposed one after the other.

use std::sync::Arc;

use kontiki_model::{Revision, Status};

use super::plan::Plan;
use crate::{
    core::Core,
    request::ApiRequest,
    rest::store::{self, Refusal},
};

/// The verb of whatever a restore writes.
const VERB: &str = "restore";

/// What was committed so far.
#[derive(Debug, Default)]
pub struct Committed {
    pub commands: usize,
    /// The first and the last.
    pub revisions: Option<(Revision, Revision)>,
}

/// True if all of it was committed; false if another write came first, and it must be compared again.
pub async fn commit(core: &Arc<Core>, request: &ApiRequest, plan: &Plan, done: &mut Committed) -> Result<bool, Status> {
    for change in plan.commands() {
        let command = store::command(core, request, VERB, change).await?;
        match core.log.propose(command).await.map_err(store::refused) {
            Ok(applied) => {
                done.commands += 1;
                let (first, last) = (applied.events.first(), applied.events.last());
                if let (Some(first), Some(last)) = (first, last) {
                    let begin = done.revisions.map_or(first.revision(), |(begin, _)| begin);
                    done.revisions = Some((begin, last.revision()));
                }
            }
            Err(Refusal::Raced) => return Ok(false),
            Err(Refusal::Final(status) | Refusal::Judged(status)) => return Err(partly(status, done)),
        }
    }
    Ok(true)
}

/// A restore of several commands that stops in the middle says so; asking again does the rest.
fn partly(status: Status, done: &Committed) -> Status {
    match done.commands {
        0 => status,
        commands => {
            let message = format!("{} (after {commands} commands of the restore were committed)", status.message);
            Status { message, ..status }
        }
    }
}
