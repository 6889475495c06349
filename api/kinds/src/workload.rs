//! What workloads share: a replica count, a selector, a pod template, and a status that counts.

use kontiki_model::Faults;
use serde_json::Value;

use crate::names::{validate_annotations, validate_labels};
use crate::tree::{at, fill, int, missing, object, text};
use crate::{Scale, SelectorForm, metadata, pod, selector};

/// Where the Scale form of a workload finds its numbers.
pub const SCALE: Scale = Scale {
    spec_replicas: "/spec/replicas",
    status_replicas: "/status/replicas",
    selector: "/spec/selector",
    selector_form: SelectorForm::Requirements,
};

/// Fills the replica count and the pod template.
pub fn default(workload: &mut Value) {
    let spec = object(workload, "spec");
    fill(spec, "replicas", 1);
    default_template(spec, "template");
}

/// Fills a pod template that stands in a member of `holder`.
pub fn default_template(holder: &mut Value, member: &str) {
    let template = object(holder, member);
    object(template, "metadata");
    pod::default_spec(object(template, "spec"));
}

/// The number at a JSON pointer must not be negative.
pub fn not_negative(object: &Value, pointer: &str, faults: &mut Faults) {
    let path = pointer.trim_start_matches('/').replace('/', ".");
    natural(int(object, pointer), path, faults);
}

/// The number of a member of what stands at `path` must not be negative.
pub fn not_negative_below(holder: &Value, path: &str, member: &str, faults: &mut Faults) {
    natural(int(holder, &format!("/{member}")), format!("{path}.{member}"), faults);
}

fn natural(number: i64, path: String, faults: &mut Faults) {
    if number < 0 {
        faults.invalid(path, number, "must be greater than or equal to 0");
    }
}

/// The selector must be there, be valid, not be empty, and match the template's labels.
pub fn validate_selector(workload: &Value, empty_detail: &str, faults: &mut Faults) {
    let chosen = at(workload, "/spec/selector");
    if chosen.is_null() {
        faults.required("spec.selector", "");
    } else {
        selector::validate(chosen, "spec.selector", faults);
        if selector::is_empty(chosen) {
            faults.invalid("spec.selector", chosen.clone(), empty_detail);
        }
    }
}

/// The template of a workload whose selector is a `LabelSelector`: labels that it matches, a valid pod that restarts always.
/// `kind` is who the faults speak of.
pub fn validate_template(workload: &Value, kind: &str, faults: &mut Faults) {
    let template = at(workload, "/spec/template");
    validate_selected(at(workload, "/spec/selector"), template, faults);
    validate_pods(template, "spec.template", faults);
    validate_endless(template, kind, faults);
}

/// The template of a ReplicaSet, or of the ReplicaSets of a Deployment. Where the selector does not say what it selects, nothing
/// is said of what it should.
pub fn validate_replicated(workload: &Value, faults: &mut Faults) {
    let chosen = at(workload, "/spec/selector");
    if selector::is_sound(chosen) {
        validate_template(workload, "ReplicaSet", faults);
    } else {
        faults.invalid("spec.selector", chosen.clone(), "invalid label selector");
    }
}

/// The selector must match the labels of the template.
pub fn validate_selected(chosen: &Value, template: &Value, faults: &mut Faults) {
    let labels = at(template, "/metadata/labels");
    // One that is not there selects nothing, one that is empty everything.
    let selects = !chosen.is_null() && selector::matches(chosen, labels);
    let can_be_told = chosen.is_null() || selector::is_sound(chosen);
    if can_be_told && !selects {
        not_selected(labels, "spec.template", faults);
    }
}

/// The selector of the workload does not match the labels of its template.
pub fn not_selected(labels: &Value, path: &str, faults: &mut Faults) {
    let detail = "`selector` does not match template `labels`";
    faults.invalid(format!("{path}.metadata.labels"), labels.clone(), detail);
}

/// What pods are made of: labels, annotations, a valid spec.
pub fn validate_pods(template: &Value, path: &str, faults: &mut Faults) {
    validate_template_metadata(template, path, faults);
    pod::validate_template(template, path, faults);
}

/// Kubernetes leaves out `metadata` in the paths of these two.
pub fn validate_template_metadata(template: &Value, path: &str, faults: &mut Faults) {
    validate_labels(at(template, "/metadata/labels"), &format!("{path}.labels"), faults);
    validate_annotations(at(template, "/metadata/annotations"), &format!("{path}.annotations"), faults);
}

/// Pods that are kept running: they restart always, and have no deadline.
pub fn validate_endless(template: &Value, kind: &str, faults: &mut Faults) {
    let restart = text(template, "/spec/restartPolicy");
    if restart != "Always" {
        faults.not_supported("spec.template.spec.restartPolicy", restart, &["Always"]);
    }
    if !missing(template, "/spec/activeDeadlineSeconds") {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        faults.forbidden("spec.template.spec.activeDeadlineSeconds", detail);
    }
}

/// The status of what keeps a number of pods alike: ReplicaSets and ReplicationControllers.
pub fn validate_replica_status(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    for member in ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"] {
        not_negative(new, &format!("/status/{member}"), faults);
    }
    not_more_than(new, &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"], faults);
    let (available, ready) = (int(new, "/status/availableReplicas"), int(new, "/status/readyReplicas"));
    if available > ready {
        faults.invalid("status.availableReplicas", available, "cannot be greater than readyReplicas");
    }
}

/// These counts of a status are of some of all replicas.
pub fn not_more_than(workload: &Value, members: &[&str], faults: &mut Faults) {
    for member in members {
        let count = int(workload, &format!("/status/{member}"));
        if count > int(workload, "/status/replicas") {
            faults.invalid(format!("status.{member}"), count, "cannot be greater than status.replicas");
        }
    }
}

/// How often names collided is never forgotten.
pub fn validate_collisions(new: &Value, old: &Value, faults: &mut Faults) {
    const COUNT: &str = "/status/collisionCount";
    let count = int(new, COUNT);
    if !missing(new, COUNT) && !missing(old, COUNT) && count < int(old, COUNT) {
        faults.invalid("status.collisionCount", count, "cannot be decremented");
    }
}

/// `apps/v1`: a selector never changes.
pub fn validate_selector_kept(new: &Value, old: &Value, faults: &mut Faults) {
    if at(new, "/spec/selector") != at(old, "/spec/selector") {
        faults.invalid("spec.selector", at(new, "/spec/selector").clone(), "field is immutable");
    }
}
