//! Whether this node can take one more pod: the last check, after the scheduler's, with what the node itself knows. Pure.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{
    ContainerPort, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
};

use crate::{machine::Rejection, pod, pressure, quantity, spec::resources, sysctls::Sysctls};

/// As Kubernetes names it.
const OS: &str = "linux";
/// With a container's name behind it: how a profile was named before there was a field.
const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

pub struct Room<'a> {
    /// TCP ports that the node's own parts listen on.
    pub own_ports: &'a [u16],
    pub sysctls: &'a Sysctls,
    /// What the node is short of.
    pub pressures: &'a [&'a str],
    pub allocatable: &'a BTreeMap<String, String>,
    /// `None` while the Node object is not known.
    pub labels: Option<&'a BTreeMap<String, String>>,
    pub node_name: &'a str,
    /// Pods that are here and have not ended.
    pub pods: &'a [Arc<Pod>],
}

/// `None` if the pod may run here.
pub fn refuse(pod: &Pod, room: &Room<'_>) -> Option<Rejection> {
    let spec = pod::spec(pod);
    let rejection =
        |reason: &str, message: String| Some(Rejection::new(reason, format!("Pod was rejected: {message}")));
    if let Some(rejection) = pressure::refuse(pod, &spec, room.pressures) {
        return Some(rejection);
    }
    if let Some(forbidden) = room.sysctls.forbidden(&spec) {
        return rejection("SysctlForbidden", format!("forbidden sysctl: {forbidden}"));
    }
    let asked = pod.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/os"));
    if asked.is_some_and(|os| os != OS) {
        let message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return rejection("PodOSSelectorNodeLabelDoesNotMatch", message.to_owned());
    }
    if spec.os.as_ref().is_some_and(|os| os.name != OS) {
        let message = "Failed to admit pod as the OS field doesn't match node OS";
        return rejection("PodOSNotSupported", message.to_owned());
    }
    if let Some(labels) = room.labels
        && !selects(&spec, labels, room.node_name)
    {
        let message = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        return rejection("NodeAffinity", message.to_owned());
    }
    let is_own = |(number, protocol, _): &(i32, &str, &str)| {
        *protocol == "TCP" && room.own_ports.iter().any(|own| i32::from(*own) == *number)
    };
    let taken = host_ports(&spec).iter().any(is_own);
    if taken || room.pods.iter().any(|other| ports_conflict(&spec, &pod::spec(other))) {
        let message = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        return rejection("NodePorts", message.to_owned());
    }
    let mut names = vec!["pods".to_owned(), "cpu".to_owned(), "memory".to_owned(), "ephemeral-storage".to_owned()];
    let asked = pod::containers(&spec).flat_map(|container| {
        let requests = container.resources.clone().and_then(|resources| resources.requests).unwrap_or_default();
        requests.into_keys()
    });
    let of_pod = spec.resources.clone().and_then(|resources| resources.requests).unwrap_or_default();
    let asked = asked.chain(of_pod.into_keys());
    // As with the kubelet, what is no resource of this node is for somebody else to count.
    let counted = |name: &String| !is_extended(name) || room.allocatable.contains_key(name);
    for name in asked.filter(counted) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if let Some((name, message)) =
        names.iter().find_map(|name| Some((name, short(name, &spec, room.allocatable, room.pods)?)))
    {
        return rejection(&format!("OutOf{name}"), message);
    }
    // A pod that asks for confinement does not run without it.
    match wants_app_armor(pod, &spec) {
        true => rejection("AppArmor", "Cannot enforce AppArmor: the node's runtime applies no profiles".to_owned()),
        false => None,
    }
}

/// A container's own profile, in either form, or else the pod's is one that confines.
fn wants_app_armor(pod: &Pod, spec: &PodSpec) -> bool {
    let of_pod = spec.security_context.as_ref().and_then(|context| context.app_armor_profile.as_ref());
    let annotations = pod.metadata.annotations.as_ref();
    pod::containers(spec).any(|container| {
        let own = container.security_context.as_ref().and_then(|context| context.app_armor_profile.as_ref());
        let annotation = format!("{APP_ARMOR_ANNOTATION}{}", container.name);
        match (own, annotations.and_then(|all| all.get(&annotation))) {
            (Some(own), _) => own.type_ != "Unconfined",
            (None, Some(annotated)) => annotated != "unconfined",
            (None, None) => of_pod.is_some_and(|profile| profile.type_ != "Unconfined"),
        }
    })
}

/// Why a pod can never have what it asks for here.
pub fn over_capacity(spec: &PodSpec, allocatable: &BTreeMap<String, String>) -> Option<String> {
    ["memory", "cpu"].iter().find_map(|name| {
        let (requested, capacity) = (request(spec, name), capacity(name, allocatable));
        let over = requested > capacity;
        over.then(|| format!("Node didn't have enough capacity: {name}, requested: {requested}, capacity: {capacity}"))
    })
}

/// Why a pod cannot have what it asks for beside the others.
pub fn over_room(spec: &PodSpec, allocatable: &BTreeMap<String, String>, others: &[Arc<Pod>]) -> Option<String> {
    ["cpu", "memory"].iter().find_map(|name| short(name, spec, allocatable, others))
}

fn short(name: &str, spec: &PodSpec, allocatable: &BTreeMap<String, String>, others: &[Arc<Pod>]) -> Option<String> {
    let (requested, capacity) = (request(spec, name), capacity(name, allocatable));
    // Each pod may name the largest number there is.
    let used: i128 = others.iter().map(|other| i128::from(request(&pod::spec(other), name))).sum();
    let over = requested > 0 && used + i128::from(requested) > i128::from(capacity);
    over.then(|| {
        format!("Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}")
    })
}

fn capacity(name: &str, allocatable: &BTreeMap<String, String>) -> i64 {
    allocatable.get(name).map_or(0, |text| amount(name, text))
}

fn amount(name: &str, text: &str) -> i64 {
    if name == "cpu" { quantity::milli(text) } else { quantity::value(text) }
}

/// What a pod asks for: cpu in thousandths, all else in whole units.
pub fn request(spec: &PodSpec, name: &str) -> i64 {
    if name == "pods" {
        return 1;
    }
    resources::request(spec, name).saturating_add(resources::overhead(spec, name))
}

fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

fn ports_conflict(a: &PodSpec, b: &PodSpec) -> bool {
    let ports = host_ports(b);
    host_ports(a).iter().any(|wanted| ports.iter().any(|taken| conflict(wanted, taken)))
}

/// Port, protocol and address of each port on the host.
fn host_ports(spec: &PodSpec) -> Vec<(i32, &str, &str)> {
    let own = |port: &ContainerPort| match (port.host_port, spec.host_network) {
        (Some(number @ 1..), _) => Some(number),
        (_, Some(true)) => Some(port.container_port),
        (_, _) => None,
    };
    let sidecars = spec.init_containers.iter().flatten().filter(|container| pod::is_sidecar(container));
    let ports = sidecars.chain(&spec.containers).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let address = port.host_ip.as_deref().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0");
            Some((own(port)?, port.protocol.as_deref().unwrap_or("TCP"), address))
        })
        .collect()
}

fn conflict(a: &(i32, &str, &str), b: &(i32, &str, &str)) -> bool {
    let anywhere = |address: &str| matches!(address, "0.0.0.0" | "::");
    a.0 == b.0 && a.1 == b.1 && (a.2 == b.2 || anywhere(a.2) || anywhere(b.2))
}

/// `nodeSelector` and the required node affinity.
fn selects(spec: &PodSpec, labels: &BTreeMap<String, String>, node_name: &str) -> bool {
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|required| matches_any(required, labels, node_name))
}

fn matches_any(selector: &NodeSelector, labels: &BTreeMap<String, String>, node_name: &str) -> bool {
    let matches = |term: &NodeSelectorTerm| {
        let expressions = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        let name = Some(node_name.to_owned());
        !(expressions.is_empty() && fields.is_empty())
            && expressions.iter().all(|requirement| holds(requirement, labels.get(&requirement.key)))
            && fields.iter().all(|requirement| requirement.key == "metadata.name" && holds(requirement, name.as_ref()))
    };
    selector.node_selector_terms.iter().any(matches)
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&String>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.contains(value));
    let compared = || -> Option<std::cmp::Ordering> {
        let bound: i64 = values.first()?.parse().ok()?;
        Some(value?.parse::<i64>().ok()?.cmp(&bound))
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared() == Some(std::cmp::Ordering::Greater),
        "Lt" => compared() == Some(std::cmp::Ordering::Less),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"spec": spec})).unwrap()
    }

    #[test]
    fn a_pod_that_does_not_fit_fails_with_the_kubelets_reason() {
        let allocatable: BTreeMap<String, String> =
            [("cpu", "1"), ("memory", "1Gi"), ("pods", "2"), ("example.com/foo", "1")]
                .map(|(k, v)| (k.into(), v.into()))
                .into();
        let labels: BTreeMap<String, String> = [("disk".to_owned(), "ssd".to_owned())].into();
        let running =
            Arc::new(pod(json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "hostPort": 80}],
            "resources": {"requests": {"cpu": "600m"}}}]})));
        let with = |spec: serde_json::Value, pods: &[Arc<Pod>]| {
            let sysctls = Sysctls::default();
            let (labels, own_ports) = (Some(&labels), &[6443, 10250]);
            let room = Room {
                own_ports,
                sysctls: &sysctls,
                pressures: &[],
                allocatable: &allocatable,
                labels,
                node_name: "here",
                pods,
            };
            refuse(&pod(spec), &room)
        };
        let one = std::slice::from_ref(&running);
        for fits in [
            json!({"containers": [{"name": "b"}], "os": {"name": "linux"}}),
            json!({"containers": [{"name": "b", "resources": {"requests": {"example.com/foo": "1", "example.com/gpu": "1"}}}]}),
            json!({"containers": [{"name": "b", "ports": [{"containerPort": 6443},
                {"containerPort": 1, "hostPort": 6443, "protocol": "UDP"}]}]}),
            json!({"containers": [{"name": "b", "securityContext": {"appArmorProfile": {"type": "Unconfined"}}}],
                "securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}),
        ] {
            assert_eq!(with(fits, one), None);
        }
        let cpu =
            with(json!({"containers": [{"name": "b", "resources": {"requests": {"cpu": "500m"}}}]}), one).unwrap();
        assert_eq!(cpu.reason, "OutOfcpu");
        assert_eq!(
            cpu.message,
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 500, used: 600, capacity: 1000"
        );
        for (spec, pods, reason) in [
            (json!({"containers": [{"name": "b"}]}), vec![running.clone(), running.clone()], "OutOfpods"),
            (
                json!({"containers": [{"name": "b", "ports": [{"containerPort": 1, "hostPort": 80}]}]}),
                vec![running.clone()],
                "NodePorts",
            ),
            (json!({"containers": [{"name": "b"}], "nodeSelector": {"disk": "tape"}}), vec![], "NodeAffinity"),
            (
                json!({"containers": [{"name": "b", "ports": [{"containerPort": 1, "hostPort": 6443}]}]}),
                vec![],
                "NodePorts",
            ),
            (
                json!({"containers": [{"name": "b"}],
                    "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}),
                vec![],
                "SysctlForbidden",
            ),
            (
                json!({"containers": [{"name": "b", "resources": {"requests": {"memory": "9223372036854775807"}}}]}),
                vec![Arc::new(pod(json!({"containers": [{"name": "a",
                    "resources": {"requests": {"memory": "9223372036854775807"}}}]})))],
                "OutOfmemory",
            ),
            (
                json!({"containers": [{"name": "b", "resources": {"requests": {"memory": "9223372036854775807"}}},
                    {"name": "c", "resources": {"requests": {"memory": "9223372036854775807"}}}]}),
                vec![],
                "OutOfmemory",
            ),
            (json!({"containers": [{"name": "b"}], "os": {"name": "windows"}}), vec![], "PodOSNotSupported"),
            (
                json!({"containers": [{"name": "b"}], "securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}),
                vec![],
                "AppArmor",
            ),
            (
                json!({"containers": [{"name": "b", "securityContext": {"appArmorProfile": {"type": "Localhost"}}}]}),
                vec![],
                "AppArmor",
            ),
            (
                json!({"containers": [{"name": "b", "resources": {"requests": {"example.com/foo": "2"}}}]}),
                vec![],
                "OutOfexample.com/foo",
            ),
            (
                json!({"containers": [{"name": "b", "resources": {"requests": {"hugepages-2Mi": "2Mi"}}}]}),
                vec![],
                "OutOfhugepages-2Mi",
            ),
        ] {
            assert_eq!(with(spec, &pods).unwrap().reason, reason);
        }
    }
}
