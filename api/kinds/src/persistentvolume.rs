//! PersistentVolume.

mod validation;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::column::{self, text_column};
use crate::tree::{at, fill, fill_text, keep, list, object, set, text};
use crate::{Admit, Column, Kind, Restore, Subresource, metadata, pod, volumes};

pub use validation::validate_inline;

pub static KIND: Kind = Kind {
    kind: "PersistentVolume",
    resource: "persistentvolumes",
    singular: "persistentvolume",
    short_names: &["pv"],
    namespaced: false,
    type_name: "core.v1.PersistentVolume",
    subresources: &[Subresource::Status],
    delete_returns_object: true,
    columns: COLUMNS,
    cells: |volume, now| {
        let claim = match at(volume, "/spec/claimRef") {
            Value::Null => String::new(),
            claim => format!("{}/{}", text(claim, "/namespace"), text(claim, "/name")),
        };
        vec![
            column::name(volume),
            column::or(text(volume, "/spec/capacity/storage"), "0"),
            volumes::access_modes(volume, "/spec/accessModes").into(),
            text(volume, "/spec/persistentVolumeReclaimPolicy").into(),
            volumes::phase(volume).into(),
            claim.into(),
            volumes::class(volume).into(),
            volumes::or_unset(volume, "/spec/volumeAttributesClassName").into(),
            text(volume, "/status/reason").into(),
            column::age(volume, now),
            volumes::or_unset(volume, "/spec/volumeMode").into(),
        ]
    },
    default,
    admit: &[Admit {
        plugin: PROTECTION,
        admit: |volume, _| {
            protect(volume, "kubernetes.io/pv-protection");
            Ok(())
        },
    }],
    prepare_create: |volume| {
        let now = at(volume, "/metadata/creationTimestamp").clone();
        volume["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": now});
    },
    prepare_update: |new, old| keep(new, old, "status"),
    validate: validation::validate,
    validate_update: validation::validate_update,
    validate_status: |new, old, faults| metadata::validate_update(new, old, faults),
    warnings,
    stamp,
    // What is on a disk does not go back.
    restore: Restore::WhileThere,
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Capacity", 0, "How much it holds."),
    text_column("Access Modes", 0, "How it may be mounted."),
    text_column("Reclaim Policy", 0, "What happens to it when its claim goes."),
    text_column("Status", 0, "The phase of the volume."),
    text_column("Claim", 0, "Who has it."),
    text_column("StorageClass", 0, "The class of storage."),
    text_column("VolumeAttributesClass", 0, "The class of attributes."),
    text_column("Reason", 0, "Why it is as it is."),
    column::AGE,
    text_column("VolumeMode", 1, "A file system, or a raw device."),
];

fn default(volume: &mut Value) {
    fill_text(object(volume, "status"), "phase", "Pending");
    let spec = object(volume, "spec");
    fill_text(spec, "persistentVolumeReclaimPolicy", "Retain");
    fill(spec, "volumeMode", "Filesystem");
    pod::round_resources(spec, "/capacity");
    pod::default_volume_source(spec);
}

fn warnings(volume: &Value, _: Option<&Value>) -> Vec<String> {
    const TERMS: &str = "spec.nodeAffinity.required.nodeSelectorTerms";
    let mut out: Vec<String> = volumes::class_annotation_warning(volume).into_iter().collect();
    if text(volume, "/spec/persistentVolumeReclaimPolicy") == "Recycle" {
        let why = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.";
        out.push(format!("spec.persistentVolumeReclaimPolicy: {why}"));
    }
    for (index, term) in list(volume, "/spec/nodeAffinity/required/nodeSelectorTerms").iter().enumerate() {
        out.extend(pod::node_term_warnings(term, &format!("{TERMS}[{index}]")));
    }
    // Kubernetes tells the end of two more where they are in a pod only.
    let deprecated =
        pod::deprecated_sources(at(volume, "/spec")).filter(|(field, _)| !matches!(*field, "flocker" | "quobyte"));
    out.extend(deprecated.map(|(field, why)| format!("spec.{field}: {why}")));
    out
}

/// A phase began when it was written, unless the writer knows better.
fn stamp(volume: &mut Value, old: Option<&Value>, now: DateTime<Utc>) {
    const SINCE: &str = "/status/lastPhaseTransitionTime";
    let Some(old) = old else { return };
    let since = at(volume, SINCE);
    let open = since.is_null() || since == at(old, SINCE);
    if open && text(volume, "/status/phase") != text(old, "/status/phase") {
        set(volume, SINCE, now.to_rfc3339_opts(SecondsFormat::Secs, true).into());
    }
}

/// The admission plugin that protects.
pub const PROTECTION: &str = "StorageObjectInUseProtection";

/// What is in use is held back by a finalizer until it is not.
pub fn protect(object: &mut Value, finalizer: &str) {
    let mut all = list(object, "/metadata/finalizers").to_vec();
    if !all.iter().any(|one| one == finalizer) {
        all.push(finalizer.into());
        object["metadata"]["finalizers"] = all.into();
    }
}
