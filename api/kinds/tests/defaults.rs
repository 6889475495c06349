//! A create fills in what a recorded API server filled in, and nothing else.
#![allow(clippy::unwrap_used)]

use kontiki_kinds::{AdmitFacts, Kind, Pool, by_resource};
use kontiki_schema::builtin;
use serde_json::{Value, json};

fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("fixtures/defaults.json")).unwrap()
}

/// The steps of a create that are about the object alone.
fn create(kind: &Kind, object: &mut Value) {
    let id = builtin().lookup(kind.type_name).unwrap();
    builtin().default(id, object);
    (kind.default)(object);
    let found: Vec<_> = (kind.lookups)(object).iter().map(|_| Some(json!({}))).collect();
    (kind.admit)(object, &AdmitFacts { suffix: "abcde", found: &found }).unwrap();
    (kind.prepare_create)(object);
    for (index, claim) in (kind.claims)(object).into_iter().enumerate() {
        let chosen = match claim.pool {
            Pool::ClusterIp => "10.96.0.5".to_owned(),
            Pool::NodePort => (31_000 + index).to_string(),
        };
        claim.write(object, &chosen);
    }
    builtin().canonical(id, object);
}

/// Puts a value where a pointer says, also at the end of an array.
fn put(object: &mut Value, pointer: &str, value: &Value) {
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    if object.pointer(parent).is_none_or(Value::is_null) {
        put(object, parent, &json!({}));
    }
    object.pointer_mut(parent).unwrap()[member] = value.clone();
}

fn expected(case: &Value) -> Value {
    let mut object = case["object"].clone();
    for filled in case["filled"].as_array().unwrap() {
        let mut value = filled[1].clone();
        if filled[0].as_str().unwrap().ends_with("nodePort") {
            value = json!("<<nodePort>>");
        }
        put(&mut object, filled[0].as_str().unwrap(), &value);
    }
    object
}

/// The object with what a run chooses replaced by the placeholders of the recording.
fn masked(mut object: Value) -> Value {
    for port in object.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if port.get("nodePort").is_some() {
            port["nodePort"] = json!("<<nodePort>>");
        }
    }
    let text = object
        .to_string()
        .replace("10.96.0.5", "<<ip>>")
        .replace("kube-api-access-abcde", "kube-api-access-<<suffix>>");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn recorded_creates_are_filled_as_recorded() {
    for case in cases() {
        let part = |name: &str| case[name].as_str().unwrap();
        let kind = by_resource(part("group"), "v1", part("resource")).unwrap();
        let mut object = case["object"].clone();
        create(kind, &mut object);
        let mut expected = expected(&case);
        if let Some(metadata) = expected["metadata"].as_object_mut() {
            // Numbered by the server, for every kind alike.
            metadata.shift_remove("generation");
        }
        assert_eq!(masked(object), expected, "{} {}", part("resource"), part("case"));
    }
}

#[test]
fn defaults_are_idempotent() {
    for case in cases() {
        let part = |name: &str| case[name].as_str().unwrap();
        let kind = by_resource(part("group"), "v1", part("resource")).unwrap();
        let mut once = case["object"].clone();
        create(kind, &mut once);
        let mut twice = once.clone();
        (kind.default)(&mut twice);
        builtin().canonical(builtin().lookup(kind.type_name).unwrap(), &mut twice);
        assert_eq!(twice, once, "{} {}", part("resource"), part("case"));
    }
}

#[test]
fn what_was_created_is_valid() {
    for case in cases() {
        let part = |name: &str| case[name].as_str().unwrap();
        let kind = by_resource(part("group"), "v1", part("resource")).unwrap();
        let mut object = case["object"].clone();
        create(kind, &mut object);
        let text = object.to_string().replace("${ns}", "a");
        let mut object: Value = serde_json::from_str(&text).unwrap();
        if kind.namespaced {
            object["metadata"]["namespace"] = json!("a");
        }
        let mut faults = kontiki_model::Faults::default();
        kontiki_kinds::metadata::validate(kind, &object, &mut faults);
        (kind.validate)(&object, &mut faults);
        let found: Vec<_> = faults.iter().map(|one| format!("{}: {}", one.field, one.message())).collect();
        assert_eq!(found, Vec::<String>::new(), "{} {}", part("resource"), part("case"));
    }
}
