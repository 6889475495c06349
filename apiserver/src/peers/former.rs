//! Servers that were members once: what they still hold lets them in nowhere. A server is known by its number in the log, which its
//! certificate carries and which no other one gets; a name may be given again.

use kontiki_model::{Head, Key, Status};
use kontiki_raft::{Expect, MemberStatus, Mutation};
use serde::{Deserialize, Serialize};

use crate::{
    core::Core,
    failure, limits,
    pki::SERVERS,
    request::{ApiRequest, Identity},
    rest::{Change, Refusal, store},
};

const RESOURCE: &str = "formerservers.kontiki.dev";

/// Whoever shows another server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A member, or one that this server has not heard of yet: it may be about to join, and whoever was away longest must still hear
    /// a leader that was chosen meanwhile.
    Heard {
        node: u64,
    },
    Removed,
    /// Not a server's certificate, or one that does not say which server's.
    Nobody,
}

pub fn standing(core: &Core, identity: &Identity) -> Standing {
    if !identity.in_group(SERVERS) {
        return Standing::Nobody;
    }
    let Ok(node) = identity.uid.parse() else { return Standing::Nobody };
    let is_member = || core.log.members().iter().any(|member| member.id == node);
    match core.log.head(&key(node)) {
        Some(_) if !is_member() => Standing::Removed,
        _ => Standing::Heard { node },
    }
}

/// What is kept of a server that was a member.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    name: String,
    address: String,
    /// The number it has since it lost its log. Without one it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaced_by: Option<u64>,
}

/// The numbers that one server has had, the last of them at the end, and whether it was removed under that.
pub struct Line {
    pub numbers: Vec<u64>,
    pub removed: bool,
}

/// Follows a server from a number that it had. A number that is noted is never given again, so this ends.
pub fn line(core: &Core, mut node: u64) -> Result<Line, Status> {
    let mut numbers = vec![node];
    while let Some(stored) = core.log.get(&key(node)).map_err(|error| store::read_failed(&error))? {
        let note: Note = serde_json::from_slice(&stored.body).map_err(failure::internal)?;
        let Some(next) = note.replaced_by else { return Ok(Line { numbers, removed: true }) };
        numbers.push(next);
        node = next;
    }
    Ok(Line { numbers, removed: false })
}

/// Notes that a member is to go, for good or because it has another number now. It is heard for as long as it is one, so this comes
/// first: nothing is forgotten in between.
pub async fn note(
    core: &Core,
    request: &ApiRequest,
    member: &MemberStatus,
    replaced_by: Option<u64>,
) -> Result<(), Status> {
    let (key, note) =
        (key(member.id), Note { name: member.name.clone(), address: member.address.clone(), replaced_by });
    let mut change = Change::default();
    if replaced_by.is_some() {
        // Nobody is replaced who was removed meanwhile.
        change.expect(&key, Expect::Absent);
    }
    let body = serde_json::to_vec(&note).map_err(failure::internal)?;
    change.mutations.push(Mutation::Put { key, head: Head::default(), body });
    commit(core, request, "delete", change).await
}

/// An administrator lets a number in again that was noted: it is a member's like any other.
pub async fn forget(core: &Core, request: &ApiRequest, node: u64) -> Result<(), Status> {
    let mutations = vec![Mutation::Delete { key: key(node), last: None }];
    commit(core, request, "create", Change { mutations, ..Change::default() }).await
}

async fn commit(core: &Core, request: &ApiRequest, verb: &str, change: Change) -> Result<(), Status> {
    match store::commit(core, request, verb, change).await {
        Ok(_) => Ok(()),
        Err(Refusal::Final(status) | Refusal::Judged(status)) => Err(status),
        Err(Refusal::Raced) => Err(failure::unavailable("the log moved on meanwhile", limits::RETRY_AFTER_S)),
    }
}

/// Whether a server of this number is not to come back by itself.
pub fn is_noted(core: &Core, node: u64) -> bool {
    core.log.head(&key(node)).is_some()
}

/// Whether a key says that a server was removed.
pub fn is_note(key: &Key) -> bool {
    key.resource == RESOURCE
}

fn key(node: u64) -> Key {
    Key::new(RESOURCE, "", node.to_string())
}
