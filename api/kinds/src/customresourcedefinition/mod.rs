//! CustomResourceDefinition (apiextensions.k8s.io): what defines kinds at run time. What a definition serves is [`crate::custom`].

mod conversion;
mod names;
mod validate;

use std::collections::BTreeSet;

use kontiki_model::Faults;
use serde_json::{Value, json};

use crate::column::{self, text_column};
use crate::tree::{at, fill, fill_text, flag, keep, list, object, object_mut, text};
use crate::{Column, FinalizerRule, Kind, Restore, Subresource, metadata};

pub use names::{Settled, settle};

pub static KIND: Kind = Kind {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    resource: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
    type_name: "apiextensions.v1.CustomResourceDefinition",
    finalizers: FinalizerRule::Qualified,
    generation: true,
    unconditional_update: false,
    subresources: &[Subresource::Status],
    columns: COLUMNS,
    cells: |definition, _| vec![column::name(definition), at(definition, "/metadata/creationTimestamp").clone()],
    default,
    prepare_create,
    prepare_update,
    validate: validate::validate,
    validate_create: validate::validate_create,
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        validate::validate_update(new, old, faults);
    },
    validate_status,
    warnings,
    restore: Restore::Whole,
    restore_keeps: &[],
    defines_kinds: true,
    prepare_delete: mark_for_cleanup,
    ..Kind::BASE
};

const COLUMNS: &[Column] =
    &[column::NAME, Column { r#type: "date", ..text_column("Created At", 0, "When the definition was made.") }];

/// Holds a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

fn default(definition: &mut Value) {
    let spec = object(definition, "spec");
    let kind = text(spec, "/names/kind").to_owned();
    let scope_names = object(spec, "names");
    fill_text(scope_names, "singular", &kind.to_lowercase());
    if !kind.is_empty() {
        fill_text(scope_names, "listKind", &format!("{kind}List"));
    }
    if at(spec, "/conversion").is_null() {
        spec["conversion"] = json!({"strategy": "None"});
    }
    if let Some(service) = object_mut(spec, "/conversion/webhook/clientConfig/service") {
        fill(service, "port", 443);
    }
}

fn prepare_create(definition: &mut Value) {
    let stored: Vec<Value> = storage_version(definition).into_iter().map(Value::from).collect();
    definition["status"] = json!({
        "conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored,
    });
}

fn prepare_update(new: &mut Value, old: &Value) {
    keep(new, old, "status");
    // What was once stored may still be: it is remembered until somebody has migrated it.
    if let Some(storage) = storage_version(new) {
        let mut stored = list(new, "/status/storedVersions").to_vec();
        if !stored.iter().any(|one| *one == storage) {
            stored.push(storage.into());
            object(new, "status")["storedVersions"] = stored.into();
        }
    }
}

/// The one version that is stored.
fn storage_version(definition: &Value) -> Option<String> {
    let mut versions = list(definition, "/spec/versions").iter();
    versions.find(|version| flag(version, "/storage")).map(|version| text(version, "/name").to_owned())
}

/// A deletion begins with the objects: the definition stays until they are gone.
fn mark_for_cleanup(definition: &mut Value, now: &str) {
    let metadata = object(definition, "metadata");
    let mut finalizers = list(metadata, "/finalizers").to_vec();
    if !finalizers.iter().any(|one| one == CLEANUP) {
        finalizers.push(CLEANUP.into());
        metadata["finalizers"] = finalizers.into();
    }
    let why = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    names::set_condition(definition, "Terminating", "True", "InstanceDeletionPending", why, now);
}

/// What is new: whoever wrote the old definition has been told.
fn warnings(definition: &Value, old: Option<&Value>) -> Vec<String> {
    let formats = |definition: &Value| {
        let mut out = BTreeSet::new();
        for version in list(definition, "/spec/versions") {
            validate::unknown_formats(at(version, "/schema/openAPIV3Schema"), &mut out);
        }
        out
    };
    let known = old.map(formats).unwrap_or_default();
    let new = formats(definition);
    new.difference(&known).map(|format| format!("unrecognized format {format:?}")).collect()
}

fn validate_status(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    validate::validate_stored_versions(new, faults);
}
