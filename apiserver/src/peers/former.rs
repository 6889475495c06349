//! Servers that were members once: what they still hold lets them in nowhere. A server is known by its number in the log, which its
//! certificate carries and which no other one gets; a name may be given again.

use kontiki_model::{Head, Key, Status};
use kontiki_raft::{MemberStatus, Mutation};
use serde_json::json;

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

/// Notes that a member is to go. It is heard for as long as it is one, so this comes first: nothing is forgotten in between.
pub async fn note(core: &Core, request: &ApiRequest, member: &MemberStatus) -> Result<(), Status> {
    let body = json!({"name": member.name, "address": member.address}).to_string().into_bytes();
    let put = Mutation::Put { key: key(member.id), head: Head::default(), body };
    let change = Change { mutations: vec![put], ..Change::default() };
    match store::commit(core, request, "delete", change).await {
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
