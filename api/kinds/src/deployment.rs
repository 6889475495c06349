//! Deployment (apps).

use kontiki_model::Faults;
use serde_json::{Value, json};

use crate::column::{self, text_column};
use crate::podsecurity::PodSecurity;
use crate::tree::{at, fill, fill_text, int, keep, missing, object, text};
use crate::{Column, Kind, Subresource, int_or_percent, metadata, pod, selector, workload};

pub static KIND: Kind = Kind {
    group: "apps",
    kind: "Deployment",
    resource: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    type_name: "apps.v1.Deployment",
    generation: true,
    subresources: &[Subresource::Scale, Subresource::Status],
    status_resets: &[&["spec"], &["metadata", "labels"]],
    scale: Some(workload::SCALE),
    columns: COLUMNS,
    cells: |deployment, now| {
        let (ready, wanted) = (int(deployment, "/status/readyReplicas"), int(deployment, "/spec/replicas"));
        vec![
            column::name(deployment),
            format!("{ready}/{wanted}").into(),
            int(deployment, "/status/updatedReplicas").into(),
            int(deployment, "/status/availableReplicas").into(),
            column::age(deployment, now),
            column::joined(deployment, "/spec/template/spec/containers", "/name"),
            column::joined(deployment, "/spec/template/spec/containers", "/image"),
            selector::to_cell(at(deployment, "/spec/selector")),
        ]
    },
    default,
    prepare_create: |deployment| deployment["status"] = json!({}),
    prepare_update: |new, old| {
        keep(new, old, "status");
        metadata::count_as_content("annotations", new, old);
    },
    validate,
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        workload::validate_selector_kept(new, old, faults);
    },
    validate_status,
    warnings: pod::workload_warnings,
    pod_security: Some(PodSecurity::Template("/spec/template")),
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Ready", 0, "Number of ready pods over the number of desired pods."),
    text_column("Up-to-date", 0, "Number of pods with the desired template."),
    text_column("Available", 0, "Number of pods that have been ready for minReadySeconds."),
    column::AGE,
    column::CONTAINERS,
    column::IMAGES,
    column::SELECTOR,
];

fn default(deployment: &mut Value) {
    workload::default(deployment);
    object(deployment, "status");
    let spec = object(deployment, "spec");
    let strategy = object(spec, "strategy");
    fill_text(strategy, "type", "RollingUpdate");
    if text(strategy, "/type") == "RollingUpdate" {
        let rolling = object(strategy, "rollingUpdate");
        fill(rolling, "maxUnavailable", "25%");
        fill(rolling, "maxSurge", "25%");
    }
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "progressDeadlineSeconds", 600);
}

fn validate(deployment: &Value, faults: &mut Faults) {
    workload::not_negative(deployment, "/spec/replicas", faults);
    workload::validate_selector(deployment, "empty selector is invalid for deployment", faults);
    workload::validate_replicated(deployment, faults);
    validate_strategy(at(deployment, "/spec/strategy"), faults);
    workload::not_negative(deployment, "/spec/minReadySeconds", faults);
    workload::not_negative(deployment, "/spec/revisionHistoryLimit", faults);
    if !missing(deployment, "/spec/progressDeadlineSeconds") {
        workload::not_negative(deployment, "/spec/progressDeadlineSeconds", faults);
        let deadline = int(deployment, "/spec/progressDeadlineSeconds");
        if deadline <= int(deployment, "/spec/minReadySeconds") {
            faults.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds");
        }
    }
}

fn validate_strategy(strategy: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.strategy";
    let rolling = at(strategy, "/rollingUpdate");
    match text(strategy, "/type") {
        "Recreate" if !rolling.is_null() => {
            faults
                .forbidden(format!("{PATH}.rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" if rolling.is_null() => {
            faults.required(format!("{PATH}.rollingUpdate"), "this should be defaulted and never be nil");
        }
        "RollingUpdate" => validate_rolling(rolling, &format!("{PATH}.rollingUpdate"), faults),
        "" => faults.required(format!("{PATH}.type"), ""),
        other => faults.not_supported(format!("{PATH}.type"), other, &["Recreate", "RollingUpdate"]),
    }
}

fn validate_rolling(rolling: &Value, path: &str, faults: &mut Faults) {
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    int_or_percent::validate(unavailable, &format!("{path}.maxUnavailable"), faults);
    int_or_percent::validate(surge, &format!("{path}.maxSurge"), faults);
    if int_or_percent::is_zero(unavailable) && int_or_percent::is_zero(surge) {
        faults.invalid(format!("{path}.maxUnavailable"), unavailable.clone(), "may not be 0 when `maxSurge` is 0");
    }
    int_or_percent::validate_at_most_all(unavailable, &format!("{path}.maxUnavailable"), faults);
}

fn validate_status(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    let counts = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    for member in counts {
        workload::not_negative(new, &format!("/status/{member}"), faults);
    }
    let count = |member: &str| int(new, &format!("/status/{member}"));
    workload::not_more_than(new, &["updatedReplicas", "readyReplicas", "availableReplicas"], faults);
    if count("availableReplicas") > count("readyReplicas") {
        faults.invalid("status.availableReplicas", count("availableReplicas"), "cannot be greater than readyReplicas");
    }
    workload::validate_collisions(new, old, faults);
}
