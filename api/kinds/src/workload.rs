//! What ReplicaSet and Deployment share: a replica count, a selector and a pod template.

use kontiki_model::Faults;
use serde_json::Value;

use crate::names::{validate_annotations, validate_labels};
use crate::tree::{at, fill, int, missing, object, text};
use crate::{Scale, pod, selector};

/// Where the Scale form of a workload finds its numbers.
pub const SCALE: Scale =
    Scale { spec_replicas: "/spec/replicas", status_replicas: "/status/replicas", selector: "/spec/selector" };

/// Fills the replica count and the pod template.
pub fn default(workload: &mut Value) {
    let spec = object(workload, "spec");
    fill(spec, "replicas", 1);
    let template = object(spec, "template");
    object(template, "metadata");
    pod::default_spec(object(template, "spec"));
}

/// `name` must not be negative.
pub fn not_negative(object: &Value, pointer: &str, faults: &mut Faults) {
    if int(object, pointer) < 0 {
        let path = pointer.trim_start_matches('/').replace('/', ".");
        faults.invalid(path, int(object, pointer), "must be greater than or equal to 0");
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

/// The template: labels the selector matches, a valid pod that restarts always.
pub fn validate_template(workload: &Value, faults: &mut Faults) {
    let template = at(workload, "/spec/template");
    let (chosen, labels) = (at(workload, "/spec/selector"), at(template, "/metadata/labels"));
    if !chosen.is_null() && !selector::is_empty(chosen) && !selector::matches(chosen, labels) {
        let value = if labels.is_null() { Value::Null } else { labels.clone() };
        faults.invalid("spec.template.metadata.labels", value, "`selector` does not match template `labels`");
    }
    // Kubernetes leaves out `metadata` in the paths of these two.
    validate_labels(labels, "spec.template.labels", faults);
    let annotations = at(template, "/metadata/annotations");
    validate_annotations(annotations, "spec.template.annotations", faults);
    pod::validate_template_spec(template, "spec.template.spec", faults);
    let restart = text(template, "/spec/restartPolicy");
    if restart != "Always" {
        faults.not_supported("spec.template.spec.restartPolicy", restart, &["Always"]);
    }
    if !missing(template, "/spec/activeDeadlineSeconds") {
        faults.forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            "activeDeadlineSeconds in ReplicaSet is not Supported",
        );
    }
}

/// `apps/v1`: a selector never changes.
pub fn validate_selector_kept(new: &Value, old: &Value, faults: &mut Faults) {
    if at(new, "/spec/selector") != at(old, "/spec/selector") {
        faults.invalid("spec.selector", at(new, "/spec/selector").clone(), "field is immutable");
    }
}
