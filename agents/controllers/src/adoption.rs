//! Whose an object is: a controller looks after what names its owner, takes up orphans that the owner's selector matches, and lets
//! go of what it matches no more.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kontiki_informer::{Informer, ObjectKey, Queue};
use kube::{Api, Resource, ResourceExt, api::Patch};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{ControllerError, context::gone_is_fine, pods};

/// The owner that looks after an object. There is one at the most.
pub fn controller_of<K: Resource>(object: &K) -> Option<&OwnerReference> {
    object.meta().owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// What names `owner` as the one that looks after an object.
pub fn controlled_by<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Queues the owner of an object or, for an orphan, every owner that might adopt it.
pub fn wake<K, O>(
    queue: &Queue<ObjectKey>,
    owners: &Informer<K>,
    selector: impl Fn(&K) -> Option<&LabelSelector>,
    object: &O,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    O: ResourceExt,
{
    let namespace = object.namespace().unwrap_or_default();
    if let Some(owner) = controller_of(object) {
        if owner.kind == K::kind(&()) {
            queue.add(ObjectKey::new(namespace, &owner.name));
        }
        return;
    }
    for owner in owners.list(Some(&namespace)) {
        let matches = |selector| pods::matches(&selector, object.meta().labels.as_ref());
        if selector(&owner).is_some_and(|selector| pods::selector(selector).is_ok_and(matches)) {
            queue.add(ObjectKey::of(&*owner));
        }
    }
}

/// Whether the owner may adopt, asked of the API itself: a copy may not know yet that the owner is being deleted, and what
/// its deletion has just released would be adopted back and go with it.
pub async fn may_adopt<K>(api: &Api<K>, owner: &K) -> Result<bool, ControllerError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let current = gone_is_fine(api.get_metadata(&owner.name_any()).await)?;
    Ok(current.is_some_and(|current| {
        current.metadata.uid == owner.meta().uid && current.metadata.deletion_timestamp.is_none()
    }))
}

/// Gives an object this owner. The uid refuses it for a later object of the same name.
pub fn adoption(uid: Option<&str>, owner: &OwnerReference) -> Patch<Value> {
    owners(uid, json!(owner))
}

/// Takes the owner with this uid off an object, which is refused in the same way.
pub fn release(uid: Option<&str>, owner: &str) -> Patch<Value> {
    owners(uid, json!({"$patch": "delete", "uid": owner}))
}

fn owners(uid: Option<&str>, owner: Value) -> Patch<Value> {
    Patch::Strategic(json!({"metadata": {"uid": uid, "ownerReferences": [owner]}}))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn set(name: &str, app: &str) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": name, "namespace": "a", "uid": name, "resourceVersion": "8"},
            "spec": {"selector": {"matchLabels": {"app": app}}},
        })
    }

    #[tokio::test]
    async fn an_owner_is_woken_and_for_an_orphan_all_that_might_adopt_it() {
        let sets = json!({"kind": "ReplicaSetList", "apiVersion": "apps/v1", "metadata": {"resourceVersion": "9"},
                          "items": [set("one", "web"), set("another", "web"), set("other", "db")]});
        let (context, _) = crate::scripted::context(move |_, _| (200, sets.clone()));
        let owners = context.informer::<ReplicaSet>(Vec::new());
        assert!(owners.synced().await);
        let owner = |kind: &str| json!([{"apiVersion": "x/v1", "kind": kind, "name": "gone", "uid": "gone", "controller": true}]);
        for (owners_of, expected) in
            [(json!([]), vec!["another", "one"]), (owner("ReplicaSet"), vec!["gone"]), (owner("Job"), vec![])]
        {
            let pod = json!({"metadata": {"name": "p", "namespace": "a", "labels": {"app": "web"}, "ownerReferences": owners_of}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            let (queue, cancel) = (Queue::default(), CancellationToken::new());
            wake(&queue, &owners, |set: &ReplicaSet| Some(&set.spec.as_ref()?.selector), &pod);
            let mut woken = Vec::new();
            for _ in &expected {
                woken.extend(queue.next(&cancel).await.map(|key: ObjectKey| key.name));
            }
            cancel.cancel();
            woken.extend(queue.next(&cancel).await.map(|key| key.name));
            assert_eq!(woken, expected);
        }
        context.cancel.cancel();
    }
}
