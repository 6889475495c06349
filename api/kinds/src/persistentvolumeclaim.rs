//! PersistentVolumeClaim.

mod usage;

use kontiki_model::Faults;
use serde_json::{Value, json};

use crate::column::{self, text_column};
use crate::names::{label, qualified, report, subdomain};
use crate::persistentvolume::{self, protect};
use crate::pod::{self, quantity};
use crate::storage::storageclass;
use crate::tree::{NULL, at, fill, fill_text, flag, keep, members, missing, object, remove, set, text};
use crate::{Admit, Column, Disabled, Kind, Lookup, Review, Subresource, limitrange, metadata, selector, volumes};

pub static KIND: Kind = Kind {
    kind: "PersistentVolumeClaim",
    resource: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short_names: &["pvc"],
    type_name: "core.v1.PersistentVolumeClaim",
    subresources: &[Subresource::Status],
    delete_returns_object: true,
    columns: COLUMNS,
    cells: |claim, now| {
        let bound = !text(claim, "/spec/volumeName").is_empty();
        let capacity = column::or(text(claim, "/status/capacity/storage"), "0");
        vec![
            column::name(claim),
            volumes::phase(claim).into(),
            text(claim, "/spec/volumeName").into(),
            if bound { capacity } else { "".into() },
            if bound { volumes::access_modes(claim, "/status/accessModes").into() } else { "".into() },
            volumes::class(claim).into(),
            volumes::or_unset(claim, "/spec/volumeAttributesClassName").into(),
            column::age(claim, now),
            volumes::or_unset(claim, "/spec/volumeMode").into(),
        ]
    },
    default,
    admit: &[Admit {
        plugin: persistentvolume::PROTECTION,
        admit: |claim, _| {
            protect(claim, "kubernetes.io/pvc-protection");
            Ok(())
        },
    }],
    disabled: &[Disabled::new("CrossNamespaceVolumeDataSource", &[&["spec", "dataSourceRef"]]).naming("namespace")],
    prepare_create: |claim| {
        claim["status"] = json!({"phase": "Pending"});
        settle_sources(claim, None);
    },
    prepare_update: |new, old| {
        keep(new, old, "status");
        settle_sources(new, Some(old));
    },
    validate,
    validate_update,
    validate_status,
    warnings: |claim, _| {
        let class = volumes::class_annotation_warning(claim);
        class.into_iter().chain(spec_warnings(at(claim, "/spec"), "spec")).collect()
    },
    measure: Some(&usage::MEASURE),
    limited: Some(&limitrange::CLAIMS),
    default_class: Some(&storageclass::DEFAULT),
    review: Some(&GROWTH),
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Status", 0, "The phase of the claim."),
    text_column("Volume", 0, "The volume that it is bound to."),
    text_column("Capacity", 0, "How much that volume holds."),
    text_column("Access Modes", 0, "How that volume may be mounted."),
    text_column("StorageClass", 0, "The class of storage."),
    text_column("VolumeAttributesClass", 0, "The class of attributes."),
    column::AGE,
    text_column("VolumeMode", 1, "A file system, or a raw device."),
];

fn default(claim: &mut Value) {
    fill_text(object(claim, "status"), "phase", "Pending");
    let spec = object(claim, "spec");
    fill_text(spec, "volumeMode", "Filesystem");
    for pointer in ["/resources/requests", "/resources/limits"] {
        pod::round_resources(spec, pointer);
    }
}

/// Where the content comes from: the old form and the new one.
const SOURCES: [&str; 2] = ["dataSource", "dataSourceRef"];

/// The old form of where the content comes from, and the new one, are the same unless a namespace is named. What the old one
/// cannot say is ignored in it, as it was before there was another.
fn settle_sources(claim: &mut Value, before: Option<&Value>) {
    let spec = object(claim, "spec");
    let has = |spec: &Value, member: &str| !missing(spec, &format!("/{member}"));
    let had = before.is_some_and(|before| SOURCES.iter().any(|member| has(at(before, "/spec"), member)));
    if !had && !has(spec, "dataSourceRef") && !is_claim_or_snapshot(at(spec, "/dataSource")) {
        remove(spec, "dataSource");
    }
    let (old, new) = (at(spec, "/dataSource").clone(), at(spec, "/dataSourceRef").clone());
    if !old.is_null() && new.is_null() {
        spec["dataSourceRef"] = old;
    } else if old.is_null() && !new.is_null() && text(&new, "/namespace").is_empty() {
        fill(spec, "dataSource", new);
    }
}

fn is_claim_or_snapshot(source: &Value) -> bool {
    let (group, kind) = (text(source, "/apiGroup"), text(source, "/kind"));
    matches!((group, kind), ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot"))
}

fn validate(claim: &Value, faults: &mut Faults) {
    validate_spec(at(claim, "/spec"), "spec", faults);
}

/// The spec of a claim or of a template of claims, at `path`.
pub fn validate_spec(spec: &Value, path: &str, faults: &mut Faults) {
    volumes::validate_access_modes(spec, "at least 1 access mode is required", path, faults);
    selector::validate(at(spec, "/selector"), &format!("{path}.selector"), faults);
    let storage = format!("{path}.resources[storage]");
    match at(spec, "/resources/requests/storage") {
        Value::Null => faults.required(storage, ""),
        amount => volumes::validate_positive(amount, &storage, faults),
    }
    volumes::validate_class(spec, "storageClassName", path, faults);
    volumes::validate_mode(spec, path, faults);
    volumes::validate_class(spec, "volumeAttributesClassName", path, faults);
    for member in SOURCES {
        validate_data_source(at(spec, &format!("/{member}")), &format!("{path}.{member}"), faults);
    }
    let (old, new) = (at(spec, "/dataSource"), at(spec, "/dataSourceRef"));
    let member = format!("{path}.dataSource");
    if !old.is_null() && !text(new, "/namespace").is_empty() {
        faults.invalid(path, member, "may not be specified when dataSourceRef.namespace is specified");
    } else if !old.is_null() && !new.is_null() && !same_source(old, new) {
        faults.invalid(path, member, "must match dataSourceRef");
    }
}

/// Warnings about the spec of a claim or of a template of claims, at `path`.
pub fn spec_warnings(spec: &Value, path: &str) -> Vec<String> {
    let of = |part: &str| {
        let why = pod::fraction_warning(at(spec, &format!("/resources/{part}/storage")))?;
        Some(format!("{path}.resources.{part}[storage]: {why}"))
    };
    ["requests", "limits"].into_iter().filter_map(of).collect()
}

fn same_source(old: &Value, new: &Value) -> bool {
    ["/apiGroup", "/kind", "/name"].into_iter().all(|pointer| text(old, pointer) == text(new, pointer))
}

fn validate_data_source(source: &Value, path: &str, faults: &mut Faults) {
    if source.is_null() {
        return;
    }
    let (group, kind) = (text(source, "/apiGroup"), text(source, "/kind"));
    for member in ["name", "kind"] {
        if text(source, &format!("/{member}")).is_empty() {
            faults.required(format!("{path}.{member}"), "");
        }
    }
    let namespace = text(source, "/namespace");
    if !namespace.is_empty() {
        report(label(namespace), namespace, &format!("{path}.namespace"), faults);
    }
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        faults.invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    }
    if !group.is_empty() {
        report(subdomain(group), group, &format!("{path}.apiGroup"), faults);
    }
}

/// Claims are bounded by quotas, so they stay as they are; a bound one may grow, and its attributes may change.
fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    const STORAGE: &str = "/resources/requests/storage";
    metadata::validate_update(new, old, faults);
    let was = at(old, "/spec");
    let mut rest = at(new, "/spec").clone();
    if text(was, "/volumeName").is_empty() {
        keep(&mut rest, was, "volumeName");
    }
    let annotation = |claim| at(claim, "/metadata/annotations").get(volumes::CLASS_ANNOTATION).unwrap_or(&NULL);
    let (class, before) = (at(new, "/spec/storageClassName"), annotation(old));
    if missing(was, "/storageClassName") && !class.is_null() && (before.is_null() || before == class) {
        // The class that is the default later may be given to it then; one that an annotation says may be said by the field.
        remove(&mut rest, "storageClassName");
    }
    let moved = missing(was, "/storageClassName") && before == class && annotation(new).is_null();
    if annotation(new) != before && !moved {
        let path = format!("metadata.annotations.{}", volumes::CLASS_ANNOTATION);
        faults.invalid(path, annotation(new).clone(), "field is immutable");
    }
    if text(new, "/status/phase") == "Bound" && !missing(&rest, "/resources/requests") {
        set(&mut rest, STORAGE, at(was, STORAGE).clone());
    }
    if text(new, "/status/phase") == "Bound" && !missing(&rest, "/volumeAttributesClassName") {
        keep(&mut rest, was, "volumeAttributesClassName");
    }
    if rest != *was {
        let detail =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        faults.forbidden("spec", detail);
    }
    let size = |spec: &Value| quantity(at(spec, STORAGE));
    let had = quantity(at(old, "/status/capacity/storage"));
    if let (Some(is), Some(asked)) = (size(at(new, "/spec")), size(was))
        && is < asked
        && had.is_none_or(|had| is <= had)
    {
        faults.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity");
    }
    if at(new, "/spec/volumeMode") != at(was, "/volumeMode") {
        faults.invalid("volumeMode", at(new, "/spec/volumeMode").clone(), "field is immutable");
    }
    if !missing(was, "/volumeAttributesClassName") {
        let now = match at(new, "/spec/volumeAttributesClassName").as_str() {
            None => "nil",
            Some("") => "an empty string",
            Some(_) => return,
        };
        let detail = format!("update from non-nil value to {now} is forbidden");
        faults.forbidden("spec.volumeAttributesClassName", detail);
    }
}

fn validate_status(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    for part in ["capacity", "allocatedResources"] {
        for (name, amount) in members(new, &format!("/status/{part}")) {
            let path = format!("status.{part}[{name}]");
            pod::validate_quantity(name, amount, &path, faults);
        }
    }
    for (member, path) in [
        ("allocatedResourceStatuses", "status.allocatedResourceStatus"),
        ("allocatedResources", "status.allocatedResources"),
    ] {
        for (name, _) in members(new, &format!("/status/{member}")) {
            report(qualified(name), name, path, faults);
            let native = !name.contains('/') || name.contains("kubernetes.io/");
            if native && name != "storage" && qualified(name).is_empty() {
                faults.not_supported(path, name.as_str(), &["storage"]);
            }
        }
    }
    for (name, status) in members(new, "/status/allocatedResourceStatuses") {
        if !status.as_str().is_some_and(|status| RESIZE_STATUSES.contains(&status)) {
            faults.not_supported("status.allocatedResourceStatus", name.as_str(), &RESIZE_STATUSES);
        }
    }
}

/// How far a claim has grown, in Kubernetes' order.
const RESIZE_STATUSES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// A claim grows where its class lets it.
static GROWTH: Review = Review {
    plugin: "PersistentVolumeClaimResize",
    lookups: |new, old| {
        let class = || Lookup::of_cluster(storageclass::RESOURCE, volumes::class(new));
        old.filter(|old| grows(new, old) && !volumes::class(new).is_empty()).map(|_| class()).into_iter().collect()
    },
    check: |new, old, found| {
        let Some(old) = old.filter(|old| grows(new, old)) else { return Ok(()) };
        if text(old, "/status/phase") != "Bound" {
            return Err("Only bound persistent volume claims can be expanded".to_owned());
        }
        let class = found.iter().flatten().next();
        let same_class = volumes::class(new) == volumes::class(old);
        if same_class && class.is_some_and(|class| flag(class, "/allowVolumeExpansion")) {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        Err(why.to_owned())
    },
};

fn grows(new: &Value, old: &Value) -> bool {
    let size = |claim: &Value| quantity(at(claim, "/spec/resources/requests/storage"));
    size(new) > size(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_grow_where_their_class_lets_them() {
        let claim = |storage: &str, phase: &str, class: &str| {
            json!({
                "spec": {"resources": {"requests": {"storage": storage}}, "storageClassName": class}, "status": {"phase": phase},
            })
        };
        let check = |new: &Value, old: &Value, class: Value| {
            let sought = (GROWTH.lookups)(new, Some(old)).len();
            (GROWTH.check)(new, Some(old), &vec![vec![class]; sought])
        };
        let yes = json!({"allowVolumeExpansion": true});
        let (old, new) = (claim("1Gi", "Bound", "c"), claim("2Gi", "Bound", "c"));
        let refused = |outcome: Result<(), String>| outcome.unwrap_err();
        assert_eq!(check(&new, &old, yes.clone()), Ok(()));
        assert_eq!(check(&old, &new, json!({})), Ok(()));
        let only = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        assert_eq!(refused(check(&new, &old, json!({}))), only);
        assert_eq!(refused(check(&claim("2Gi", "Bound", ""), &claim("1Gi", "Bound", ""), yes.clone())), only);
        let pending = claim("1Gi", "Pending", "c");
        assert_eq!(refused(check(&new, &pending, yes)), "Only bound persistent volume claims can be expanded");
    }
}
