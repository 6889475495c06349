//! Which affinities are valid (`validateAffinity`): to nodes, to pods, and away from pods.

use std::collections::HashSet;

use kontiki_model::Faults;
use serde_json::Value;

use super::label_keys;
use crate::names::{label, label_value, qualified, report, subdomain};
use crate::selector;
use crate::tree::{at, int, list, text, texts};

const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// Whether the values of a requirement must be values that a label can have. A preference may name what no node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LabelValues {
    Checked,
    Any,
}

pub fn validate(affinity: &Value, path: &str, faults: &mut Faults) {
    let node = at(affinity, "/nodeAffinity");
    let required = at(node, &format!("/{REQUIRED}"));
    if !required.is_null() {
        node_selector(required, &format!("{path}.nodeAffinity.{REQUIRED}"), faults);
    }
    for (index, preferred) in list(node, &format!("/{PREFERRED}")).iter().enumerate() {
        let path = format!("{path}.nodeAffinity.{PREFERRED}[{index}]");
        weight(preferred, &path, faults);
        node_term(at(preferred, "/preference"), LabelValues::Any, &format!("{path}.preference"), faults);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        for (index, term) in list(affinity, &format!("/{kind}/{REQUIRED}")).iter().enumerate() {
            pod_term(term, &format!("{path}.{kind}.{REQUIRED}[{index}]"), faults);
        }
        for (index, preferred) in list(affinity, &format!("/{kind}/{PREFERRED}")).iter().enumerate() {
            let path = format!("{path}.{kind}.{PREFERRED}[{index}]");
            weight(preferred, &path, faults);
            pod_term(at(preferred, "/podAffinityTerm"), &format!("{path}.podAffinityTerm"), faults);
        }
    }
}

/// Kubernetes' `ValidateNodeSelector`: which nodes, as alternatives.
pub fn node_selector(selector: &Value, path: &str, faults: &mut Faults) {
    let terms = list(selector, "/nodeSelectorTerms");
    if terms.is_empty() {
        faults.required(format!("{path}.nodeSelectorTerms"), "must have at least one node selector term");
    }
    for (index, term) in terms.iter().enumerate() {
        node_term(term, LabelValues::Checked, &format!("{path}.nodeSelectorTerms[{index}]"), faults);
    }
}

fn weight(preferred: &Value, path: &str, faults: &mut Faults) {
    let weight = int(preferred, "/weight");
    if !(1..=100).contains(&weight) {
        faults.invalid(format!("{path}.weight"), weight, "must be in the range 1-100");
    }
}

fn node_term(term: &Value, label_values: LabelValues, path: &str, faults: &mut Faults) {
    for (index, requirement) in list(term, "/matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let count = list(requirement, "/values").len();
        match text(requirement, "/operator") {
            "In" | "NotIn" if count == 0 => {
                faults.required(format!("{path}.values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if count != 0 => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                faults.forbidden(format!("{path}.values"), detail);
            }
            "Gt" | "Lt" if count != 1 => {
                let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                faults.required(format!("{path}.values"), detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => faults.invalid(format!("{path}.operator"), other, "not a valid selector operator"),
        }
        let key = text(requirement, "/key");
        report(qualified(key), key, &format!("{path}.key"), faults);
        if label_values == LabelValues::Checked {
            for (at, value) in texts(requirement, "/values").enumerate() {
                report(label_value(value), value, &format!("{path}.values[{at}]"), faults);
            }
        }
    }
    for (index, requirement) in list(term, "/matchFields").iter().enumerate() {
        node_field(requirement, &format!("{path}.matchFields[{index}]"), faults);
    }
}

/// A node by a field: its name, one at a time.
fn node_field(requirement: &Value, path: &str, faults: &mut Faults) {
    match text(requirement, "/operator") {
        "In" | "NotIn" if list(requirement, "/values").len() != 1 => {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            faults.required(format!("{path}.values"), detail);
        }
        "In" | "NotIn" => {}
        other => faults.invalid(format!("{path}.operator"), other, "not a valid selector operator"),
    }
    match text(requirement, "/key") {
        "metadata.name" => {
            for (at, name) in texts(requirement, "/values").enumerate() {
                report(subdomain(name), name, &format!("{path}.values[{at}]"), faults);
            }
        }
        other => faults.invalid(format!("{path}.key"), other, "not a valid field selector key"),
    }
}

fn pod_term(term: &Value, path: &str, faults: &mut Faults) {
    for member in ["labelSelector", "namespaceSelector"] {
        selector::validate(at(term, &format!("/{member}")), &format!("{path}.{member}"), faults);
    }
    for name in texts(term, "/namespaces") {
        // Kubernetes tells these of a field that does not exist.
        report(label(name), name, &format!("{path}.namespace"), faults);
    }
    for member in ["matchLabelKeys", "mismatchLabelKeys"] {
        label_keys::validate(term, member, &format!("{path}.{member}"), faults);
    }
    // Their index stands at the term, not at the list of keys.
    label_keys::validate_once(term, path, faults);
    let unlike: HashSet<&str> = texts(term, "/mismatchLabelKeys").collect();
    for (index, key) in texts(term, "/matchLabelKeys").enumerate().filter(|(_, key)| unlike.contains(key)) {
        let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
        faults.invalid(format!("{path}.matchLabelKeys[{index}]"), key, detail);
    }
    let key = text(term, "/topologyKey");
    if key.is_empty() {
        faults.required(format!("{path}.topologyKey"), "can not be empty");
    }
    report(qualified(key), key, &format!("{path}.topologyKey"), faults);
}
