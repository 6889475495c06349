//! What must hold for any value: no operation panics, and those that settle a form settle it at once.

use kontiki_schema::managed::{FieldManager, FieldSet, ManagedFields, Reach};
use kontiki_schema::{Schema, builtin, decode_json, decode_patch, decode_yaml, ids, json_patch, merge_patch};
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

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_json(&bytes);
        let _ = decode_yaml(&bytes);
        let _ = decode_patch(&bytes);
        let _ = json_patch(&Value::Null, &bytes);
        let _ = builtin().decode_protobuf(&bytes);
    }

    #[test]
    fn damaged_documents_are_read_or_refused(
        value in pod_like(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
    ) {
        let mut bytes = value.to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            let _ = decode_json(bytes);
            let _ = decode_yaml(bytes);
            let _ = json_patch(&value, bytes);
        }
    }

    #[test]
    fn yaml_of_all_sorts_is_read_or_refused(text in r"([&*!|>%@`?:,\-\[\]{}#'\x22ab0 \n]|<<: |---\n|\.\.\.\n){0,60}") {
        let _ = decode_yaml(text.as_bytes());
    }

    #[test]
    fn json_patches_of_all_sorts_are_applied_or_refused(
        original in pod_like(),
        operations in prop::collection::vec((0..6usize, "(/([a-c]|-|0|1|~0|~1|spec|metadata)){0,4}", "(/[a-c0]){0,3}"), 0..30),
    ) {
        let names = ["add", "remove", "replace", "move", "copy", "test"];
        let list: Vec<Value> = operations.into_iter().map(|(op, path, from)| {
            serde_json::json!({"op": names[op], "path": path, "from": from, "value": {"a": [1]}})
        }).collect();
        let _ = json_patch(&original, Value::from(list).to_string().as_bytes());
    }
}

/// Containers and metadata as people write them: what applying works on.
fn config() -> impl Strategy<Value = Value> {
    let names = || prop::sample::select(vec!["a", "b", "c"]);
    let port =
        (80..83i64, prop::option::of(prop::sample::select(vec!["TCP", "UDP"]))).prop_map(|(number, protocol)| {
            let mut port = serde_json::json!({"containerPort": number});
            if let Some(protocol) = protocol {
                port["protocol"] = protocol.into();
            }
            port
        });
    let ports = prop::collection::vec(port, 0..3).prop_map(|ports| {
        let mut known = std::collections::BTreeSet::new();
        let key = |port: &Value| (port["containerPort"].as_i64(), port["protocol"].as_str() == Some("UDP"));
        Value::Array(ports.into_iter().filter(|port| known.insert(key(port))).collect())
    });
    let container = (names(), ports, prop::option::of("[a-z]{1,2}"), prop::collection::vec("[a-z]", 0..3));
    let container = container.prop_map(
        |(name, ports, image, args)| serde_json::json!({"name": name, "ports": ports, "image": image, "args": args}),
    );
    let containers = prop::collection::vec(container, 0..3).prop_map(|mut containers| {
        let mut known = std::collections::BTreeSet::new();
        containers.retain(|container| known.insert(container["name"].as_str().map(str::to_owned)));
        Value::Array(containers)
    });
    // An empty map says nothing of what is in it.
    let labels = prop::collection::btree_map(names(), "[a-z]{0,1}", 1..3);
    let finalizers = prop::collection::btree_set(prop::sample::select(vec!["x/a", "x/b", "x/c"]), 0..3);
    (labels, finalizers, containers).prop_map(|(labels, finalizers, containers)| {
        serde_json::json!({"metadata": {"labels": labels, "finalizers": finalizers}, "spec": {"containers": containers}})
    })
}

proptest! {
    #[test]
    fn a_printed_set_reads_back(value in pod_like()) {
        let set = builtin().field_set(ids::CORE_V1_POD, &value);
        prop_assert_eq!(FieldSet::from_json(&set.to_json()), Some(set.clone()));
        prop_assert_eq!(set.intersection(&set), set.clone());
        let mut rest = set.clone();
        rest.subtract(&set);
        prop_assert!(rest.is_empty());
        for path in set.paths() {
            prop_assert!(set.contains(&path));
        }
    }

    #[test]
    fn nothing_differs_from_itself(value in pod_like(), other in pod_like()) {
        let table = builtin();
        prop_assert!(table.differences(ids::CORE_V1_POD, &value, &value).is_same());
        // Whatever the two are, there is an answer.
        let _ = table.differences(ids::CORE_V1_POD, &value, &other);
        let _ = table.check_config(ids::CORE_V1_POD, &value);
    }

    #[test]
    fn what_is_applied_is_there_and_applying_again_changes_nothing(live in config(), applied in config()) {
        let (table, id) = (builtin(), ids::CORE_V1_POD);
        let reach = Reach::ALL;
        let now = "2026-01-01T00:00:00Z";
        let manager = FieldManager { schema: Schema::builtin(id), api_version: "v1", subresource: "", reach, now, versions: &() };
        prop_assert_eq!(table.check_config(id, &applied), Ok(()));
        let same = manager.apply(&live, &live, &ManagedFields::default(), "m", false).unwrap();
        prop_assert_eq!(same.object, None);
        let first = manager.apply(&live, &applied, &ManagedFields::default(), "m", false).unwrap();
        let object = first.object.unwrap_or(live);
        let said = table.field_set(id, &applied);
        prop_assert_eq!(table.field_set(id, &object).intersection(&said), said);
        let again = manager.apply(&object, &applied, &first.managed, "m", false).unwrap();
        prop_assert_eq!(again.object, None);
        prop_assert_eq!(again.managed, first.managed);
    }

    #[test]
    fn who_gives_up_all_leaves_what_others_say(mine in config(), theirs in config()) {
        let (table, id) = (builtin(), ids::CORE_V1_POD);
        let reach = Reach::ALL;
        let now = "2026-01-01T00:00:00Z";
        let manager = FieldManager { schema: Schema::builtin(id), api_version: "v1", subresource: "", reach, now, versions: &() };
        let empty = serde_json::json!({});
        let first = manager.apply(&empty, &mine, &ManagedFields::default(), "mine", true).unwrap();
        let object = first.object.unwrap_or_else(|| empty.clone());
        let second = manager.apply(&object, &theirs, &first.managed, "theirs", true).unwrap();
        let object = second.object.unwrap_or(object);
        let last = manager.apply(&object, &empty, &second.managed, "mine", false).unwrap();
        let object = last.object.unwrap_or(object);
        let left = table.field_set(id, &theirs);
        prop_assert_eq!(table.field_set(id, &object).intersection(&left), left);
        prop_assert_eq!(last.managed.applied("mine", ""), None);
    }
}
