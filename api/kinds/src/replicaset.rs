//! ReplicaSet (apps).

use kontiki_model::Faults;
use serde_json::{Value, json};

use crate::column::{self, number_column};
use crate::podsecurity::PodSecurity;
use crate::tree::{at, fill, int, keep, object};
use crate::{Column, Kind, Subresource, metadata, pod, selector, workload};

pub static KIND: Kind = Kind {
    group: "apps",
    kind: "ReplicaSet",
    resource: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    type_name: "apps.v1.ReplicaSet",
    generation: true,
    subresources: &[Subresource::Scale, Subresource::Status],
    scale: Some(workload::SCALE),
    columns: COLUMNS,
    cells: |set, now| {
        vec![
            column::name(set),
            int(set, "/spec/replicas").into(),
            int(set, "/status/replicas").into(),
            int(set, "/status/readyReplicas").into(),
            column::age(set, now),
            column::joined(set, "/spec/template/spec/containers", "/name"),
            column::joined(set, "/spec/template/spec/containers", "/image"),
            selector::to_cell(at(set, "/spec/selector")),
        ]
    },
    default: |set| {
        workload::default(set);
        fill(object(set, "status"), "replicas", 0);
    },
    prepare_create: |set| set["status"] = json!({"replicas": 0}),
    prepare_update: |new, old| keep(new, old, "status"),
    validate,
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        workload::validate_selector_kept(new, old, faults);
    },
    validate_status: workload::validate_replica_status,
    warnings: pod::workload_warnings,
    pod_security: Some(PodSecurity::Template("/spec/template")),
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

fn validate(set: &Value, faults: &mut Faults) {
    workload::not_negative(set, "/spec/replicas", faults);
    workload::not_negative(set, "/spec/minReadySeconds", faults);
    workload::validate_selector(set, "empty selector is invalid for deployment", faults);
    workload::validate_replicated(set, faults);
}
