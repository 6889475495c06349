//! The node authorizer: an agent may touch its own node, the pods bound to it, and what those pods refer to.
//!
//! Two halves, as in Kubernetes. [`allows`] judges the request by its path and the pods this server knows; [`restrict`]
//! judges the bodies of writes that the path says too little about.

use kontiki_model::{Key, Scope, Status};
use kontiki_raft::ListOptions;
use serde_json::Value;

use super::{
    Question, node_name,
    references::{Referred, refers},
};
use crate::{
    core::{Core, unreadable},
    failure::{self, Qualified},
    request::{ApiRequest, Identity, ResourceRequest},
    route::{ResourceInfo, Target},
};

const LEASES: &str = "kube-node-lease";
const NODE_FIELD: &str = "spec.nodeName";

pub fn allows(core: &Core, node: &str, question: Question<'_>) -> Result<bool, Status> {
    let Target::Resource(asked) = question.target else { return Ok(false) };
    let verb = question.verb;
    let read = matches!(verb, "get" | "list" | "watch");
    let what = (asked.group.as_str(), asked.resource.as_str(), asked.subresource.as_str());
    match what {
        ("", "nodes", "") if read || verb == "create" => Ok(true),
        ("", "nodes", "" | "status") => Ok(asked.name == node && matches!(verb, "get" | "patch" | "update")),
        ("", "pods", "") => pods(core, node, verb, asked, question.field_selector),
        ("", "pods", "status") => Ok(matches!(verb, "patch" | "update") && is_bound(core, node, asked)?),
        ("", "configmaps", "") => referred(core, node, verb, asked, Referred::ConfigMap),
        ("", "secrets", "") => referred(core, node, verb, asked, Referred::Secret),
        ("", "persistentvolumeclaims", "") => referred(core, node, verb, asked, Referred::PersistentVolumeClaim),
        ("", "serviceaccounts", "") => Ok(verb == "get" && any_refers(core, node, asked, Referred::ServiceAccount)?),
        ("", "serviceaccounts", "token") => {
            Ok(verb == "create" && any_refers(core, node, asked, Referred::ServiceAccount)?)
        }
        ("", "endpoints" | "namespaces" | "services", "") | ("discovery.k8s.io", "endpointslices", "") => Ok(read),
        ("" | "events.k8s.io", "events", "") => Ok(matches!(verb, "create" | "patch" | "update")),
        ("coordination.k8s.io", "leases", "") => Ok(lease(node, verb, asked)),
        ("authentication.k8s.io", "tokenreviews", "") | ("authorization.k8s.io", "subjectaccessreviews", "") => {
            Ok(verb == "create")
        }
        _ => Ok(false),
    }
}

fn pods(core: &Core, node: &str, verb: &str, asked: &ResourceInfo, selector: &str) -> Result<bool, Status> {
    match verb {
        "list" | "watch" => Ok(selects_own(selector, node)),
        "get" | "delete" => is_bound(core, node, asked),
        _ => Ok(false),
    }
}

/// Whether a field selector leaves no pod of another node.
fn selects_own(selector: &str, node: &str) -> bool {
    let own = |term: &str| {
        let value = term.trim().strip_prefix(NODE_FIELD)?.strip_prefix('=')?;
        Some(value.strip_prefix('=').unwrap_or(value) == node)
    };
    selector.split(',').any(|term| own(term).unwrap_or(false))
}

fn lease(node: &str, verb: &str, asked: &ResourceInfo) -> bool {
    let own = asked.name == node && matches!(verb, "delete" | "get" | "patch" | "update");
    asked.namespace == LEASES && (own || verb == "create")
}

/// Reading one object by its name, also as a list or watch of that name alone.
fn referred(core: &Core, node: &str, verb: &str, asked: &ResourceInfo, kind: Referred) -> Result<bool, Status> {
    let one = !asked.name.is_empty() && matches!(verb, "get" | "list" | "watch");
    Ok(one && any_refers(core, node, asked, kind)?)
}

fn is_bound(core: &Core, node: &str, asked: &ResourceInfo) -> Result<bool, Status> {
    let head = core.log.head(&Key::new("pods", &*asked.namespace, &*asked.name));
    Ok(head.is_some_and(|(_, head)| head.fields.get(NODE_FIELD).is_some_and(|bound| bound == node)))
}

/// Whether a pod of this node, in the object's namespace, refers to it.
fn any_refers(core: &Core, node: &str, asked: &ResourceInfo, kind: Referred) -> Result<bool, Status> {
    if asked.namespace.is_empty() || asked.name.is_empty() {
        return Ok(false);
    }
    let scope = Scope { resource: "pods".to_owned(), namespace: Some(asked.namespace.clone()) };
    let own = |_: &Key, head: &kontiki_model::Head| head.fields.get(NODE_FIELD).is_some_and(|bound| bound == node);
    let options = ListOptions { filter: Some(&own), ..ListOptions::default() };
    let page = core.log.list(&scope, options).map_err(|error| unreadable(&error))?;
    for stored in page.items {
        let pod: Value = serde_json::from_slice(&stored.body).map_err(failure::internal)?;
        if refers(&pod, kind, &asked.name) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What an agent may not write although the path is allowed: another node's object, a token for no pod of its own.
pub(crate) fn restrict(
    core: &Core,
    identity: &Identity,
    route: &ResourceRequest,
    request: &ApiRequest,
) -> Result<(), Status> {
    let Some(node) = node_name(identity) else { return Ok(()) };
    let of = Qualified { group: route.kind.group, resource: route.kind.resource };
    let refused = |why: &str| Err(failure::forbidden(of, route.name.as_deref().unwrap_or(""), why));
    match (route.kind.group, route.kind.resource, route.subresource.as_deref(), route.verb) {
        ("", "nodes", None, "create") | ("coordination.k8s.io", "leases", None, "create") => {
            let body = crate::content::json_value(request)?;
            if body["metadata"]["name"] == node {
                return Ok(());
            }
            refused(&format!("node {node:?} can only create its own object, named {node:?}"))
        }
        ("", "serviceaccounts", Some("token"), _) => {
            let bound = &crate::content::json_value(request)?["spec"]["boundObjectRef"];
            let (namespace, account) = (route.namespace.as_deref().unwrap_or(""), route.name.as_deref().unwrap_or(""));
            let pod = core.stored(&Key::new("pods", namespace, bound["name"].as_str().unwrap_or("")))?;
            let Some(pod) = pod.filter(|_| bound["kind"] == "Pod") else {
                return refused(&format!("node {node:?} can only request tokens bound to a pod of its own"));
            };
            let here = pod.head.fields.get(NODE_FIELD).is_some_and(|bound| bound == node);
            let value: Value = serde_json::from_slice(&pod.body).map_err(failure::internal)?;
            let same = bound["uid"].as_str().is_some_and(|uid| uid == pod.head.uid);
            if here && same && refers(&value, Referred::ServiceAccount, account) {
                return Ok(());
            }
            refused(&format!("node {node:?} can only request tokens bound to a pod of its own that uses the account"))
        }
        _ => Ok(()),
    }
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
    }
}
