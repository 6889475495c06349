//! `metadata` is the same for every kind; what differs is the rule for names, and that is in the declaration.
//! The rules of a new object are the model's; here is what an update must satisfy besides (`ValidateObjectMetaUpdate`).

use kontiki_model::{Faults, metadata};
use serde_json::Value;

use crate::Kind;
use crate::names::{validate_annotations, validate_labels};
use crate::tree::{at, int, list, missing};

/// Checks the metadata of a new object.
pub fn validate(kind: &Kind, object: &Value, faults: &mut Faults) {
    metadata::validate(at(object, "/metadata"), kind.name_rule.rule(), kind.namespaced, faults);
}

/// Checks what an update does to metadata; the server has checked the resource version. `new` and `old` are whole objects.
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
    validate_labels(at(new, "/metadata/labels"), "metadata.labels", faults);
    validate_annotations(at(new, "/metadata/annotations"), "metadata.annotations", faults);
    metadata::owner_references(list(new, "/metadata/ownerReferences"), faults);
}

/// Raises the generation for kinds where part of the metadata counts as content. `member` is that part.
pub fn count_as_content(member: &str, new: &mut Value, old: &Value) {
    let pointer = format!("/metadata/{member}");
    let empty = |value: &Value| value.as_object().is_none_or(serde_json::Map::is_empty);
    let (is, was) = (at(new, &pointer), at(old, &pointer));
    if is != was && !(empty(is) && empty(was)) {
        new["metadata"]["generation"] = (int(old, "/metadata/generation") + 1).into();
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
                    "metadata.ownerReferences.kind: Invalid value: \"\": must not be empty",
                    "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
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
