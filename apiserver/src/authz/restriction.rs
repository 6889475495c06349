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
    /// The uid of a node by its name.
    pub node_uid: &'a dyn Fn(&str) -> Option<String>,
}

/// Refuses what a node agent may not do, and says why; everybody else may.
pub(crate) fn check(writing: &Writing<'_>) -> Result<(), String> {
    let Some(node) = node_name(writing.author) else { return Ok(()) };
    match (writing.of.group, writing.of.resource) {
        ("", "nodes") => own_node(node, writing),
        ("", "pods") => pod(node, writing),
        ("", "persistentvolumeclaims") => claim(node, writing),
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

/// Of a claim, how large the volume has become.
fn claim(node: &str, writing: &Writing<'_>) -> Result<(), String> {
    const OWN: [&str; 4] = ["allocatedResourceStatuses", "allocatedResources", "capacity", "conditions"];
    if writing.subresource != "status" {
        return Err("may only update PVC status".to_owned());
    }
    let (Some(new), Some(old), "update") = (writing.new, writing.old, writing.operation) else {
        return Err(format!("unexpected operation {:?}", writing.operation));
    };
    let others = |claim: &Value| {
        let mut claim = claim.clone();
        for (part, members) in [("status", &OWN[..]), ("metadata", &["managedFields", "resourceVersion"])] {
            let Some(part) = claim[part].as_object_mut() else { continue };
            members.iter().for_each(|member| _ = part.shift_remove(*member));
        }
        claim
    };
    match others(new) == others(old) {
        true => Ok(()),
        false => Err(format!(
            "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
        )),
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
    let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
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
        ("", "create", Some(new)) => mirror_pod(node, new, writing.node_uid),
        ("", "delete", _) if on(old) => Ok(()),
        ("", "delete", _) => Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself")),
        ("status", "update", _) if !on(old) => {
            Err(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"))
        }
        ("status", "update", Some(new)) => status(node, new, old),
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

/// A status is no way to labels, nor to other claims: a node may read those that its pods name.
fn status(node: &str, new: &Value, old: &Value) -> Result<(), String> {
    if !changed_labels(&new["metadata"]["labels"], &old["metadata"]["labels"]).is_empty() {
        return Err(format!("node {node:?} cannot update labels through pod status"));
    }
    for (member, what) in [
        ("resourceClaimStatuses", "resource claim statues"),
        ("extendedResourceClaimStatus", "extended resource claim status"),
    ] {
        if !same(&new["status"][member], &old["status"][member]) {
            return Err(format!("node {node:?} cannot update {what}"));
        }
    }
    Ok(())
}

/// A pod that a node tells of shall give it nothing to read.
fn mirror_pod(node: &str, pod: &Value, node_uid: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    if pod["metadata"]["annotations"][MIRROR].is_null() {
        return Err(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    if pod["spec"]["nodeName"] != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    belongs_to(node, pod, node_uid)?;
    match references::any(pod) {
        Some(what) => Err(format!("node {node:?} can not create pods that reference {what}")),
        None => Ok(()),
    }
}

/// Else it could be counted as one of a workload's.
fn belongs_to(name: &str, pod: &Value, node_uid: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    let only = |what: &str| Err(format!("node {name:?} can only create pods with {what} set to itself"));
    let owner = match pod["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default() {
        [owner] => owner,
        [] => return only("an owner reference"),
        _ => return only("a single owner reference"),
    };
    if owner["apiVersion"] != NODE.version || owner["kind"] != NODE.kind || owner["name"] != name {
        return only("an owner reference");
    }
    if owner["controller"] != true {
        return only("a controller owner reference");
    }
    if owner["blockOwnerDeletion"] == true {
        return Err(format!("node {name:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let told = owner["uid"].as_str().unwrap_or_default();
    match node_uid(name) {
        Some(uid) if uid == told => Ok(()),
        Some(uid) => Err(format!("node {name} UID mismatch: expected {told} got {uid}")),
        None => Err(format!("error looking up node {name} to verify uid: node {name:?} not found")),
    }
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
mod tests;
