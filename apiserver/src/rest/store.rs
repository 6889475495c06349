//! From a decision to a committed change: proposing, and what happens when another write came first.
//!
//! A write is decided on the local state, which may be behind, and carries what it relied on as preconditions. If the
//! log refuses them, or if the local state would be a reason to refuse the client, the decision is made again on fresh
//! state. So a refusal that a client sees is always about a state not older than its request.

use std::sync::Arc;

use kontiki_model::{Key, Revision, Status};
use kontiki_raft::{Author, Command, Event, Malformed, ProposeError, ReadError, Rejection};

use super::{
    limits::{CHARGED_ATTEMPTS_MAX, TOO_LARGE_RETRY_S, WRITE_ATTEMPTS_MAX},
    plan::Change,
};
use crate::{Core, failure, limits::RETRY_AFTER_S, request::ApiRequest};

/// Why one attempt of a write did not succeed.
#[derive(Debug)]
pub enum Refusal {
    /// No state would change it.
    Final(Status),
    /// Judged on local state: asked again on fresh state before it is told.
    Judged(Status),
    /// Another write came first.
    Raced,
}

impl Refusal {
    /// The same, with what is to be told beside it.
    pub fn beside(self, warnings: &[String]) -> Self {
        let with = |status: Status| Status { warnings: [&status.warnings, warnings].concat(), ..status };
        match self {
            Refusal::Final(status) => Refusal::Final(with(status)),
            Refusal::Judged(status) => Refusal::Judged(with(status)),
            Refusal::Raced => Refusal::Raced,
        }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Refusal::Final(status)
    }
}

/// The attempts of one write.
pub struct Attempts<'a> {
    core: &'a Core,
    seen: Revision,
    fresh: bool,
    made: usize,
    most: usize,
    /// Told when others keep overtaking.
    overtaken: Status,
}

impl<'a> Attempts<'a> {
    pub fn new(core: &'a Core, overtaken: Status) -> Self {
        Attempts { core, seen: core.log.revision(), fresh: false, made: 0, most: WRITE_ATTEMPTS_MAX, overtaken }
    }

    /// The write is charged to quotas, which others write too: it is worth more attempts.
    pub fn are_charged(&mut self) {
        self.most = CHARGED_ATTEMPTS_MAX;
    }

    /// Says whether another attempt makes sense: if not, the error is the answer.
    pub async fn again(&mut self, refusal: Refusal) -> Result<(), Status> {
        self.made += 1;
        match refusal {
            Refusal::Final(status) => return Err(status),
            Refusal::Judged(status) if self.fresh => return Err(status),
            Refusal::Judged(status) => {
                let now = barrier(self.core).await?;
                if now == self.seen {
                    return Err(status);
                }
            }
            Refusal::Raced if self.made >= self.most => return Err(self.overtaken.clone()),
            Refusal::Raced => {
                barrier(self.core).await?;
            }
        }
        self.fresh = true;
        Ok(())
    }
}

/// Commits a change, all of it in the name of one request; the answer is what became of it, in order.
pub async fn commit(
    core: &Core,
    request: &ApiRequest,
    verb: &str,
    mut change: Change,
) -> Result<Vec<Arc<Event>>, Refusal> {
    change.settle();
    // It stays in memory for as long as its entry does, and most have one mutation.
    change.preconditions.shrink_to_fit();
    change.mutations.shrink_to_fit();
    let command = command(core, request, verb, change).await?;
    Ok(core.log.propose(command).await.map_err(refused)?.events)
}

/// A change in the name of who asks for it.
pub async fn command(core: &Core, request: &ApiRequest, verb: &str, change: Change) -> Result<Command, Status> {
    let identity = &request.identity;
    Ok(Command {
        author: Author {
            user: identity.user.clone(),
            impersonator: identity.impersonator.clone().unwrap_or_default(),
            user_agent: request.user_agent().to_owned(),
            verb: verb.to_owned(),
            request_id: request.request_id.clone(),
        },
        cause: cause(core, request).await?,
        term: identity.term,
        time_ms: chrono::Utc::now().timestamp_millis(),
        preconditions: change.preconditions,
        mutations: change.mutations,
    })
}

/// What a write reacts to. Its author may have heard of it from a server that is ahead of this one; what nobody has seen is no cause.
async fn cause(core: &Core, request: &ApiRequest) -> Result<Option<Revision>, Status> {
    let Some(cause) = request.cause()? else { return Ok(None) };
    if cause > core.log.revision() {
        let newest = barrier(core).await?;
        if cause > newest {
            let why = format!("the Kontiki-Cause header names revision {cause}, but the newest is {newest}");
            return Err(failure::bad_request(why));
        }
    }
    Ok(Some(cause))
}

/// The log's answer to a write does not mention its object: cannot be.
pub fn lost(key: &Key) -> Status {
    failure::internal(format!("the log applied the write without {} {:?}", key.resource, key.name))
}

/// Before a client is told that its write changes nothing: the state this was judged on must be the present one.
pub async fn confirm(core: &Core, judged: &[(&Key, Revision)]) -> Result<(), Refusal> {
    barrier(core).await?;
    let present = |(key, revision): &(&Key, Revision)| core.log.head(key).is_some_and(|(now, _)| now == *revision);
    if judged.iter().all(present) { Ok(()) } else { Err(Refusal::Raced) }
}

pub fn refused(error: ProposeError) -> Refusal {
    Refusal::Final(match error {
        ProposeError::Rejected(Rejection::Precondition { .. }) => return Refusal::Raced,
        ProposeError::Rejected(stale @ Rejection::StaleTerm { .. }) => failure::stale_term(&stale.to_string()),
        ProposeError::Malformed(error @ Malformed::TooManyParts(_)) => failure::too_many_operations(error.to_string()),
        ProposeError::Malformed(error) => failure::bad_request(error.to_string()),
        ProposeError::TooLarge { max, .. } => failure::too_large(max),
        ProposeError::DiskFull(shortage) => failure::disk_full(shortage.to_string()),
        ProposeError::Unknown => failure::timeout(error.to_string()),
        ProposeError::NotLeader { .. } | ProposeError::Unavailable(_) => {
            failure::unavailable(error.to_string(), RETRY_AFTER_S)
        }
        ProposeError::NoMajority(why) => failure::unreachable(why),
        ProposeError::Refused(_) | ProposeError::Seal(_) | ProposeError::Storage(_) => failure::internal(error),
    })
}

/// Waits until the local state is not older than this call; the answer is its revision.
pub async fn barrier(core: &Core) -> Result<Revision, Status> {
    core.log.barrier().await.map_err(|error| read_failed(&error))
}

pub fn read_failed(error: &ReadError) -> Status {
    match error {
        ReadError::Compacted { .. } => failure::expired("The resourceVersion for the provided list is too old."),
        ReadError::Future { requested, revision } => too_large(*requested, *revision),
        ReadError::ClockAhead { .. } => failure::bad_request(error.to_string()),
        ReadError::NotLeader { .. } | ReadError::Unavailable(_) | ReadError::Closed => {
            failure::unavailable(error.to_string(), RETRY_AFTER_S)
        }
        ReadError::NoMajority(why) => failure::unreachable(why),
        ReadError::Sealed(unopened) => failure::sealed(unopened),
        ReadError::Disk(_) => failure::internal(error),
    }
}

/// A revision that does not exist yet.
pub fn too_large(asked: Revision, current: Revision) -> Status {
    let message = format!("Too large resource version: {asked}, current: {current}");
    let mut status = failure::timeout_to_repeat(message, TOO_LARGE_RETRY_S);
    let cause = kontiki_model::Cause {
        reason: "ResourceVersionTooLarge".to_owned(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    };
    status.details.get_or_insert_default().causes.push(cause);
    status
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refusal(error: ProposeError) -> Status {
        match refused(error) {
            Refusal::Final(status) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn clients_try_again_where_that_may_soon_help_and_harms_nothing() {
        let told =
            |status: &Status| (status.code, status.details.as_ref().and_then(|details| details.retry_after_seconds));
        let why = || "only 1 of 3 servers take part".to_owned();
        let writes = [
            (ProposeError::NotLeader { leader: None, address: None }, 503, Some(RETRY_AFTER_S)),
            (ProposeError::Unavailable(why()), 503, Some(RETRY_AFTER_S)),
            (ProposeError::NoMajority(why()), 503, None),
            (ProposeError::Unknown, 504, None),
        ];
        for (error, code, retry) in writes {
            let shown = format!("{error:?}");
            assert_eq!(told(&refusal(error)), (code, retry), "{shown}");
        }
        let reads = [
            (ReadError::NotLeader { leader: None, address: None }, Some(RETRY_AFTER_S)),
            (ReadError::Unavailable(why()), Some(RETRY_AFTER_S)),
            (ReadError::Closed, Some(RETRY_AFTER_S)),
            (ReadError::NoMajority(why()), None),
        ];
        for (error, retry) in reads {
            assert_eq!(told(&read_failed(&error)), (503, retry), "{error:?}");
        }
        let (read, written) = (read_failed(&ReadError::NoMajority(why())), refusal(ProposeError::NoMajority(why())));
        assert_eq!((read.message.as_str(), &read), ("only 1 of 3 servers take part", &written));
    }
}
