//! Claims and volumes that are deleted while they are in use stay until they are not: the API server gives new ones a finalizer,
//! which is taken away here from those that go and that nobody uses.

use std::{fmt::Debug, sync::Arc};

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kontiki_informer::{Change, Informer, ObjectKey, Queue};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::PartialObjectMeta,
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{
    ControllerError,
    context::{Context, gone_is_fine, settled},
};

const WORKERS: usize = 2;
const OF_CLAIMS: &str = "kubernetes.io/pvc-protection";
const OF_VOLUMES: &str = "kubernetes.io/pv-protection";
const BOUND: &str = "Bound";

struct Controller {
    context: Context,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
}

pub async fn run(context: Context) {
    // A volume is of no namespace, a claim of one: one queue holds both.
    let queue: Queue<ObjectKey> = Queue::default();
    let (of_claim, of_volume, of_pod) = (queue.clone(), queue.clone(), queue.clone());
    let claims = context.informer::<PersistentVolumeClaim>(vec![Box::new(move |change| going(change, &of_claim))]);
    let volumes = context.informer::<PersistentVolume>(vec![Box::new(move |change| going(change, &of_volume))]);
    let waiting = claims.clone();
    let pods =
        context.informer::<PartialObjectMeta<Pod>>(vec![Box::new(move |change: &Change<PartialObjectMeta<Pod>>| {
            if let (Some(gone), None) = (&change.old, &change.new) {
                let claims = waiting.list(gone.namespace().as_deref());
                let going = claims.iter().filter(|claim| claim.metadata.deletion_timestamp.is_some());
                going.for_each(|claim| of_pod.add(ObjectKey::of(&**claim)));
            }
        })]);
    if !claims.synced().await || !volumes.synced().await || !pods.synced().await {
        return;
    }
    let controller = Arc::new(Controller { context, claims, volumes });
    let cancel = controller.context.cancel.clone();
    queue
        .drain(WORKERS, cancel, move |key| {
            let controller = controller.clone();
            async move { settled("protection", &key, controller.reconcile(&key).await) }
        })
        .await;
}

fn going<K: ResourceExt>(change: &Change<K>, queue: &Queue<ObjectKey>) {
    if let Some(object) = change.new.as_ref().filter(|object| object.meta().deletion_timestamp.is_some()) {
        queue.add(ObjectKey::of(&**object));
    }
}

/// The claims a pod mounts, those that are made for it among them.
fn used_claims(pod: &Pod) -> impl Iterator<Item = ObjectKey> {
    let namespace = pod.namespace().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(move |volume| {
        let of_its_own = volume.ephemeral.as_ref().map(|_| format!("{}-{}", pod.name_any(), volume.name));
        let named = volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone());
        Some(ObjectKey::new(namespace.clone(), named.or(of_its_own)?))
    })
}

/// A pod that no node has yet will not be started with a claim that goes.
fn uses(pod: &Pod, claim: &ObjectKey) -> bool {
    let scheduled = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| !node.is_empty());
    scheduled && used_claims(pod).any(|used| used == *claim)
}

impl Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        if key.namespace.is_empty() {
            let Some(volume) = self.volumes.get(key) else { return Ok(()) };
            let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
            if phase == Some(BOUND) {
                return Ok(());
            }
            let client = self.context.clients.caused_by(volume.resource_version().as_deref());
            return release(&Api::all(client), &*volume, OF_VOLUMES).await;
        }
        let Some(claim) = self.claims.get(key) else { return Ok(()) };
        // Of the API itself: a copy may not know the last pod yet.
        let pods = self.context.api::<Pod, _>(&key.namespace, &*claim).list(&ListParams::default()).await?;
        if pods.items.iter().any(|pod| uses(pod, key)) {
            return Ok(());
        }
        let api = self.context.api::<PersistentVolumeClaim, _>(&key.namespace, &*claim);
        release(&api, &*claim, OF_CLAIMS).await
    }
}

/// Takes the finalizer away from an object that is being deleted, if it is as it was looked at.
async fn release<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<(), ControllerError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let going = object.meta().deletion_timestamp.is_some();
    if !going || !object.finalizers().iter().any(|one| one == finalizer) {
        return Ok(());
    }
    let left: Vec<&String> = object.finalizers().iter().filter(|one| *one != finalizer).collect();
    let patch = json!({"metadata": {
        "uid": object.uid(), "resourceVersion": object.resource_version(), "finalizers": left,
    }});
    gone_is_fine(api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pods_on_nodes_use_the_claims_they_mount() {
        let pod = |node: &str| -> Pod {
            let volumes = json!([
                {"name": "data", "persistentVolumeClaim": {"claimName": "c"}},
                {"name": "scratch", "ephemeral": {}},
                {"name": "other", "emptyDir": {}},
            ]);
            let spec = json!({"nodeName": node, "containers": [], "volumes": volumes});
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec})).unwrap()
        };
        for claim in ["c", "p-scratch"] {
            assert!(uses(&pod("node"), &ObjectKey::new("n", claim)), "{claim}");
        }
        assert!(!uses(&pod(""), &ObjectKey::new("n", "c")));
        assert!(!uses(&pod("node"), &ObjectKey::new("n", "p-other")));
        assert!(!uses(&pod("node"), &ObjectKey::new("m", "c")));
    }
}
