use serde_json::json;

use super::*;
use crate::authn::NODES;

#[test]
fn a_node_writes_its_own_and_not_all_of_it() {
    let author = Identity { user: "system:node:n".to_owned(), groups: vec![NODES.to_owned()], ..Identity::default() };
    let judge = |of: (&'static str, &'static str), subresource: &str, operation, name: &str, new: Value, old: Value| {
        let (new, old) = (Some(&new).filter(|one| !one.is_null()), Some(&old).filter(|one| !one.is_null()));
        let of = Qualified { group: of.0, resource: of.1 };
        let node_uid = |name: &str| (name == "n").then(|| "u".to_owned());
        let node_uid = &node_uid;
        check(&Writing { author: &author, of, subresource, operation, name, new, old, node_uid }).err()
    };
    let (nodes, pods, none) = (("", "nodes"), ("", "pods"), Value::Null);
    let node = |labels: Value, taints: Value| json!({"metadata": {"labels": labels}, "spec": {"taints": taints}});
    let on = |name: &str| json!({"metadata": {}, "spec": {"nodeName": name}});
    let told = |status: Value| json!({"metadata": {}, "spec": {"nodeName": "n"}, "status": status});
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true});
    let mirror =
        json!({"metadata": {"annotations": {MIRROR: "x"}, "ownerReferences": [owner]}, "spec": {"nodeName": "n"}});
    let mut of_a_workload = mirror.clone();
    of_a_workload["metadata"]["ownerReferences"][0]["kind"] = json!("ReplicaSet");
    let owned = |member: &str, value: Value| {
        let mut pod = mirror.clone();
        pod["metadata"]["ownerReferences"][0][member] = value;
        pod
    };
    let (of_another_life, of_nobody) = (owned("uid", json!("v")), owned("controller", json!(false)));
    let mut with_secret = mirror.clone();
    with_secret["spec"]["volumes"] = json!([{"secret": {"secretName": "s"}}]);
    let mut with_claim = mirror.clone();
    with_claim["spec"]["resourceClaims"] = json!([{"name": "c", "resourceClaimName": "c"}]);
    let slices = ("resource.k8s.io", "resourceslices");
    let claims = ("", "persistentvolumeclaims");
    let claim = |size: &str, phase: &str, version: &str| json!({"metadata": {"name": "c", "resourceVersion": version}, "status": {"phase": phase, "capacity": {"storage": size}}});
    let cases = [
        (
            judge(
                nodes,
                "",
                "create",
                "n",
                node(json!({"kubernetes.io/hostname": "n", "team": "a"}), none.clone()),
                none.clone(),
            ),
            None,
        ),
        (
            judge(
                nodes,
                "",
                "create",
                "n",
                node(json!({"node-restriction.kubernetes.io/x": "1"}), none.clone()),
                none.clone(),
            ),
            Some("node \"n\" is not allowed to set the following labels: node-restriction.kubernetes.io/x"),
        ),
        (
            judge(
                nodes,
                "",
                "update",
                "n",
                node(json!({}), none.clone()),
                node(json!({"x.kubernetes.io/y": "1"}), none.clone()),
            ),
            Some("node \"n\" is not allowed to modify labels: x.kubernetes.io/y"),
        ),
        (
            judge(nodes, "", "update", "n", node(none.clone(), json!([])), node(none.clone(), json!([{"key": "a"}]))),
            Some("node \"n\" is not allowed to modify taints"),
        ),
        (judge(nodes, "status", "update", "n", node(none.clone(), none.clone()), node(none.clone(), json!([]))), None),
        (
            judge(nodes, "status", "update", "o", node(none.clone(), none.clone()), none.clone()),
            Some("node \"n\" is not allowed to modify node \"o\""),
        ),
        (
            judge(nodes, "", "update", "n", json!({"metadata": {"ownerReferences": [{"uid": "u"}]}}), json!({})),
            Some("node \"n\" is not allowed to modify ownerReferences"),
        ),
        (judge(pods, "", "create", "p", mirror, none.clone()), None),
        (
            judge(pods, "", "create", "p", of_a_workload, none.clone()),
            Some("node \"n\" can only create pods with an owner reference set to itself"),
        ),
        (judge(pods, "", "create", "p", of_another_life, none.clone()), Some("node n UID mismatch: expected v got u")),
        (
            judge(pods, "", "create", "p", of_nobody, none.clone()),
            Some("node \"n\" can only create pods with a controller owner reference set to itself"),
        ),
        (judge(claims, "status", "update", "c", claim("2Gi", "Bound", "1"), claim("1Gi", "Bound", "2")), None),
        (
            judge(claims, "status", "update", "c", claim("1Gi", "Lost", "1"), claim("1Gi", "Bound", "1")),
            Some("node \"n\" is not allowed to update fields other than status.quantity and status.conditions"),
        ),
        (
            judge(claims, "", "update", "c", claim("1Gi", "Bound", "1"), claim("1Gi", "Bound", "1")),
            Some("may only update PVC status"),
        ),
        (
            judge(pods, "", "create", "p", with_secret, none.clone()),
            Some("node \"n\" can not create pods that reference secrets"),
        ),
        (
            judge(pods, "", "create", "p", on("n"), none.clone()),
            Some(
                "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n\" can only create mirror pods",
            ),
        ),
        (judge(pods, "", "delete", "p", none.clone(), on("n")), None),
        (
            judge(pods, "", "delete", "p", none.clone(), on("o")),
            Some("node \"n\" can only delete pods with spec.nodeName set to itself"),
        ),
        (judge(pods, "status", "update", "p", on("n"), on("n")), None),
        (judge(pods, "status", "update", "p", told(json!({"phase": "Running"})), on("n")), None),
        (
            judge(pods, "status", "update", "p", told(json!({"resourceClaimStatuses": [{"name": "a"}]})), on("n")),
            Some("node \"n\" cannot update resource claim statues"),
        ),
        (
            judge(
                pods,
                "status",
                "update",
                "p",
                on("n"),
                told(json!({"extendedResourceClaimStatus": {"resourceClaimName": "c"}})),
            ),
            Some("node \"n\" cannot update extended resource claim status"),
        ),
        (
            judge(pods, "status", "update", "p", on("o"), on("o")),
            Some("node \"n\" can only update pod status for pods with spec.nodeName set to itself"),
        ),
        (
            judge(pods, "eviction", "delete", "p", none.clone(), on("o")),
            Some("node \"n\" can only evict pods with spec.nodeName set to itself"),
        ),
        (
            judge(("coordination.k8s.io", "leases"), "", "create", "o", json!({}), none.clone()),
            Some("can only access node lease with the same name as the requesting node"),
        ),
        (judge(("", "events"), "", "create", "e", json!({}), none.clone()), None),
        (judge(slices, "", "create", "s", on("n"), none.clone()), None),
        (
            judge(slices, "", "create", "s", on("o"), none.clone()),
            Some("can only create ResourceSlice with the same NodeName as the requesting node"),
        ),
        (judge(slices, "", "delete", "s", none.clone(), on("n")), None),
        (
            judge(slices, "", "delete", "s", none.clone(), json!({"spec": {"allNodes": true}})),
            Some("can only delete ResourceSlice with the same NodeName as the requesting node"),
        ),
        (
            judge(pods, "", "create", "p", with_claim, none),
            Some("node \"n\" can not create pods that reference resourceclaims"),
        ),
    ];
    for (told, expected) in cases {
        assert_eq!(told.as_deref(), expected);
    }
}
