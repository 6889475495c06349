//! The kinds of another moment than now: those that the definitions of that moment served, as they told them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use kontiki_kinds::{Kind, KindRef, Kinds, custom, customresourcedefinition::KIND};
use kontiki_model::{Key, Revision, Status};
use kontiki_raft::{EventKind, ListOptions, ReadError, Stored};
use serde_json::Value;

use super::limits::ERAS_MAX;
use crate::{
    core::{Core, unreadable},
    definitions, failure,
    registry::Registry,
    rest,
    route::ResourceInfo,
};

/// Registries of the past, those that were asked for last.
#[derive(Default)]
pub(crate) struct Eras {
    known: Mutex<VecDeque<Era>>,
}

/// What was served for as long as these definitions were.
struct Era {
    definitions: Vec<(String, Revision)>,
    registry: Arc<Registry>,
}

/// What was served at a revision. The definitions of today, and those of another moment that is at hand, are told by their revisions
/// alone: no definition is read.
pub(crate) async fn registry(core: &Arc<Core>, revision: Revision) -> Result<Arc<Registry>, Status> {
    let core = core.clone();
    tokio::task::spawn_blocking(move || read(&core, revision)).await.map_err(failure::internal)?
}

fn read(core: &Core, revision: Revision) -> Result<Arc<Registry>, Status> {
    let scope = definitions::scope();
    let then = core.log.versions(&scope, revision).map_err(|error| untold(&error, revision))?;
    let then: Vec<_> = then.into_iter().map(|(key, revision)| (key.name, revision)).collect();
    if then == core.definitions.revisions() {
        return Ok(core.registry());
    }
    if let Some(registry) = core.eras.find(&then) {
        return Ok(registry);
    }
    let options = ListOptions { at: Some(revision), ..ListOptions::default() };
    let page = core.log.list(&scope, options).map_err(|error| untold(&error, revision))?;
    let today = core.definitions.outlines();
    let mut kinds: Vec<Arc<Kind>> = Vec::new();
    for stored in &page.items {
        kinds.extend(served(stored, &today)?);
    }
    let present = core.registry();
    let registry = Arc::new(present.replaced(Kinds::with(kinds), present.apis().clone()));
    Ok(core.eras.keep(Era { definitions: then, registry }))
}

fn untold(error: &ReadError, revision: Revision) -> Status {
    match error {
        ReadError::Compacted { floor, .. } => failure::expired(format!(
            "which kinds there were at revision {revision} is no longer retained: their history begins at revision {floor}"
        )),
        error => unreadable(error),
    }
}

impl Eras {
    fn find(&self, definitions: &[(String, Revision)]) -> Option<Arc<Registry>> {
        let mut eras = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let place = eras.iter().position(|era| era.definitions == definitions)?;
        let era = eras.remove(place)?;
        let registry = era.registry.clone();
        eras.push_front(era);
        Some(registry)
    }

    /// What is made at the same time for the same definitions is made in vain, but keeps nobody waiting.
    fn keep(&self, era: Era) -> Arc<Registry> {
        if let Some(registry) = self.find(&era.definitions) {
            return registry;
        }
        let registry = era.registry.clone();
        let mut eras = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        eras.push_front(era);
        eras.truncate(ERAS_MAX);
        registry
    }
}

/// The kinds that a past definition served. Where its webhook is to be found today, today's definition says.
fn served(stored: &Stored, today: &[Value]) -> Result<Vec<Arc<Kind>>, Status> {
    let mut definition = rest::object::open(stored)?;
    let same = today.iter().find(|one| one["metadata"]["uid"] == definition["metadata"]["uid"]);
    let asks = |definition: &Value| definition.pointer("/spec/conversion/webhook").is_some_and(Value::is_object);
    if let Some(same) = same.filter(|same| asks(same) && asks(&definition)) {
        definition["spec"]["conversion"] = same["spec"]["conversion"].clone();
    }
    Ok(custom::served(&definition, stored.revision))
}

/// The kinds by which an object can be told of: those of today, and one that is no more as its definition last had it.
pub(super) fn ever(core: &Core, object: Option<&ResourceInfo>) -> Result<Kinds, Status> {
    let kinds = core.kinds();
    let Some(ResourceInfo { group, version, resource, .. }) = object else { return Ok(kinds) };
    if kinds.by_resource(group, version, resource).is_some() {
        return Ok(kinds);
    }
    let gone = gone(core, &format!("{resource}.{group}"))?;
    Ok(Kinds::with(kinds.custom().iter().cloned().chain(gone).collect()))
}

/// The kind of a name as in `deployments.apps`: one of today, by any of its groups, or one that is no more.
pub(super) fn named(core: &Core, name: &str) -> Result<Option<KindRef>, Status> {
    let (resource, group) = name.split_once('.').unwrap_or((name, ""));
    let kinds = core.kinds();
    let spelled = || kinds.iter().find(|kind| (kind.resource, kind.group) == (resource, group));
    match kinds.by_storage_resource(name).or_else(spelled) {
        Some(kind) => Ok(Some(kind)),
        None => Ok(Kinds::with(gone(core, name)?).by_storage_resource(name)),
    }
}

/// What a definition that was deleted served at last.
fn gone(core: &Core, definition: &str) -> Result<Vec<Arc<Kind>>, Status> {
    let key = Key::new(KIND.storage_resource(), "", definition);
    let newest = core.log.history(&key, None, 1).map_err(|error| unreadable(&error))?;
    match newest.first().filter(|event| event.kind == EventKind::Deleted) {
        Some(last) => served(&last.object, &[]),
        None => Ok(Vec::new()),
    }
}
