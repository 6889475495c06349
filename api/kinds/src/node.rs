//! Node.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use kontiki_model::{FaultKind, Faults};
use serde_json::{Value, json};

use crate::column::{self, text_column};
use crate::names::{cidr, label_value, parse_cidr, qualified, report};
use crate::tree::{at, fill, flag, keep, list, members, missing, object, single_and_list, text, texts};
use crate::{Admit, AdmitFacts, Column, Disabled, Field, Kind, Restore, Subresource, metadata, pod};

pub static KIND: Kind = Kind {
    kind: "Node",
    resource: "nodes",
    singular: "node",
    short_names: &["no"],
    namespaced: false,
    type_name: "core.v1.Node",
    subresources: &[Subresource::NodeProxy, Subresource::Status],
    fields: &[Field { path: "spec.unschedulable", get: |node| flag(node, "/spec/unschedulable").to_string() }],
    columns: COLUMNS,
    cells,
    default,
    disabled: &[
        Disabled::new("DynamicKubeletConfig", &[&["spec", "configSource"]]),
        Disabled::new("DynamicKubeletConfig", &[&["status", "config"]]),
    ],
    prepare_update: |new, old| keep(new, old, "status"),
    admit: &[Admit { plugin: "TaintNodesByCondition", admit }],
    validate,
    validate_update,
    validate_status,
    warnings: |node, _| {
        let all = [
            (!missing(node, "/spec/configSource"), "spec.configSource: the feature is removed"),
            (
                !text(node, "/spec/externalID").is_empty(),
                "spec.externalID: this field is deprecated, and is unused by Kubernetes",
            ),
        ];
        all.into_iter().filter(|(applies, _)| *applies).map(|(_, warning)| warning.to_owned()).collect()
    },
    restore: Restore::WhileThere,
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Status", 0, "Ready, NotReady or Unknown, and whether pods may be scheduled to it."),
    text_column("Roles", 0, "The roles of the node."),
    column::AGE,
    text_column("Version", 0, "Version of the node agent."),
    text_column("Internal-IP", 1, "Address within the cluster's network."),
    text_column("External-IP", 1, "Address outside of the cluster's network."),
    text_column("OS-Image", 1, "Operating system."),
    text_column("Kernel-Version", 1, "Kernel and architecture."),
    text_column("Container-Runtime", 1, "Container runtime and its version."),
];

fn cells(node: &Value, now: DateTime<Utc>) -> Vec<Value> {
    let mut status = match list(node, "/status/conditions").iter().find(|one| text(one, "/type") == "Ready") {
        None => "Unknown".to_owned(),
        Some(ready) if text(ready, "/status") == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
    };
    if flag(node, "/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| {
        let found = list(node, "/status/addresses").iter().find(|one| text(one, "/type") == kind);
        column::or(found.map_or("", |one| text(one, "/address")), "<none>")
    };
    let info = |member: &str| text(node, &format!("/status/nodeInfo/{member}"));
    let kernel = match (info("kernelVersion"), info("architecture")) {
        ("", _) => "<unknown>".to_owned(),
        (kernel, "") => kernel.to_owned(),
        (kernel, architecture) => format!("{kernel} ({architecture})"),
    };
    vec![
        column::name(node),
        status.into(),
        column::or(&roles(node), "<none>"),
        column::age(node, now),
        info("kubeletVersion").into(),
        address("InternalIP"),
        address("ExternalIP"),
        column::or(info("osImage"), "<unknown>"),
        kernel.into(),
        column::or(info("containerRuntimeVersion"), "<unknown>"),
    ]
}

fn roles(node: &Value) -> String {
    let role = |(key, value): (&'_ String, &'_ Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()).filter(|role| !role.is_empty()),
        None if key == "kubernetes.io/role" => value.as_str().filter(|role| !role.is_empty()).map(str::to_owned),
        None => None,
    };
    let all: BTreeSet<String> = members(node, "/metadata/labels").filter_map(role).collect();
    all.into_iter().collect::<Vec<_>>().join(",")
}

const INFO: [&str; 10] = [
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
];

/// Members that Kubernetes writes even when they are empty, and the two forms of the pod range in agreement.
fn default(node: &mut Value) {
    object(node, "spec");
    let status = object(node, "status");
    let endpoint = object(object(status, "daemonEndpoints"), "kubeletEndpoint");
    fill(endpoint, "Port", 0);
    let info = object(status, "nodeInfo");
    for member in INFO {
        fill(info, member, "");
    }
    if let Some(capacity) = status.get("capacity").cloned() {
        fill(status, "allocatable", capacity);
    }
    for member in ["capacity", "allocatable"] {
        pod::round_resources(node, &format!("/status/{member}"));
    }
    single_and_list(&mut node["spec"], "podCIDR", "podCIDRs", None);
}

/// A new node takes no pods until its agent has reported it ready.
fn admit(node: &mut Value, _: &AdmitFacts<'_>) -> Result<(), String> {
    const NOT_READY: &str = "node.kubernetes.io/not-ready";
    let mut taints = list(node, "/spec/taints").to_vec();
    if !taints.iter().any(|taint| text(taint, "/key") == NOT_READY && text(taint, "/effect") == "NoSchedule") {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
    object(node, "spec")["taints"] = taints.into();
    Ok(())
}

fn validate(node: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, taint) in list(node, "/spec/taints").iter().enumerate() {
        // Kubernetes places them below metadata, where taints once were.
        let path = format!("metadata.taints[{index}]");
        let (key, value, effect) = (text(taint, "/key"), text(taint, "/value"), text(taint, "/effect"));
        report(qualified(key), key, &format!("{path}.key"), faults);
        let wrong = label_value(value);
        if !wrong.is_empty() {
            faults.invalid(format!("{path}.value"), value, wrong.join(";"));
        }
        match effect {
            "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
            "" => faults.required(format!("{path}.effect"), ""),
            other => {
                faults.not_supported(format!("{path}.effect"), other, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
            }
        }
        if !seen.insert((key, effect)) {
            let detail = "taints must be unique by key and effect pair";
            faults.add(FaultKind::Duplicate, path, Some(taint.clone()), detail);
        }
    }
    for (index, range) in list(node, "/spec/podCIDRs").iter().filter_map(Value::as_str).enumerate() {
        report(cidr(range), range, &format!("spec.podCIDRs[{index}]"), faults);
    }
    let ranges = list(node, "/spec/podCIDRs").iter().filter_map(|range| parse_cidr(range.as_str()?));
    let (of_four, of_six): (Vec<_>, Vec<_>) = ranges.partition(|(address, _)| address.is_ipv4());
    if of_four.len() > 1 || of_six.len() > 1 {
        let detail = "may specify no more than one CIDR for each IP family";
        faults.invalid("spec.podCIDRs", at(node, "/spec/podCIDRs").clone(), detail);
    }
    validate_resources(node, faults);
    validate_features(node, faults);
}

fn validate_resources(node: &Value, faults: &mut Faults) {
    for member in ["capacity", "allocatable"] {
        for (name, value) in members(node, &format!("/status/{member}")) {
            pod::validate_quantity(name, value, &format!("status.{member}.{name}"), faults);
        }
    }
}

/// What the node says it can do that others cannot yet: names in order, each once.
fn validate_features(node: &Value, faults: &mut Faults) {
    const NAME_BYTES_MAX: usize = 253;
    let features: Vec<&str> = texts(node, "/status/declaredFeatures").collect();
    for (index, name) in features.iter().enumerate() {
        let path = format!("status.declaredFeatures[{index}]");
        if name.len() > NAME_BYTES_MAX {
            let detail = format!("invalid feature name {name:?}: must be no more than {NAME_BYTES_MAX} characters");
            faults.invalid(path.as_str(), *name, detail);
        } else if !is_feature(name) {
            let detail = format!(
                "invalid feature name {name:?}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' \
                 (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            faults.invalid(path.as_str(), *name, detail);
        }
        match index.checked_sub(1).map(|before| name.cmp(&features[before])) {
            Some(Ordering::Equal) => faults.duplicate(path, *name),
            Some(Ordering::Less) => faults.invalid(path, *name, "list must be sorted alphabetically"),
            Some(Ordering::Greater) | None => {}
        }
    }
}

/// `MyFeature`, `MyFeature/mySubFeature`.
fn is_feature(name: &str) -> bool {
    let is_segment = |segment: &str| {
        segment.starts_with(|first: char| first.is_ascii_alphabetic())
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    name.starts_with(|first: char| first.is_ascii_uppercase()) && name.split('/').all(is_segment)
}

fn validate_status(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    validate_resources(new, faults);
    validate_features(new, faults);
    let mut seen = HashSet::new();
    for (index, address) in list(new, "/status/addresses").iter().enumerate() {
        if !seen.insert(address) {
            faults.duplicate(format!("status.addresses[{index}]"), address.clone());
        }
    }
}

/// The pod ranges and the provider's id may be set once.
fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    if !list(old, "/spec/podCIDRs").is_empty() && at(new, "/spec/podCIDRs") != at(old, "/spec/podCIDRs") {
        faults.forbidden("spec.podCIDRs", "node updates may not change podCIDR except from \"\" to valid");
    }
    let had = text(old, "/spec/providerID");
    if !had.is_empty() && text(new, "/spec/providerID") != had {
        faults.forbidden("spec.providerID", "node updates may not change providerID except from \"\" to valid");
    }
}
