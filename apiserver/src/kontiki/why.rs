//! `why/<API path of an object>`: the chains of causes that made it, last changed it, or deleted it; `revision=` asks about
//! one of its events instead. Links about objects that the caller may not get are told by their revision alone.

use std::{cell::OnceCell, sync::Arc};

use http::StatusCode;
use kontiki_kinds::Kinds;
use kontiki_model::{Key, Revision, Status};
use kontiki_raft::{Event, EventKind, ReadError};
use serde_json::{Value, json};

use super::{
    Asked,
    chain::{self, Because, Chain, End, Record},
    era,
    history::{key_of, number},
    horizon,
    limits::{SEARCH_EVENTS_MAX, SEARCH_STEP_EVENTS},
    told::{self, Detail, Named, Told},
};
use crate::{
    authz::Question,
    content,
    core::{Core, unreadable},
    failure::{self, Qualified},
    negotiate::{Offer, negotiate},
    parts,
    request::{ApiRequest, ApiResponse},
    route::{RequestInfo, Target},
};

pub(super) async fn answer(core: Arc<Core>, asked: Asked) -> Result<ApiResponse, Status> {
    let form = negotiate(&asked.request, Offer::Document)?;
    let kinds = era::ever(&core, asked.object.as_ref())?;
    let (kind, key) = key_of(&kinds, asked.object.as_ref())?;
    let revision = number(&asked.request, "revision")?;
    core.log.barrier().await.map_err(|error| unreadable(&error))?;
    let begins = asked.horizon(&core)?;
    let searching = tokio::task::spawn_blocking(move || {
        let items = explain((&core, &kinds), &asked.request, (&key, begins), revision)?;
        Ok::<_, Status>((key, items))
    });
    let (key, items) = searching.await.map_err(failure::internal)??;
    if items.is_empty() {
        return Err(failure::not_found(Qualified { group: kind.group, resource: kind.resource }, &key.name));
    }
    let value = json!({"kind": "Why", "apiVersion": super::GROUP_VERSION, "items": items});
    content::answer_value(StatusCode::OK, form, &value)
}

fn explain(
    (core, kinds): (&Core, &Kinds),
    request: &ApiRequest,
    (key, begins): (&Key, Revision),
    revision: Option<Revision>,
) -> Result<Vec<Value>, Status> {
    let past = Past { core };
    let mut starts = match revision {
        Some(revision) => {
            let event = past.event(revision)?.filter(|event| event.object.key == *key && revision >= begins);
            let missing = || failure::bad_request(format!("revision {revision} is no retained event of {}", key.name));
            vec![("event", event.ok_or_else(missing)?)]
        }
        None => past.turning_points(key)?,
    };
    starts.retain(|(_, event)| event.revision() >= begins);
    let tell = |(about, start): (&str, Arc<Event>)| {
        let chain = chain::chain(&past, start)?;
        let links = chain.links.iter().map(|(because, event)| link((core, kinds), request, *because, event));
        let links = links.collect::<Result<Vec<_>, Status>>()?;
        Ok(json!({"about": about, "links": links, "end": end(&chain)}))
    };
    starts.into_iter().map(tell).collect()
}

fn link(
    (core, kinds): (&Core, &Kinds),
    request: &ApiRequest,
    because: Because,
    event: &Event,
) -> Result<Value, Status> {
    let because = match because {
        Because::Asked => "asked",
        Because::ReactedTo => "reactedTo",
        Because::Content => "content",
        Because::Deletion => "deletion",
        Because::Owner => "owner",
    };
    if !may_get(core, request, &Named::of(kinds, &event.object.key, ""), event.revision())? {
        return Ok(json!({"because": because, "hidden": true, "event": {"revision": event.revision()}}));
    }
    let told = Told::of(kinds, event, Detail { objects: false, changes: true })?;
    Ok(json!({"because": because, "event": serde_json::to_value(told).map_err(failure::internal)?}))
}

fn end(chain: &Chain) -> Value {
    match chain.end {
        End::Person => json!({"reason": "person"}),
        End::System => json!({"reason": "system"}),
        End::Forgotten(revision) => json!({"reason": "forgotten", "revision": revision}),
        End::TooLong => json!({"reason": "tooLong"}),
    }
}

fn may_get(core: &Core, request: &ApiRequest, named: &Named, revision: Revision) -> Result<bool, Status> {
    // What is no object is the cluster's own: told to those who may read everything.
    let path = if named.path.is_empty() {
        format!("/apis/{}/v1/{}/{}", super::GROUP, named.resource, named.name)
    } else {
        named.path.clone()
    };
    let RequestInfo { target, .. } = RequestInfo::read(&http::Method::GET, &path, &[])?;
    debug_assert!(matches!(target, Target::Resource(_)), "an object's path names a resource");
    let asked = RequestInfo { verb: "get", target };
    match parts::judge(core, request, &asked, None) {
        Ok(()) => {
            let RequestInfo { verb, target } = &asked;
            let question = Question { identity: &request.identity, verb, target, field_selector: "" };
            Ok(horizon::refusal(core, question, revision)?.is_none())
        }
        Err(status) if status.code == StatusCode::FORBIDDEN.as_u16() => Ok(false),
        Err(status) => Err(status),
    }
}

/// What this server retains.
struct Past<'a> {
    core: &'a Core,
}

impl Past<'_> {
    /// The events that explain an object: its deletion if it is gone; else its creation, and its last change of content.
    fn turning_points(&self, key: &Key) -> Result<Vec<(&'static str, Arc<Event>)>, Status> {
        let newest = OnceCell::new();
        let (mut changed, mut oldest) = (None, None);
        self.search(key, Revision::MAX, |event| {
            let newest: &Arc<Event> = newest.get_or_init(|| event.clone());
            if newest.object.head.uid != event.object.head.uid {
                return Ok(true);
            }
            if changed.is_none() && is_content(event)? {
                changed = Some(event.clone());
            }
            oldest = Some(event.clone());
            Ok(event.kind == EventKind::Created || newest.kind == EventKind::Deleted)
        })?;
        let mut points = Vec::new();
        let Some(newest) = newest.into_inner() else { return Ok(points) };
        if newest.kind == EventKind::Deleted {
            points.push(("deleted", newest));
            return Ok(points);
        }
        let created = oldest.filter(|oldest| oldest.kind == EventKind::Created);
        let changed = changed.unwrap_or(newest);
        if created.as_ref().is_none_or(|created| created.revision() != changed.revision()) {
            points.push(("changed", changed));
        }
        points.extend(created.map(|created| ("created", created)));
        Ok(points)
    }

    /// Goes through an object's events, newest first, until `visit` says that it is enough.
    fn search(
        &self,
        key: &Key,
        until: Revision,
        mut visit: impl FnMut(&Arc<Event>) -> Result<bool, Status>,
    ) -> Result<(), Status> {
        let mut before = until.checked_add(1);
        for _ in 0..SEARCH_EVENTS_MAX / SEARCH_STEP_EVENTS {
            let events = self.core.log.history(key, before, SEARCH_STEP_EVENTS).map_err(|error| unreadable(&error))?;
            for event in &events {
                if visit(event)? {
                    return Ok(());
                }
            }
            match events.last() {
                Some(last) if events.len() == SEARCH_STEP_EVENTS => before = Some(last.revision()),
                Some(_) | None => return Ok(()),
            }
        }
        Ok(())
    }
}

impl Record for Past<'_> {
    type Error = Status;

    fn event(&self, revision: Revision) -> Result<Option<Arc<Event>>, Status> {
        match self.core.log.event(revision) {
            Ok(event) => Ok(Some(event)),
            Err(ReadError::Compacted { .. } | ReadError::Future { .. }) => Ok(None),
            Err(error) => Err(unreadable(&error)),
        }
    }

    fn content(&self, key: &Key, until: Revision) -> Result<Option<Arc<Event>>, Status> {
        let mut found = None;
        self.search(key, until, |event| {
            let is = is_content(event)?;
            if is {
                found = Some(event.clone());
            }
            Ok(is)
        })?;
        Ok(found)
    }

    fn owner(&self, event: &Event) -> Option<Key> {
        let object = &event.object;
        let owner = object.head.owners.iter().find(|owner| owner.controller)?;
        let kinds = self.core.kinds();
        let kind = kinds.iter().find(|kind| kind.kind == owner.kind)?;
        let namespace = if kind.namespaced { object.key.namespace.as_str() } else { "" };
        Some(Key::new(kind.storage_resource(), namespace, owner.name.as_str()))
    }
}

/// Whether an event changed more than a status.
fn is_content(event: &Event) -> Result<bool, Status> {
    match (event.kind, &event.previous) {
        (EventKind::Updated, Some(previous)) => {
            let difference = told::difference(previous, &event.object)?;
            Ok(difference.is_none_or(|changes| !changes.is_empty() && !changes.is_status_only()))
        }
        (EventKind::Created | EventKind::Deleted | EventKind::Updated, _) => Ok(true),
    }
}
