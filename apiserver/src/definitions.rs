//! CustomResourceDefinitions at work: what a server serves follows them. The server that leads says of each whether its names are
//! free, and empties the kinds of those that are to go.
//!
//! What is served is a function of the log alone, so all servers come to serve the same. What a definition comes to is written by
//! one of them: its status, and the end of its objects.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt as _;
use http::Method;
use kontiki_kinds::{
    Kind, KindRef, Kinds, custom,
    customresourcedefinition::{CLEANUP, KIND, settle},
};
use kontiki_model::{Revision, Scope, Status};
use kontiki_raft::{ReadError, Stored};
use serde_json::Value;
use tokio::task::{AbortHandle, JoinSet};
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

/// Serves what the log defines now.
pub(crate) fn refresh(core: &Core) -> Result<(), Status> {
    // From reading to serving: what is served never goes back.
    let _one_at_a_time = core.definitions.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
    let definitions: HashMap<String, Revision> =
        core.log.heads(&scope()).into_iter().map(|(key, revision, _)| (key.name, revision)).collect();
    // Compiling takes a while, and whoever begins a watch waits for the other lock.
    let fresh = core.definitions.compile(core, &definitions)?;
    let mut compiled = core.definitions.compiled.lock().unwrap_or_else(PoisonError::into_inner);
    let gone = |name: &String, _: &mut Compiled| !definitions.contains_key(name);
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
    /// What is not known yet in the revision that it has now: nothing else is read.
    fn compile(&self, core: &Core, now: &HashMap<String, Revision>) -> Result<Vec<(String, Compiled)>, Status> {
        let known: HashMap<_, _> = self.revisions().into_iter().collect();
        let fresh = now.iter().filter(|(name, revision)| known.get(*name) != Some(*revision));
        // What has gone since, or changed, is an event that is looked at next.
        let fresh = fresh.filter_map(|(name, _)| core.stored(&rest::definition::key(name)).transpose());
        let compile = |definition: Result<Stored, Status>| {
            let definition = definition?;
            let tree: Value = serde_json::from_slice(&definition.body).map_err(failure::internal)?;
            let one = Compiled {
                revision: definition.revision,
                edition: Edition::of(&tree),
                kinds: custom::served(&tree, definition.revision),
                serving: CancellationToken::new(),
                outline: outline(tree),
            };
            Ok((definition.key.name, one))
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
pub async fn keep(core: Arc<Core>) {
    core.keep_up("the definitions of kinds", limits::DEFINITIONS_RETRY_INTERVAL, follow).await;
}

/// Ends without an error when the log does.
async fn follow(core: &Arc<Core>) -> Result<(), Status> {
    let mut leadership = core.log.leadership();
    let mut watch = core.log.watch(scope(), core.log.revision()).map_err(|error| unreadable(&error))?;
    let mut emptying = Emptying::default();
    loop {
        if leadership.borrow_and_update().leader {
            settle_all(core).await?;
            emptying.begin(core);
        } else {
            emptying = Emptying::default();
        }
        refresh_apart(core).await?;
        tokio::select! {
            item = watch.next() => match item {
                Ok(_) => {}
                Err(ReadError::Closed) => return Ok(()),
                Err(error) => return Err(unreadable(&error)),
            },
            changed = leadership.changed() => if changed.is_err() { return Ok(()) },
            Some(_) = emptying.tasks.join_next() => {}
        }
    }
}

/// Writes what each definition has come to.
async fn settle_all(core: &Arc<Core>) -> Result<(), Status> {
    let _alone = core.definitions.settling.lock().await;
    // What one definition gives up, another may get.
    for _ in 0..PASSES_MAX {
        if !settle_once(core).await? {
            break;
        }
    }
    Ok(())
}

/// Looks at all definitions once; says whether something was written. What is wrong with one keeps no other.
async fn settle_once(core: &Arc<Core>) -> Result<bool, Status> {
    refresh_apart(core).await?;
    let (mut wrote, mut outcome) = (false, Ok(()));
    let all = core.definitions.outlines();
    for definition in &all {
        let name = object::text(definition, "/metadata/name");
        if is_emptied(definition) {
            match let_go(core, name).boxed().await {
                Ok(gone) => wrote |= gone,
                Err(status) => tracing::warn!(name, message = status.message, "a definition cannot be removed"),
            }
        } else if !Edition::of(definition).goes && settle(definition, &all, &rest::now_text()).is_some() {
            match rest::definition::settle(core, name).boxed().await {
                Ok(effect) => wrote |= effect == rest::Effect::Updated,
                Err(status) => outcome = outcome.and(Err(status)),
            }
        }
    }
    outcome.map(|()| wrote)
}

/// Whether a definition is to go once its objects are gone. Whoever else holds it lets go by themselves.
fn is_emptied(definition: &Value) -> bool {
    let mut finalizers = definition.pointer("/metadata/finalizers").and_then(Value::as_array).into_iter().flatten();
    Edition::of(definition).goes && finalizers.any(|one| one == CLEANUP)
}

/// The objects of a definition, under the name that it was given.
fn objects(definition: &Value) -> Scope {
    let plural = object::text(definition, "/status/acceptedNames/plural");
    Scope { resource: format!("{plural}.{}", object::text(definition, "/spec/group")), namespace: None }
}

/// A definition that is to go once its objects are gone, as it is now.
fn emptied(core: &Core, name: &str) -> Result<Option<Value>, Status> {
    let stored = core.stored(&rest::definition::key(name))?;
    Ok(stored.as_ref().map(object::open).transpose()?.filter(is_emptied))
}

/// Removes a definition that is to go if nothing is left of its kind; says whether it did. That refuses new objects by now, so what
/// is left only becomes less.
async fn let_go(core: &Arc<Core>, name: &str) -> Result<bool, Status> {
    let Some(mut last) = emptied(core, name)? else { return Ok(false) };
    if core.log.count(&objects(&last), 1) > 0 {
        return Ok(false);
    }
    if let Some(finalizers) = last.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut) {
        finalizers.retain(|one| one != CLEANUP);
    }
    write(core, &last).await?;
    Ok(true)
}

/// The kinds that are being emptied because their definitions are to go. Each takes as long as its objects do, and no other waits.
#[derive(Default)]
struct Emptying {
    tasks: JoinSet<()>,
    by_name: HashMap<String, AbortHandle>,
}

impl Emptying {
    fn begin(&mut self, core: &Arc<Core>) {
        self.by_name.retain(|_, task| !task.is_finished());
        for definition in core.definitions.outlines().iter().filter(|definition| is_emptied(definition)) {
            let name = object::text(definition, "/metadata/name");
            if !self.by_name.contains_key(name) {
                let task = self.tasks.spawn(empty(core.clone(), name.to_owned()));
                self.by_name.insert(name.to_owned(), task);
            }
        }
    }
}

/// Goes on until the definition is gone.
async fn empty(core: Arc<Core>, name: String) {
    let mut pause = limits::DEFINITIONS_RETRY_INTERVAL;
    loop {
        match empty_once(&core, &name, pause).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(status) => {
                tracing::warn!(
                    name,
                    message = status.message,
                    "the objects of a definition that is to go are not deleted"
                );
                tokio::time::sleep(pause).await;
            }
        }
        pause = (2 * pause).min(limits::DEFINITIONS_RETRY_INTERVAL_MAX);
    }
}

/// Deletes the objects of a definition, and it with the last of them: those that others hold are waited for, for a while. True if
/// there is nothing more to do.
async fn empty_once(core: &Arc<Core>, name: &str, pause: Duration) -> Result<bool, Status> {
    let Some(definition) = emptied(core, name)? else { return Ok(true) };
    let objects = objects(&definition);
    let mut watch = core.log.watch(objects.clone(), core.log.revision()).map_err(|error| unreadable(&error))?;
    let cause = cause(&definition);
    let deleted = match custom::stored(&definition, cause.unwrap_or_default()) {
        Some(kind) => {
            let request = bootstrap::own_request(Method::DELETE, String::new()).caused_by(cause);
            rest::empty(core, route(KindRef::Custom(kind), None, "deletecollection"), request).boxed().await
        }
        None => Ok(()),
    };
    let gone = async {
        while core.log.count(&objects, 1) > 0 {
            if watch.next().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    if deleted.is_ok() {
        _ = tokio::time::timeout(pause, gone).await;
    }
    let_go(core, name).await?;
    deleted.map(|()| false)
}

/// What is done about a definition is done because it is as it is.
fn cause(definition: &Value) -> Option<Revision> {
    object::text(definition, "/metadata/resourceVersion").parse().ok()
}

/// One write of a definition as this server itself. That somebody else was faster is no fault: their write is looked at next.
async fn write(core: &Arc<Core>, definition: &Value) -> Result<(), Status> {
    let name = object::text(definition, "/metadata/name");
    let request = bootstrap::own_request(Method::PUT, definition.to_string()).caused_by(cause(definition));
    let route = route((&KIND).into(), Some(name), "update");
    // Not by way of `handle`, which would come back here.
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
