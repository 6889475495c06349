//! From a decision to a committed change: proposing, and what happens when another write came first.
//!
//! A write is decided on the local state, which may be behind, and carries what it relied on as preconditions. If the
//! log refuses them, or if the local state would be a reason to refuse the client, the decision is made again on fresh
//! state. So a refusal that a client sees is always about a state not older than its request.

use kontiki_model::{Key, Revision, Status};
use kontiki_raft::{Author, Command, Expect, Mutation, Precondition, ProposeError, ReadError, Rejection, Stored};

use super::{
    call::Call,
    limits::{TOO_LARGE_RETRY_S, WRITE_ATTEMPTS_MAX},
    object::Sealed,
};
use crate::{Core, failure, limits::RETRY_AFTER_S};

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
    left: usize,
    /// Told when others keep overtaking.
    overtaken: Status,
}

impl<'a> Attempts<'a> {
    pub fn new(call: &Call<'a>, name: &str) -> Self {
        let core: &'a Core = call.core;
        Attempts {
            core,
            seen: core.log.revision(),
            fresh: false,
            left: WRITE_ATTEMPTS_MAX,
            overtaken: call.modified(name),
        }
    }

    /// Says whether another attempt makes sense: if not, the error is the answer.
    pub async fn again(&mut self, refusal: Refusal) -> Result<(), Status> {
        self.left -= 1;
        match refusal {
            Refusal::Final(status) => return Err(status),
            Refusal::Judged(status) if self.fresh => return Err(status),
            Refusal::Judged(status) => {
                let now = barrier(self.core).await?;
                if now == self.seen {
                    return Err(status);
                }
            }
            Refusal::Raced if self.left == 0 => return Err(self.overtaken.clone()),
            Refusal::Raced => {
                barrier(self.core).await?;
            }
        }
        self.fresh = true;
        Ok(())
    }
}

/// Mutations of one write and what they rely on.
#[derive(Debug, Default)]
pub struct Change {
    pub preconditions: Vec<Precondition>,
    pub mutations: Vec<Mutation>,
}

impl Change {
    pub fn expect(&mut self, key: &Key, expect: Expect) {
        self.preconditions.push(Precondition { key: key.clone(), expect });
    }

    pub fn put(&mut self, key: &Key, sealed: &Sealed) {
        self.mutations.push(Mutation::Put { key: key.clone(), head: sealed.head.clone(), body: sealed.body.to_vec() });
    }
}

/// Commits a change; the answer is the object at `key` as it then was (for a deletion its last form).
pub async fn commit(call: &Call<'_>, key: &Key, change: Change) -> Result<Stored, Refusal> {
    let identity = &call.request.identity;
    let command = Command {
        author: Author {
            user: identity.user.clone(),
            impersonator: identity.impersonator.clone().unwrap_or_default(),
            user_agent: call.request.user_agent().to_owned(),
            verb: call.route.verb.to_owned(),
            request_id: call.request.request_id.clone(),
        },
        cause: call.request.cause()?,
        term: identity.term,
        time_ms: chrono::Utc::now().timestamp_millis(),
        preconditions: change.preconditions,
        mutations: change.mutations,
    };
    let applied = call.core.log.propose(command).await.map_err(refused)?;
    let event = applied.events.iter().find(|event| event.object.key == *key);
    let event = event.ok_or_else(|| failure::internal("the log applied the write without its object"))?;
    Ok(event.object.clone())
}

/// Before a client is told that its write changes nothing: the state this was judged on must be the present one.
pub async fn confirm(core: &Core, key: &Key, revision: Revision) -> Result<(), Refusal> {
    barrier(core).await?;
    let present = core.log.head(key).is_some_and(|(present, _)| present == revision);
    if present { Ok(()) } else { Err(Refusal::Raced) }
}

/// An object that was not committed, for answers to dry runs and to writes that change nothing.
pub fn uncommitted(key: Key, revision: Revision, sealed: Sealed) -> Stored {
    Stored { key, revision, head: sealed.head.into(), body: sealed.body }
}

pub fn refused(error: ProposeError) -> Refusal {
    Refusal::Final(match error {
        ProposeError::Rejected(Rejection::Precondition { .. }) => return Refusal::Raced,
        ProposeError::Rejected(stale @ Rejection::StaleTerm { .. }) => failure::stale_term(&stale.to_string()),
        ProposeError::Malformed(error) => failure::bad_request(error.to_string()),
        ProposeError::TooLarge { max, .. } => failure::too_large(max),
        ProposeError::DiskFull(shortage) => failure::disk_full(shortage.to_string(), RETRY_AFTER_S),
        ProposeError::Unknown => failure::timeout(error.to_string(), RETRY_AFTER_S),
        ProposeError::NotLeader { .. } | ProposeError::Unavailable(_) => {
            failure::unavailable(error.to_string(), RETRY_AFTER_S)
        }
        ProposeError::Storage(_) => failure::internal(error),
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
        ReadError::NotLeader { .. } | ReadError::Unavailable(_) | ReadError::Closed => {
            failure::unavailable(error.to_string(), RETRY_AFTER_S)
        }
        ReadError::Disk(_) => failure::internal(error),
    }
}

/// A revision that does not exist yet.
pub fn too_large(asked: Revision, current: Revision) -> Status {
    let message = format!("Too large resource version: {asked}, current: {current}");
    let mut status = failure::timeout(message, TOO_LARGE_RETRY_S);
    let cause = kontiki_model::Cause {
        reason: "ResourceVersionTooLarge".to_owned(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    };
    status.details.get_or_insert_default().causes.push(cause);
    status
}
