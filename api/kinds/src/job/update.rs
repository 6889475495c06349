//! What of a job may change: how many run at once, whether it is suspended, and, meanwhile, where its pods go and
//! how much they use.

use kontiki_model::Faults;
use serde_json::Value;

use super::{is, is_indexed};
use crate::metadata;
use crate::tree::{at, flag, int, keep, list, list_mut, missing, object, remove};

const IMMUTABLE: [&str; 6] =
    ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"];

pub fn validate(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    completions(new, old, faults);
    template(new, old, faults);
    for member in IMMUTABLE {
        let pointer = format!("/spec/{member}");
        if at(new, &pointer) != at(old, &pointer) {
            faults.invalid(format!("spec.{member}"), at(new, &pointer).clone(), "field is immutable");
        }
    }
}

/// An indexed job may grow and shrink as long as all its pods may run at once.
fn completions(new: &Value, old: &Value, faults: &mut Faults) {
    let (is, was) = (at(new, "/spec/completions"), at(old, "/spec/completions"));
    if is == was {
        return;
    }
    if !is_indexed(new) {
        faults.invalid("spec.completions", is.clone(), "field is immutable");
    } else if !is.is_null() && is != at(new, "/spec/parallelism") {
        faults.invalid("spec.completions", is.clone(), "can only be modified in tandem with spec.parallelism");
    }
}

/// Whoever queues jobs may say how much the pods of a suspended one use, and where they go, while it has none.
fn template(new: &Value, old: &Value, faults: &mut Faults) {
    let wanted = at(new, "/spec/template");
    let mut was = at(old, "/spec/template").clone();
    let (suspended, unstarted) = (flag(old, "/spec/suspend"), missing(old, "/status/startTime"));
    let none_active = int(old, "/status/active") == 0;
    let drained = is(old, "Suspended") && none_active;
    if suspended && (unstarted || drained) {
        for member in ["annotations", "labels"] {
            keep(object(&mut was, "metadata"), at(wanted, "/metadata"), member);
        }
        let spec = object(&mut was, "spec");
        for member in ["nodeSelector", "tolerations", "schedulingGates"] {
            keep(spec, at(wanted, "/spec"), member);
        }
        node_affinity(spec, at(wanted, "/spec"));
    }
    let resized = suspended && (unstarted && none_active || drained);
    if resized {
        for member in ["containers", "initContainers"] {
            resources(object(&mut was, "spec"), at(wanted, "/spec"), member);
        }
    }
    // Where resources may change, the spec alone is compared.
    let (path, pointer) = if resized { ("spec.template.spec", "/spec") } else { ("spec.template", "") };
    if at(wanted, pointer) != at(&was, pointer) {
        faults.invalid(path, at(wanted, pointer).clone(), "field is immutable");
    }
}

/// Makes the resources of containers what they are, as long as the containers are the same.
fn resources(was: &mut Value, is: &Value, member: &str) {
    let (was, is) = (list_mut(was, &format!("/{member}")), list(is, &format!("/{member}")));
    if was.len() == is.len() {
        was.iter_mut().zip(is).for_each(|(was, is)| keep(was, is, "resources"));
    }
}

/// Makes the node affinity what it is; an affinity without any part is none.
fn node_affinity(was: &mut Value, is: &Value) {
    if missing(is, "/affinity") && missing(was, "/affinity") {
        return;
    }
    let affinity = object(was, "affinity");
    keep(affinity, at(is, "/affinity"), "nodeAffinity");
    if missing(is, "/affinity") && affinity.as_object().is_some_and(serde_json::Map::is_empty) {
        remove(was, "affinity");
    }
}
