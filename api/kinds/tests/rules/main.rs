//! What is refused, with Kubernetes' field paths and words: creates, updates and status writes of each kind.
#![allow(clippy::unwrap_used)]

mod admission;
mod apps;
mod batch;
mod budgets;
mod certificates;
mod cluster;
mod devices;
mod disabled;
mod flowcontrol;
mod networking;
mod others;
mod placement;
mod pod_changes;
mod pod_status;
mod pods;
mod rbac;
mod security;
mod services;
mod sources;
mod storage;

use chrono::{DateTime, Utc};
use kontiki_kinds::{Kind, Subresource, by_gvk, metadata};
use kontiki_model::Faults;
use kontiki_schema::{builtin, merge_patch};
use serde_json::{Value, json};

fn kind_of(object: &Value) -> &'static Kind {
    let version = object["apiVersion"].as_str().unwrap();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    by_gvk(group, version, object["kind"].as_str().unwrap()).unwrap()
}

fn merge(object: &mut Value, patch: &Value) {
    *object = merge_patch(object.take(), patch.clone());
}

fn defaulted(object: &mut Value) {
    let kind = kind_of(object);
    let id = builtin().lookup(kind.type_name).unwrap();
    builtin().default(id, object);
    (kind.default)(object);
}

fn settled(object: &mut Value) {
    let kind = kind_of(object);
    builtin().canonical(builtin().lookup(kind.type_name).unwrap(), object);
}

/// A stored object: what a create makes of it, without the server's part of metadata.
fn stored(mut object: Value) -> Value {
    let kind = kind_of(&object);
    if kind.namespaced {
        object["metadata"]["namespace"] = json!("a");
    }
    if object["metadata"]["name"].is_null() {
        object["metadata"]["name"] = json!("x");
    }
    defaulted(&mut object);
    kind.drop_disabled(&mut object, None);
    (kind.prepare_create)(&mut object);
    settled(&mut object);
    object
}

fn told(faults: &Faults) -> Vec<String> {
    faults.iter().map(|one| format!("{}: {}", one.field, one.message())).collect()
}

fn create(object: Value) -> Vec<String> {
    let object = stored(object);
    let mut faults = Faults::default();
    metadata::validate(kind_of(&object), &object, &mut faults);
    (kind_of(&object).validate)(&object, &mut faults);
    (kind_of(&object).validate_create)(&object, &mut faults);
    told(&faults)
}

/// The object after a merge patch, and the faults.
fn update(old: &Value, patch: &Value) -> (Value, Vec<String>) {
    let kind = kind_of(old);
    let mut new = old.clone();
    merge(&mut new, patch);
    defaulted(&mut new);
    settled(&mut new);
    kind.drop_disabled(&mut new, Some(old));
    (kind.prepare_update)(&mut new, old);
    settled(&mut new);
    let mut faults = Faults::default();
    (kind.validate)(&new, &mut faults);
    (kind.validate_update)(&new, old, &mut faults);
    (new, told(&faults))
}

fn update_status(old: &Value, patch: &Value) -> (Value, Vec<String>) {
    let kind = kind_of(old);
    let mut new = old.clone();
    merge(&mut new, patch);
    defaulted(&mut new);
    settled(&mut new);
    kind.drop_disabled(&mut new, Some(old));
    (kind.prepare_status)(&mut new, old);
    (kind.stamp)(&mut new, Some(old), now());
    settled(&mut new);
    let mut faults = Faults::default();
    (kind.validate_status)(&new, old, &mut faults);
    (new, told(&faults))
}

/// A change by way of a subresource that edits a part.
fn edit(old: &Value, subresource: Subresource, patch: &Value) -> (Value, Vec<String>) {
    let kind = kind_of(old);
    let edit = kind.edit(subresource).unwrap();
    let mut new = old.clone();
    merge(&mut new, patch);
    defaulted(&mut new);
    kind.drop_disabled(&mut new, Some(old));
    (edit.prepare)(&mut new, old);
    (kind.stamp)(&mut new, Some(old), now());
    settled(&mut new);
    let mut faults = Faults::default();
    (edit.validate)(&new, old, &mut faults);
    (new, told(&faults))
}

fn now() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-01-02T03:04:05Z").unwrap().to_utc()
}

fn check_creates(cases: Vec<(Value, &[&str])>) {
    for (object, expected) in cases {
        assert_eq!(create(object.clone()), expected, "{object}");
    }
}

fn check_updates(old: Value, cases: Vec<(Value, &[&str])>) {
    let old = stored(old);
    for (patch, expected) in cases {
        assert_eq!(update(&old, &patch).1, expected, "{patch}");
    }
}

fn core(kind: &str, rest: Value) -> Value {
    in_group("v1", kind, rest)
}

fn in_group(version: &str, kind: &str, rest: Value) -> Value {
    let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {}});
    merge(&mut object, &rest);
    object
}

fn pod(spec: Value) -> Value {
    let mut object = core("Pod", json!({"spec": {"containers": [{"name": "c", "image": "i:1"}]}}));
    merge(&mut object["spec"], &spec);
    object
}

fn container(rest: Value) -> Value {
    let mut container = json!({"name": "c", "image": "i:1"});
    merge(&mut container, &rest);
    pod(json!({"containers": [container]}))
}

fn service(spec: Value) -> Value {
    core("Service", json!({"spec": spec}))
}

fn deployment(spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {},
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}},
        },
    });
    merge(&mut object["spec"], &spec);
    object
}
