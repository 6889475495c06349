//! The rules of `metadata` that hold for every kind.

use serde_json::{Map, Value};

use crate::{Faults, names};

/// Bytes that the keys and values of all annotations may have together.
pub const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// Checks `metadata` of an object. `name_rule` is the kind's rule for names.
pub fn validate(metadata: &Value, name_rule: fn(&str) -> Vec<String>, namespaced: bool, faults: &mut Faults) {
    let text = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default();
    let generate = text("generateName");
    if !generate.is_empty() {
        for wrong in name_rule(&masked(generate)) {
            faults.invalid("metadata.generateName", generate, wrong);
        }
    }
    match text("name") {
        "" => faults.required("metadata.name", "name or generateName is required"),
        name => name_rule(name).into_iter().for_each(|wrong| faults.invalid("metadata.name", name, wrong)),
    }
    match (namespaced, text("namespace")) {
        (true, "") => faults.required("metadata.namespace", ""),
        (true, name) => names::label(name).into_iter().for_each(|one| faults.invalid("metadata.namespace", name, one)),
        (false, "") => {}
        (false, _) => faults.forbidden("metadata.namespace", "not allowed on this type"),
    }
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64).filter(|value| *value < 0) {
        faults.invalid("metadata.generation", generation, "must be greater than or equal to 0");
    }
    if let Some(Value::Object(map)) = metadata.get("labels") {
        labels(map, "metadata.labels", faults);
    }
    if let Some(Value::Object(map)) = metadata.get("annotations") {
        annotations(map, "metadata.annotations", faults);
    }
    if let Some(Value::Array(owners)) = metadata.get("ownerReferences") {
        owner_references(owners, faults);
    }
    if let Some(Value::Array(list)) = metadata.get("finalizers") {
        finalizers(list, faults);
    }
}

/// Checks a map of labels found at `field`: keys, then values.
pub fn labels(map: &Map<String, Value>, field: &str, faults: &mut Faults) {
    for (key, value) in map {
        for wrong in names::qualified(key) {
            faults.invalid(field, key.as_str(), wrong);
        }
        let value = value.as_str().unwrap_or_default();
        for wrong in names::label_value(value) {
            faults.invalid(field, value, wrong);
        }
    }
}

/// Checks a map of annotations found at `field`: keys, and the size of all together.
pub fn annotations(map: &Map<String, Value>, field: &str, faults: &mut Faults) {
    for key in map.keys() {
        for wrong in names::qualified(&key.to_lowercase()) {
            faults.invalid(field, key.as_str(), wrong);
        }
    }
    let bytes: usize = map.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > ANNOTATIONS_BYTES_MAX {
        faults.too_long(field, ANNOTATIONS_BYTES_MAX);
    }
}

/// A prefix that ends in a dash is completed to a name; the rule sees it with a letter at its end.
fn masked(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        Some(_) | None => prefix.to_owned(),
    }
}

/// Checks `metadata.ownerReferences`.
pub fn owner_references(owners: &[Value], faults: &mut Faults) {
    let mut controller: Option<&str> = None;
    for owner in owners {
        let field = "metadata.ownerReferences";
        let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        let version = text("apiVersion").rsplit('/').next().unwrap_or_default();
        if version.is_empty() {
            faults.invalid(format!("{field}.apiVersion"), text("apiVersion"), "version must not be empty");
        }
        for key in ["kind", "name", "uid"] {
            if text(key).is_empty() {
                faults.invalid(format!("{field}.{key}"), "", "must not be empty");
            }
        }
        if text("kind") == "Event" && ["v1", "events.k8s.io/v1"].contains(&text("apiVersion")) {
            let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
            let detail = format!("{group}/{version}, Kind=Event is disallowed from being an owner");
            faults.invalid(field, owner.clone(), detail);
        }
        if owner.get("controller").and_then(Value::as_bool).unwrap_or_default() {
            let name = text("name");
            if let Some(first) = controller.replace(name) {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                );
                faults.invalid(field, Value::Array(owners.to_vec()), detail);
            }
        }
    }
}

/// Checks `metadata.finalizers`.
pub fn finalizers(list: &[Value], faults: &mut Faults) {
    let names: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
    for name in &names {
        for wrong in names::qualified(name) {
            faults.invalid("metadata.finalizers", *name, wrong);
        }
    }
    if names.contains(&"orphan") && names.contains(&"foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        faults.invalid("metadata.finalizers", Value::Array(list.to_vec()), detail);
    }
}

/// Whether a finalizer tells whose it is.
pub fn is_known_finalizer(name: &str) -> bool {
    name.contains('/') || STANDARD_FINALIZERS.contains(&name)
}

/// Checks that the finalizer found at `field` tells whose it is.
pub fn known_finalizer(name: &str, field: impl Into<String>, faults: &mut Faults) {
    if !is_known_finalizer(name) {
        faults.invalid(field, name, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(metadata: &Value, namespaced: bool) -> Vec<String> {
        let mut faults = Faults::default();
        validate(metadata, names::subdomain, namespaced, &mut faults);
        faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message())).collect()
    }

    #[test]
    fn good_metadata_passes() {
        let metadata = json!({
            "name": "a", "generateName": "a-", "namespace": "n", "labels": {"example.com/a": "B"}, "annotations": {"Any.Case/x": "y z"},
            "finalizers": ["example.com/hold", "orphan"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}],
        });
        assert_eq!(check(&metadata, true), Vec::<String>::new());
    }

    #[test]
    fn every_fault_is_named() {
        assert_eq!(check(&json!({}), false), ["metadata.name: Required value: name or generateName is required"]);
        let metadata = json!({
            "name": "a", "namespace": "n", "annotations": {"a": "x".repeat(ANNOTATIONS_BYTES_MAX)}, "finalizers": ["hold", "-hold"],
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true},
                {"apiVersion": "apps/", "kind": "Pod", "name": "q", "uid": "", "controller": true},
            ],
        });
        let faults = check(&metadata, false);
        let starts = [
            "metadata.namespace: Forbidden: not allowed on this type",
            "metadata.annotations: Too long: may not be more than 262144 bytes",
            "metadata.ownerReferences.apiVersion: Invalid value: \"apps/\": version must not be empty",
            "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
            "metadata.ownerReferences: Invalid value: [",
            "metadata.finalizers: Invalid value: \"-hold\": name part must consist of",
        ];
        assert_eq!(faults.len(), starts.len(), "{faults:#?}");
        for (fault, start) in faults.iter().zip(starts) {
            assert!(fault.starts_with(start), "{fault}");
        }
    }
}
