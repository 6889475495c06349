//! NodeRestriction: what a node agent may not write although its path is allowed. Kubernetes' admission plugin of this name.

use kontiki_kinds::{certificates::common_name, node::KIND as NODE, pod::KIND as POD};
use kontiki_model::{Key, Status};
use serde_json::{Map, Value};

use super::{audience, node, node_name, references};
use crate::{
    core::Core,
    failure::{self, Qualified},
    request::Identity,
};

const MIRROR: &str = "kubernetes.io/config.mirror";

/// A write as admission sees it.
pub(crate) struct Writing<'a> {
    pub author: &'a Identity,
    pub of: Qualified<'static>,
    pub subresource: &'a str,
    /// `create`, `update` or `delete`.
    pub operation: &'static str,
    pub name: &'a str,
    pub new: Option<&'a Value>,
    pub old: Option<&'a Value>,
}

/// Refuses what a node agent may not do, and says why; everybody else may.
pub(crate) fn check(writing: &Writing<'_>) -> Result<(), String> {
    let Some(node) = node_name(writing.author) else { return Ok(()) };
    match (writing.of.group, writing.of.resource) {
        ("", "nodes") => own_node(node, writing),
        ("", "pods") => pod(node, writing),
        ("", "persistentvolumeclaims") if writing.subresource != "status" => {
            Err("may only update PVC status".to_owned())
        }
        ("certificates.k8s.io", "certificatesigningrequests") => certificate(node, writing),
        ("coordination.k8s.io", "leases") => named_as_node(node, writing, "can only access node lease"),
        ("resource.k8s.io", "resourceslices") => slice(node, writing),
        ("storage.k8s.io", "csinodes") => named_as_node(node, writing, "can only access CSINode"),
        _ => Ok(()),
    }
}

fn named_as_node(node: &str, writing: &Writing<'_>, what: &str) -> Result<(), String> {
    match writing.name == node {
        true => Ok(()),
        false => Err(format!("{what} with the same name as the requesting node")),
    }
}

/// One that is changed the authorizer knows; the one to come it does not, nor those that are deleted with others.
fn slice(node: &str, writing: &Writing<'_>) -> Result<(), String> {
    let judged = match writing.operation {
        "create" => writing.new,
        "delete" => writing.old,
        _ => return Ok(()),
    };
    match judged.is_some_and(|slice| slice["spec"]["nodeName"] == node) {
        true => Ok(()),
        false => {
            Err(format!("can only {} ResourceSlice with the same NodeName as the requesting node", writing.operation))
        }
    }
}

/// Of a node's signers, a certificate for itself alone.
fn certificate(node: &str, writing: &Writing<'_>) -> Result<(), String> {
    const SIGNERS: [&str; 2] = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];
    let (Some(new), "create") = (writing.new, writing.operation) else { return Ok(()) };
    let spec = &new["spec"];
    if !spec["signerName"].as_str().is_some_and(|signer| SIGNERS.contains(&signer)) {
        return Ok(());
    }
    let asked = common_name(spec["request"].as_str().unwrap_or_default());
    let own = format!("system:node:{node}");
    match asked {
        Ok(name) if name == own => Ok(()),
        Ok(_) => Err(format!("can only create a node CSR with CN={own}")),
        Err(why) => Err(format!("unable to parse csr: {why}")),
    }
}

fn own_node(node: &str, writing: &Writing<'_>) -> Result<(), String> {
    if let Some(new) = writing.new {
        let nothing = Value::Null;
        let old = writing.old.unwrap_or(&nothing);
        let changed = changed_labels(&new["metadata"]["labels"], &old["metadata"]["labels"]);
        let forbidden: Vec<&str> = changed.into_iter().filter(|label| !may_set(label)).collect();
        if !forbidden.is_empty() {
            let deed = if writing.operation == "create" { "set the following labels" } else { "modify labels" };
            return Err(format!("node {node:?} is not allowed to {deed}: {}", forbidden.join(", ")));
        }
        if writing.operation == "update" {
            if !same(&new["spec"]["taints"], &old["spec"]["taints"]) {
                return Err(format!("node {node:?} is not allowed to modify taints"));
            }
            if !same(&new["metadata"]["ownerReferences"], &old["metadata"]["ownerReferences"]) {
                return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
            }
        }
    }
    if writing.name != node {
        return Err(format!("node {node:?} is not allowed to modify node {:?}", writing.name));
    }
    Ok(())
}

fn same(new: &Value, old: &Value) -> bool {
    let empty = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    new == old || empty(new) && empty(old)
}

fn changed_labels<'a>(new: &'a Value, old: &'a Value) -> Vec<&'a str> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    let (new, old) = (new.as_object().unwrap_or(&NONE), old.as_object().unwrap_or(&NONE));
    let set = new.iter().filter(|(key, value)| old.get(*key) != Some(value)).map(|(key, _)| key.as_str());
    let removed = old.keys().filter(|key| !new.contains_key(*key)).map(String::as_str);
    let mut changed: Vec<&str> = set.chain(removed).collect();
    changed.sort_unstable();
    changed
}

/// Labels that a node may say of itself: of Kubernetes' own, those that kubelets set.
fn may_set(label: &str) -> bool {
    let namespace = label.split_once('/').map_or("", |(namespace, _)| namespace);
    let below =
        |domain: &str| namespace == domain || namespace.strip_suffix(domain).is_some_and(|sub| sub.ends_with('.'));
    if below("node-restriction.kubernetes.io") {
        return false;
    }
    let kubernetes = below("kubernetes.io") || below("k8s.io");
    !kubernetes
        || below("kubelet.kubernetes.io")
        || below("node.kubernetes.io")
        || matches!(
            label,
            "beta.kubernetes.io/arch"
                | "beta.kubernetes.io/instance-type"
                | "beta.kubernetes.io/os"
                | "failure-domain.beta.kubernetes.io/region"
                | "failure-domain.beta.kubernetes.io/zone"
                | "kubernetes.io/arch"
                | "kubernetes.io/hostname"
                | "kubernetes.io/os"
                | "topology.kubernetes.io/region"
                | "topology.kubernetes.io/zone"
        )
}

fn pod(node: &str, writing: &Writing<'_>) -> Result<(), String> {
    let on = |pod: &Value| pod["spec"]["nodeName"] == node;
    let old = writing.old.unwrap_or(&Value::Null);
    match (writing.subresource, writing.operation, writing.new) {
        ("", "create", Some(new)) => mirror_pod(node, new),
        ("", "delete", _) if on(old) => Ok(()),
        ("", "delete", _) => Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself")),
        ("status", "update", _) if !on(old) => {
            Err(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"))
        }
        ("status", "update", Some(new)) => match changed_labels(&new["metadata"]["labels"], &old["metadata"]["labels"])
        {
            none if none.is_empty() => Ok(()),
            _ => Err(format!("node {node:?} cannot update labels through pod status")),
        },
        ("eviction", _, _) if on(old) => Ok(()),
        ("eviction", _, _) => Err(format!("node {node:?} can only evict pods with spec.nodeName set to itself")),
        ("", operation, _) => {
            Err(format!("unexpected operation {operation:?}, node {node:?} can only create and delete mirror pods"))
        }
        (subresource, _, _) => {
            Err(format!("unexpected pod subresource {subresource:?}, only 'status' and 'eviction' are allowed"))
        }
    }
}

/// A pod that a node tells of shall give it nothing to read.
fn mirror_pod(node: &str, pod: &Value) -> Result<(), String> {
    if pod["metadata"]["annotations"][MIRROR].is_null() {
        return Err(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    if pod["spec"]["nodeName"] != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    if !belongs_to(node, pod) {
        return Err(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    match references::any(pod) {
        Some(what) => Err(format!("node {node:?} can not create pods that reference {what}")),
        None => Ok(()),
    }
}

/// Else it could be counted as one of a workload's.
fn belongs_to(name: &str, pod: &Value) -> bool {
    let owners = pod["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let [owner] = owners else { return false };
    let is_node = owner["apiVersion"] == NODE.version && owner["kind"] == NODE.kind;
    is_node && owner["name"] == name && owner["controller"] == true && owner["blockOwnerDeletion"] != true
}

/// A node gets tokens for pods of its own, bound to them, and for those whom they are to be shown to.
pub(crate) fn check_token(
    core: &Core,
    author: &Identity,
    (namespace, account): (&str, &str),
    spec: &Value,
) -> Result<(), Status> {
    let bound = &spec["boundObjectRef"];
    let Some(node) = node_name(author) else { return Ok(()) };
    let refused =
        |why: &str| Err(failure::forbidden(Qualified { group: "", resource: "serviceaccounts" }, account, why));
    let text = |member: &str| bound[member].as_str().unwrap_or_default();
    let (name, uid) = (text("name"), text("uid"));
    if text("apiVersion") != POD.version || text("kind") != POD.kind || name.is_empty() {
        return refused("node requested token not bound to a pod");
    }
    if uid.is_empty() {
        return refused("node requested token with a pod binding without a uid");
    }
    let Some((_, head)) = core.log.head(&Key::new("pods", namespace, name)) else {
        return refused(&format!("pods {name:?} not found"));
    };
    if head.uid != uid {
        return refused(&format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        ));
    }
    if !node::is_on(&head, node) {
        return refused("node requested token bound to a pod scheduled on a different node");
    }
    let Some(stored) = core.stored(&Key::new("pods", namespace, name))? else {
        return refused(&format!("pods {name:?} not found"));
    };
    let pod: Value = serde_json::from_slice(&stored.body).map_err(failure::internal)?;
    let audiences: Vec<&str> = spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match audience::refusal(core, author, (namespace, account), (&pod, &audiences))? {
        None => Ok(()),
        Some(why) => refused(&why),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::authn::NODES;

    #[test]
    fn a_node_writes_its_own_and_not_all_of_it() {
        let author =
            Identity { user: "system:node:n".to_owned(), groups: vec![NODES.to_owned()], ..Identity::default() };
        let judge =
            |of: (&'static str, &'static str), subresource: &str, operation, name: &str, new: Value, old: Value| {
                let (new, old) = (Some(&new).filter(|one| !one.is_null()), Some(&old).filter(|one| !one.is_null()));
                let of = Qualified { group: of.0, resource: of.1 };
                check(&Writing { author: &author, of, subresource, operation, name, new, old }).err()
            };
        let (nodes, pods, none) = (("", "nodes"), ("", "pods"), Value::Null);
        let node = |labels: Value, taints: Value| json!({"metadata": {"labels": labels}, "spec": {"taints": taints}});
        let on = |name: &str| json!({"metadata": {}, "spec": {"nodeName": name}});
        let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true});
        let mirror =
            json!({"metadata": {"annotations": {MIRROR: "x"}, "ownerReferences": [owner]}, "spec": {"nodeName": "n"}});
        let mut of_a_workload = mirror.clone();
        of_a_workload["metadata"]["ownerReferences"][0]["kind"] = json!("ReplicaSet");
        let mut with_secret = mirror.clone();
        with_secret["spec"]["volumes"] = json!([{"secret": {"secretName": "s"}}]);
        let mut with_claim = mirror.clone();
        with_claim["spec"]["resourceClaims"] = json!([{"name": "c", "resourceClaimName": "c"}]);
        let slices = ("resource.k8s.io", "resourceslices");
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
                judge(
                    nodes,
                    "",
                    "update",
                    "n",
                    node(none.clone(), json!([])),
                    node(none.clone(), json!([{"key": "a"}])),
                ),
                Some("node \"n\" is not allowed to modify taints"),
            ),
            (
                judge(nodes, "status", "update", "n", node(none.clone(), none.clone()), node(none.clone(), json!([]))),
                None,
            ),
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
}
