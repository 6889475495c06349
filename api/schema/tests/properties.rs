//! What must hold for any value: no operation panics, and those that settle a form settle it at once.

use kontiki_schema::{builtin, decode_json, decode_yaml, ids, json_patch, merge_patch};
use proptest::prelude::*;
use serde_json::{Map, Value};

/// Values whose members carry names that Pods have, so that they reach the types below.
fn pod_like() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        "[a-z0-9.:$-]{0,8}".prop_map(Value::from),
        "2026-01-02T03:04:05(Z|\\+01:00)".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((member(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<String, Value>>())),
        ]
    })
}

fn member() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "kind",
        "apiVersion",
        "metadata",
        "spec",
        "status",
        "name",
        "labels",
        "annotations",
        "creationTimestamp",
        "finalizers",
        "managedFields",
        "fieldsV1",
        "containers",
        "image",
        "resources",
        "limits",
        "ports",
        "containerPort",
        "env",
        "livenessProbe",
        "exec",
        "httpGet",
        "port",
        "volumes",
        "emptyDir",
        "tolerations",
        "nodeName",
        "conditions",
        "lastTransitionTime",
        "unknown",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn canonical_form_is_reached_in_one_step(value in pod_like()) {
        let table = builtin();
        let mut once = value;
        table.default(ids::CORE_V1_POD, &mut once);
        table.canonical(ids::CORE_V1_POD, &mut once);
        let mut twice = once.clone();
        table.prune(ids::CORE_V1_POD, &mut twice);
        table.default(ids::CORE_V1_POD, &mut twice);
        table.canonical(ids::CORE_V1_POD, &mut twice);
        prop_assert_eq!(once.to_string(), twice.to_string());
    }

    #[test]
    fn pruning_removes_all_that_is_unknown(mut value in pod_like()) {
        let table = builtin();
        table.prune(ids::CORE_V1_POD, &mut value);
        if let Ok(unknown) = table.check(ids::CORE_V1_POD, &value) {
            prop_assert_eq!(unknown, Vec::<String>::new());
        }
    }

    #[test]
    fn patches_never_panic(original in pod_like(), patch in pod_like()) {
        let merged = merge_patch(original.clone(), patch.clone());
        prop_assert_eq!(merge_patch(merged.clone(), patch.clone()), merged);
        // Refusals are fine.
        let _ = builtin().strategic_merge(ids::CORE_V1_POD, original.clone(), patch.clone());
        let _ = json_patch(&original, patch.to_string().as_bytes());
    }

    #[test]
    fn an_empty_strategic_patch_changes_nothing(original in pod_like().prop_filter("objects", Value::is_object)) {
        let merged = builtin().strategic_merge(ids::CORE_V1_POD, original.clone(), Value::Object(Map::new()));
        prop_assert_eq!(merged, Ok(original));
    }

    #[test]
    fn decoding_agrees_with_the_plain_parser(value in pod_like()) {
        let text = value.to_string();
        let document = decode_json(text.as_bytes()).unwrap();
        prop_assert_eq!(&document.value, &serde_json::from_str::<Value>(&text).unwrap());
        prop_assert!(document.duplicates.is_empty());
    }

    #[test]
    fn decoding_never_panics(text in r#"[\[\]{}:,"a1 \n\\.-]{0,40}"#) {
        let ours = decode_json(text.as_bytes());
        prop_assert_eq!(ours.is_ok(), serde_json::from_str::<Value>(&text).is_ok());
        let _ = decode_yaml(text.as_bytes());
    }
}
