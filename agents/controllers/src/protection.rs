//! Claims, volumes and classes of attributes that are deleted while they are in use stay until they are not: the API server gives new
//! ones a finalizer, which is taken away here from those that go and that nobody uses.

use std::fmt::Debug;

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::VolumeAttributesClass,
};
use kontiki_informer::{Change, Informer, ObjectKey, Queue};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
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
const OF_CLASSES: &str = "kubernetes.io/vac-protection";
const BOUND: &str = "Bound";

/// What is protected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Protected {
    Claim(ObjectKey),
    Volume(ObjectKey),
    Class(ObjectKey),
}

#[derive(Clone)]
struct Controller {
    context: Context,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<VolumeAttributesClass>,
}

pub async fn run(context: Context) {
    let queue: Queue<Protected> = Queue::default();
    let of_class = queue.clone();
    let classes =
        context.informer::<VolumeAttributesClass>(vec![Box::new(move |change: &Change<VolumeAttributesClass>| {
            if let Some(class) = going(change) {
                of_class.add(Protected::Class(class));
            }
        })]);
    let (of_claim, named) = (queue.clone(), classes.clone());
    let claims =
        context.informer::<PersistentVolumeClaim>(vec![Box::new(move |change: &Change<PersistentVolumeClaim>| {
            if let Some(claim) = going(change) {
                of_claim.add(Protected::Claim(claim));
            }
            look_again(&named, None, &of_claim, Protected::Class);
        })]);
    let (of_volume, named) = (queue.clone(), classes.clone());
    let volumes = context.informer::<PersistentVolume>(vec![Box::new(move |change: &Change<PersistentVolume>| {
        if let Some(volume) = going(change) {
            of_volume.add(Protected::Volume(volume));
        }
        look_again(&named, None, &of_volume, Protected::Class);
    })]);
    let (of_pod, used) = (queue.clone(), claims.clone());
    let pods = context.informer::<Pod>(vec![Box::new(move |change: &Change<Pod>| {
        if let (Some(gone), None) = (&change.old, &change.new) {
            look_again(&used, gone.namespace().as_deref(), &of_pod, Protected::Claim);
        }
    })]);
    if !classes.synced().await || !claims.synced().await || !volumes.synced().await || !pods.synced().await {
        return;
    }
    let controller = Controller { context, claims, volumes, classes };
    let cancel = controller.context.cancel.clone();
    queue
        .drain(WORKERS, cancel, move |protected| {
            let controller = controller.clone();
            async move {
                let (Protected::Claim(key) | Protected::Volume(key) | Protected::Class(key)) = &protected;
                settled("protection", key, controller.reconcile(&protected).await)
            }
        })
        .await;
}

fn going<K: ResourceExt>(change: &Change<K>) -> Option<ObjectKey> {
    let object = change.new.as_ref().filter(|object| object.meta().deletion_timestamp.is_some())?;
    Some(ObjectKey::of(&**object))
}

/// Something that may have used them has changed or gone.
fn look_again<K>(
    objects: &Informer<K>,
    namespace: Option<&str>,
    queue: &Queue<Protected>,
    protected: fn(ObjectKey) -> Protected,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let going = objects.list(namespace).into_iter().filter(|object| object.meta().deletion_timestamp.is_some());
    going.for_each(|object| queue.add(protected(ObjectKey::of(&*object))));
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

/// The classes a claim has, is to have, or is about to get.
fn names_class(claim: &PersistentVolumeClaim, class: &str) -> bool {
    let wanted = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    let status = claim.status.as_ref();
    let has = status.and_then(|status| status.current_volume_attributes_class_name.as_deref());
    let next =
        status.and_then(|status| status.modify_volume_status.as_ref()?.target_volume_attributes_class_name.as_deref());
    [wanted, has, next].contains(&Some(class))
}

impl Controller {
    async fn reconcile(&self, protected: &Protected) -> Result<(), ControllerError> {
        match protected {
            Protected::Claim(key) => self.claim(key).await,
            Protected::Volume(key) => self.volume(key).await,
            Protected::Class(key) => self.class(key).await,
        }
    }

    async fn claim(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        let Some(claim) = self.claims.get(key) else { return Ok(()) };
        // Of the API itself: a copy may not know the last pod yet.
        let pods = self.context.api::<Pod, _>(&key.namespace, &*claim).list(&ListParams::default()).await?;
        if pods.items.iter().any(|pod| uses(pod, key)) {
            return Ok(());
        }
        let api = self.context.api::<PersistentVolumeClaim, _>(&key.namespace, &*claim);
        release(&api, &*claim, OF_CLAIMS).await
    }

    async fn volume(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        let Some(volume) = self.volumes.get(key) else { return Ok(()) };
        if volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(BOUND) {
            return Ok(());
        }
        let client = self.context.clients.caused_by(volume.resource_version().as_deref());
        release(&Api::all(client), &*volume, OF_VOLUMES).await
    }

    async fn class(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        let Some(class) = self.classes.get(key) else { return Ok(()) };
        let client = self.context.clients.caused_by(class.resource_version().as_deref());
        let claims = Api::<PersistentVolumeClaim>::all(client.clone()).list(&ListParams::default()).await?;
        let volumes = Api::<PersistentVolume>::all(client.clone()).list(&ListParams::default()).await?;
        let of_volume = |volume: &PersistentVolume| {
            volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref()) == Some(&*key.name)
        };
        if claims.items.iter().any(|claim| names_class(claim, &key.name)) || volumes.items.iter().any(of_volume) {
            return Ok(());
        }
        release(&Api::all(client), &*class, OF_CLASSES).await
    }
}

/// Takes the finalizer away from an object that is being deleted, if it is as it was looked at.
pub async fn release<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<(), ControllerError>
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
