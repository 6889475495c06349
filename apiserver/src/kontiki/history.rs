//! `history/<API path of an object>`: every change that is retained of it, newest first; also after it was deleted, and of
//! all objects that ever had the name.
//!
//! Query: `limit`, `before` (a revision, for the next page), `objects=true` (the forms before and after each change).

use std::sync::Arc;

use http::StatusCode;
use kontiki_kinds::{KindRef, Kinds};
use kontiki_model::{Key, Revision, Status};
use serde::Serialize;

use super::{
    Asked, era,
    limits::{HISTORY_BYTES_MAX, HISTORY_EVENTS_DEFAULT, HISTORY_EVENTS_MAX, HISTORY_STEP_EVENTS},
    told::{Detail, Told},
};
use crate::{
    content,
    core::{Core, unreadable},
    failure::{self, Qualified},
    negotiate::{Offer, negotiate},
    request::{self, ApiRequest, ApiResponse},
    route::ResourceInfo,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct History {
    kind: &'static str,
    api_version: &'static str,
    /// Nothing before this revision is retained.
    floor: Revision,
    items: Vec<Told>,
    /// `before` of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Revision>,
}

pub(super) async fn answer(core: Arc<Core>, asked: Asked) -> Result<ApiResponse, Status> {
    let form = negotiate(&asked.request, Offer::Document)?;
    let kinds = era::ever(&core, asked.object.as_ref())?;
    let (kind, key) = key_of(&kinds, asked.object.as_ref())?;
    let limit = number(&asked.request, "limit")?.and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.unwrap_or(HISTORY_EVENTS_DEFAULT).clamp(1, HISTORY_EVENTS_MAX);
    let before = number(&asked.request, "before")?;
    let detail = Detail { objects: asked.request.query_flag("objects"), changes: true };
    core.log.barrier().await.map_err(|error| unreadable(&error))?;
    let window = Window { begins: asked.horizon(&core)?, before, limit };
    let reading =
        tokio::task::spawn_blocking(move || read(&core, &kinds, &key, window, detail).map(|told| (key, told)));
    let (key, history) = reading.await.map_err(failure::internal)??;
    if history.items.is_empty() && before.is_none() {
        return Err(failure::not_found(Qualified { group: kind.group, resource: kind.resource }, &key.name));
    }
    let value = kontiki_schema::json::text(&history).map_err(failure::internal)?;
    content::answer(StatusCode::OK, form, value.into())
}

/// Which changes are told.
struct Window {
    /// None before this one.
    begins: Revision,
    before: Option<Revision>,
    limit: usize,
}

fn read(core: &Core, kinds: &Kinds, key: &Key, window: Window, detail: Detail) -> Result<History, Status> {
    let Window { begins, before, limit } = window;
    let mut history = History {
        kind: "History",
        api_version: super::GROUP_VERSION,
        floor: core.log.floor_of(&key.resource).max(begins),
        items: Vec::new(),
        before,
    };
    let mut bytes = 0;
    while history.items.len() < limit && bytes < HISTORY_BYTES_MAX {
        let wanted = HISTORY_STEP_EVENTS.min(limit - history.items.len());
        let events = core.log.history(key, history.before, wanted).map_err(|error| unreadable(&error))?;
        let own = events.iter().take_while(|event| event.revision() >= begins).count();
        let complete = own < wanted;
        for event in events.into_iter().take(own) {
            bytes += event.bytes();
            history.before = Some(event.revision());
            history.items.push(Told::of(kinds, &event, detail)?);
        }
        if complete {
            history.before = None;
            break;
        }
    }
    Ok(history)
}

/// The object that an endpoint is asked about.
pub(super) fn key_of(kinds: &Kinds, object: Option<&ResourceInfo>) -> Result<(KindRef, Key), Status> {
    let object = object.ok_or_else(failure::no_such_resource)?;
    let kind =
        kinds.by_resource(&object.group, &object.version, &object.resource).ok_or_else(failure::no_such_resource)?;
    // A namespace is in itself, for authorization only.
    let namespace = if kind.namespaced { object.namespace.as_str() } else { "" };
    if kind.namespaced && namespace.is_empty() {
        return Err(failure::no_such_resource());
    }
    let key = Key::new(kind.storage_resource(), namespace, object.name.as_str());
    Ok((kind, key))
}

/// A query parameter that is a number.
pub(super) fn number(request: &ApiRequest, name: &str) -> Result<Option<u64>, Status> {
    let Some(text) = request.query_value(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    let refused = || failure::bad_request(format!("{name}={text:?} is not a number"));
    request::number(text).map(Some).ok_or_else(refused)
}
