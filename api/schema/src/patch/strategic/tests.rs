use serde_json::json;

use super::*;
use crate::{builtin, ids};

fn pod(original: Value, patch: Value) -> Result<Value, PatchError> {
    builtin().strategic_merge(ids::CORE_V1_PODSPEC, original, patch)
}

#[test]
fn lists_merge_by_their_key_and_new_elements_come_first() {
    let original = json!({"containers": [
        {"name": "a", "image": "i:1", "args": ["1", "2"], "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
        {"name": "b", "image": "i:1"},
    ]});
    let patch = json!({"containers": [
        {"name": "a", "args": ["9"], "env": [{"name": "X", "$patch": "delete"}, {"name": "Z", "value": "3"}]},
        {"name": "c", "image": "i:2", "workingDir": null},
    ]});
    let expected = json!({"containers": [
        {"name": "a", "image": "i:1", "args": ["9"], "env": [{"name": "Z", "value": "3"}, {"name": "Y", "value": "2"}]},
        {"name": "c", "image": "i:2"},
        {"name": "b", "image": "i:1"},
    ]});
    assert_eq!(pod(original, patch).unwrap(), expected);
}

#[test]
fn lists_without_merge_strategy_are_replaced() {
    let original = json!({"tolerations": [{"key": "t1"}]});
    assert_eq!(
        pod(original, json!({"tolerations": [{"key": "t2"}]})).unwrap(),
        json!({"tolerations": [{"key": "t2"}]})
    );
}

#[test]
fn element_order_is_set() {
    let original = json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "server"}]});
    let patch = json!({
        "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
        "containers": [{"name": "a", "workingDir": "/w"}],
    });
    let expected = json!({"containers": [{"name": "b"}, {"name": "a", "workingDir": "/w"}, {"name": "server"}]});
    assert_eq!(pod(original.clone(), patch).unwrap(), expected);
    let only_order = json!({"$setElementOrder/containers": [{"name": "server"}, {"name": "a"}]});
    let expected = json!({"containers": [{"name": "b"}, {"name": "server"}, {"name": "a"}]});
    assert_eq!(pod(original, only_order).unwrap(), expected);
    let wrong = json!({"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]});
    assert!(matches!(pod(json!({}), wrong), Err(PatchError::Internal(_))));
}

#[test]
fn retained_keys_clear_the_others() {
    let original = json!({"volumes": [{"name": "v1", "emptyDir": {}}, {"name": "v2"}]});
    let patch = json!({"volumes": [{"name": "v1", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]});
    let expected = json!({"volumes": [{"name": "v1", "secret": {"secretName": "s"}}, {"name": "v2"}]});
    assert_eq!(pod(original, patch).unwrap(), expected);
    let wrong = json!({"volumes": [{"name": "v1", "$retainKeys": ["name"], "secret": {}}]});
    let refused = pod(json!({"volumes": [{"name": "v1"}]}), wrong);
    assert_eq!(refused, Err(bad_request("invalid patch format of retainKeys")));
}

#[test]
fn lists_and_maps_are_replaced_on_demand() {
    let original = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    let patch = json!({"containers": [{"$patch": "replace"}, {"name": "only", "image": "i"}]});
    assert_eq!(pod(original, patch).unwrap(), json!({"containers": [{"name": "only", "image": "i"}]}));
    let spec = json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}});
    let patch = json!({"strategy": {"$patch": "replace", "type": "Recreate"}});
    let merged = builtin().strategic_merge(ids::APPS_V1_DEPLOYMENTSPEC, spec, patch).unwrap();
    assert_eq!(merged, json!({"strategy": {"type": "Recreate"}}));
}

#[test]
fn primitive_lists_merge_and_shrink() {
    let meta =
        |original: Value, patch: Value| builtin().strategic_merge(ids::META_V1_OBJECTMETA, original, patch).unwrap();
    let original = json!({"finalizers": ["a", "b"]});
    assert_eq!(meta(original.clone(), json!({"finalizers": ["c", "a"]})), json!({"finalizers": ["c", "a", "b"]}));
    assert_eq!(meta(original, json!({"$deleteFromPrimitiveList/finalizers": ["a"]})), json!({"finalizers": ["b"]}));
    let labels = json!({"labels": {"a": "1", "b": "2"}});
    assert_eq!(meta(labels, json!({"labels": {"a": null, "c": "3"}})), json!({"labels": {"b": "2", "c": "3"}}));
}

/// Looking through one list for each item of another takes hours here.
#[test]
fn long_lists_merge_in_one_pass() {
    let items = |numbers: std::ops::Range<u32>| -> Vec<Value> {
        numbers.map(|number| json!({"name": format!("V{number}"), "value": "1"})).collect()
    };
    let keys = |items: &[Value]| -> Vec<Value> { items.iter().map(|item| json!({"name": item["name"]})).collect() };
    let container =
        |original: Value, patch: Value| builtin().strategic_merge(ids::CORE_V1_CONTAINER, original, patch).unwrap();
    let (old, new) = (items(0..20_000), items(10_000..30_000));
    let merged = container(json!({"env": old}), json!({"env": new, "$setElementOrder/env": keys(&new)}));
    assert_eq!(merged["env"].as_array().unwrap().len(), 30_000);
    let deleted: Vec<Value> = old.iter().map(|item| json!({"name": item["name"], "$patch": "delete"})).collect();
    assert_eq!(container(json!({"env": old}), json!({"env": deleted})), json!({"env": []}));
    let names: Vec<String> = (0..20_000).map(|number| format!("f/{number}")).collect();
    let meta =
        |original: Value, patch: Value| builtin().strategic_merge(ids::META_V1_OBJECTMETA, original, patch).unwrap();
    let finalizers = json!({"finalizers": names});
    assert_eq!(meta(finalizers.clone(), finalizers.clone()), finalizers);
    let gone = meta(finalizers, json!({"$deleteFromPrimitiveList/finalizers": names}));
    assert_eq!(gone, json!({"finalizers": []}));
    let labels: Map<String, Value> = (0..20_000).map(|number| (format!("l{number}"), json!(""))).collect();
    let nulls: Map<String, Value> = labels.keys().map(|name| (name.clone(), Value::Null)).collect();
    assert_eq!(meta(json!({"labels": labels}), json!({"labels": nulls})), json!({"labels": {}}));
    assert_eq!(super::super::merge_patch(json!(labels), json!(nulls)), json!({}));
}

#[test]
fn refusals_use_kubernetes_words() {
    let original = json!({"containers": [{"name": "a"}]});
    let refuse = |patch: Value| pod(original.clone(), patch).unwrap_err();
    assert_eq!(
        refuse(json!({"containers": [{"image": "example.local/app:1"}]})),
        PatchError::Internal(
            "map: map[image:example.local/app:1] does not contain declared merge key: name".to_owned()
        )
    );
    assert_eq!(
        refuse(json!({"containers": [{"name": "x", "$patch": "frob"}]})),
        PatchError::Internal("unknown patch type: frob in map: map[$patch:frob name:x]".to_owned())
    );
}
