//! DaemonSet (apps).

use kontiki_model::Faults;
use serde_json::{Value, json};

use crate::column::{self, number_column, text_column};
use crate::podsecurity::PodSecurity;
use crate::tree::{at, fill, fill_text, int, keep, object, text};
use crate::{Column, Kind, Subresource, int_or_percent, metadata, pod, selector, workload};

pub static KIND: Kind = Kind {
    group: "apps",
    kind: "DaemonSet",
    resource: "daemonsets",
    singular: "daemonset",
    short_names: &["ds"],
    categories: &["all"],
    type_name: "apps.v1.DaemonSet",
    generation: true,
    subresources: &[Subresource::Status],
    columns: COLUMNS,
    cells: |set, now| {
        let count = |member: &str| int(set, &format!("/status/{member}")).into();
        vec![
            column::name(set),
            count("desiredNumberScheduled"),
            count("currentNumberScheduled"),
            count("numberReady"),
            count("updatedNumberScheduled"),
            count("numberAvailable"),
            selector::labels_to_cell(at(set, "/spec/template/spec/nodeSelector")),
            column::age(set, now),
            column::joined(set, "/spec/template/spec/containers", "/name"),
            column::joined(set, "/spec/template/spec/containers", "/image"),
            selector::to_cell(at(set, "/spec/selector")),
        ]
    },
    default,
    prepare_create: |set| {
        set["status"] = json!({});
        let given = template_generation(set).max(1);
        number_template(set, given);
    },
    prepare_update,
    validate,
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        workload::validate_selector_kept(new, old, faults);
        // Kubernetes checks the spec of a changed one twice, and says so twice.
        validate(new, faults);
    },
    validate_status,
    warnings: |set, old| match old {
        Some(old) if at(old, "/spec") == at(set, "/spec") => Vec::new(),
        Some(_) | None => pod::template_warnings(at(set, "/spec/template"), "spec.template"),
    },
    pod_security: Some(PodSecurity::Template("/spec/template")),
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    number_column("Desired", "Number of nodes that should run the pod."),
    number_column("Current", "Number of nodes that run the pod and should."),
    number_column("Ready", "Number of nodes whose pod is ready."),
    number_column("Up-to-date", "Number of nodes whose pod is of the desired template."),
    number_column("Available", "Number of nodes whose pod has been ready for minReadySeconds."),
    text_column("Node Selector", 0, "Labels of the nodes that should run the pod."),
    column::AGE,
    column::CONTAINERS,
    column::IMAGES,
    column::SELECTOR,
];

/// Where the number of the template is kept, which was a field once.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn default(set: &mut Value) {
    let spec = object(set, "spec");
    workload::default_template(spec, "template");
    let strategy = object(spec, "updateStrategy");
    fill_text(strategy, "type", "RollingUpdate");
    if text(strategy, "/type") == "RollingUpdate" {
        let rolling = object(strategy, "rollingUpdate");
        fill(rolling, "maxUnavailable", 1);
        fill(rolling, "maxSurge", 0);
    }
    fill(spec, "revisionHistoryLimit", 10);
    object(set, "status");
}

fn template_generation(set: &Value) -> i64 {
    let annotation = at(set, "/metadata/annotations").get(TEMPLATE_GENERATION).and_then(Value::as_str);
    annotation.and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn number_template(set: &mut Value, generation: i64) {
    object(object(set, "metadata"), "annotations")[TEMPLATE_GENERATION] = generation.to_string().into();
}

/// The template's number rises when the template changes, and only then.
fn prepare_update(new: &mut Value, old: &Value) {
    keep(new, old, "status");
    let changed = at(new, "/spec/template") != at(old, "/spec/template");
    number_template(new, template_generation(old) + i64::from(changed));
}

fn validate(set: &Value, faults: &mut Faults) {
    let chosen = at(set, "/spec/selector");
    selector::validate(chosen, "spec.selector", faults);
    if !chosen.is_null() && selector::is_empty(chosen) {
        faults.invalid("spec.selector", chosen.clone(), "empty selector is invalid for daemonset");
    }
    workload::validate_template(set, "DaemonSet", faults);
    workload::not_negative(set, "/spec/minReadySeconds", faults);
    workload::not_negative(set, "/spec/revisionHistoryLimit", faults);
    validate_strategy(at(set, "/spec/updateStrategy"), faults);
}

fn validate_strategy(strategy: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.updateStrategy";
    let rolling = at(strategy, "/rollingUpdate");
    match text(strategy, "/type") {
        "OnDelete" => {}
        "RollingUpdate" if rolling.is_null() => faults.required(format!("{PATH}.rollingUpdate"), ""),
        "RollingUpdate" => validate_rolling(rolling, &format!("{PATH}.rollingUpdate"), faults),
        _ => faults.not_supported(PATH, strategy.clone(), &["RollingUpdate", "OnDelete"]),
    }
}

/// Nodes may be without their pod for a while, or have two: one of both.
fn validate_rolling(rolling: &Value, path: &str, faults: &mut Faults) {
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    for (value, member) in [(unavailable, "maxUnavailable"), (surge, "maxSurge")] {
        int_or_percent::validate(value, &format!("{path}.{member}"), faults);
        int_or_percent::validate_at_most_all(value, &format!("{path}.{member}"), faults);
    }
    match (int_or_percent::is_zero(unavailable), int_or_percent::is_zero(surge)) {
        (false, false) => {
            let detail = "may not be set when maxUnavailable is non-zero";
            faults.invalid(format!("{path}.maxSurge"), surge.clone(), detail);
        }
        (true, true) => faults.required(format!("{path}.maxUnavailable"), "cannot be 0 when maxSurge is 0"),
        (true, false) | (false, true) => {}
    }
}

fn validate_status(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    let counts = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    for member in counts {
        workload::not_negative(new, &format!("/status/{member}"), faults);
    }
    workload::validate_collisions(new, old, faults);
}
