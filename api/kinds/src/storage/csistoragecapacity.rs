//! CSIStorageCapacity.

use kontiki_model::Faults;
use serde_json::Value;

use super::GROUP;
use crate::column::{self, text_column};
use crate::names::{report, subdomain};
use crate::pod::{deprecated_node_label, quantity};
use crate::tree::{at, list, members, text};
use crate::{Column, Kind, Restore, fields, metadata, selector};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "CSIStorageCapacity",
    resource: "csistoragecapacities",
    singular: "csistoragecapacity",
    type_name: "storage.v1.CSIStorageCapacity",
    unconditional_update: false,
    columns: COLUMNS,
    cells: |capacity, _| vec![column::name(capacity), at(capacity, "/metadata/creationTimestamp").clone()],
    validate,
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        fields::immutable(new, old, "/nodeTopology", faults);
        fields::immutable(new, old, "/storageClassName", faults);
    },
    warnings: |capacity, _| warnings(capacity),
    restore: Restore::WhileThere,
    ..Kind::BASE
};

const COLUMNS: &[Column] =
    &[column::NAME, Column { r#type: "date", ..text_column("Created At", 0, "When the object was made.") }];

fn validate(capacity: &Value, faults: &mut Faults) {
    selector::validate(at(capacity, "/nodeTopology"), "nodeTopology", faults);
    let class = text(capacity, "/storageClassName");
    report(subdomain(class), class, "storageClassName", faults);
    if let Some(amount) = quantity(at(capacity, "/capacity")).filter(|amount| amount.is_negative()) {
        faults.invalid("capacity", amount.to_string(), "must be greater than or equal to 0");
    }
}

fn warnings(capacity: &Value) -> Vec<String> {
    let topology = at(capacity, "/nodeTopology");
    let labels = members(topology, "/matchLabels")
        .filter_map(|(label, _)| Some(format!("nodeTopology.matchLabels.{label}: {}", deprecated_node_label(label)?)));
    let expressions = list(topology, "/matchExpressions").iter().enumerate();
    let expressions = expressions.filter_map(|(index, one)| {
        let why = deprecated_node_label(text(one, "/key"))?;
        Some(format!("nodeTopology.matchExpressions[{index}].key: {why}"))
    });
    labels.chain(expressions).collect()
}
