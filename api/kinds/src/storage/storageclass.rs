//! StorageClass.

use kontiki_model::Faults;
use kontiki_schema::ids;
use serde_json::Value;

use super::{GROUP, kept, validate_parameters, validate_provisioner};
use crate::admission::newest;
use crate::column::{self, text_column};
use crate::names::{qualified, report};
use crate::pod::deprecated_node_label;
use crate::tree::{at, fill, flag, list, missing, object, text, text_or, texts};
use crate::{Column, DefaultClass, Kind, fields, metadata, volumes};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "StorageClass",
    resource: "storageclasses",
    singular: "storageclass",
    short_names: &["sc"],
    namespaced: false,
    type_name: "storage.v1.StorageClass",
    delete_returns_object: true,
    columns: COLUMNS,
    cells: |class, now| {
        vec![
            name(class).into(),
            text(class, "/provisioner").into(),
            text_or(class, "/reclaimPolicy", "Delete").into(),
            text_or(class, "/volumeBindingMode", "Immediate").into(),
            flag(class, "/allowVolumeExpansion").into(),
            column::age(class, now),
        ]
    },
    default: |class| {
        fill(class, "reclaimPolicy", "Delete");
        fill(class, "volumeBindingMode", "Immediate");
    },
    validate,
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        for member in ["parameters", "provisioner", "reclaimPolicy"] {
            kept(new, old, member, faults);
        }
        fields::immutable(new, old, "/volumeBindingMode", faults);
    },
    warnings: |class, _| warnings(class),
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Provisioner", 0, "What provides the volumes."),
    text_column("ReclaimPolicy", 0, "What becomes of a volume that is no longer claimed."),
    text_column("VolumeBindingMode", 0, "When volumes are provided and bound."),
    text_column("AllowVolumeExpansion", 0, "Whether volumes can grow."),
    column::AGE,
];

/// What claims without a class get.
pub static DEFAULT: DefaultClass = DefaultClass {
    plugin: "DefaultStorageClass",
    classes: RESOURCE,
    is_open: |claim| missing(claim, "/spec/storageClassName") && volumes::class(claim).is_empty(),
    choose: |classes| newest(classes, is_default),
    set: |claim, class| object(claim, "spec")["storageClassName"] = at(class, "/metadata/name").clone(),
};

/// Where storage classes are stored.
pub const RESOURCE: &str = "storageclasses.storage.k8s.io";

/// Marks the class that claims without one get.
const DEFAULT_ANNOTATIONS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

fn is_default(class: &Value) -> bool {
    let annotations = at(class, "/metadata/annotations");
    DEFAULT_ANNOTATIONS.iter().any(|one| annotations.get(*one).is_some_and(|value| value == "true"))
}

fn name(class: &Value) -> String {
    let name = text(class, "/metadata/name");
    if is_default(class) { format!("{name} (default)") } else { name.to_owned() }
}

fn validate(class: &Value, faults: &mut Faults) {
    validate_provisioner(class, "provisioner", faults);
    validate_parameters(class, faults);
    let policy = text(class, "/reclaimPolicy");
    if !policy.is_empty() {
        fields::one_of(policy, "reclaimPolicy", &["Delete", "Retain"], faults);
    }
    let field = (ids::STORAGE_V1_STORAGECLASS, "volumeBindingMode");
    fields::known(text(class, "/volumeBindingMode"), field, "volumeBindingMode", faults);
    let terms = list(class, "/allowedTopologies");
    for (index, term) in terms.iter().enumerate() {
        let path = format!("allowedTopologies[{index}]");
        validate_topology(term, &path, faults);
        if terms[..index].contains(term) {
            faults.duplicate(format!("{path}.matchLabelExpressions"), "");
        }
    }
}

fn validate_topology(term: &Value, path: &str, faults: &mut Faults) {
    let mut keys = Vec::new();
    for (index, requirement) in list(term, "/matchLabelExpressions").iter().enumerate() {
        let path = format!("{path}.matchLabelExpressions[{index}]");
        let (key, values) = (text(requirement, "/key"), texts(requirement, "/values").collect::<Vec<_>>());
        if values.is_empty() {
            faults.required(format!("{path}.values"), "");
        }
        for (at, value) in values.iter().enumerate() {
            if values[..at].contains(value) {
                faults.duplicate(format!("{path}.values[{at}]"), *value);
            }
        }
        report(qualified(key), key, &format!("{path}.key"), faults);
        if keys.contains(&key) {
            faults.duplicate(format!("{path}.key"), key);
        }
        keys.push(key);
    }
}

fn warnings(class: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for (index, term) in list(class, "/allowedTopologies").iter().enumerate() {
        for (at, requirement) in list(term, "/matchLabelExpressions").iter().enumerate() {
            if let Some(why) = deprecated_node_label(text(requirement, "/key")) {
                out.push(format!("allowedTopologies[{index}].matchLabelExpressions[{at}].key: {why}"));
            }
        }
    }
    out
}
