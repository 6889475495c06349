//! PodTemplate.

use serde_json::Value;

use crate::column::{self, text_column};
use crate::podsecurity::PodSecurity;
use crate::tree::at;
use crate::{Column, Kind, metadata, pod, selector, workload};

pub static KIND: Kind = Kind {
    kind: "PodTemplate",
    resource: "podtemplates",
    singular: "podtemplate",
    type_name: "core.v1.PodTemplate",
    generation: true,
    delete_returns_object: true,
    columns: COLUMNS,
    cells: |template, _| {
        vec![
            column::name(template),
            column::joined(template, "/template/spec/containers", "/name"),
            column::joined(template, "/template/spec/containers", "/image"),
            selector::labels_to_cell(at(template, "/template/metadata/labels")),
        ]
    },
    default: |template| workload::default_template(template, "template"),
    validate: |template, faults| workload::validate_pods(at(template, "/template"), "template", faults),
    validate_update: |new, old, faults| metadata::validate_update(new, old, faults),
    warnings,
    pod_security: Some(PodSecurity::Template("/template")),
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Containers", 0, "Names of each container in the template."),
    text_column("Images", 0, "Images referenced by each container in the template."),
    text_column("Pod Labels", 0, "The labels of the template."),
];

fn warnings(template: &Value, old: Option<&Value>) -> Vec<String> {
    match old {
        Some(old) if at(old, "/template") == at(template, "/template") => Vec::new(),
        Some(_) | None => pod::template_warnings(at(template, "/template"), "template"),
    }
}
