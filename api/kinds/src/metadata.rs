//! `metadata` is the same for every kind; what differs is the rule for names, and that is in the declaration.
//! The rules of a new object are the model's; here is what an update must satisfy besides (`ValidateObjectMetaUpdate`).

use std::collections::BTreeSet;

use kontiki_model::{Faults, metadata, names};
use serde_json::Value;

use crate::names::{validate_annotations, validate_labels};
use crate::tree::{at, int, list, missing, texts};
use crate::{FinalizerRule, Kind};

/// Checks the metadata of a new object.
pub fn validate(kind: &Kind, object: &Value, faults: &mut Faults) {
    metadata::validate(at(object, "/metadata"), kind.name_rule.rule(), kind.namespaced, faults);
    validate_again(kind, object, faults);
}

/// Checks what holds for an object whenever it is written itself.
pub fn validate_again(kind: &Kind, object: &Value, faults: &mut Faults) {
    match kind.finalizers {
        FinalizerRule::Qualified => {}
        FinalizerRule::Known => {
            for (index, name) in texts(object, "/metadata/finalizers").enumerate() {
                metadata::known_finalizer(name, format!("metadata.finalizers[{index}]"), faults);
            }
        }
    }
}

/// Checks what an update does to metadata; the server has checked the resource version. `new` and `old` are whole objects.
pub fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    if list(new, "/metadata/finalizers") != list(old, "/metadata/finalizers") {
        metadata::finalizers(list(new, "/metadata/finalizers"), faults);
    }
    if !missing(old, "/metadata/deletionTimestamp") {
        let added = added_finalizers(new, Some(old));
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

/// The finalizers that an object did not have before, in order of their names.
fn added_finalizers<'a>(new: &'a Value, old: Option<&'a Value>) -> BTreeSet<&'a str> {
    let had: BTreeSet<&str> = old.into_iter().flat_map(|old| texts(old, "/metadata/finalizers")).collect();
    texts(new, "/metadata/finalizers").filter(|one| !had.contains(one)).collect()
}

/// Advice about finalizers that custom objects may have, but had better not.
pub fn finalizer_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    const ADVICE: &str = "prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with \
                          other finalizer writers";
    let about = |name: &str| {
        let mut wrong = names::qualified(name);
        if !metadata::is_known_finalizer(name) {
            wrong.push(ADVICE.to_owned());
        }
        wrong.into_iter().map(|wrong| format!("metadata.finalizers: {name:?}: {wrong}")).collect::<Vec<_>>()
    };
    added_finalizers(new, old).into_iter().flat_map(about).collect()
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

    #[test]
    fn finalizers_that_an_update_brings() {
        let held = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
        let mut going = held(json!(["x/a", "-old"]));
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let mut later = going.clone();
        later["metadata"]["finalizers"] = json!(["x/c", "x/a", "x/b", "x/c"]);
        let both = "finalizer orphan and foregroundDeletion cannot be both set";
        let cases: [(Value, &Value, Vec<String>); 5] = [
            (held(json!(["x/a", "-old"])), &held(json!(["x/a", "-old"])), vec![]),
            (held(json!(["x/a"])), &held(json!(["x/a", "-old"])), vec![]),
            (held(json!(["a b"])), &held(json!([])), vec!["metadata.finalizers: Invalid value: \"a b\": name part".into()]),
            (
                held(json!(["orphan", "foregroundDeletion"])),
                &held(json!(["orphan"])),
                vec![format!("metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: {both}")],
            ),
            (
                later,
                &going,
                vec![
                    "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
                     finalizers []string{\"x/b\", \"x/c\"}"
                        .into(),
                ],
            ),
        ];
        for (new, old, expected) in cases {
            let mut faults = Faults::default();
            validate_update(&new, old, &mut faults);
            let told = fields(&faults);
            assert_eq!(told.len(), expected.len(), "{told:?}");
            assert!(told.iter().zip(&expected).all(|(told, start)| told.starts_with(start)), "{told:?}");
        }
    }

    #[test]
    fn whose_a_finalizer_is_must_be_told_to_most_kinds() {
        let unknown = "metadata.finalizers[1]: Invalid value: \"hold\": name is neither a standard finalizer name nor is it \
                       fully qualified";
        let object = json!({"metadata": {"name": "a", "namespace": "b", "finalizers": ["kubernetes", "hold"]}});
        let cases = [
            (("", "v1", "ConfigMap"), vec![unknown]),
            (("apps", "v1", "Deployment"), vec![unknown]),
            (("autoscaling", "v2", "HorizontalPodAutoscaler"), vec![unknown]),
            (("networking.k8s.io", "v1", "Ingress"), vec![unknown]),
            (("coordination.k8s.io", "v1", "Lease"), vec![]),
        ];
        for ((group, version, kind), expected) in cases {
            let kind = by_gvk(group, version, kind).unwrap();
            for judge in [validate, validate_again] {
                let mut faults = Faults::default();
                judge(kind, &object, &mut faults);
                assert_eq!(fields(&faults), expected, "{}", kind.kind);
            }
        }
    }

    #[test]
    fn custom_objects_are_advised() {
        let object = json!({"metadata": {"finalizers": ["x/a", "old.example.com", "new.example.com"]}});
        let old = json!({"metadata": {"finalizers": ["old.example.com"]}});
        let expected = "metadata.finalizers: \"new.example.com\": prefer a domain-qualified finalizer name including a path (/) to \
                        avoid accidental conflicts with other finalizer writers";
        assert_eq!(finalizer_warnings(&object, Some(&old)), [expected]);
        assert_eq!(finalizer_warnings(&object, None).len(), 2);
    }
}
