//! What of a job may change: how many run at once, whether it is suspended, and where its pods go before it ever started.

use kontiki_model::Faults;
use serde_json::Value;

use super::is_indexed;
use crate::metadata;
use crate::tree::{at, flag, keep, missing, object, remove};

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

/// Before a suspended job has ever run, whoever queues jobs may say where its pods go.
fn template(new: &Value, old: &Value, faults: &mut Faults) {
    let is = at(new, "/spec/template");
    let mut was = at(old, "/spec/template").clone();
    if flag(old, "/spec/suspend") && missing(old, "/status/startTime") {
        for member in ["annotations", "labels"] {
            keep(object(&mut was, "metadata"), at(is, "/metadata"), member);
        }
        let spec = object(&mut was, "spec");
        for member in ["nodeSelector", "tolerations", "schedulingGates"] {
            keep(spec, at(is, "/spec"), member);
        }
        node_affinity(spec, at(is, "/spec"));
    }
    if *is != was {
        faults.invalid("spec.template", is.clone(), "field is immutable");
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
