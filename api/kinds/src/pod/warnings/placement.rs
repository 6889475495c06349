//! Labels of nodes that have another name now, and selectors of pods that select none.

use serde_json::Value;

use super::{DEPRECATED_NODE_LABELS, deprecated_node_label, node_term};
use crate::tree::{at, list, text};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub fn nodes(spec: &Value, path: &str, out: &mut Vec<String>) {
    for (label, why) in DEPRECATED_NODE_LABELS {
        if at(spec, "/nodeSelector").get(label).is_some() {
            out.push(format!("{path}.nodeSelector[{label}]: {why}"));
        }
    }
    let affinity = at(spec, "/affinity/nodeAffinity");
    let path = format!("{path}.affinity.nodeAffinity");
    for (index, term) in list(affinity, &format!("/{REQUIRED}/nodeSelectorTerms")).iter().enumerate() {
        out.extend(node_term(term, &format!("{path}.{REQUIRED}.nodeSelectorTerms[{index}]")));
    }
    for (index, term) in list(affinity, &format!("/{PREFERRED}")).iter().enumerate() {
        out.extend(node_term(at(term, "/preference"), &format!("{path}.{PREFERRED}[{index}].preference")));
    }
}

pub fn spread(spec: &Value, path: &str, out: &mut Vec<String>) {
    for (index, constraint) in list(spec, "/topologySpreadConstraints").iter().enumerate() {
        let (key, path) = (text(constraint, "/topologyKey"), format!("{path}.topologySpreadConstraints[{index}]"));
        if let Some(why) = deprecated_node_label(key) {
            out.push(format!("{path}.topologyKey: {key} is {why}"));
        }
        selects(constraint, &path, out);
    }
}

pub fn pods(spec: &Value, path: &str, out: &mut Vec<String>) {
    for member in ["podAffinity", "podAntiAffinity"] {
        let (affinity, path) = (at(spec, &format!("/affinity/{member}")), format!("{path}.affinity.{member}"));
        for (index, term) in list(affinity, &format!("/{REQUIRED}")).iter().enumerate() {
            selects(term, &format!("{path}.{REQUIRED}[{index}]"), out);
        }
        for (index, term) in list(affinity, &format!("/{PREFERRED}")).iter().enumerate() {
            selects(at(term, "/podAffinityTerm"), &format!("{path}.{PREFERRED}[{index}].podAffinityTerm"), out);
        }
    }
}

fn selects(holder: &Value, path: &str, out: &mut Vec<String>) {
    if at(holder, "/labelSelector").is_null() {
        out.push(format!("{path}.labelSelector: a null labelSelector results in matching no pod"));
    }
}
