//! Garbage collection by owner reference: dependents of what is gone go too, in the order their owner's deletion asked for.

mod follow;
mod graph;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kontiki_informer::{Note, Queue, Recorder};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy},
    core::PartialObjectMeta,
};
use serde_json::json;
use tokio::sync::{RwLock, watch};
use tracing::warn;

use crate::{
    ControllerError,
    context::{Context, each},
};
use follow::{Followers, Unlisted};
use graph::{Decision, Graph, Identity, Owner, Unplaced};

const WORKERS: usize = 8;
/// How long the first list of every resource is waited for; one that cannot be listed holds up no other for ever.
const FIRST_LISTS_MAX: Duration = Duration::from_secs(30);
pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";

/// Of a patch that the kind cannot be patched by.
const UNSUPPORTED_MEDIA_TYPE: u16 = 415;

type Metadata = PartialObjectMeta<DynamicObject>;

struct Collector {
    context: Context,
    graph: Arc<RwLock<Graph>>,
    recorder: Recorder,
}

pub async fn run(context: Context) {
    let graph = Arc::new(RwLock::new(Graph::default()));
    let queue: Queue<String> = Queue::default();
    let recorder = context.recorder("garbage-collector-controller");
    let collector = Arc::new(Collector { context: context.clone(), graph: graph.clone(), recorder });
    let (unlisted, first_lists) = watch::channel(None);
    let followers = tokio::spawn(Followers::new(context.clone(), graph, queue.clone(), unlisted).run());
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

/// Waits until every resource that was found at first has been listed once.
async fn complete(mut unlisted: watch::Receiver<Unlisted>, cancel: &tokio_util::sync::CancellationToken) {
    let listed = unlisted.wait_for(|left| *left == Some(0));
    let outcome = cancel.run_until_cancelled(tokio::time::timeout(FIRST_LISTS_MAX, listed)).await;
    if let Some(Err(_)) = outcome {
        warn!("garbage collection goes on without the lists of some resources");
    }
}

impl Collector {
    async fn attend(&self, uid: &str) -> Result<(), ControllerError> {
        let decision = self.graph.read().await.decide(uid);
        match decision {
            Decision::Nothing => Ok(()),
            Decision::CheckOwners { object, blocking_only_foreground } => {
                self.check_owners(uid, &object, blocking_only_foreground).await
            }
            // One that cannot be deleted or released keeps its owner, and no other dependent.
            Decision::DeleteDependents(dependents) => {
                let deleted = dependents.iter().map(|(dependent_uid, dependent, policy)| {
                    self.delete_dependent(uid, (dependent_uid, dependent), policy.clone())
                });
                each(deleted).await
            }
            Decision::ReleaseDependents { object, dependents } => {
                let owners = &[uid];
                let released = dependents.iter().map(|(of, dependent)| self.release((of, dependent), uid, owners));
                each(released).await?;
                self.drop_finalizer(uid, &object, ORPHAN).await
            }
            Decision::DropFinalizer { object, finalizer } => self.drop_finalizer(uid, &object, finalizer).await,
        }
    }

    /// Deletes the object if none of its owners lives. The graph may lag behind, so the API is asked, also for the object
    /// itself: what was just released or adopted has other owners than the graph knows.
    async fn check_owners(&self, uid: &str, object: &Identity, foreground: bool) -> Result<(), ControllerError> {
        let Some(current) = self.current(uid, object).await? else { return Ok(()) };
        let owners = graph::owners_of(&current.metadata);
        if owners.is_empty() || current.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        self.tell_mistakes(uid, object, &owners).await;
        let Some(places) = self.places_of(&owners, object).await? else { return Ok(()) };
        let mut gone = Vec::new();
        for (owner, place) in owners.iter().zip(&places) {
            if !self.lives(owner, place).await? {
                gone.push(owner.uid.as_str());
            }
        }
        if gone.len() == owners.len() {
            let policy = if foreground { PropagationPolicy::Foreground } else { PropagationPolicy::Background };
            return self.delete(object, &current, policy).await;
        }
        if !gone.is_empty() {
            self.release((uid, object), uid, &gone).await?;
        }
        Ok(())
    }

    /// Where the owners of an object would be. Whether one of an unknown kind lives is tried again; `None` if nobody will
    /// ever know, because the reference does not say where one is. Nothing is deleted for either.
    async fn places_of(&self, owners: &[Owner], object: &Identity) -> Result<Option<Vec<Identity>>, ControllerError> {
        let graph = self.graph.read().await;
        let mut places = Vec::new();
        for owner in owners {
            match graph.place_of(owner, object) {
                Ok(place) => places.push(place),
                Err(Unplaced::UnknownKind) => {
                    return Err(ControllerError::UnknownKind(owner.group().to_owned(), owner.kind.clone()));
                }
                Err(Unplaced::NoNamespace) => return Ok(None),
            }
        }
        Ok(Some(places))
    }

    async fn lives(&self, owner: &Owner, place: &Identity) -> Result<bool, ControllerError> {
        let api = self.api(place, self.context.clients.plain());
        let found = gone(api.get_metadata(&place.name).await)?;
        Ok(found.is_some_and(|found| found.uid().as_deref() == Some(owner.uid.as_str())))
    }

    /// Tells of owners that are where they can own nothing of this object's.
    async fn tell_mistakes(&self, uid: &str, object: &Identity, owners: &[Owner]) {
        let graph = self.graph.read().await;
        let elsewhere: Vec<&Owner> = owners.iter().filter(|owner| graph.is_elsewhere(owner, object)).collect();
        let resource_version = graph.revision_of(uid);
        drop(graph);
        let of = ObjectReference {
            api_version: Some(object.resource.api_version.clone()),
            kind: Some(object.resource.kind.clone()),
            namespace: object.namespace.clone(),
            name: Some(object.name.clone()),
            uid: Some(uid.to_owned()),
            resource_version,
            ..ObjectReference::default()
        };
        let namespace = object.namespace.as_deref().unwrap_or_default();
        for Owner { api_version, kind, name, uid, .. } in elsewhere {
            let message = format!(
                "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in \
                 namespace {namespace:?}"
            );
            let note = Note { warning: true, reason: "OwnerRefInvalidNamespace", message: &message };
            self.recorder.record(&of, note).await;
        }
    }

    /// Deletes what nobody else owns.
    async fn delete_dependent(
        &self,
        owner: &str,
        (uid, object): (&str, &Identity),
        policy: PropagationPolicy,
    ) -> Result<(), ControllerError> {
        let Some(current) = self.current(uid, object).await? else { return Ok(()) };
        let doomed = graph::is_only_owner(owner, &graph::owners_of(&current.metadata));
        if !doomed || current.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        self.delete(object, &current, policy).await
    }

    /// Deletes the object as it was read; a later change refuses it, and it is looked at again.
    async fn delete(
        &self,
        object: &Identity,
        current: &Metadata,
        policy: PropagationPolicy,
    ) -> Result<(), ControllerError> {
        let (uid, resource_version) = (current.uid(), current.resource_version());
        let cause = self.graph.read().await.cause_of(uid.as_deref().unwrap_or_default());
        let api = self.api(object, self.context.clients.caused_by(cause.as_deref()));
        let parameters = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions { uid, resource_version }),
            ..DeleteParams::default()
        };
        gone(api.delete(&object.name, &parameters).await)?;
        Ok(())
    }

    /// Takes owners off an object because of what happened to `cause`. Where merging by key is not known, as for custom
    /// objects, the rest is written instead.
    async fn release(
        &self,
        (uid, object): (&str, &Identity),
        cause: &str,
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
        let current = gone(api.get_metadata(&object.name).await)?;
        Ok(current.filter(|current| current.uid().as_deref() == Some(uid)))
    }

    async fn drop_finalizer(&self, uid: &str, object: &Identity, finalizer: &str) -> Result<(), ControllerError> {
        let Some(current) = self.current(uid, object).await? else { return Ok(()) };
        let left: Vec<&String> = current.finalizers().iter().filter(|one| *one != finalizer).collect();
        let patch = json!({"metadata": {
            "uid": uid, "resourceVersion": current.resource_version(), "finalizers": left,
        }});
        self.patch(object, uid, &Patch::Merge(patch)).await
    }

    async fn patch(
        &self,
        object: &Identity,
        cause: &str,
        patch: &Patch<serde_json::Value>,
    ) -> Result<(), ControllerError> {
        let cause = self.graph.read().await.revision_of(cause);
        let api = self.api(object, self.context.clients.caused_by(cause.as_deref()));
        gone(api.patch_metadata(&object.name, &PatchParams::default(), patch).await)?;
        Ok(())
    }

    fn api(&self, object: &Identity, client: kube::Client) -> Api<DynamicObject> {
        match &object.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &*object.resource),
            None => Api::all_with(client, &*object.resource),
        }
    }
}

/// Turns "not found" into success, if it is told of the object: that its resource is not served, in this version or at
/// all, comes with the same code and says nothing of what there is.
fn gone<T>(result: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status))
            if status.code == 404 && status.details.as_ref().is_some_and(|details| !details.name.is_empty()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
