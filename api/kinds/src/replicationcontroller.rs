//! ReplicationController: what ReplicaSets replaced.

use kontiki_model::Faults;
use serde_json::{Value, json};

use crate::column::{self, number_column};
use crate::kind::Orphans;
use crate::podsecurity::PodSecurity;
use crate::quota::Measure;
use crate::tree::{at, count, fill, int, keep, missing, object};
use crate::{Column, Field, Kind, Scale, SelectorForm, Subresource, metadata, pod, selector, workload};

pub static KIND: Kind = Kind {
    kind: "ReplicationController",
    resource: "replicationcontrollers",
    singular: "replicationcontroller",
    short_names: &["rc"],
    categories: &["all"],
    type_name: "core.v1.ReplicationController",
    generation: true,
    subresources: &[Subresource::Scale, Subresource::Status],
    scale: Some(Scale { selector_form: SelectorForm::Labels, ..workload::SCALE }),
    fields: &[Field { path: "status.replicas", get: |controller| int(controller, "/status/replicas").to_string() }],
    columns: COLUMNS,
    cells: |controller, now| {
        vec![
            column::name(controller),
            int(controller, "/spec/replicas").into(),
            int(controller, "/status/replicas").into(),
            int(controller, "/status/readyReplicas").into(),
            column::age(controller, now),
            column::joined(controller, "/spec/template/spec/containers", "/name"),
            column::joined(controller, "/spec/template/spec/containers", "/image"),
            selector::labels_to_cell(at(controller, "/spec/selector")),
        ]
    },
    default,
    prepare_create: |controller| controller["status"] = json!({"replicas": 0}),
    prepare_update: |new, old| keep(new, old, "status"),
    validate,
    validate_update: |new, old, faults| metadata::validate_update(new, old, faults),
    validate_status: workload::validate_replica_status,
    warnings: pod::workload_warnings,
    orphans: Some(Orphans::Silently),
    pod_security: Some(PodSecurity::Template("/spec/template")),
    measure: Some(&Measure { alias: Some("replicationcontrollers"), ..Measure::COUNT }),
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    number_column("Desired", "Number of desired pods."),
    number_column("Current", "Number of observed pods."),
    number_column("Ready", "Number of ready pods."),
    column::AGE,
    column::CONTAINERS,
    column::IMAGES,
    column::SELECTOR,
];

/// Selector and labels are those of the template, where they are not given.
fn default(controller: &mut Value) {
    if missing(controller, "/spec/template") {
        fill(object(controller, "spec"), "replicas", 1);
    } else {
        workload::default(controller);
    }
    fill(object(controller, "status"), "replicas", 0);
    let labels = at(controller, "/spec/template/metadata/labels").clone();
    if labels.as_object().is_none_or(serde_json::Map::is_empty) {
        return;
    }
    if count(controller, "/spec/selector") == 0 {
        controller["spec"]["selector"] = labels.clone();
    }
    if count(controller, "/metadata/labels") == 0 {
        object(controller, "metadata")["labels"] = labels;
    }
}

fn validate(controller: &Value, faults: &mut Faults) {
    workload::not_negative(controller, "/spec/minReadySeconds", faults);
    workload::not_negative(controller, "/spec/replicas", faults);
    let (chosen, template) = (at(controller, "/spec/selector"), at(controller, "/spec/template"));
    let selects = count(controller, "/spec/selector") > 0;
    if !selects {
        faults.required("spec.selector", "");
    }
    if template.is_null() {
        faults.required("spec.template", "");
        return;
    }
    if selects && !selector::matches(&json!({"matchLabels": chosen}), at(template, "/metadata/labels")) {
        workload::not_selected(at(template, "/metadata/labels"), "spec.template", faults);
    }
    workload::validate_pods(template, "spec.template", faults);
    workload::validate_endless(template, "ReplicationController", faults);
}
