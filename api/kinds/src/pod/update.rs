//! What may change in a Pod that exists: images, deadlines, tolerations (`ValidatePodUpdate`).

use std::collections::HashSet;

use kontiki_model::Faults;
use serde_json::Value;

use super::annotations;
use crate::metadata;
use crate::tree::{at, count, int, keep, list, list_mut, members, missing, object, remove, text};

/// Keeps what only a subresource or the server changes, and what admission keeps up.
pub fn prepare(new: &mut Value, old: &Value) {
    keep(new, old, "status");
    for member in ["priority", "preemptionPolicy"] {
        if missing(new, &format!("/spec/{member}")) {
            keep(&mut new["spec"], &old["spec"], member);
        }
    }
    super::admission::tolerate(new);
}

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub fn validate(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    annotations::validate_update(new, old, faults);
    for member in ["containers", "initContainers"] {
        let pointer = format!("/spec/{member}");
        if list(new, &pointer).len() != list(old, &pointer).len() {
            faults.forbidden(format!("spec.{member}"), "pod updates may not add or remove containers");
            return;
        }
    }
    if !deadline(new, old, faults) {
        return;
    }
    added_tolerations(new, old, faults);
    removed_gates(new, old, faults);
    let mut munged = new["spec"].clone();
    allow_updatable(&mut munged, &old["spec"]);
    if !list(old, "/spec/schedulingGates").is_empty() {
        allow_narrowing(&mut munged, &old["spec"], faults);
    }
    if munged != old["spec"] {
        let mut changed = Vec::new();
        differences(&munged, &old["spec"], "spec", &mut changed);
        let detail =
            format!("pod updates may not change fields other than {UPDATABLE}\nchanged: {}", changed.join(", "));
        faults.forbidden("spec", detail);
    }
}

/// May be set, and shortened.
fn deadline(new: &Value, old: &Value, faults: &mut Faults) -> bool {
    const PATH: &str = "spec.activeDeadlineSeconds";
    let seconds = |pod: &Value| at(pod, "/spec/activeDeadlineSeconds").as_i64();
    match (seconds(new), seconds(old)) {
        (Some(new), Some(old)) if new > old => {
            faults.invalid(PATH, new, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            faults.invalid(PATH, Value::Null, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn added_tolerations(new: &Value, old: &Value, faults: &mut Faults) {
    let bare = |one: &Value| {
        let mut one = one.clone();
        remove(&mut one, "tolerationSeconds");
        one
    };
    let kept: HashSet<Value> = list(new, "/spec/tolerations").iter().map(bare).collect();
    if !list(old, "/spec/tolerations").iter().all(|one| kept.contains(&bare(one))) {
        faults.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds");
    }
}

fn removed_gates(new: &Value, old: &Value, faults: &mut Faults) {
    let had: HashSet<&Value> = list(old, "/spec/schedulingGates").iter().collect();
    for (index, gate) in list(new, "/spec/schedulingGates").iter().enumerate() {
        if !had.contains(gate) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", text(gate, "/name"));
            faults.forbidden(format!("spec.schedulingGates[{index}].name"), detail);
        }
    }
}

/// Makes the fields that may change what they were.
fn allow_updatable(spec: &mut Value, old: &Value) {
    for member in ["containers", "initContainers"] {
        let pointer = format!("/{member}");
        let had = list(old, &pointer);
        for (container, before) in list_mut(spec, &pointer).iter_mut().zip(had) {
            keep(container, before, "image");
        }
    }
    for member in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        keep(spec, old, member);
    }
    if int(old, "/terminationGracePeriodSeconds") < 0 && int(spec, "/terminationGracePeriodSeconds") == 1 {
        keep(spec, old, "terminationGracePeriodSeconds");
    }
}

/// A pod that is held back may still be narrowed to fewer nodes.
fn allow_narrowing(spec: &mut Value, old: &Value, faults: &mut Faults) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PATH: &str = "spec.affinity.nodeAffinity";
    const REQUIREMENTS: [&str; 2] = ["/matchExpressions", "/matchFields"];
    let kept = members(old, "/nodeSelector").all(|(key, value)| at(spec, "/nodeSelector").get(key) == Some(value));
    if !kept {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        faults.invalid("spec.nodeSelector", at(spec, "/nodeSelector").clone(), detail);
    }
    keep(spec, old, "nodeSelector");
    let pointer = format!("/affinity/nodeAffinity/{REQUIRED}/nodeSelectorTerms");
    let (terms, had) = (list(spec, &pointer), list(old, &pointer));
    let path = format!("{PATH}.{REQUIRED}.nodeSelectorTerms");
    if !had.is_empty() && terms.len() != had.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        faults.invalid(path.as_str(), at(spec, &pointer).clone(), detail);
    }
    for (index, (term, had)) in terms.iter().zip(had).enumerate() {
        // A term that asks for nothing selects no node, so whatever it asked for instead would be more.
        let nothing = |term: &Value| REQUIREMENTS.iter().all(|pointer| list(term, pointer).is_empty());
        let narrowed = REQUIREMENTS.iter().all(|pointer| {
            let (now, before) = (list(term, pointer), list(had, pointer));
            now.len() >= before.len() && now[..before.len()] == *before
        });
        if !narrowed || nothing(had) && !nothing(term) {
            let detail = "only additions are allowed (no mutations or deletions)";
            faults.invalid(format!("{path}[{index}]"), term.clone(), detail);
        }
    }
    if old.pointer("/affinity").is_some() {
        keep(object(spec, "affinity"), &old["affinity"], "nodeAffinity");
    } else if count(spec, "/affinity") == 1 && !missing(spec, "/affinity/nodeAffinity") {
        remove(spec, "affinity");
    }
}

/// The paths at which two trees differ.
fn differences(new: &Value, old: &Value, path: &str, out: &mut Vec<String>) {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            let added = new.keys().filter(|name| !old.contains_key(*name));
            for name in old.keys().chain(added) {
                let get = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or(Value::Null);
                differences(&get(new), &get(old), &format!("{path}.{name}"), out);
            }
        }
        (Value::Array(new), Value::Array(old)) if new.len() == old.len() => {
            for (index, (new, old)) in new.iter().zip(old).enumerate() {
                differences(new, old, &format!("{path}[{index}]"), out);
            }
        }
        (new, old) if new == old => {}
        _ => out.push(format!("`{path}`")),
    }
}
