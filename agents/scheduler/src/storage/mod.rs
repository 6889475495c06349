//! PersistentVolumeClaims of pods: what the scheduler knows of claims, volumes and classes, and what a pod has to wait for. Pure.
//! Who makes volumes and binds claims to them is somebody else; the scheduler says where.

mod fit;
mod helps;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume},
    storage::v1::StorageClass,
};
use kontiki_informer::{Change, ObjectKey};
use kube::ResourceExt;

pub use fit::{BOUND_BY_CONTROLLER, Binding, SELECTED_NODE};
pub use helps::Helps;

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const FIRST_CONSUMER: &str = "WaitForFirstConsumer";

#[derive(Default)]
pub struct Storage {
    claims: HashMap<ObjectKey, Arc<PersistentVolumeClaim>>,
    volumes: BTreeMap<String, Arc<PersistentVolume>>,
    classes: BTreeMap<String, Arc<StorageClass>>,
}

/// The claims of one pod that may be placed as far as they are concerned.
#[derive(Clone, Debug, Default)]
pub struct PodClaims {
    /// Volumes of bound claims; `None` of those whose volume is gone.
    pub bound: Vec<Option<Arc<PersistentVolume>>>,
    /// Those whose volume is chosen, or made, where the pod is put.
    pub unbound: Vec<Unbound>,
}

/// A claim that waits for its first consumer.
#[derive(Clone, Debug)]
pub struct Unbound {
    pub claim: Arc<PersistentVolumeClaim>,
    pub class: Arc<StorageClass>,
    /// Those that suit it, if they are where the pod is; the smallest first.
    pub suitable: Vec<Arc<PersistentVolume>>,
}

impl Storage {
    pub fn follow_claim(&mut self, change: &Change<PersistentVolumeClaim>) -> Helps {
        match (&change.old, &change.new) {
            (_, Some(claim)) => drop(self.claims.insert(ObjectKey::of(&**claim), claim.clone())),
            (Some(claim), None) => drop(self.claims.remove(&ObjectKey::of(&**claim))),
            (None, None) => {}
        }
        helps::of_claim(change)
    }

    pub fn follow_volume(&mut self, change: &Change<PersistentVolume>) -> Helps {
        follow(&mut self.volumes, change);
        helps::of_volume(change)
    }

    pub fn follow_class(&mut self, change: &Change<StorageClass>) -> Helps {
        follow(&mut self.classes, change);
        helps::of_class(change)
    }

    /// What the pod's claims ask of its node; or why it is put nowhere yet, in Kubernetes' words.
    pub fn of_pod(&self, pod: &Pod) -> Result<PodClaims, String> {
        let mut found = Vec::new();
        for (volume, key) in claims_of(pod) {
            found.push(self.claim(pod, volume, key)?);
        }
        let mut claims = PodClaims::default();
        for claim in found {
            let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
            if !volume.is_empty() && claim.annotations().contains_key(BIND_COMPLETED) {
                claims.bound.push(self.volumes.get(volume).cloned());
                continue;
            }
            let class = self.classes.get(class_of(&claim));
            let waits = |class: &&Arc<StorageClass>| class.volume_binding_mode.as_deref() == Some(FIRST_CONSUMER);
            // Who names its volume does not wait for a consumer.
            let Some(class) = class.filter(waits).filter(|_| volume.is_empty()) else {
                return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
            };
            let (class, suitable) = (class.clone(), fit::suitable(&claim, self.volumes.values()));
            claims.unbound.push(Unbound { claim, class, suitable });
        }
        claims.unbound.sort_by_key(|unbound| fit::requested(&unbound.claim));
        Ok(claims)
    }

    /// The claim behind a volume.
    fn claim(&self, pod: &Pod, volume: &Volume, key: ObjectKey) -> Result<Arc<PersistentVolumeClaim>, String> {
        let ephemeral = volume.ephemeral.is_some();
        let claim = self.claims.get(&key);
        let ObjectKey { namespace, name } = key;
        let Some(claim) = claim else {
            return Err(match ephemeral {
                true => format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"),
                false => format!("persistentvolumeclaim {name:?} not found"),
            });
        };
        if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost") {
            let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
            return Err(format!("persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"));
        }
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
        }
        let owned = || claim.owner_references().iter().any(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref());
        if ephemeral && !owned() {
            let pod = pod.name_any();
            return Err(format!("PVC {namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)"));
        }
        Ok(claim.clone())
    }
}

/// Volumes of a pod that have a claim, and which.
pub fn claims_of(pod: &Pod) -> impl Iterator<Item = (&Volume, ObjectKey)> {
    let namespace = pod.namespace().unwrap_or_default();
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).filter_map(move |volume| {
        let name = match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => source.claim_name.clone(),
            (None, Some(_)) => format!("{}-{}", pod.name_any(), volume.name),
            (None, None) => return None,
        };
        Some((volume, ObjectKey::new(namespace.clone(), name)))
    })
}

fn follow<K: ResourceExt>(known: &mut BTreeMap<String, Arc<K>>, change: &Change<K>) {
    match (&change.old, &change.new) {
        (_, Some(object)) => drop(known.insert(object.name_any(), object.clone())),
        (Some(object), None) => drop(known.remove(&object.name_any())),
        (None, None) => {}
    }
}

fn class_of(claim: &PersistentVolumeClaim) -> &str {
    let named = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    claim.annotations().get(CLASS_ANNOTATION).map(String::as_str).or(named).unwrap_or_default()
}

#[cfg(test)]
mod tests;
