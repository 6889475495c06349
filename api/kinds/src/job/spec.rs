//! Which job specs are valid: in a Job, and in the template that a CronJob makes Jobs of.

use kontiki_model::Faults;
use serde_json::Value;

use super::policies;
use crate::fields;
use crate::tree::{at, fill_text, int, list_mut, missing, text};
use crate::{pod, workload};

const PARALLELISM_MAX: i64 = 100_000;
const FAILED_INDEXES_MAX: i64 = 100_000;
/// Above so many indexes, what a status must tell of each is bounded more tightly.
const COMPLETIONS_MANY: i64 = 100_000;
const OF_MANY_MAX: i64 = 10_000;
const MANAGER_LENGTH_MAX: usize = 63;

/// A pattern that names no status means a condition that holds.
pub fn default_pattern_status(spec: &mut Value) {
    for rule in list_mut(spec, "/podFailurePolicy/rules") {
        for pattern in list_mut(rule, "/onPodConditions") {
            fill_text(pattern, "status", "True");
        }
    }
}

/// Checks the spec of a Job that stands at `path`; its selector is the caller's affair.
pub fn validate_spec(spec: &Value, path: &str, faults: &mut Faults) {
    let counts = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    for member in counts {
        workload::not_negative_below(spec, path, member, faults);
    }
    if !missing(spec, "/maxFailedIndexes") && missing(spec, "/backoffLimitPerIndex") {
        faults.required(format!("{path}.backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = at(spec, "/managedBy").as_str() {
        fields::domain_prefixed_path(manager, &format!("{path}.managedBy"), faults);
        if manager.len() > MANAGER_LENGTH_MAX {
            faults.too_long(format!("{path}.managedBy"), MANAGER_LENGTH_MAX);
        }
    }
    match text(spec, "/completionMode") {
        "" | "NonIndexed" => validate_plain(spec, path, faults),
        "Indexed" => validate_indexed(spec, path, faults),
        other => faults.not_supported(format!("{path}.completionMode"), other, &["NonIndexed", "Indexed"]),
    }
    policies::validate(spec, path, faults);
    workload::validate_pods(at(spec, "/template"), &format!("{path}.template"), faults);
    validate_restarts(spec, &format!("{path}.template.spec.restartPolicy"), faults);
}

/// Without indexes there is nothing to count failures by.
fn validate_plain(spec: &Value, path: &str, faults: &mut Faults) {
    for member in ["backoffLimitPerIndex", "maxFailedIndexes"] {
        let value = at(spec, &format!("/{member}"));
        if !value.is_null() {
            faults.invalid(format!("{path}.{member}"), value.clone(), "requires indexed completion mode");
        }
    }
}

fn validate_indexed(spec: &Value, path: &str, faults: &mut Faults) {
    let number = |member: &str| at(spec, &format!("/{member}")).as_i64();
    let (completions, parallelism, failed) = (number("completions"), number("parallelism"), number("maxFailedIndexes"));
    if completions.is_none() {
        faults.required(format!("{path}.completions"), "when completion mode is Indexed");
    }
    let mut at_most = |member: &str, value: Option<i64>, most: i64, when: &str| {
        if let Some(value) = value.filter(|value| *value > most) {
            faults.invalid(format!("{path}.{member}"), value, format!("must be less than or equal to {most}{when}"));
        }
    };
    at_most("parallelism", parallelism, PARALLELISM_MAX, " when completion mode is Indexed");
    at_most("maxFailedIndexes", failed, FAILED_INDEXES_MAX, "");
    let many = completions.is_some_and(|completions| completions > COMPLETIONS_MANY);
    if many && number("backoffLimitPerIndex").is_some() {
        let when = format!(" when completions are above {COMPLETIONS_MANY} and used with backoff limit per index");
        at_most("parallelism", parallelism, OF_MANY_MAX, &when);
        at_most("maxFailedIndexes", failed, OF_MANY_MAX, &when);
        if failed.is_none() {
            let detail = format!("must be specified when completions is above {COMPLETIONS_MANY}");
            faults.required(format!("{path}.maxFailedIndexes"), detail);
        }
    }
    if let (Some(completions), Some(failed)) = (completions, failed)
        && failed > completions
    {
        faults.invalid(format!("{path}.maxFailedIndexes"), failed, "must be less than or equal to completions");
    }
}

/// Pods of a job end. What restarts always, which is also what a pod does that says nothing, does not.
fn validate_restarts(spec: &Value, path: &str, faults: &mut Faults) {
    match text(spec, "/template/spec/restartPolicy") {
        "" | "Always" => faults.required(path, "valid values: \"OnFailure\", \"Never\""),
        "Never" => {}
        "OnFailure" if missing(spec, "/podFailurePolicy") => {}
        "OnFailure" => {
            faults.invalid(path, "OnFailure", "only \"Never\" is supported when podFailurePolicy is specified");
        }
        other => faults.not_supported(path, other, &["OnFailure", "Never"]),
    }
}

/// Warnings about a valid spec that stands at `path`.
pub fn warnings(spec: &Value, path: &str) -> Vec<String> {
    let mut out = Vec::new();
    let many = int(spec, "/completions") > COMPLETIONS_MANY && int(spec, "/parallelism") > OF_MANY_MAX;
    if text(spec, "/completionMode") == "Indexed" && many {
        out.push(
            "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be \
             able to track completedIndexes when a big number of indexes fail"
                .to_owned(),
        );
    }
    out.extend(pod::template_warnings(at(spec, "/template"), &format!("{path}.template")));
    out
}
