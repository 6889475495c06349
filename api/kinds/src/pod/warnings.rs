//! What is valid in a pod spec and still not what one wants.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::resources::quantity;
use crate::names::label;
use crate::tree::{at, int, list, members, text};

/// Warnings about a new Pod. Updates get none: people rarely write to Pods that exist.
pub fn pod(pod: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some() {
        return Vec::new();
    }
    let mut out = hostname(pod, "the Pod's hostname");
    out.extend(spec(at(pod, "/spec"), "spec"));
    out
}

/// Warnings about a workload whose name and template become those of pods; on updates only if its spec changed.
pub fn workload(workload: &Value, old: Option<&Value>) -> Vec<String> {
    let mut out = match old {
        Some(old) if at(old, "/spec") == at(workload, "/spec") => return Vec::new(),
        Some(_) => Vec::new(),
        None => name_of_pods(workload),
    };
    out.extend(template(at(workload, "/spec/template"), "spec.template"));
    out
}

/// Warnings about a name that becomes a part of the names of pods.
pub fn name_of_pods(object: &Value) -> Vec<String> {
    hostname(object, "Pod names and hostnames")
}

/// Warnings about a pod template that stands at `path`.
pub fn template(template: &Value, path: &str) -> Vec<String> {
    spec(at(template, "/spec"), &format!("{path}.spec"))
}

fn hostname(object: &Value, used: &str) -> Vec<String> {
    let wrong = label(text(object, "/metadata/name"));
    if wrong.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "metadata.name: this is used in {used}, which can result in surprising behavior; a DNS label is recommended: [{}]",
        wrong.join(" ")
    )]
}

const DEPRECATED_NODE_LABELS: [(&str, &str); 5] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
];

const DEPRECATED_VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Why a label of nodes should not be used any more, and which one should.
pub fn deprecated_node_label(label: &str) -> Option<&'static str> {
    DEPRECATED_NODE_LABELS.iter().find(|(deprecated, _)| *deprecated == label).map(|(_, why)| *why)
}

/// Warnings about a term that selects nodes, at `path`.
pub fn node_term(term: &Value, path: &str) -> Vec<String> {
    let each = list(term, "/matchExpressions").iter().map(|one| text(one, "/key")).enumerate();
    let why =
        |(index, key)| Some(format!("{path}.matchExpressions[{index}].key: {key} is {}", deprecated_node_label(key)?));
    each.filter_map(why).collect()
}

/// The sources that something has and should not have any more, as Kubernetes spells their fields, and why.
pub fn deprecated_sources(holder: &Value) -> impl Iterator<Item = (&'static str, &'static str)> {
    let has = |kind: &str| !at(holder, &format!("/{kind}")).is_null();
    let all = DEPRECATED_VOLUMES.into_iter().filter(move |(kind, _)| has(kind));
    all.map(|(kind, why)| (if kind == "storageos" { "storageOS" } else { kind }, why))
}

/// There is no part of a byte.
pub fn fraction(amount: &Value) -> Option<String> {
    let amount = quantity(amount).filter(|amount| amount.milli_value() % 1000 != 0)?;
    Some(format!("fractional byte value \"{amount}\" is invalid, must be an integer"))
}

fn spec(spec: &Value, path: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (label, why) in DEPRECATED_NODE_LABELS {
        if at(spec, "/nodeSelector").get(label).is_some() {
            out.push(format!("{path}.nodeSelector[{label}]: {why}"));
        }
    }
    for (index, constraint) in list(spec, "/topologySpreadConstraints").iter().enumerate() {
        if at(constraint, "/labelSelector").is_null() {
            let path = format!("{path}.topologySpreadConstraints[{index}].labelSelector");
            out.push(format!("{path}: a null labelSelector results in matching no pod"));
        }
    }
    for (index, volume) in list(spec, "/volumes").iter().enumerate() {
        for (field, why) in deprecated_sources(volume) {
            out.push(format!("{path}.volumes[{index}].{field}: {why}"));
        }
    }
    repeated(spec, path, &mut out);
    let mut ports = Ports::new();
    for member in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, container) in list(spec, &format!("/{member}")).iter().enumerate() {
            let path = format!("{path}.{member}[{index}]");
            resources(container, &path, &mut out);
            environment(container, &path, &mut out);
            container_ports(container, &path, &mut ports, &mut out);
        }
    }
    if int(spec, "/terminationGracePeriodSeconds") < 0 {
        let why = "must be >= 0; negative values are invalid and will be treated as 1";
        out.push(format!("{path}.terminationGracePeriodSeconds: {why}"));
    }
    out
}

/// Lists keyed by a member, in which a second element hides the first.
fn repeated(spec: &Value, path: &str, out: &mut Vec<String>) {
    for (list_name, key) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let mut seen = HashSet::new();
        for (index, one) in list(spec, &format!("/{list_name}")).iter().enumerate() {
            let value = text(one, &format!("/{key}"));
            if !seen.insert(value) {
                out.push(format!("{path}.{list_name}[{index}].{key}: duplicate {key} {value:?}"));
            }
        }
    }
    for (index, secret) in list(spec, "/imagePullSecrets").iter().enumerate() {
        if text(secret, "/name").is_empty() {
            out.push(format!("{path}.imagePullSecrets[{index}].name: invalid empty name \"\""));
        }
    }
}

fn resources(container: &Value, path: &str, out: &mut Vec<String>) {
    for list_name in ["limits", "requests"] {
        for (name, value) in members(container, &format!("/resources/{list_name}")) {
            let bytes = matches!(name.as_str(), "memory" | "ephemeral-storage");
            if let Some(why) = fraction(value).filter(|_| bytes) {
                out.push(format!("{path}.resources.{list_name}[{name}]: {why}"));
            }
        }
    }
}

/// A variable may be built on an earlier one of the same name; otherwise the earlier one is lost.
fn environment(container: &Value, path: &str, out: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for (index, variable) in list(container, "/env").iter().enumerate() {
        let (name, value) = (text(variable, "/name"), text(variable, "/value"));
        let reference = format!("$({name})");
        let builds_on = at(variable, "/valueFrom").is_null() && value != reference && value.contains(&reference);
        if !seen.insert(name) && !builds_on {
            out.push(format!(
                "{path}.env[{index}]: hides previous definition of \"{name}\", which may be dropped when using apply"
            ));
        }
    }
}

/// With how many others a port is said to overlap.
const OVERLAPS_TOLD_MAX: usize = 16;

/// A port of some container, and where it stands.
struct Port<'a> {
    host_ip: &'a str,
    host_port: i64,
    path: String,
}

/// By number and protocol.
type Ports<'a> = HashMap<(i64, &'a str), Vec<Port<'a>>>;

/// The containers of a pod share one set of ports.
fn container_ports<'a>(container: &'a Value, path: &str, ports: &mut Ports<'a>, out: &mut Vec<String>) {
    for (index, port) in list(container, "/ports").iter().enumerate() {
        let alike = ports.entry((int(port, "/containerPort"), text(port, "/protocol"))).or_default();
        let port = Port {
            host_ip: text(port, "/hostIP"),
            host_port: int(port, "/hostPort"),
            path: format!("{path}.ports[{index}]"),
        };
        for other in alike.iter().take(OVERLAPS_TOLD_MAX) {
            let how = if port.host_ip == other.host_ip && port.host_port == other.host_port {
                "duplicate"
            } else if port.host_port == 0 || other.host_port == 0 {
                "overlapping"
            } else if port.host_port == other.host_port && port.host_ip.is_empty() != other.host_ip.is_empty() {
                "dangerously ambiguous"
            } else {
                continue;
            };
            out.push(format!("{}: {how} port definition with {}", port.path, other.path));
        }
        alike.push(port);
    }
}
