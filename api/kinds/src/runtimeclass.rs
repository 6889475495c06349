//! RuntimeClass (node.k8s.io).

use kontiki_model::Faults;
use serde_json::Value;

use crate::column::{self, text_column};
use crate::names::{label, report, validate_labels};
use crate::pod::{deprecated_node_label, validate_overhead, validate_tolerations};
use crate::tree::{at, list, members, missing, text};
use crate::{Column, Kind, fields, metadata};

pub static KIND: Kind = Kind {
    group: "node.k8s.io",
    kind: "RuntimeClass",
    resource: "runtimeclasses",
    singular: "runtimeclass",
    namespaced: false,
    type_name: "node.v1.RuntimeClass",
    create_on_update: true,
    unconditional_update: false,
    columns: COLUMNS,
    cells: |class, now| vec![column::name(class), text(class, "/handler").into(), column::age(class, now)],
    validate,
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        fields::immutable(new, old, "/handler", faults);
    },
    warnings: |class, _| {
        let labels = members(class, "/scheduling/nodeSelector").filter_map(|(label, _)| {
            Some(format!("scheduling.nodeSelector[{label}]: {}", deprecated_node_label(label)?))
        });
        labels.collect()
    },
    ..Kind::BASE
};

const COLUMNS: &[Column] =
    &[column::NAME, text_column("Handler", 0, "What the node's runtime knows the class by."), column::AGE];

fn validate(class: &Value, faults: &mut Faults) {
    let handler = text(class, "/handler");
    report(label(handler), handler, "handler", faults);
    if !missing(class, "/overhead") {
        validate_overhead(at(class, "/overhead/podFixed"), "overhead", faults);
    }
    let scheduling = at(class, "/scheduling");
    validate_labels(at(scheduling, "/nodeSelector"), "scheduling.nodeSelector", faults);
    let tolerations = list(scheduling, "/tolerations");
    validate_tolerations(tolerations, "scheduling.tolerations", faults);
    for (index, toleration) in tolerations.iter().enumerate() {
        if tolerations[..index].contains(toleration) {
            faults.duplicate(format!("scheduling.tolerations[{index}]"), toleration.clone());
        }
    }
}
