//! Which HorizontalPodAutoscalers are valid; in the form of v2, whose paths are told to writers of v1 too.

use kontiki_model::Faults;
use serde_json::Value;

use crate::names::{label, report};
use crate::pod::{quantity, validate_container_resource};
use crate::tree::{at, int, list, missing, text};
use crate::{metadata, workload};

const STABILIZATION_SECONDS_MAX: i64 = 3600;
const PERIOD_SECONDS_MAX: i64 = 1800;
const SOURCE_TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
/// `(type, member)`, in the order in which Kubernetes looks for them: only the first one given is looked into.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

pub fn validate(autoscaler: &Value, faults: &mut Faults) {
    let (least, most) = (at(autoscaler, "/spec/minReplicas").as_i64(), int(autoscaler, "/spec/maxReplicas"));
    if let Some(least) = least.filter(|least| *least < 1) {
        faults.invalid("spec.minReplicas", least, "must be greater than or equal to 1");
    }
    if most < 1 {
        faults.invalid("spec.maxReplicas", most, "must be greater than 0");
    }
    if least.is_some_and(|least| most < least) {
        faults.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`");
    }
    reference(at(autoscaler, "/spec/scaleTargetRef"), "spec.scaleTargetRef", faults);
    for (index, metric) in list(autoscaler, "/spec/metrics").iter().enumerate() {
        validate_metric(metric, &format!("spec.metrics[{index}]"), faults);
    }
    for member in ["scaleUp", "scaleDown"] {
        let rules = at(autoscaler, &format!("/spec/behavior/{member}"));
        if !rules.is_null() {
            validate_rules(rules, &format!("spec.behavior.{member}"), faults);
        }
    }
}

/// What is scaled must be named with its group; ReplicationControllers have none.
pub fn validate_create(autoscaler: &Value, faults: &mut Faults) {
    let target = at(autoscaler, "/spec/scaleTargetRef");
    let may_be_core = text(target, "/kind") == "ReplicationController";
    api_version(target, may_be_core, "spec.scaleTargetRef", faults);
}

pub fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    let target = |autoscaler: &Value| {
        let target = at(autoscaler, "/spec/scaleTargetRef");
        (text(target, "/apiVersion").to_owned(), text(target, "/kind").to_owned())
    };
    if target(new) != target(old) {
        validate_create(new, faults);
    }
}

pub fn validate_status(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    workload::not_negative(new, "/status/currentReplicas", faults);
    workload::not_negative(new, "/status/desiredReplicas", faults);
}

fn reference(target: &Value, path: &str, faults: &mut Faults) {
    for member in ["kind", "name"] {
        segment(text(target, &format!("/{member}")), "", &format!("{path}.{member}"), faults);
    }
}

/// A name that may stand in a path.
fn segment(name: &str, when_missing: &str, path: &str, faults: &mut Faults) {
    match name {
        "" => faults.required(path, when_missing),
        name => report(kontiki_model::names::path_segment(name), name, path, faults),
    }
}

fn api_version(target: &Value, may_be_core: bool, path: &str, faults: &mut Faults) {
    let version = text(target, "/apiVersion");
    let wrong = match version.matches('/').count() {
        0 if may_be_core => return,
        0 => "apiVersion must specify API group".to_owned(),
        1 if version.starts_with('/') && !may_be_core => "apiVersion must specify API group".to_owned(),
        1 => return,
        _ => format!("unexpected GroupVersion string: {version}"),
    };
    faults.invalid(format!("{path}.apiVersion"), version, wrong);
}

fn validate_metric(metric: &Value, path: &str, faults: &mut Faults) {
    let kind = text(metric, "/type");
    if kind.is_empty() {
        faults.required(format!("{path}.type"), "must specify a metric source type");
    }
    if !SOURCE_TYPES.contains(&kind) {
        faults.not_supported(format!("{path}.type"), kind, SOURCE_TYPES);
    }
    let given: Vec<_> = SOURCES.into_iter().filter(|(_, member)| !missing(metric, &format!("/{member}"))).collect();
    if let Some((_, member)) = given.first() {
        validate_source(member, at(metric, &format!("/{member}")), &format!("{path}.{member}"), faults);
    }
    let expected = SOURCES.into_iter().find(|(one, _)| *one == kind);
    if let Some((_, member)) = expected.filter(|expected| !given.contains(expected)) {
        faults.required(format!("{path}.{member}"), "must populate information for the given metric source");
    }
    if given.len() != 1 {
        for (_, member) in given.into_iter().filter(|one| Some(*one) != expected) {
            faults.forbidden(format!("{path}.{member}"), "must populate the given metric source only");
        }
    }
}

fn validate_source(member: &str, source: &Value, path: &str, faults: &mut Faults) {
    let target = |one: &str| !missing(source, &format!("/target/{one}"));
    let metric = |faults: &mut Faults| {
        segment(text(source, "/metric/name"), "must specify a metric name", &format!("{path}.metric.name"), faults);
    };
    match member {
        "object" => {
            let described = at(source, "/describedObject");
            reference(described, &format!("{path}.describedObject"), faults);
            api_version(described, true, &format!("{path}.describedObject"), faults);
            metric(faults);
            validate_target(source, path, faults);
            if !target("value") && !target("averageValue") {
                let detail = "must set either a target value or averageValue";
                faults.required(format!("{path}.target.averageValue"), detail);
            }
        }
        "external" => {
            metric(faults);
            validate_target(source, path, faults);
            if !target("value") && !target("averageValue") {
                let detail = "must set either a target value for metric or a per-pod target";
                faults.required(format!("{path}.target.averageValue"), detail);
            }
            if target("value") && target("averageValue") {
                let detail = "may not set both a target value for metric and a per-pod target";
                faults.forbidden(format!("{path}.target.value"), detail);
            }
        }
        "pods" => {
            metric(faults);
            validate_target(source, path, faults);
            if !target("averageValue") {
                let detail = "must specify a positive target averageValue";
                faults.required(format!("{path}.target.averageValue"), detail);
            }
        }
        _ => validate_resource(member == "containerResource", source, path, faults),
    }
}

fn validate_resource(of_container: bool, source: &Value, path: &str, faults: &mut Faults) {
    match text(source, "/name") {
        "" => faults.required(format!("{path}.name"), "must specify a resource name"),
        name if of_container => validate_container_resource(name, &format!("{path}.name"), faults),
        _ => {}
    }
    if of_container {
        match text(source, "/container") {
            "" => faults.required(format!("{path}.container"), "must specify a container"),
            name => report(label(name), name, &format!("{path}.container"), faults),
        }
    }
    validate_target(source, path, faults);
    match (missing(source, "/target/averageUtilization"), missing(source, "/target/averageValue")) {
        (true, true) => {
            let detail = "must set either a target raw value or a target utilization";
            faults.required(format!("{path}.target.averageUtilization"), detail);
        }
        (false, false) => {
            let detail = "may not set both a target raw value and a target utilization";
            faults.forbidden(format!("{path}.target.averageValue"), detail);
        }
        (true, false) | (false, true) => {}
    }
}

fn validate_target(source: &Value, path: &str, faults: &mut Faults) {
    let (target, path) = (at(source, "/target"), format!("{path}.target"));
    let kind = text(target, "/type");
    if kind.is_empty() {
        faults.required(format!("{path}.type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        faults.invalid(format!("{path}.type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for member in ["value", "averageValue"] {
        let value = quantity(at(target, &format!("/{member}")));
        if let Some(value) = value.filter(|value| value.is_zero() || value.is_negative()) {
            faults.invalid(format!("{path}.{member}"), value.to_string(), "must be positive");
        }
    }
    if let Some(share) = at(target, "/averageUtilization").as_i64().filter(|share| *share < 1) {
        faults.invalid(format!("{path}.averageUtilization"), share, "must be greater than 0");
    }
}

fn validate_rules(rules: &Value, path: &str, faults: &mut Faults) {
    let seconds = int(rules, "/stabilizationWindowSeconds");
    let window = format!("{path}.stabilizationWindowSeconds");
    if seconds < 0 {
        faults.invalid(window, seconds, "must be greater than or equal to zero");
    } else if seconds > STABILIZATION_SECONDS_MAX {
        faults.invalid(window, seconds, format!("must be less than or equal to {STABILIZATION_SECONDS_MAX}"));
    }
    let select = text(rules, "/selectPolicy");
    if !matches!(select, "" | "Disabled" | "Max" | "Min") {
        faults.not_supported(format!("{path}.selectPolicy"), select, &["Disabled", "Max", "Min"]);
    }
    if let Some(tolerance) = quantity(at(rules, "/tolerance")).filter(kontiki_model::Quantity::is_negative) {
        faults.invalid(format!("{path}.tolerance"), tolerance.to_string(), "must be greater than or equal to 0");
    }
    let policies = list(rules, "/policies");
    if policies.is_empty() {
        faults.required(format!("{path}.policies"), "must specify at least one Policy");
    }
    for (index, policy) in policies.iter().enumerate() {
        validate_policy(policy, &format!("{path}.policies[{index}]"), faults);
    }
}

fn validate_policy(policy: &Value, path: &str, faults: &mut Faults) {
    let kind = text(policy, "/type");
    if !matches!(kind, "Percent" | "Pods") {
        faults.not_supported(format!("{path}.type"), kind, &["Percent", "Pods"]);
    }
    for member in ["value", "periodSeconds"] {
        let value = int(policy, &format!("/{member}"));
        if value <= 0 {
            faults.invalid(format!("{path}.{member}"), value, "must be greater than zero");
        }
    }
    let period = int(policy, "/periodSeconds");
    if period > PERIOD_SECONDS_MAX {
        let detail = format!("must be less than or equal to {PERIOD_SECONDS_MAX}");
        faults.invalid(format!("{path}.periodSeconds"), period, detail);
    }
}
