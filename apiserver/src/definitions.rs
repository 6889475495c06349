//! CustomResourceDefinitions at work: what a server serves follows them. The server that leads says of each whether its names are
//! free, and empties the kinds of those that are to go.
//!
//! What is served is a function of the log alone, so all servers come to serve the same. What a definition comes to is written by
//! one of them: its status, and the end of its objects.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::FutureExt as _;
use http::Method;
use kontiki_kinds::{
    Kind, KindRef, Kinds, custom,
    customresourcedefinition::{CLEANUP, KIND, settle},
};
use kontiki_model::{Revision, Scope, Status};
use kontiki_raft::{ListOptions, ReadError, Stored};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    bootstrap,
    core::{Core, unreadable},
    failure, limits,
    request::ResourceRequest,
    rest::{self, object},
};

/// What was made of the definitions, so that only those that changed are compiled again.
#[derive(Default)]
pub(crate) struct Definitions {
    compiled: Mutex<HashMap<String, Compiled>>,
    /// Held by the one that looks at what is to be compiled.
    refreshing: Mutex<()>,
    /// Whoever writes what definitions come to does it alone: names go to one of two who want them.
    settling: tokio::sync::Mutex<()>,
}

struct Compiled {
    revision: Revision,
    edition: Edition,
    kinds: Vec<Arc<Kind>>,
    /// Cancelled when objects are not told as these kinds tell them any more.
    serving: CancellationToken,
    /// The definition without its versions, which are most of it.
    outline: Value,
}

/// Which of its author's changes a definition has gone through.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Edition {
    uid: String,
    generation: i64,
    goes: bool,
}

impl Edition {
    fn of(definition: &Value) -> Self {
        Edition {
            uid: object::text(definition, "/metadata/uid").to_owned(),
            generation: definition["metadata"]["generation"].as_i64().unwrap_or_default(),
            goes: !object::text(definition, "/metadata/deletionTimestamp").is_empty(),
        }
    }

    /// Whether objects are told as before: conditions are not its author's, and a definition that is to go is served to the end of
    /// its last object.
    fn tells_as(&self, before: &Edition) -> bool {
        let marked = self.goes && !before.goes;
        self.uid == before.uid && self.generation == before.generation + i64::from(marked)
    }
}

/// Looks at all definitions in a row, each because the one before changed something.
const PASSES_MAX: usize = 4;

/// What definitions are stored under.
pub(crate) fn resource() -> String {
    KIND.storage_resource()
}

pub(crate) fn scope() -> Scope {
    Scope { resource: resource(), namespace: None }
}

fn stored(core: &Core) -> Result<Vec<Stored>, Status> {
    let page = core.log.list(&scope(), ListOptions::default()).map_err(|error| unreadable(&error))?;
    Ok(page.items)
}

/// Serves what the log defines now.
pub(crate) fn refresh(core: &Core) -> Result<(), Status> {
    // From reading to serving: what is served never goes back.
    let _one_at_a_time = core.definitions.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
    let definitions = stored(core)?;
    // Compiling takes a while, and whoever begins a watch waits for the other lock.
    let fresh = core.definitions.compile(&definitions)?;
    let mut compiled = core.definitions.compiled.lock().unwrap_or_else(PoisonError::into_inner);
    let gone = |name: &String, _: &mut Compiled| !definitions.iter().any(|definition| definition.key.name == *name);
    let mut over: Vec<_> = compiled.extract_if(gone).map(|(_, one)| one.serving).collect();
    let changed = !over.is_empty() || !fresh.is_empty();
    for (name, mut one) in fresh {
        match compiled.remove(&name) {
            Some(before) if one.edition.tells_as(&before.edition) => one.serving = before.serving,
            before => over.extend(before.map(|before| before.serving)),
        }
        compiled.insert(name, one);
    }
    if changed {
        let kinds = compiled.values().flat_map(|one| one.kinds.iter().cloned()).collect();
        core.serve(Kinds::with(kinds));
    }
    // Who is told by this that it is over finds the new kinds when it asks again.
    over.iter().for_each(CancellationToken::cancel);
    Ok(())
}

fn outline(mut definition: Value) -> Value {
    if let Some(spec) = definition.get_mut("spec").and_then(Value::as_object_mut) {
        spec.shift_remove("versions");
    }
    definition
}

impl Definitions {
    /// What is not known yet in the revision that it has now.
    fn compile(&self, definitions: &[Stored]) -> Result<Vec<(String, Compiled)>, Status> {
        let known: HashMap<_, _> = self.revisions().into_iter().collect();
        let fresh = definitions.iter().filter(|one| known.get(&one.key.name) != Some(&one.revision));
        let compile = |definition: &Stored| {
            let tree: Value = serde_json::from_slice(&definition.body).map_err(failure::internal)?;
            let one = Compiled {
                revision: definition.revision,
                edition: Edition::of(&tree),
                kinds: custom::served(&tree, definition.revision),
                serving: CancellationToken::new(),
                outline: outline(tree),
            };
            Ok((definition.key.name.clone(), one))
        };
        fresh.map(compile).collect()
    }

    /// For how long objects are told as a kind tells them. A watch ends with that, as it does where Kubernetes makes a new storage:
    /// whoever goes on with objects that lack what the kind now has would write them back without it.
    pub fn serving(&self, kind: &KindRef) -> Option<CancellationToken> {
        let KindRef::Custom(kind) = kind else { return None };
        let compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let one = compiled.values().find(|one| one.kinds.iter().any(|served| Arc::ptr_eq(served, kind)));
        Some(one.map_or_else(cancelled, |one| one.serving.clone()))
    }

    /// All definitions by name, and in which revisions they are known.
    pub(crate) fn revisions(&self) -> Vec<(String, Revision)> {
        let compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let mut revisions: Vec<_> = compiled.iter().map(|(name, one)| (name.clone(), one.revision)).collect();
        revisions.sort();
        revisions
    }

    /// All definitions in outline, in the order of their names.
    pub(crate) fn outlines(&self) -> Vec<Value> {
        let compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = compiled.iter().map(|(name, one)| (name.clone(), one.outline.clone())).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.into_iter().map(|(_, outline)| outline).collect()
    }
}

/// It was replaced since it was looked up.
fn cancelled() -> CancellationToken {
    let token = CancellationToken::new();
    token.cancel();
    token
}

/// After a write of a definition: what it says is true before its author is told that it was written.
pub(crate) async fn changed(core: &Arc<Core>) -> Result<(), Status> {
    if core.log.leadership().borrow().leader {
        settle_all(core).await?;
    }
    refresh_apart(core).await
}

/// Compiling a large definition takes its time: not on a thread that others wait for.
pub(crate) async fn refresh_apart(core: &Arc<Core>) -> Result<(), Status> {
    let core = core.clone();
    tokio::task::spawn_blocking(move || refresh(&core)).await.map_err(failure::internal)?
}

/// Follows the definitions for as long as the server runs.
pub(crate) async fn keep(core: Arc<Core>) {
    core.keep_up("the definitions of kinds", limits::DEFINITIONS_RETRY_INTERVAL, follow).await;
}

/// Ends without an error when the log does.
async fn follow(core: &Arc<Core>) -> Result<(), Status> {
    let mut leadership = core.log.leadership();
    let mut watch = core.log.watch(scope(), core.log.revision()).map_err(|error| unreadable(&error))?;
    loop {
        let mut waiting = false;
        if leadership.borrow_and_update().leader {
            waiting = settle_all(core).await?;
        }
        refresh_apart(core).await?;
        let again = async {
            match waiting {
                // Objects that are held by somebody: nobody tells when they are gone.
                true => tokio::time::sleep(limits::DEFINITIONS_RETRY_INTERVAL).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            item = watch.next() => match item {
                Ok(_) => {}
                Err(ReadError::Closed) => return Ok(()),
                Err(error) => return Err(unreadable(&error)),
            },
            changed = leadership.changed() => if changed.is_err() { return Ok(()) },
            () = again => {}
        }
    }
}

/// Writes what each definition has come to. True while objects are left of one that is to go.
pub(crate) async fn settle_all(core: &Arc<Core>) -> Result<bool, Status> {
    let _alone = core.definitions.settling.lock().await;
    let mut waiting = false;
    // What one definition gives up, another may get.
    for _ in 0..PASSES_MAX {
        let pass = settle_once(core).await?;
        waiting = pass.waiting;
        if !pass.wrote {
            break;
        }
    }
    Ok(waiting)
}

/// What one look at all definitions came to.
#[derive(Default)]
struct Pass {
    wrote: bool,
    waiting: bool,
}

async fn settle_once(core: &Arc<Core>) -> Result<Pass, Status> {
    refresh_apart(core).await?;
    let mut pass = Pass::default();
    let all = core.definitions.outlines();
    for definition in &all {
        let name = object::text(definition, "/metadata/name");
        if Edition::of(definition).goes {
            let Some(stored) = core.stored(&rest::definition::key(name))? else { continue };
            let removed = removed(core, &object::open(&stored)?).await?;
            pass.wrote |= removed;
            pass.waiting |= !removed;
        } else if settle(definition, &all, &rest::now_text()).is_some() {
            pass.wrote |= rest::definition::settle(core, name).boxed().await? == rest::Effect::Updated;
        }
    }
    Ok(pass)
}

/// Removes a definition that is to go once its objects are gone; says whether they are.
async fn removed(core: &Arc<Core>, definition: &Value) -> Result<bool, Status> {
    let finalizers = definition.pointer("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
    // Whoever else holds it lets go by themselves.
    if !finalizers.iter().any(|one| one == CLEANUP) {
        return Ok(false);
    }
    // Its kind refuses new objects from here on: what is left can only become less.
    refresh_apart(core).await?;
    let group = object::text(definition, "/spec/group");
    let plural = object::text(definition, "/status/acceptedNames/plural");
    let resource = format!("{plural}.{group}");
    if let Some(kind) = core.kinds().by_storage_resource(&resource) {
        empty(core, kind, cause(definition)).await?;
    }
    let scope = Scope { resource, namespace: None };
    let left = core.log.list(&scope, ListOptions { limit: Some(1), ..ListOptions::default() });
    if !plural.is_empty() && !left.map_err(|error| unreadable(&error))?.items.is_empty() {
        return Ok(false);
    }
    let mut last = definition.clone();
    last["metadata"]["finalizers"] = finalizers.into_iter().filter(|one| one != CLEANUP).collect();
    write(core, &last).await?;
    Ok(true)
}

/// What is done about a definition is done because it is as it is.
fn cause(definition: &Value) -> Option<Revision> {
    object::text(definition, "/metadata/resourceVersion").parse().ok()
}

/// Deletes all objects of a kind, in all namespaces.
async fn empty(core: &Arc<Core>, kind: KindRef, cause: Option<Revision>) -> Result<(), Status> {
    let request = bootstrap::own_request(Method::DELETE, String::new()).caused_by(cause);
    let route = route(kind, None, "deletecollection");
    rest::remove_all(core, route, request).boxed().await
}

/// One write of a definition as this server itself. That somebody else was faster is no fault: their write is looked at next.
async fn write(core: &Arc<Core>, definition: &Value) -> Result<(), Status> {
    let name = object::text(definition, "/metadata/name");
    let request = bootstrap::own_request(Method::PUT, definition.to_string()).caused_by(cause(definition));
    let route = route((&KIND).into(), Some(name), "update");
    // As in `empty`, not by way of `handle`, which would come back here.
    match rest::dispatch(core, route, request).boxed().await {
        Ok(_) => Ok(()),
        Err(status) if matches!(status.code, 404 | 409) => Ok(()),
        Err(status) => Err(status),
    }
}

fn route(kind: KindRef, name: Option<&str>, verb: &'static str) -> ResourceRequest {
    ResourceRequest {
        kind,
        namespace: None,
        name: name.map(str::to_owned),
        subresource: None,
        rest: String::new(),
        verb,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_go_on_until_the_author_of_the_definition_changes_it() {
        let of = |uid: &str, generation: i64, goes: bool| Edition { uid: uid.to_owned(), generation, goes };
        let table = [
            (of("u", 1, false), of("u", 1, false), true),
            (of("u", 1, false), of("u", 2, false), false),
            (of("u", 1, false), of("u", 2, true), true),
            // Changed and deleted, and this server saw only what came of both.
            (of("u", 1, false), of("u", 3, true), false),
            (of("u", 2, true), of("u", 2, true), true),
            (of("u", 2, true), of("u", 3, true), false),
            (of("u", 2, true), of("v", 1, false), false),
        ];
        for (before, after, expected) in table {
            assert_eq!(after.tells_as(&before), expected, "{before:?} {after:?}");
        }
    }
}
