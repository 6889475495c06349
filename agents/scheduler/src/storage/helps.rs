//! Which of the pods that wait a change of claims, volumes or classes may help: each of the others it brings back costs a cycle
//! over all nodes. Pure.

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use kontiki_informer::{Change, ObjectKey};
use kube::ResourceExt;

use super::{BIND_COMPLETED, CLASS_ANNOTATION, SELECTED_NODE};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Helps {
    Nobody,
    /// Pods that use this claim.
    UsersOf(ObjectKey),
    /// Whoever has claims.
    Everybody,
}

pub fn of_claim(change: &Change<PersistentVolumeClaim>) -> Helps {
    let facts = |claim: &PersistentVolumeClaim| {
        let marks = [BIND_COMPLETED, SELECTED_NODE, CLASS_ANNOTATION];
        let marks = marks.map(|name| claim.annotations().get(name).cloned());
        let phase = claim.status.as_ref().and_then(|status| status.phase.clone());
        (claim.uid(), claim.spec.clone(), phase, marks, claim.metadata.deletion_timestamp.clone())
    };
    match change.any() {
        Some(claim) if differs(change, facts) => Helps::UsersOf(ObjectKey::of(&**claim)),
        Some(_) | None => Helps::Nobody,
    }
}

pub fn of_volume(change: &Change<PersistentVolume>) -> Helps {
    let facts = |volume: &PersistentVolume| {
        let phase = volume.status.as_ref().and_then(|status| status.phase.clone());
        (volume.spec.clone(), phase, volume.labels().clone(), volume.metadata.deletion_timestamp.clone())
    };
    let Some(volume) = change.any().filter(|_| differs(change, facts)) else { return Helps::Nobody };
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    match (reference, &change.new) {
        (Some(claim), _) => Helps::UsersOf(ObjectKey::new(
            claim.namespace.clone().unwrap_or_default(),
            claim.name.clone().unwrap_or_default(),
        )),
        (None, Some(_)) => Helps::Everybody,
        // One that nobody had is gone.
        (None, None) => Helps::Nobody,
    }
}

pub fn of_class(change: &Change<StorageClass>) -> Helps {
    let facts = |class: &StorageClass| {
        (class.provisioner.clone(), class.volume_binding_mode.clone(), class.allowed_topologies.clone())
    };
    match change.new.is_some() && differs(change, facts) {
        true => Helps::Everybody,
        false => Helps::Nobody,
    }
}

fn differs<K, F: PartialEq>(change: &Change<K>, facts: impl Fn(&K) -> F) -> bool {
    change.old.as_deref().map(&facts) != change.new.as_deref().map(&facts)
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn change<K: DeserializeOwned>(old: &Value, new: &Value) -> Change<K> {
        let object = |value: &Value| (!value.is_null()).then(|| serde_json::from_value(value.clone()).unwrap());
        Change { old: object(old), new: object(new) }
    }

    fn with(object: &Value, pointer: &str, key: &str, value: Value) -> Value {
        let mut object = object.clone();
        object.pointer_mut(pointer).unwrap()[key] = value;
        object
    }

    fn users(name: &str) -> Helps {
        Helps::UsersOf(ObjectKey::new("a", name))
    }

    #[test]
    fn a_claim_helps_those_who_use_it_where_it_has_got_on() {
        let metadata = json!({"name": "c", "namespace": "a", "annotations": {}});
        let claim = json!({"metadata": metadata, "spec": {}, "status": {"phase": "Pending"}});
        let going = with(&claim, "/metadata", "deletionTimestamp", json!("2026-01-01T00:00:00Z"));
        for (new, expected) in [
            (claim.clone(), Helps::Nobody),
            (with(&claim, "/metadata/annotations", "example.com/note", json!("x")), Helps::Nobody),
            (with(&claim, "/status", "capacity", json!({"storage": "1Gi"})), Helps::Nobody),
            (with(&claim, "/metadata/annotations", BIND_COMPLETED, json!("yes")), users("c")),
            (with(&claim, "/metadata/annotations", SELECTED_NODE, json!("n")), users("c")),
            (with(&claim, "/status", "phase", json!("Bound")), users("c")),
            (with(&claim, "/spec", "volumeName", json!("v")), users("c")),
            (going, users("c")),
            (Value::Null, users("c")),
        ] {
            assert_eq!(of_claim(&change(&claim, &new)), expected, "{new}");
        }
    }

    #[test]
    fn a_volume_helps_whose_it_is_or_whoever_may_take_it() {
        let free = json!({"metadata": {"name": "v"}, "spec": {}, "status": {"phase": "Available"}});
        let taken = with(&free, "/spec", "claimRef", json!({"namespace": "a", "name": "c"}));
        for (old, new, expected) in [
            (Value::Null, free.clone(), Helps::Everybody),
            (Value::Null, taken.clone(), users("c")),
            (free.clone(), with(&free, "/metadata", "annotations", json!({"x": "y"})), Helps::Nobody),
            (free.clone(), with(&free, "/metadata", "labels", json!({"x": "y"})), Helps::Everybody),
            (free.clone(), taken.clone(), users("c")),
            (taken.clone(), with(&taken, "/status", "phase", json!("Bound")), users("c")),
            (taken.clone(), free.clone(), Helps::Everybody),
            (taken, Value::Null, users("c")),
            (free, Value::Null, Helps::Nobody),
        ] {
            assert_eq!(of_volume(&change(&old, &new)), expected, "{old} {new}");
        }
    }

    #[test]
    fn a_class_helps_when_it_comes_or_provisions_otherwise() {
        let class = json!({"metadata": {"name": "k"}, "provisioner": "example.com/disks"});
        for (old, new, expected) in [
            (Value::Null, class.clone(), Helps::Everybody),
            (class.clone(), with(&class, "/metadata", "labels", json!({"x": "y"})), Helps::Nobody),
            (class.clone(), with(&class, "", "volumeBindingMode", json!("WaitForFirstConsumer")), Helps::Everybody),
            (class, Value::Null, Helps::Nobody),
        ] {
            assert_eq!(of_class(&change(&old, &new)), expected, "{old} {new}");
        }
    }
}
