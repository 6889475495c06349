//! The servers of the cluster: listing them, letting one in, letting one go, handing leadership over. On any server.

use std::sync::Arc;

use futures::{FutureExt as _, future::join_all};
use http::StatusCode;
use kontiki_model::Status;
use kontiki_raft::{Member, MemberStatus, ProposeError};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{
    Access, Answer, Asked, Body, Endpoint,
    object::{Object, why},
};
use crate::{
    content,
    core::Core,
    failure::{self, Qualified},
    health, limits,
    negotiate::Form,
    peers::former,
    pki::SERVERS,
    request::{ApiRequest, ApiResponse},
};

const fn endpoint(method: &'static str, path: &'static str, verb: &'static str, answer: Answer) -> Endpoint {
    Endpoint { method, path, access: Access::To(verb, "members"), body: Body::Read, long: false, answer }
}

pub(super) const LIST: Endpoint =
    endpoint("GET", "members", "list", |core, asked| async move { list(&core, &asked.request).await }.boxed());
pub(super) const ADD: Endpoint =
    endpoint("POST", "members", "create", |core, asked| async move { add(&core, &asked.request).await }.boxed());
pub(super) const REMOVE: Endpoint =
    endpoint("DELETE", "members/*", "delete", |core, asked| async move { remove(&core, &asked).await }.boxed());
pub(super) const TRANSFER: Endpoint = endpoint("POST", "leadership", "update", |core, asked| {
    async move { transfer(&core, &asked.request).await }.boxed()
});

const OF: Qualified<'static> = Qualified { group: super::GROUP, resource: "members" };

/// What a server is told that was removed and comes back by itself.
const REMOVED: &str = "this server was removed from the cluster. To let it in again, empty its folder and join anew";

/// A server that asks to be a member, or one that an operator names.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewMember {
    id: u64,
    name: String,
    address: String,
    /// It was a member before, under this number, which is to go: its log was lost.
    #[serde(default, deserialize_with = "number")]
    replaces: Option<u64>,
}

/// Servers of an earlier version say `false` where there is none.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Ok(Value::deserialize(from)?.as_u64())
}

impl NewMember {
    /// The same under a number.
    fn as_member(&self, id: u64) -> MemberStatus {
        MemberStatus { id, name: self.name.clone(), address: self.address.clone(), ..MemberStatus::default() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLeader {
    /// A member's name or id; without one, whoever has caught up best.
    #[serde(default)]
    to: Option<String>,
}

/// `states=false` leaves out how each one is, which takes asking it.
async fn list(core: &Arc<Core>, request: &ApiRequest) -> Result<ApiResponse, Status> {
    // Without a quorum this server tells what it knows, and that it may be old.
    let current = health::quorum(core).await;
    let mut members = core.log.members();
    members.sort_by(|one, other| one.name.cmp(&other.name));
    let mut items: Vec<Value> = members.iter().map(shown).collect();
    if request.query_value("states") != Some("false") {
        let states = join_all(members.iter().map(|member| health::of_member(core, member))).await;
        for (item, state) in items.iter_mut().zip(states) {
            item["ready"] = json!(state.is_ok());
            item["message"] = json!(state.err().unwrap_or_default());
        }
    }
    let cluster = core.log.cluster().to_string();
    let mut answer =
        json!({"apiVersion": "kontiki.dev/v1", "kind": "MemberList", "metadata": {"cluster": cluster}, "items": items});
    if let Err(reason) = current {
        answer["stale"] = json!(reason);
    }
    content::answer_value(StatusCode::OK, Form::JSON, &answer)
}

fn shown(member: &MemberStatus) -> Value {
    json!({
        "id": member.id,
        "name": member.name,
        "address": format!("https://{}", member.address),
        "leader": member.leader,
        "voter": member.voter,
    })
}

async fn add(core: &Arc<Core>, request: &ApiRequest) -> Result<ApiResponse, Status> {
    let wanted: NewMember = read(request)?;
    core.log.barrier().await.map_err(|error| crate::core::unreadable(&error))?;
    let is_noted = former::is_noted(core, wanted.id);
    if is_noted && request.identity.in_group(SERVERS) {
        return Err(failure::conflict(OF, &wanted.name, REMOVED));
    }
    if let Some(former) = wanted.replaces {
        replace(core, request, former, &wanted).await?;
    }
    vacant(core, Some(wanted.id), &wanted.name, &wanted.address)?;
    if !core.log.members().iter().any(|member| member.id == wanted.id) {
        answers(core, &wanted).await?;
    }
    if is_noted {
        former::forget(core, request, wanted.id).await?;
    }
    let member = Member { name: wanted.name.clone(), address: wanted.address };
    tracing::info!(name = wanted.name, id = wanted.id, user = request.identity.user, "a server is to join");
    let added = tokio::time::timeout(limits::MEMBER_CHANGE_TIME_MAX, core.log.add_member(wanted.id, member)).await;
    let late = || failure::timeout_to_repeat("the new server has not caught up yet: ask again", limits::RETRY_AFTER_S);
    added.map_err(|_| late())?.map_err(|error| refused(&error, Some(&wanted.name)))?;
    of_id(core, wanted.id)
}

/// Lets go of what a server was before it lost its log. It may have had further numbers since, and lost its log half-way again.
async fn replace(core: &Arc<Core>, request: &ApiRequest, former: u64, wanted: &NewMember) -> Result<(), Status> {
    let line = former::line(core, former)?;
    if line.removed {
        return Err(failure::conflict(OF, &wanted.name, REMOVED));
    }
    let members = core.log.members();
    let standing = members.iter().find(|member| member.id != wanted.id && line.numbers.contains(&member.id));
    if let Some(standing) = standing {
        can_go(core, request, standing).await?;
    }
    if let Some(last) = line.numbers.last().filter(|last| **last != wanted.id) {
        former::note(core, request, &wanted.as_member(*last), Some(wanted.id)).await?;
    }
    match standing {
        Some(standing) => let_go(core, standing).await,
        None => Ok(()),
    }
}

/// A member that was never there would be waited for, and would have to be removed again.
async fn answers(core: &Arc<Core>, wanted: &NewMember) -> Result<(), Status> {
    let asked = wanted.as_member(wanted.id);
    let why = |reason| {
        format!(
            "{:?} is no server that could be a member: {reason}; one joins by itself, as `kontiki members add` tells",
            wanted.name
        )
    };
    health::reaches(core, &asked).await.map_err(|reason| failure::unavailable(why(reason), limits::RETRY_AFTER_S))
}

/// Refuses a name or an address that another member has.
pub(super) fn vacant(core: &Core, id: Option<u64>, name: &str, address: &str) -> Result<(), Status> {
    if name.is_empty()
        || address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
    {
        return Err(failure::bad_request("a member has a name, and an address of the form host:port"));
    }
    for member in core.log.members().iter().filter(|member| Some(member.id) != id) {
        if member.name == name {
            let hint = format!(
                "a server named {name:?} is a member already; `kontiki members remove {name}` lets go of it if it is lost"
            );
            return Err(failure::conflict(OF, name, &hint));
        }
        if member.address == address {
            let hint = format!("the address {address} belongs to the member {:?}", member.name);
            return Err(failure::conflict(OF, name, &hint));
        }
    }
    Ok(())
}

async fn remove(core: &Arc<Core>, asked: &Asked) -> Result<ApiResponse, Status> {
    core.log.barrier().await.map_err(|error| crate::core::unreadable(&error))?;
    let member = find(core, asked.segments.first().map_or("", String::as_str))?;
    can_go(core, &asked.request, &member).await?;
    former::note(core, &asked.request, &member, None).await?;
    let_go(core, &member).await?;
    content::answer_value(StatusCode::OK, Form::JSON, &shown(&member))
}

/// Whether those that would be left can go on without a member.
async fn can_go(core: &Arc<Core>, request: &ApiRequest, member: &MemberStatus) -> Result<(), Status> {
    let rest: Vec<MemberStatus> =
        core.log.members().into_iter().filter(|one| one.voter && one.id != member.id).collect();
    if member.voter && rest.is_empty() {
        return Err(failure::conflict(OF, &member.name, "it is the last server: without it there is no cluster"));
    }
    if member.voter && !request.query_flag("force") {
        let states = join_all(rest.iter().map(|member| health::reaches(core, member))).await;
        let alive = states.iter().filter(|state| state.is_ok()).count();
        if alive < rest.len() / 2 + 1 {
            let why = format!(
                "of the {} servers that would be left only {alive} answer, which is no majority: nothing could be written any \
                 more. Bring the others back or remove them first",
                rest.len(),
            );
            return Err(failure::conflict(OF, &member.name, &why));
        }
    }
    tracing::info!(name = member.name, id = member.id, user = request.identity.user, "a server is to go");
    Ok(())
}

/// Removes a member, which is noted as a former one by then.
async fn let_go(core: &Core, member: &MemberStatus) -> Result<(), Status> {
    let removed = tokio::time::timeout(limits::MEMBER_CHANGE_TIME_MAX, core.log.remove_member(member.id)).await;
    let late = || failure::timeout_to_repeat("the removal is not committed yet: ask again", limits::RETRY_AFTER_S);
    removed.map_err(|_| late())?.map_err(|error| refused(&error, Some(&member.name)))
}

async fn transfer(core: &Arc<Core>, request: &ApiRequest) -> Result<ApiResponse, Status> {
    let NewLeader { to } = read(request)?;
    let target = to.map(|to| find(core, &to)).transpose()?;
    let handed = core.log.transfer_leadership(target.as_ref().map(|member| member.id));
    let late = || failure::timeout_to_repeat("leadership was not handed over in time", limits::RETRY_AFTER_S);
    let handed = tokio::time::timeout(limits::MEMBER_CHANGE_TIME_MAX, handed).await.map_err(|_| late())?;
    handed.map_err(|error| refused(&error, target.as_ref().map(|member| member.name.as_str())))?;
    core.log.barrier().await.map_err(|error| crate::core::unreadable(&error))?;
    let members = core.log.members();
    let leader = members.iter().find(|member| member.leader);
    let leader = leader.ok_or_else(|| failure::unavailable("no leader is known", limits::RETRY_AFTER_S))?;
    content::answer_value(StatusCode::OK, Form::JSON, &shown(leader))
}

/// A member by its name, or by its id.
fn find(core: &Core, asked: &str) -> Result<MemberStatus, Status> {
    let members = core.log.members();
    let named = members.iter().find(|member| member.name == asked);
    let found = named.or_else(|| members.iter().find(|member| member.id.to_string() == asked));
    found.cloned().ok_or_else(|| failure::not_found(OF, asked))
}

fn of_id(core: &Core, id: u64) -> Result<ApiResponse, Status> {
    let member = find(core, &id.to_string())?;
    content::answer_value(StatusCode::OK, Form::JSON, &shown(&member))
}

fn read<T: serde::de::DeserializeOwned>(request: &ApiRequest) -> Result<T, Status> {
    let read = serde_json::from_slice(request.body.bytes()).map(|Object(read)| read);
    read.map_err(|error| failure::bad_request(why(&error)))
}

/// What the cluster cannot be made to do is told of the member that it was asked for.
fn refused(error: &ProposeError, name: Option<&str>) -> Status {
    match (error, name) {
        (ProposeError::Refused(why), Some(name)) => failure::conflict(OF, name, why),
        (ProposeError::Refused(why), None) => Status { message: why.clone(), ..failure::conflict(OF, "", why) },
        (ProposeError::NoMajority(why), _) => failure::unreachable(why),
        _ => failure::unavailable(error.to_string(), limits::RETRY_AFTER_S),
    }
}
