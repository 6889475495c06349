//! Namespace.

use kontiki_model::Faults;
use kontiki_model::metadata::known_finalizer;
use kontiki_schema::managed::Reach;
use serde_json::{Value, json};

use crate::column::{self, text_column};
use crate::names::{qualified, report};
use crate::podsecurity::PodSecurity;
use crate::tree::{fill, keep, list, missing, object, text, texts};
use crate::{Column, Deletion, Edit, Field, Kind, NameRule, Protected, Subresource, metadata};

pub static KIND: Kind = Kind {
    kind: "Namespace",
    resource: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    namespaced: false,
    type_name: "core.v1.Namespace",
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    name_rule: NameRule::Label,
    subresources: &[Subresource::Finalize, Subresource::Status],
    deletion: Deletion::SpecFinalizers,
    protected: Protected {
        names: &["default", "kube-public", "kube-system"],
        why: "this namespace may not be deleted",
    },
    fields: &[Field { path: "status.phase", get: |namespace| text(namespace, "/status/phase").to_owned() }],
    columns: COLUMNS,
    cells: |namespace, now| {
        vec![column::name(namespace), text(namespace, "/status/phase").into(), column::age(namespace, now)]
    },
    default,
    prepare_create,
    prepare_update: |new, old| {
        keep(new, old, "spec");
        keep(new, old, "status");
    },
    validate,
    validate_update: |new, old, faults| metadata::validate_update(new, old, faults),
    validate_status,
    edits: &[FINALIZE],
    pod_security: Some(PodSecurity::Policy),
    is_scope: true,
    ..Kind::BASE
};

const FINALIZE: Edit = Edit {
    subresource: Subresource::Finalize,
    reach: Reach::Only(&[&["spec", "finalizers"]]),
    prepare: |new, old| keep(new, old, "status"),
    validate: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        for (index, finalizer) in texts(new, "/spec/finalizers").enumerate() {
            validate_finalizer(finalizer, &format!("spec.finalizers[{index}]"), faults);
        }
    },
};

const COLUMNS: &[Column] = &[column::NAME, text_column("Status", 0, "The status of the namespace."), column::AGE];
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Every namespace carries its own name as a label, so that selectors can name it.
fn default(namespace: &mut Value) {
    let name = text(namespace, "/metadata/name").to_owned();
    if !name.is_empty() {
        object(object(namespace, "metadata"), "labels")[NAME_LABEL] = name.into();
    }
    fill(object(namespace, "status"), "phase", "Active");
}

fn prepare_create(namespace: &mut Value) {
    default(namespace);
    namespace["status"] = json!({"phase": "Active"});
    let mut finalizers = list(namespace, "/spec/finalizers").to_vec();
    if !finalizers.iter().any(|one| one == "kubernetes") {
        finalizers.push("kubernetes".into());
    }
    object(namespace, "spec")["finalizers"] = finalizers.into();
}

fn validate(namespace: &Value, faults: &mut Faults) {
    texts(namespace, "/spec/finalizers").for_each(|one| validate_finalizer(one, "spec.finalizers", faults));
}

fn validate_finalizer(finalizer: &str, field: &str, faults: &mut Faults) {
    report(qualified(finalizer), finalizer, field, faults);
    known_finalizer(finalizer, field, faults);
}

fn validate_status(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    let phase = text(new, "/status/phase");
    if missing(new, "/metadata/deletionTimestamp") {
        if phase != "Active" {
            faults.invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty");
        }
    } else if phase != "Terminating" {
        faults.invalid("status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
    }
}
