//! Objects that nobody stores: the server tells them from what it is at the moment.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use http::StatusCode;
use kontiki_kinds::{Kind, kind::Computed};
use kontiki_model::{Head, Key, Status};
use kontiki_raft::Stored;
use serde_json::{Value, json};

use super::{
    call::Call,
    object,
    options::ListOptions,
    render::{self, ListMeta},
    selection::Selection,
};
use crate::{Core, failure, health, negotiate::Offer, request::ApiResponse};

/// What the leader runs besides the log, as Kubernetes names it.
const CONTROL: &[&str] = &["controller-manager", "scheduler"];

pub async fn get(call: &Call<'_>, computed: Computed) -> Result<ApiResponse, Status> {
    of_now(call)?;
    let form = call.form(Offer::Object)?;
    let name = call.name()?;
    let all = objects(call.core, call.kind, computed).await;
    let found = all.into_iter().find(|one| one.key.name == name).ok_or_else(|| call.not_found(name))?;
    render::object(call, form, StatusCode::OK, &found)
}

pub async fn list(call: &Call<'_>, computed: Computed) -> Result<ApiResponse, Status> {
    of_now(call)?;
    let form = call.form(Offer::Collection)?;
    let selection = Selection::read(call, &ListOptions::read(call.request, false)?)?;
    let include = render::check_list_form(call, form)?;
    let mut items = objects(call.core, call.kind, computed).await;
    items.retain(|item| selection.matches(&item.key, &item.head));
    render::list(call.kind, form, include, items, &ListMeta::default(), call.now())
}

/// What nobody stores has no past.
fn of_now(call: &Call<'_>) -> Result<(), Status> {
    match call.request.at {
        None => Ok(()),
        Some(_) => {
            let message = format!("{} are not kept: there are none below /at/", call.kind.resource);
            Err(Status { message, ..failure::method_not_allowed() })
        }
    }
}

async fn objects(core: &Arc<Core>, kind: &Kind, computed: Computed) -> Vec<Stored> {
    match computed {
        Computed::PodBinding => Vec::new(),
        Computed::Components => {
            components(core).await.iter().map(|(name, state)| component(kind, name, state)).collect()
        }
    }
}

/// Every server by its name, and what runs where the leader is.
async fn components(core: &Arc<Core>) -> Vec<(String, Result<(), String>)> {
    let members = core.log.members();
    let servers = join_all(members.iter().map(|member| health::of_member(core, member)));
    let control = join_all(CONTROL.iter().map(|name| health::of_leader(core, name)));
    let (servers, control) = futures::join!(servers, control);
    let control = CONTROL.iter().map(|name| (*name).to_owned()).zip(control);
    let mut all: Vec<_> = control.chain(members.into_iter().map(|member| member.name).zip(servers)).collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

fn component(kind: &Kind, name: &str, state: &Result<(), String>) -> Stored {
    let condition = match state {
        Ok(()) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Err(reason) => json!({"type": "Healthy", "status": "False", "message": reason, "error": reason}),
    };
    let metadata = json!({"name": name, "creationTimestamp": Value::Null});
    let body = format!("{}\"metadata\":{metadata},\"conditions\":[{condition}]}}", object::prefix(kind));
    // There is no revision to be spliced in; the place must be one within the metadata all the same.
    let splice = u32::try_from(object::prefix(kind).len() + "\"metadata\":{".len()).unwrap_or_default();
    let head = Head { splice, ..Head::default() };
    let key = Key::new(kind.storage_resource(), "", name);
    Stored { key, revision: 0, head: head.into(), body: Bytes::from(body) }
}
