//! ControllerRevision (apps): a template as it once was.

use kontiki_model::Faults;
use serde_json::Value;

use crate::column::{self, text_column};
use crate::tree::{at, flag, int, list, missing, text};
use crate::{Column, Kind, metadata, workload};

pub static KIND: Kind = Kind {
    group: "apps",
    kind: "ControllerRevision",
    resource: "controllerrevisions",
    singular: "controllerrevision",
    type_name: "apps.v1.ControllerRevision",
    columns: COLUMNS,
    cells: |revision, now| {
        vec![
            column::name(revision),
            controller(revision).into(),
            int(revision, "/revision").into(),
            column::age(revision, now),
        ]
    },
    validate,
    validate_create: |revision, faults| {
        if !missing(revision, "/data") && !at(revision, "/data").is_object() {
            faults.required("data", "data must be a valid JSON object");
        }
    },
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        if at(new, "/data") != at(old, "/data") {
            faults.invalid("data", at(new, "/data").clone(), "field is immutable");
        }
    },
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Controller", 0, "Whose template it is."),
    text_column("Revision", 0, "The number of the revision."),
    column::AGE,
];

/// `daemonset.apps/web`, or `<none>`.
fn controller(revision: &Value) -> String {
    let owners = list(revision, "/metadata/ownerReferences");
    let Some(owner) = owners.iter().find(|owner| flag(owner, "/controller")) else { return "<none>".to_owned() };
    let kind = text(owner, "/kind").to_lowercase();
    match text(owner, "/apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", text(owner, "/name")),
        None => format!("{kind}/{}", text(owner, "/name")),
    }
}

fn validate(revision: &Value, faults: &mut Faults) {
    if missing(revision, "/data") {
        faults.required("data", "data is mandatory");
    }
    workload::not_negative(revision, "/revision", faults);
}
