//! What pods with claims wait for, and where they may be put.

use serde_json::{Value, json};

use super::*;
use crate::cluster::{Cluster, tests::node};

fn object<K: serde::de::DeserializeOwned>(value: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn new<K>(object: &Arc<K>) -> Change<K> {
    Change { old: None, new: Some(object.clone()) }
}

fn claim(name: &str, metadata: Value, spec: Value, phase: &str) -> Arc<PersistentVolumeClaim> {
    let mut whole = json!({"metadata": {"name": name, "namespace": "a", "uid": name}, "status": {"phase": phase},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "late", "resources": {"requests": {"storage": "1Gi"}}}});
    metadata.as_object().unwrap().iter().for_each(|(key, value)| whole["metadata"][key] = value.clone());
    spec.as_object().unwrap().iter().for_each(|(key, value)| whole["spec"][key] = value.clone());
    object(whole)
}

fn volume(name: &str, size: &str, node: &str, spec: Value) -> Arc<PersistentVolume> {
    let expression = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]});
    let affinity = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}});
    let mut whole = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, "storageClassName": "late",
        "nodeAffinity": affinity});
    spec.as_object().unwrap().iter().for_each(|(key, value)| whole[key] = value.clone());
    object(json!({"metadata": {"name": name}, "spec": whole, "status": {"phase": "Available"}}))
}

fn storage(claims: &[Arc<PersistentVolumeClaim>], volumes: &[Arc<PersistentVolume>], provisioner: &str) -> Storage {
    let mut storage = Storage::default();
    claims.iter().for_each(|claim| drop(storage.follow_claim(&new(claim))));
    volumes.iter().for_each(|volume| drop(storage.follow_volume(&new(volume))));
    for (name, mode) in [("late", "WaitForFirstConsumer"), ("now", "Immediate")] {
        let class = json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode});
        storage.follow_class(&new(&object(class)));
    }
    storage
}

fn pod(volumes: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "a", "uid": "p"},
        "spec": {"containers": [], "volumes": volumes}}))
    .unwrap()
}

fn with_claims(names: &[&str]) -> Pod {
    let volume = |name: &&str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
    pod(names.iter().map(volume).collect())
}

#[test]
fn a_pod_waits_for_its_claims_in_kubernetes_words() {
    let bound = json!({"annotations": {BIND_COMPLETED: "yes"}});
    let claims = [
        claim("bound", bound, json!({"volumeName": "v"}), "Bound"),
        claim("immediate", json!({}), json!({"storageClassName": "now"}), "Pending"),
        claim("classless", json!({}), json!({"storageClassName": ""}), "Pending"),
        claim("prebound", json!({}), json!({"volumeName": "v"}), "Pending"),
        claim("late", json!({}), json!({}), "Pending"),
        claim("lost", json!({}), json!({"volumeName": "gone"}), "Lost"),
        claim("going", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), json!({}), "Bound"),
        claim("p-taken", json!({}), json!({}), "Pending"),
    ];
    let storage = storage(&claims, &[], "example.com/disks");
    let unbound = Some("pod has unbound immediate PersistentVolumeClaims");
    let ephemeral = |name: &str| pod(json!([{"name": name, "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]));
    for (pod, expected) in [
        (pod(json!([{"name": "v", "emptyDir": {}}])), None),
        (with_claims(&["bound"]), None),
        (with_claims(&["late"]), None),
        (with_claims(&["immediate"]), unbound),
        (with_claims(&["late", "classless"]), unbound),
        (with_claims(&["prebound"]), unbound),
        (with_claims(&["absent"]), Some("persistentvolumeclaim \"absent\" not found")),
        (with_claims(&["going"]), Some("persistentvolumeclaim \"going\" is being deleted")),
        (
            with_claims(&["lost"]),
            Some("persistentvolumeclaim \"lost\" bound to non-existent persistentvolume \"gone\""),
        ),
        (
            ephemeral("mine"),
            Some("waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-mine\""),
        ),
        (ephemeral("taken"), Some("PVC a/p-taken was not created for pod a/p (pod is not owner)")),
    ] {
        assert_eq!(storage.of_pod(&pod).err().as_deref(), expected, "{pod:?}");
    }
}

/// For each of two nodes what would be done there, or why nothing is.
fn on_nodes(storage: &Storage, pod: &Pod) -> Vec<String> {
    let claims = storage.of_pod(pod).unwrap();
    let mut cluster = Cluster::default();
    ["a", "b"].iter().for_each(|name| cluster.put_node(&node(name, "1")));
    let show = |binding: &Binding| match binding {
        Binding::Volume(claim, volume) => format!("{} gets {}", claim.name_any(), volume.name_any()),
        Binding::Provision(claim) => format!("{} is made", claim.name_any()),
    };
    let of_node = |node| match claims.objections(node) {
        objections if !objections.is_empty() => objections.join(", "),
        _ => claims.bindings(node).unwrap().iter().map(show).collect::<Vec<_>>().join(", "),
    };
    cluster.nodes().map(of_node).collect()
}

#[test]
fn a_bound_claim_keeps_its_pod_where_its_volume_is() {
    let bound = json!({"annotations": {BIND_COMPLETED: "yes"}});
    let claims = [claim("c", bound, json!({"volumeName": "v"}), "Bound")];
    let here = storage(&claims, &[volume("v", "1Gi", "a", json!({}))], "x");
    assert_eq!(on_nodes(&here, &with_claims(&["c"])), ["", "node(s) didn't match PersistentVolume's node affinity"]);
    let gone = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
    assert_eq!(on_nodes(&storage(&claims, &[], "x"), &with_claims(&["c"])), [gone, gone]);
}

#[test]
fn a_claim_that_waits_for_its_consumer_gets_the_smallest_volume_there_or_a_new_one() {
    let none = "node(s) didn't find available persistent volumes to bind";
    let other = json!({"claimRef": {"name": "other", "namespace": "a"}});
    let volumes = [
        volume("large", "9Gi", "a", json!({})),
        volume("fits", "2Gi", "a", json!({})),
        volume("small", "1Mi", "a", json!({})),
        volume("taken", "1Gi", "b", other),
        volume("block", "1Gi", "b", json!({"volumeMode": "Block"})),
        volume("shared", "1Gi", "b", json!({"accessModes": ["ReadOnlyMany"]})),
    ];
    let claims =
        |metadata: Value| [claim("c", metadata, json!({}), "Pending"), claim("d", json!({}), json!({}), "Pending")];
    let fixed = storage(&claims(json!({})), &volumes, "kubernetes.io/no-provisioner");
    assert_eq!(on_nodes(&fixed, &with_claims(&["c"])), ["c gets fits", none]);
    assert_eq!(on_nodes(&fixed, &with_claims(&["c", "d"])), ["c gets fits, d gets large", none]);
    let made = storage(&claims(json!({})), &volumes, "example.com/disks");
    assert_eq!(on_nodes(&made, &with_claims(&["c"])), ["c gets fits", "c is made"]);
    let selected = storage(&claims(json!({"annotations": {SELECTED_NODE: "b"}})), &volumes, "example.com/disks");
    assert_eq!(on_nodes(&selected, &with_claims(&["c"])), [none, "c is made"]);
}

#[test]
fn what_was_asked_for_is_not_asked_for_again() {
    let plain = claim("c", json!({}), json!({}), "Pending");
    let selected = claim("c", json!({"annotations": {SELECTED_NODE: "a"}}), json!({}), "Pending");
    let reference = json!({"claimRef": {"name": "c", "namespace": "a", "uid": "c"}});
    let earlier = json!({"claimRef": {"name": "c", "namespace": "a", "uid": "before"}});
    let of = |spec: Value| Binding::Volume(plain.clone(), volume("v", "1Gi", "a", spec));
    for (binding, expected) in [
        (Binding::Provision(plain.clone()), false),
        (Binding::Provision(selected), true),
        (of(json!({})), false),
        (of(reference), true),
        (of(earlier), false),
    ] {
        assert_eq!(binding.is_asked_for("a"), expected, "{binding:?}");
    }
}
