//! What is valid in a pod spec and still not what one wants.

use serde_json::Value;

use super::resources::quantity;
use crate::tree::{at, int, list, members, text};

/// Warnings about a Pod; on updates only if its spec changed.
pub fn pod(pod: &Value, old: Option<&Value>) -> Vec<String> {
    match old {
        Some(old) if at(old, "/spec") == at(pod, "/spec") => Vec::new(),
        _ => spec(at(pod, "/spec"), "spec"),
    }
}

/// Warnings about the template of a workload; on updates only if it changed.
pub fn template(template: &Value, old: Option<&Value>) -> Vec<String> {
    match old {
        Some(old) if old == template => Vec::new(),
        _ => spec(at(template, "/spec"), "spec.template.spec"),
    }
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

const DEPRECATED_VOLUMES: [(&str, &str); 2] = [
    ("gitRepo", "deprecated in v1.11"),
    ("glusterfs", "deprecated in v1.25, this feature will be removed completely in subsequent Kubernetes versions"),
];

fn spec(spec: &Value, path: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (label, why) in DEPRECATED_NODE_LABELS {
        if at(spec, "/nodeSelector").get(label).is_some() {
            out.push(format!("{path}.nodeSelector[{label}]: {why}"));
        }
    }
    for (index, volume) in list(spec, "/volumes").iter().enumerate() {
        for (kind, why) in DEPRECATED_VOLUMES.iter().filter(|(kind, _)| volume.get(*kind).is_some()) {
            out.push(format!("{path}.volumes[{index}].{kind}: {why}"));
        }
    }
    for (index, secret) in list(spec, "/imagePullSecrets").iter().enumerate() {
        if text(secret, "/name").is_empty() {
            out.push(format!("{path}.imagePullSecrets[{index}].name: invalid empty name \"\""));
        }
    }
    for member in ["containers", "initContainers"] {
        for (index, container) in list(spec, &format!("/{member}")).iter().enumerate() {
            container_warnings(container, &format!("{path}.{member}[{index}]"), &mut out);
        }
    }
    if int(spec, "/terminationGracePeriodSeconds") < 0 {
        out.push(format!(
            "{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    out
}

fn container_warnings(container: &Value, path: &str, out: &mut Vec<String>) {
    for list_name in ["limits", "requests"] {
        for (name, value) in members(container, &format!("/resources/{list_name}")) {
            let fractional = quantity(value).is_some_and(|one| one.milli_value() % 1000 != 0);
            if matches!(name.as_str(), "memory" | "ephemeral-storage") && fractional {
                let value = value.as_str().unwrap_or_default();
                out.push(format!(
                    "{path}.resources.{list_name}[{name}]: fractional byte value \"{value}\" is invalid, must be an integer"
                ));
            }
        }
    }
    let mut seen = Vec::new();
    for (index, variable) in list(container, "/env").iter().enumerate() {
        let name = text(variable, "/name");
        if seen.contains(&name) {
            out.push(format!(
                "{path}.env[{index}]: hides previous definition of \"{name}\", which may be dropped when using apply"
            ));
        }
        seen.push(name);
    }
    let mut ports = Vec::new();
    for (index, port) in list(container, "/ports").iter().enumerate() {
        let key = (int(port, "/containerPort"), int(port, "/hostPort"), text(port, "/hostIP"), text(port, "/protocol"));
        if let Some((first, _)) = ports.iter().find(|(_, one)| *one == key) {
            out.push(format!("{path}.ports[{index}]: duplicate port definition with {path}.ports[{first}]"));
        }
        ports.push((index, key));
    }
}
