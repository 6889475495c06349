//! What is valid in a pod spec and still not what one wants.

mod annotations;
mod overlaps;
mod placement;

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use self::annotations::Annotations;
use super::resources::quantity;
use crate::names::{ip_warning, label};
use crate::persistentvolumeclaim;
use crate::tree::{at, int, list, members, text, texts};

/// Warnings about a new Pod. Updates get none: people rarely write to Pods that exist.
pub fn pod(pod: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some() {
        return Vec::new();
    }
    let mut out = hostname(pod, "the Pod's hostname");
    Annotations::new(pod, "").of_confined(pod, &mut out);
    out.extend(spec(pod, "", false));
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
    spec(template, &format!("{path}."), true)
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
    let has = |kind: &str| holder.get(kind).is_some_and(|source| !source.is_null());
    let all = DEPRECATED_VOLUMES.into_iter().filter(move |(kind, _)| has(kind));
    all.map(|(kind, why)| (if kind == "storageos" { "storageOS" } else { kind }, why))
}

/// There is no part of a byte.
pub fn fraction(amount: &Value) -> Option<String> {
    let amount = quantity(amount).filter(|amount| amount.milli_value() % 1000 != 0)?;
    Some(format!("fractional byte value \"{amount}\" is invalid, must be an integer"))
}

/// The warnings about a Pod or a template; what stands before their members is `prefix`.
fn spec(holder: &Value, prefix: &str, is_template: bool) -> Vec<String> {
    let (mut out, spec, path) = (Vec::new(), at(holder, "/spec"), format!("{prefix}spec"));
    let annotations = Annotations::new(holder, prefix);
    placement::nodes(spec, &path, &mut out);
    placement::spread(spec, &path, &mut out);
    annotations.of_nothing_else(&mut out);
    volumes(spec, &path, &mut out);
    repeated(spec, &path, &mut out);
    fractions(at(spec, "/overhead"), &format!("{path}.overhead"), &mut out);
    annotations.of_pod(spec, &mut out);
    let mut ports = Ports::new();
    for member in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, container) in list(spec, &format!("/{member}")).iter().enumerate() {
            let path = format!("{path}.{member}[{index}]");
            annotations.of_container(container, &mut out);
            if is_template {
                annotations.of_unconfined(spec, container, &mut out);
            }
            for part in ["limits", "requests"] {
                let resources = at(container, &format!("/resources/{part}"));
                fractions(resources, &format!("{path}.resources.{part}"), &mut out);
            }
            environment(container, &path, &mut out);
            container_ports(container, &path, &mut ports, &mut out);
        }
    }
    if int(spec, "/terminationGracePeriodSeconds") < 0 {
        let why = "must be >= 0; negative values are invalid and will be treated as 1";
        out.push(format!("{path}.terminationGracePeriodSeconds: {why}"));
    }
    placement::pods(spec, &path, &mut out);
    addresses(spec, &path, &mut out);
    out
}

fn volumes(spec: &Value, path: &str, out: &mut Vec<String>) {
    for (index, volume) in list(spec, "/volumes").iter().enumerate() {
        let path = format!("{path}.volumes[{index}]");
        out.extend(deprecated_sources(volume).map(|(field, why)| format!("{path}.{field}: {why}")));
        let claim = at(volume, "/ephemeral/volumeClaimTemplate/spec");
        let path = format!("{path}.ephemeral.volumeClaimTemplate.spec");
        out.extend(persistentvolumeclaim::spec_warnings(claim, &path));
    }
    list(spec, "/volumes").iter().for_each(|volume| overlaps::volume(volume, out));
}

/// Amounts of memory and storage that are not whole.
fn fractions(resources: &Value, path: &str, out: &mut Vec<String>) {
    let bytes = members(resources, "").filter(|(name, _)| matches!(name.as_str(), "memory" | "ephemeral-storage"));
    out.extend(bytes.filter_map(|(name, amount)| Some(format!("{path}[{name}]: {}", fraction(amount)?))));
}

/// Addresses in an unusual spelling.
fn addresses(spec: &Value, path: &str, out: &mut Vec<String>) {
    for (index, address) in texts(spec, "/dnsConfig/nameservers").enumerate() {
        out.extend(ip_warning(address).map(|why| format!("{path}.dnsConfig.nameservers[{index}]: {why}")));
    }
    for (index, alias) in list(spec, "/hostAliases").iter().enumerate() {
        out.extend(ip_warning(text(alias, "/ip")).map(|why| format!("{path}.hostAliases[{index}].ip: {why}")));
    }
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
    for (index, given) in list(container, "/ports").iter().enumerate() {
        let alike = ports.entry((int(given, "/containerPort"), text(given, "/protocol"))).or_default();
        let port = Port {
            host_ip: text(given, "/hostIP"),
            host_port: int(given, "/hostPort"),
            path: format!("{path}.ports[{index}]"),
        };
        if !port.host_ip.is_empty() && port.host_port == 0 {
            let (name, protocol) = (text(given, "/name"), text(given, "/protocol"));
            let (number, address) = (int(given, "/containerPort"), port.host_ip);
            out.push(format!(
                "{}: hostIP set without hostPort: {{Name:{name} HostPort:0 ContainerPort:{number} Protocol:{protocol} HostIP:{address}}}",
                port.path
            ));
        }
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
