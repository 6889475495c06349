//! `metadata` is the same for every kind, and so are its rules (`ValidateObjectMeta` and `ValidateObjectMetaUpdate`).

use kontiki_model::Faults;
use serde_json::Value;

use crate::names::{self, dns1123_label, label_key, report};
use crate::tree::{at, flag, int, list, missing, text};
use crate::{Kind, tree};

/// Checks the metadata of a new object.
pub fn validate(kind: &Kind, object: &Value, faults: &mut Faults) {
    let prefix = text(object, "/metadata/generateName");
    if !prefix.is_empty() {
        report(kind.name_rule.check(prefix, true), prefix, "metadata.generateName", faults);
    }
    let name = text(object, "/metadata/name");
    if name.is_empty() {
        faults.required("metadata.name", "name or generateName is required");
    } else {
        report(kind.name_rule.check(name, false), name, "metadata.name", faults);
    }
    let namespace = text(object, "/metadata/namespace");
    match (kind.namespaced, namespace.is_empty()) {
        (true, true) => faults.required("metadata.namespace", ""),
        (true, false) => report(dns1123_label(namespace), namespace, "metadata.namespace", faults),
        (false, true) => {}
        (false, false) => faults.forbidden("metadata.namespace", "not allowed on this type"),
    }
    if int(object, "/metadata/generation") < 0 {
        let generation = int(object, "/metadata/generation");
        faults.invalid("metadata.generation", generation, "must be greater than or equal to 0");
    }
    validate_free(object, faults);
    finalizers(object, faults);
}

/// Checks what an update does to metadata. `new` and `old` are whole objects; the server has checked the resource version.
pub fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    if !missing(old, "/metadata/deletionTimestamp") {
        let had = list(old, "/metadata/finalizers");
        let added: Vec<&str> = list(new, "/metadata/finalizers")
            .iter()
            .filter(|one| !had.contains(one))
            .filter_map(Value::as_str)
            .collect();
        if !added.is_empty() {
            let added = added.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(", ");
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{added}}}"
            );
            faults.forbidden("metadata.finalizers", detail);
        }
    }
    let generation = int(new, "/metadata/generation");
    if generation < int(old, "/metadata/generation") {
        faults.invalid("metadata.generation", generation, "must not be decremented");
    }
    for member in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let pointer = format!("/metadata/{member}");
        if at(new, &pointer) != at(old, &pointer) {
            faults.invalid(format!("metadata.{member}"), at(new, &pointer).clone(), "field is immutable");
        }
    }
    validate_free(new, faults);
}

/// What a client may set and change at any time.
fn validate_free(object: &Value, faults: &mut Faults) {
    names::validate_labels(at(object, "/metadata/labels"), "metadata.labels", faults);
    names::validate_annotations(at(object, "/metadata/annotations"), "metadata.annotations", faults);
    owner_references(object, faults);
}

fn owner_references(object: &Value, faults: &mut Faults) {
    let mut controller: Option<String> = None;
    for (index, owner) in list(object, "/metadata/ownerReferences").iter().enumerate() {
        let path = format!("metadata.ownerReferences[{index}]");
        let version = text(owner, "/apiVersion");
        if version.rsplit('/').next().unwrap_or_default().is_empty() {
            faults.invalid(format!("{path}.apiVersion"), version, "version must not be empty");
        }
        for (member, what) in
            [("kind", "must not be empty"), ("name", "must not be empty"), ("uid", "must not be empty")]
        {
            if text(owner, &format!("/{member}")).is_empty() {
                faults.invalid(format!("{path}.{member}"), "", what);
            }
        }
        if version == "v1" && text(owner, "/kind") == "Event" {
            faults.invalid(path.as_str(), "/v1, Kind=Event", "is disallowed from being an owner");
        }
        if flag(owner, "/controller") {
            let this = format!("{}/{}", text(owner, "/kind"), text(owner, "/name"));
            match &controller {
                None => controller = Some(this),
                Some(first) => faults.invalid(
                    "metadata.ownerReferences",
                    at(object, "/metadata/ownerReferences").clone(),
                    format!("Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"),
                ),
            }
        }
    }
}

fn finalizers(object: &Value, faults: &mut Faults) {
    let all = list(object, "/metadata/finalizers");
    for finalizer in all.iter().filter_map(Value::as_str) {
        report(label_key(finalizer), finalizer, "metadata.finalizers", faults);
    }
    let has = |name: &str| all.iter().any(|one| one == name);
    if has("orphan") && has("foregroundDeletion") {
        faults.invalid(
            "metadata.finalizers",
            tree::at(object, "/metadata/finalizers").clone(),
            "finalizers orphan and foregroundDeletion cannot be both set",
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::by_gvk;

    fn fields(faults: &Faults) -> Vec<String> {
        faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message())).collect()
    }

    #[test]
    fn metadata_of_a_new_object() {
        let configmap = by_gvk("", "v1", "ConfigMap").unwrap();
        let cases = [
            (json!({"namespace": "a"}), vec!["metadata.name: Required value: name or generateName is required"]),
            (json!({"name": "a"}), vec!["metadata.namespace: Required value"]),
            (json!({"name": "a", "namespace": "b", "labels": {"ok": ""}}), vec![]),
            (
                json!({"name": "a", "namespace": "b", "ownerReferences": [{"apiVersion": "v1", "kind": "", "name": "x", "uid": ""}]}),
                vec![
                    "metadata.ownerReferences[0].kind: Invalid value: \"\": must not be empty",
                    "metadata.ownerReferences[0].uid: Invalid value: \"\": must not be empty",
                ],
            ),
        ];
        for (metadata, expected) in cases {
            let mut faults = Faults::default();
            validate(configmap, &json!({"metadata": metadata}), &mut faults);
            assert_eq!(fields(&faults), expected);
        }
    }

    #[test]
    fn what_an_update_may_not_change() {
        let old = json!({"metadata": {"name": "a", "namespace": "b", "uid": "u", "resourceVersion": "1"}});
        let mut new = old.clone();
        new["metadata"]["uid"] = "v".into();
        let mut faults = Faults::default();
        validate_update(&new, &old, &mut faults);
        assert_eq!(fields(&faults), ["metadata.uid: Invalid value: \"v\": field is immutable"]);
    }
}
