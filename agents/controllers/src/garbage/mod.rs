//! Garbage collection by owner reference: dependents of what is gone go too, in the order their owner's deletion asked for.

mod graph;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::StreamExt;
use kontiki_informer::Queue;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy},
    core::PartialObjectMeta,
    discovery::{Discovery, Scope, verbs},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use tokio::sync::{Notify, RwLock, watch};
use tracing::warn;

use crate::{
    ControllerError,
    context::{Context, gone_is_fine},
};
use graph::{Decision, Graph, Identity};

const WORKERS: usize = 8;
/// How often resources are looked for that no object here tells of: what the server of an aggregated API changes.
const DISCOVERY_ROUND: Duration = Duration::from_secs(300);
const DISCOVERY_RETRY: Duration = Duration::from_millis(500);
/// How long the first list of every resource is waited for; one that cannot be listed holds up no other for ever.
const FIRST_LISTS_MAX: Duration = Duration::from_secs(30);
pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";

/// Group and resource of what says which resources there are.
const DEFINING: &[(&str, &str)] =
    &[("apiextensions.k8s.io", "customresourcedefinitions"), ("apiregistration.k8s.io", "apiservices")];

/// Objects of these are many, short-lived and own nothing.
const IGNORED: &[&str] = &["events"];

/// Of a patch that the kind cannot be patched by.
const UNSUPPORTED_MEDIA_TYPE: u16 = 415;

type Metadata = PartialObjectMeta<DynamicObject>;

struct Collector {
    context: Context,
    graph: Arc<RwLock<Graph>>,
}

pub async fn run(context: Context) {
    let graph = Arc::new(RwLock::new(Graph::default()));
    let queue: Queue<String> = Queue::default();
    let collector = Arc::new(Collector { context: context.clone(), graph: graph.clone() });
    let (unlisted, first_lists) = watch::channel(None);
    let followers = tokio::spawn(follow_all(context.clone(), graph, queue.clone(), unlisted));
    // An owner whose dependents are not known yet has none, as far as the graph can tell: it would orphan or wait for
    // nobody, and they would be deleted after it.
    complete(first_lists, &context.cancel).await;
    queue
        .drain(WORKERS, context.cancel.clone(), move |uid| {
            let collector = collector.clone();
            async move {
                match collector.attend(&uid).await {
                    Ok(()) => true,
                    Err(ControllerError::Api(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => false,
                    Err(error) => {
                        warn!(uid, %error, "garbage collection of an object failed");
                        false
                    }
                }
            }
        })
        .await;
    if let Err(error) = followers.await {
        warn!(%error, "following resources for garbage collection ended by panic");
    }
}

/// Resources that were found and not listed yet; `None` before the first discovery.
type Unlisted = Option<usize>;

/// Waits until every resource that was found at first has been listed once.
async fn complete(mut unlisted: watch::Receiver<Unlisted>, cancel: &tokio_util::sync::CancellationToken) {
    let listed = unlisted.wait_for(|left| *left == Some(0));
    let outcome = cancel.run_until_cancelled(tokio::time::timeout(FIRST_LISTS_MAX, listed)).await;
    if let Some(Err(_)) = outcome {
        warn!("garbage collection goes on without the lists of some resources");
    }
}

/// Starts a follower for each resource, those that appear later too: a change of what defines resources is followed by a look.
async fn follow_all(
    context: Context,
    graph: Arc<RwLock<Graph>>,
    queue: Queue<String>,
    unlisted: watch::Sender<Unlisted>,
) {
    let mut followed: BTreeSet<(String, String)> = BTreeSet::new();
    let mut tasks = tokio::task::JoinSet::new();
    let redefined = Arc::new(Notify::new());
    loop {
        let mut pause = DISCOVERY_ROUND;
        match Discovery::new(context.clients.plain()).run_aggregated().await {
            Ok(discovery) => {
                let served = discovery.groups().flat_map(|group| group.resources_by_stability());
                let mut known = graph.write().await;
                served.for_each(|(resource, of)| known.learn(Arc::new(resource), of.scope == Scope::Namespaced));
                drop(known);
                let mut found = deletable(&discovery);
                found.retain(|(resource, _)| followed.insert((resource.group.clone(), resource.plural.clone())));
                unlisted.send_modify(|left| *left = Some(left.unwrap_or(0) + found.len()));
                for (resource, scope) in found {
                    let following = Following {
                        context: context.clone(),
                        resource,
                        scope,
                        graph: graph.clone(),
                        queue: queue.clone(),
                        unlisted: unlisted.clone(),
                        redefined: redefined.clone(),
                    };
                    tasks.spawn(following.run());
                }
            }
            Err(error) => {
                warn!(%error, "discovery failed");
                pause = DISCOVERY_RETRY;
            }
        }
        tokio::select! {
            () = context.cancel.cancelled() => break,
            () = redefined.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    while tasks.join_next().await.is_some() {}
}

fn deletable(discovery: &Discovery) -> Vec<(Arc<ApiResource>, Scope)> {
    let all = discovery.groups().flat_map(|group| group.resources_by_stability());
    all.filter(|(resource, capabilities)| {
        capabilities.supports_operation(verbs::DELETE)
            && capabilities.supports_operation(verbs::WATCH)
            && !IGNORED.contains(&resource.plural.as_str())
    })
    .map(|(resource, capabilities)| (Arc::new(resource), capabilities.scope))
    .collect()
}

/// What follows one resource.
struct Following {
    context: Context,
    resource: Arc<ApiResource>,
    scope: Scope,
    graph: Arc<RwLock<Graph>>,
    queue: Queue<String>,
    unlisted: watch::Sender<Unlisted>,
    /// Told of each change of what defines resources.
    redefined: Arc<Notify>,
}

impl Following {
    async fn run(self) {
        let resource = &self.resource;
        let mut never_listed = true;
        let defines = DEFINING.contains(&(resource.group.as_str(), resource.plural.as_str()));
        let api: Api<Metadata> = Api::all_with(self.context.clients.plain(), &**resource);
        let mut stream = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
        let mut listed: Option<BTreeSet<String>> = None;
        loop {
            let event = tokio::select! {
                () = self.context.cancel.cancelled() => return,
                event = stream.next() => event,
            };
            let Some(event) = event else { return };
            let mut graph = self.graph.write().await;
            let wake = match event {
                Ok(watcher::Event::Init) => {
                    listed = Some(BTreeSet::new());
                    continue;
                }
                Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                    let identity = identity(resource, self.scope.clone(), &object);
                    if let (Some(listed), Some(uid)) = (&mut listed, object.uid()) {
                        listed.insert(uid);
                    }
                    graph.put(identity, &object.metadata)
                }
                Ok(watcher::Event::InitDone) => {
                    if std::mem::take(&mut never_listed) {
                        self.unlisted.send_modify(|left| *left = left.map(|left| left - 1));
                    }
                    let kept = listed.take().unwrap_or_default();
                    graph.retain(&resource.group, &resource.plural, &kept)
                }
                Ok(watcher::Event::Delete(object)) => graph.remove(&object.uid().unwrap_or_default()),
                Err(error) => {
                    warn!(resource = resource.plural, %error, "watch interrupted");
                    continue;
                }
            };
            drop(graph);
            if defines && listed.is_none() {
                self.redefined.notify_one();
            }
            wake.into_iter().for_each(|uid| self.queue.add(uid));
        }
    }
}

fn identity(resource: &Arc<ApiResource>, scope: Scope, object: &Metadata) -> Identity {
    Identity {
        resource: resource.clone(),
        namespace: if scope == Scope::Namespaced { object.namespace() } else { None },
        name: object.name_any(),
    }
}

impl Collector {
    async fn attend(&self, uid: &str) -> Result<(), ControllerError> {
        let decision = self.graph.read().await.decide(uid);
        match decision {
            Decision::Nothing => Ok(()),
            Decision::CheckOwners { object, owners, blocking_only_foreground } => {
                self.check_owners(uid, &object, &owners, blocking_only_foreground).await
            }
            Decision::DeleteDependents(dependents) => {
                for (uid, dependent, policy) in dependents {
                    self.delete(&uid, &dependent, policy).await?;
                }
                Ok(())
            }
            Decision::ReleaseDependents { object, dependents } => {
                for (dependent_uid, dependent) in dependents {
                    self.release((&dependent_uid, &dependent), &object, &[uid]).await?;
                }
                self.drop_finalizer(uid, &object, ORPHAN).await
            }
            Decision::DropFinalizer { object, finalizer } => self.drop_finalizer(uid, &object, finalizer).await,
        }
    }

    /// Deletes the object if none of its owners lives. The graph may lag behind, so owners are asked for.
    async fn check_owners(
        &self,
        uid: &str,
        object: &Identity,
        owners: &[graph::Owner],
        foreground: bool,
    ) -> Result<(), ControllerError> {
        let mut gone = Vec::new();
        for owner in owners {
            if self.lives(object, owner).await? {
                continue;
            }
            gone.push(owner.uid.as_str());
        }
        if gone.len() == owners.len() {
            let policy = if foreground { PropagationPolicy::Foreground } else { PropagationPolicy::Background };
            return self.delete(uid, object, policy).await;
        }
        if !gone.is_empty() {
            self.release((uid, object), object, &gone).await?;
        }
        Ok(())
    }

    async fn lives(&self, dependent: &Identity, owner: &graph::Owner) -> Result<bool, ControllerError> {
        // Nobody can say whether an owner of an unknown kind lives, so nothing is deleted for it.
        let place = self.graph.read().await.place_of(owner, dependent);
        let place = place.ok_or_else(|| ControllerError::UnknownKind(owner.group.clone(), owner.kind.clone()))?;
        let api = self.api(&place, self.context.clients.plain());
        let found = gone_is_fine(api.get_metadata(&owner.name).await)?;
        Ok(found.is_some_and(|found| found.uid().as_deref() == Some(owner.uid.as_str())))
    }

    async fn delete(&self, uid: &str, object: &Identity, policy: PropagationPolicy) -> Result<(), ControllerError> {
        let cause = self.graph.read().await.cause_of(uid);
        let api = self.api(object, self.context.clients.caused_by(cause.as_deref()));
        let parameters = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::default()
        };
        match gone_is_fine(api.delete(&object.name, &parameters).await) {
            // Another object has its name by now.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            other => {
                other?;
                Ok(())
            }
        }
    }

    /// Takes owners off an object. Where merging by key is not known, as for custom objects, the rest is written instead.
    async fn release(
        &self,
        (uid, object): (&str, &Identity),
        cause: &Identity,
        owners: &[&str],
    ) -> Result<(), ControllerError> {
        let off: Vec<_> = owners.iter().map(|uid| json!({"$patch": "delete", "uid": uid})).collect();
        let patch = json!({"metadata": {"uid": uid, "ownerReferences": off}});
        match self.patch(object, cause, &Patch::Strategic(patch)).await {
            Err(ControllerError::Api(kube::Error::Api(status))) if status.code == UNSUPPORTED_MEDIA_TYPE => {}
            patched => return patched,
        }
        let Some(current) = self.current(uid, object).await? else { return Ok(()) };
        let mut left = current.owner_references().to_vec();
        left.retain(|owner| !owners.contains(&owner.uid.as_str()));
        let patch = json!({"metadata": {
            "uid": uid, "resourceVersion": current.resource_version(), "ownerReferences": left,
        }});
        self.patch(object, cause, &Patch::Merge(patch)).await
    }

    /// The object as it is now, unless another one has its name.
    async fn current(&self, uid: &str, object: &Identity) -> Result<Option<Metadata>, ControllerError> {
        let api = self.api(object, self.context.clients.plain());
        let current = gone_is_fine(api.get_metadata(&object.name).await)?;
        Ok(current.filter(|current| current.uid().as_deref() == Some(uid)))
    }

    async fn drop_finalizer(&self, uid: &str, object: &Identity, finalizer: &str) -> Result<(), ControllerError> {
        let Some(current) = self.current(uid, object).await? else { return Ok(()) };
        let left: Vec<&String> = current.finalizers().iter().filter(|one| *one != finalizer).collect();
        let patch = json!({"metadata": {
            "uid": uid, "resourceVersion": current.resource_version(), "finalizers": left,
        }});
        self.patch(object, object, &Patch::Merge(patch)).await
    }

    async fn patch(
        &self,
        object: &Identity,
        cause: &Identity,
        patch: &Patch<serde_json::Value>,
    ) -> Result<(), ControllerError> {
        let cause = self.graph.read().await.revision_of(cause);
        let api = self.api(object, self.context.clients.caused_by(cause.as_deref()));
        gone_is_fine(api.patch_metadata(&object.name, &PatchParams::default(), patch).await)?;
        Ok(())
    }

    fn api(&self, object: &Identity, client: kube::Client) -> Api<DynamicObject> {
        match &object.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &*object.resource),
            None => Api::all_with(client, &*object.resource),
        }
    }
}
