//! Filter plugins: may this pod run on this node? One function each, in one list. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint, Toleration};

use crate::{
    cluster::{self, HostPort, NodeState},
    quantity::{self, Amounts},
    storage::PodClaims,
};

/// A pod with what filters and scores read again and again.
pub struct Candidate<'a> {
    pub pod: &'a Pod,
    pub requests: Amounts,
    pub ports: Vec<HostPort>,
    pub claims: PodClaims,
}

impl<'a> Candidate<'a> {
    pub fn new(pod: &'a Pod, claims: PodClaims) -> Self {
        let requests = quantity::requests(pod);
        Candidate { pod, requests, ports: cluster::host_ports(pod), claims }
    }
}

/// Says why the pod may not run there, in Kubernetes' words; an empty answer lets it pass.
type Filter = fn(&Candidate<'_>, &NodeState) -> Vec<String>;

/// In the order they are asked; the first that objects is what users are told.
const FILTERS: &[Filter] = &[unschedulable, taints, node_affinity, ports, resources, volumes, devices];

/// Why the pod may not run on the node; empty if it may.
pub fn objections(candidate: &Candidate<'_>, node: &NodeState) -> Vec<String> {
    FILTERS.iter().map(|filter| filter(candidate, node)).find(|objections| !objections.is_empty()).unwrap_or_default()
}

/// `0/2 nodes are available: persistentvolumeclaim "a" not found.`: no node is asked about a pod that waits for something else.
pub fn explain_wait(nodes: usize, why: &str) -> String {
    match nodes {
        0 => explain(0, &BTreeMap::new()),
        _ => format!("0/{nodes} nodes are available: {why}."),
    }
}

/// `0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable. …`
pub fn explain(nodes: usize, objections: &BTreeMap<String, usize>) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut counted: Vec<String> = objections.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    counted.sort();
    format!("0/{nodes} nodes are available: {}.", counted.join(", "))
}

fn tolerations<'a>(candidate: &Candidate<'a>) -> &'a [Toleration] {
    candidate.pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or(&[])
}

pub fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        let effect = toleration.effect.as_deref().unwrap_or("");
        let key = toleration.key.as_deref().unwrap_or("");
        let exists = toleration.operator.as_deref() == Some("Exists");
        let value = toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or("");
        (effect.is_empty() || effect == taint.effect)
            && (key == taint.key || (key.is_empty() && exists))
            && (exists || value)
    })
}

fn unschedulable(candidate: &Candidate<'_>, node: &NodeState) -> Vec<String> {
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        effect: "NoSchedule".into(),
        value: None,
        time_added: None,
    };
    if node.unschedulable && !tolerated(tolerations(candidate), &taint) {
        return vec!["node(s) were unschedulable".to_owned()];
    }
    Vec::new()
}

fn taints(candidate: &Candidate<'_>, node: &NodeState) -> Vec<String> {
    let hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    let untolerated = node.taints.iter().filter(hard).any(|taint| !tolerated(tolerations(candidate), taint));
    if untolerated { vec!["node(s) had untolerated taint(s)".to_owned()] } else { Vec::new() }
}

fn node_affinity(candidate: &Candidate<'_>, node: &NodeState) -> Vec<String> {
    let Some(spec) = &candidate.pod.spec else { return Vec::new() };
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| node.labels.get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let matched =
        required.is_none_or(|required| required.node_selector_terms.iter().any(|term| term_matches(term, node)));
    if selected && matched {
        return Vec::new();
    }
    vec!["node(s) didn't match Pod's node affinity/selector".to_owned()]
}

/// An empty term matches nothing, as in Kubernetes.
pub fn term_matches(term: &NodeSelectorTerm, node: &NodeState) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or(&[]);
    let fields = term.match_fields.as_deref().unwrap_or(&[]);
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let name = |requirement: &NodeSelectorRequirement| {
        requirement.key == "metadata.name" && requirement_matches(requirement, Some(&node.name))
    };
    expressions.iter().all(|one| requirement_matches(one, node.labels.get(&one.key))) && fields.iter().all(name)
}

fn requirement_matches(requirement: &NodeSelectorRequirement, value: Option<&String>) -> bool {
    let values = requirement.values.as_deref().unwrap_or(&[]);
    let number = |text: Option<&String>| text.and_then(|text| text.parse::<i64>().ok());
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).zip(number(values.first())).is_some_and(|(have, bound)| have > bound),
        "Lt" => number(value).zip(number(values.first())).is_some_and(|(have, bound)| have < bound),
        _ => false,
    }
}

fn ports(candidate: &Candidate<'_>, node: &NodeState) -> Vec<String> {
    let taken = candidate.ports.iter().any(|wanted| node.ports.iter().any(|held| held.conflicts(wanted)));
    if taken { vec!["node(s) didn't have free ports for the requested pod ports".to_owned()] } else { Vec::new() }
}

fn resources(candidate: &Candidate<'_>, node: &NodeState) -> Vec<String> {
    let mut objections = Vec::new();
    if node.pods + 1 > *node.allocatable.get("pods").unwrap_or(&0) {
        objections.push("Too many pods".to_owned());
    }
    let lacking = candidate.requests.iter().filter(|(name, value)| node.free(name) < i128::from(**value));
    objections.extend(lacking.map(|(name, _)| format!("Insufficient {name}")));
    objections
}

fn volumes(candidate: &Candidate<'_>, node: &NodeState) -> Vec<String> {
    candidate.claims.objections(node)
}

/// Nothing here allocates devices: a pod that needs some never runs without them.
fn devices(candidate: &Candidate<'_>, _: &NodeState) -> Vec<String> {
    let claims = candidate.pod.spec.as_ref().and_then(|spec| spec.resource_claims.as_ref());
    match claims.is_some_and(|claims| !claims.is_empty()) {
        true => vec!["cannot allocate all claims".to_owned()],
        false => Vec::new(),
    }
}

/// Whether a change of a node can make room for a pod that found none.
pub fn may_help(old: Option<&Node>, new: &Node) -> bool {
    let facts = |node: &Node| {
        let spec = node.spec.clone().unwrap_or_default();
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.clone());
        (node.metadata.labels.clone(), spec.taints, spec.unschedulable, allocatable)
    };
    old.is_none_or(|old| facts(old) != facts(new))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::{Cluster, tests};

    fn objections_for(pod: serde_json::Value, node: serde_json::Value) -> Vec<String> {
        let mut cluster = Cluster::default();
        cluster.put_node(&serde_json::from_value(node).unwrap());
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": pod})).unwrap();
        objections(&Candidate::new(&pod, PodClaims::default()), cluster.nodes().next().unwrap())
    }

    #[test]
    fn each_filter_objects_in_kubernetes_words() {
        let plain = json!({"metadata": {"name": "n", "labels": {"disk": "ssd", "rank": "5"}},
                           "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "1"}}});
        let with = |spec: serde_json::Value| {
            let mut node = plain.clone();
            node["spec"] = spec;
            node
        };
        let none = json!({"containers": []});
        let affinity = |operator: &str, values: serde_json::Value| {
            let term = json!({"matchExpressions": [{"key": "rank", "operator": operator, "values": values}]});
            json!({"containers": [], "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}})
        };
        let asks =
            |requests: serde_json::Value| json!({"containers": [{"name": "c", "resources": {"requests": requests}}]});
        let mismatch = "node(s) didn't match Pod's node affinity/selector";
        let taint = json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]});
        let table = [
            (none.clone(), plain.clone(), vec![]),
            (none.clone(), with(json!({"unschedulable": true})), vec!["node(s) were unschedulable"]),
            (none.clone(), with(taint.clone()), vec!["node(s) had untolerated taint(s)"]),
            (json!({"containers": [], "tolerations": [{"key": "k", "operator": "Exists"}]}), with(taint), vec![]),
            (none, with(json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]})), vec![]),
            (json!({"containers": [], "nodeSelector": {"disk": "ssd"}}), plain.clone(), vec![]),
            (json!({"containers": [], "nodeSelector": {"disk": "hdd"}}), plain.clone(), vec![mismatch]),
            (affinity("In", json!(["5"])), plain.clone(), vec![]),
            (affinity("NotIn", json!(["5"])), plain.clone(), vec![mismatch]),
            (affinity("Gt", json!(["4"])), plain.clone(), vec![]),
            (affinity("Lt", json!(["4"])), plain.clone(), vec![mismatch]),
            (asks(json!({"cpu": "1001m"})), plain.clone(), vec!["Insufficient cpu"]),
            (
                asks(json!({"cpu": "2", "memory": "2Gi"})),
                plain.clone(),
                vec!["Insufficient cpu", "Insufficient memory"],
            ),
            (
                json!({"containers": [], "resourceClaims": [{"name": "a", "resourceClaimName": "gpu"}]}),
                plain.clone(),
                vec!["cannot allocate all claims"],
            ),
            (asks(json!({"example.com/gpu": "1"})), plain, vec!["Insufficient example.com/gpu"]),
        ];
        for (pod, node, expected) in table {
            assert_eq!(objections_for(pod.clone(), node.clone()), expected, "{pod} on {node}");
        }
    }

    #[test]
    fn host_ports_and_pod_counts_are_heeded() {
        let mut cluster = Cluster::default();
        cluster.put_node(&tests::node("n", "4"));
        cluster.put_pod(&tests::pod("one", "n", "100m"));
        let node = cluster.nodes().next().unwrap();
        let pod = tests::pod("two", "", "100m");
        let taken = ["node(s) didn't have free ports for the requested pod ports"];
        assert_eq!(objections(&Candidate::new(&pod, PodClaims::default()), node), taken);
    }

    #[test]
    fn the_answer_counts_reasons() {
        let reasons = BTreeMap::from([("Insufficient cpu".to_owned(), 2), ("Too many pods".to_owned(), 1)]);
        assert_eq!(explain(3, &reasons), "0/3 nodes are available: 1 Too many pods, 2 Insufficient cpu.");
        assert_eq!(explain(0, &BTreeMap::new()), "no nodes available to schedule pods");
    }
}
