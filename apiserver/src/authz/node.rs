//! The node authorizer: an agent may touch its own node, the pods bound to it, and what those pods refer to.
//!
//! Judged by the request's path and the pods this server knows; what the path says too little about, `restriction` judges
//! by the objects that would be written. What neither subdivides is allowed by the rules of role `system:node`.

use kontiki_model::{FieldSelector, Head, Key, Scope, Status};
use kontiki_raft::ListOptions;
use serde_json::Value;

use super::{
    Decision, Question, defaults,
    references::{Referred, refers},
};
use crate::{
    core::{Core, unreadable},
    failure,
    route::{ResourceInfo, Target},
};

pub const LEASES: &str = "kube-node-lease";
pub const NODE_FIELD: &str = "spec.nodeName";

pub fn decide(core: &Core, node: &str, question: Question<'_>) -> Result<Decision, Status> {
    let by_rules = || match defaults::node_rules().iter().any(|rule| rule.allows(question.verb, question.target)) {
        true => yes(),
        false => no(""),
    };
    let Target::Resource(asked) = question.target else { return Ok(by_rules()) };
    let verb = question.verb;
    match (asked.group.as_str(), asked.resource.as_str()) {
        ("", "configmaps") => readable(core, node, verb, asked, Referred::ConfigMap),
        ("", "secrets") => readable(core, node, verb, asked, Referred::Secret),
        ("", "persistentvolumeclaims") if asked.subresource == "status" => match verb {
            "get" | "patch" | "update" => related(core, node, asked, Referred::PersistentVolumeClaim),
            _ => Ok(no("can only get/update/patch this type")),
        },
        ("", "persistentvolumeclaims") => {
            gettable(verb, asked, || related(core, node, asked, Referred::PersistentVolumeClaim))
        }
        ("", "persistentvolumes") => gettable(verb, asked, || volume(core, node, &asked.name)),
        ("storage.k8s.io", "volumeattachments") => gettable(verb, asked, || attachment(core, node, &asked.name)),
        ("resource.k8s.io", "resourceclaims") => {
            gettable(verb, asked, || related(core, node, asked, Referred::ResourceClaim))
        }
        ("resource.k8s.io", "resourceslices") => Ok(slice(core, node, verb, asked, question.field_selector)),
        ("", "serviceaccounts") => match (verb, asked.subresource.as_str()) {
            ("create", "token") | ("get", "") if !asked.name.is_empty() => {
                related(core, node, asked, Referred::ServiceAccount)
            }
            _ => Ok(no("can only create tokens for individual service accounts")),
        },
        ("coordination.k8s.io", "leases") => Ok(lease(node, verb, asked)),
        ("storage.k8s.io", "csinodes") => Ok(csi_node(node, verb, asked)),
        ("", "nodes") => Ok(own_node(node, verb, asked)),
        ("", "pods") => pods(core, node, verb, asked, question.field_selector),
        _ => Ok(by_rules()),
    }
}

fn yes() -> Decision {
    Decision::allowed(String::new())
}

fn no(reason: impl Into<String>) -> Decision {
    Decision::no_opinion(reason.into())
}

fn unrelated(node: &str) -> Decision {
    no(format!("no relationship found between node '{node}' and this object"))
}

/// Reading one object by its name, also as a list or watch of that name alone.
fn readable(core: &Core, node: &str, verb: &str, asked: &ResourceInfo, kind: Referred) -> Result<Decision, Status> {
    Ok(match verb {
        "get" | "list" | "watch" if !asked.subresource.is_empty() => no("cannot read subresource"),
        "get" | "list" | "watch" if asked.namespace.is_empty() => no("can only read namespaced object of this type"),
        "get" | "list" | "watch" => return related(core, node, asked, kind),
        _ => no("can only read resources of this type"),
    })
}

/// Reading one object by its name, in no other way.
fn gettable(
    verb: &str,
    asked: &ResourceInfo,
    judge: impl FnOnce() -> Result<Decision, Status>,
) -> Result<Decision, Status> {
    match (verb, asked.subresource.as_str()) {
        ("get", "") => judge(),
        ("get", _) => Ok(no("cannot get subresource")),
        _ => Ok(no("can only get individual resources of this type")),
    }
}

/// Whether a pod of this node, in the object's namespace, refers to it.
fn related(core: &Core, node: &str, asked: &ResourceInfo, kind: Referred) -> Result<Decision, Status> {
    match asked.name.as_str() {
        "" => Ok(no("No Object name found")),
        name => referred(core, node, (&asked.namespace, name), kind),
    }
}

fn referred(core: &Core, node: &str, (namespace, name): (&str, &str), kind: Referred) -> Result<Decision, Status> {
    let scope = Scope { resource: "pods".to_owned(), namespace: Some(namespace.to_owned()) };
    let own = |_: &Key, head: &Head| is_on(head, node);
    let options = ListOptions { filter: Some(&own), ..ListOptions::default() };
    let page = core.log.list(&scope, options).map_err(|error| unreadable(&error))?;
    for stored in page.items {
        let pod: Value = serde_json::from_slice(&stored.body).map_err(failure::internal)?;
        if refers(&pod, kind, name) {
            return Ok(yes());
        }
    }
    Ok(unrelated(node))
}

/// A volume belongs to the claim that it names.
fn volume(core: &Core, node: &str, name: &str) -> Result<Decision, Status> {
    let Some(volume) = read(core, &Key::new("persistentvolumes", "", name))? else { return Ok(unrelated(node)) };
    let claim = &volume["spec"]["claimRef"];
    match (claim["namespace"].as_str(), claim["name"].as_str()) {
        (Some(namespace), Some(name)) => referred(core, node, (namespace, name), Referred::PersistentVolumeClaim),
        _ => Ok(unrelated(node)),
    }
}

fn attachment(core: &Core, node: &str, name: &str) -> Result<Decision, Status> {
    let attachment = read(core, &Key::new("volumeattachments.storage.k8s.io", "", name))?;
    let own = attachment.is_some_and(|attachment| attachment["spec"]["nodeName"] == node);
    Ok(if own { yes() } else { unrelated(node) })
}

fn read(core: &Core, key: &Key) -> Result<Option<Value>, Status> {
    let stored = core.stored(key)?;
    stored.map(|stored| serde_json::from_slice(&stored.body).map_err(failure::internal)).transpose()
}

/// What is created, and each that is deleted with others, `restriction` looks at.
fn slice(core: &Core, node: &str, verb: &str, asked: &ResourceInfo, selector: &str) -> Decision {
    match (verb, asked.subresource.as_str()) {
        (_, subresource) if !subresource.is_empty() => no("cannot authorize ResourceSlice subresources"),
        ("create", _) => yes(),
        ("get" | "update" | "patch" | "delete", _) => {
            let head = core.log.head(&Key::new("resourceslices.resource.k8s.io", "", &*asked.name));
            if head.is_some_and(|(_, head)| is_on(&head, node)) { yes() } else { unrelated(node) }
        }
        ("watch" | "list" | "deletecollection", _) if selects_own(selector, node) => yes(),
        ("watch" | "list" | "deletecollection", _) => {
            no("can only list/watch/deletecollection resourceslices with nodeName field selector")
        }
        _ => no(
            "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, \
             deletecollection",
        ),
    }
}

fn lease(node: &str, verb: &str, asked: &ResourceInfo) -> Decision {
    match verb {
        "create" | "delete" | "get" | "patch" | "update" => {}
        _ => return no("can only get, create, update, patch, or delete a node lease"),
    }
    if asked.namespace != LEASES {
        return no(format!("can only access leases in the {LEASES:?} system namespace"));
    }
    if verb != "create" && asked.name != node {
        return no("can only access node lease with the same name as the requesting node");
    }
    yes()
}

fn csi_node(node: &str, verb: &str, asked: &ResourceInfo) -> Decision {
    match verb {
        "create" | "delete" | "get" | "patch" | "update" => {}
        _ => return no("can only get, create, update, patch, or delete a CSINode"),
    }
    if !asked.subresource.is_empty() {
        return no("cannot authorize CSINode subresources");
    }
    if verb != "create" && asked.name != node {
        return no("can only access CSINode with the same name as the requesting node");
    }
    yes()
}

fn own_node(node: &str, verb: &str, asked: &ResourceInfo) -> Decision {
    match (asked.subresource.as_str(), verb) {
        ("", "create" | "patch" | "update") | ("status", "patch" | "update") => yes(),
        ("", "get" | "list" | "watch") => match asked.name.as_str() {
            name if name == node => yes(),
            "" => no(format!("node '{node}' cannot read all nodes, only its own Node object")),
            name => no(format!("node '{node}' cannot read '{name}', only its own Node object")),
        },
        _ => no(""),
    }
}

fn pods(core: &Core, node: &str, verb: &str, asked: &ResourceInfo, selector: &str) -> Result<Decision, Status> {
    let bound = || {
        let head = core.log.head(&Key::new("pods", &*asked.namespace, &*asked.name));
        if head.is_some_and(|(_, head)| is_on(&head, node)) { yes() } else { unrelated(node) }
    };
    Ok(match (asked.subresource.as_str(), verb) {
        ("", "get") => bound(),
        ("", "list" | "watch") if selects_own(selector, node) => yes(),
        ("", "list" | "watch") if !asked.name.is_empty() && !asked.namespace.is_empty() => bound(),
        ("", "list" | "watch") => no("can only list/watch pods with spec.nodeName field selector"),
        ("", "create" | "delete") | ("status", "patch" | "update") | ("eviction", "create") => yes(),
        _ => no(""),
    })
}

pub fn is_on(head: &Head, node: &str) -> bool {
    head.fields.get(NODE_FIELD).is_some_and(|bound| bound == node)
}

/// Whether a field selector leaves no object of another node.
fn selects_own(selector: &str, node: &str) -> bool {
    FieldSelector::parse(selector).is_ok_and(|selector| selector.required(NODE_FIELD) == Some(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_selects_its_own_pods_only() {
        assert!(selects_own("spec.nodeName=n1", "n1"));
        assert!(selects_own("status.phase!=Failed,spec.nodeName==n1", "n1"));
        assert!(!selects_own("", "n1") && !selects_own("spec.nodeName=n2", "n1"));
        assert!(!selects_own("spec.nodeName!=n1", "n1") && !selects_own("spec.nodeName=n12", "n1"));
        assert!(!selects_own("status.phase!=a\\,spec.nodeName=n1", "n1"));
    }

    #[test]
    fn names_decide_about_leases_and_nodes() {
        let asked = |namespace: &str, name: &str, subresource: &str| ResourceInfo {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: subresource.to_owned(),
            ..ResourceInfo::default()
        };
        let cases = [
            (lease("n", "update", &asked(LEASES, "n", "")), ""),
            (lease("n", "create", &asked(LEASES, "", "")), ""),
            (
                lease("n", "update", &asked(LEASES, "o", "")),
                "can only access node lease with the same name as the requesting node",
            ),
            (
                lease("n", "get", &asked("default", "n", "")),
                "can only access leases in the \"kube-node-lease\" system namespace",
            ),
            (lease("n", "list", &asked(LEASES, "", "")), "can only get, create, update, patch, or delete a node lease"),
            (own_node("n", "get", &asked("", "n", "")), ""),
            (own_node("n", "list", &asked("", "", "")), "node 'n' cannot read all nodes, only its own Node object"),
            (own_node("n", "watch", &asked("", "o", "")), "node 'n' cannot read 'o', only its own Node object"),
            (own_node("n", "patch", &asked("", "n", "status")), ""),
            (csi_node("n", "update", &asked("", "n", "")), ""),
            (
                csi_node("n", "update", &asked("", "o", "")),
                "can only access CSINode with the same name as the requesting node",
            ),
        ];
        for (Decision { allowed, reason }, expected) in cases {
            assert_eq!((allowed, reason.as_str()), (expected.is_empty(), expected));
        }
        assert!(
            !own_node("n", "delete", &asked("", "n", "")).allowed
                && !own_node("n", "get", &asked("", "n", "proxy")).allowed
        );
    }
}
