//! A create fills in what a recorded API server filled in, and nothing else.
#![allow(clippy::unwrap_used)]

use kontiki_kinds::{AdmitFacts, Author, Kind, Pool, by_resource};
use kontiki_schema::builtin;
use serde_json::{Value, json};

fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("fixtures/defaults.json")).unwrap()
}

fn kind_of(case: &Value) -> &'static Kind {
    let version = case["object"]["apiVersion"].as_str().unwrap();
    let version = version.rsplit('/').next().unwrap();
    by_resource(case["group"].as_str().unwrap(), version, case["resource"].as_str().unwrap()).unwrap()
}

fn canonical(kind: &Kind, object: &mut Value) {
    builtin().canonical(builtin().lookup(kind.type_name).unwrap(), object);
}

/// The steps of a create that are about the object alone; the answer is the stored form.
fn create(kind: &Kind, mut object: Value) -> Value {
    for (member, value) in [("uid", "<<uid>>"), ("creationTimestamp", "<<time>>")] {
        object["metadata"][member] = json!(value);
    }
    builtin().default(builtin().lookup(kind.type_name).unwrap(), &mut object);
    (kind.default)(&mut object);
    let mut object = kind.to_stored(object);
    let found: Vec<_> = (kind.lookups)(&object).iter().map(|_| Some(json!({}))).collect();
    // As it was when the facts were recorded.
    let groups = ["system:masters", "system:authenticated"].map(str::to_owned);
    let credential = vec!["X509SHA256=<<hash of the client certificate>>".to_owned()];
    let extra = [("authentication.kubernetes.io/credential-id".to_owned(), credential)];
    let author = Author { user: "admin", uid: "", groups: &groups, extra: &extra };
    let facts = AdmitFacts { suffix: "abcde", found: &found, author };
    kind.admit.iter().for_each(|plugin| (plugin.admit)(&mut object, &facts).unwrap());
    (kind.prepare_create)(&mut object);
    for (index, claim) in (kind.claims)(&object).into_iter().enumerate() {
        let chosen = match claim.pool {
            Pool::ClusterIp => "10.96.0.5".to_owned(),
            Pool::NodePort => (31_000 + index).to_string(),
        };
        claim.write(&mut object, &chosen);
    }
    canonical(kind.stored(), &mut object);
    object
}

/// What the author of a create is answered.
fn told(kind: &Kind, object: Value) -> Value {
    let mut object = kind.from_stored(object);
    canonical(kind, &mut object);
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.retain(|member, _| !["uid", "creationTimestamp"].contains(&member.as_str()));
    object
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
        let kind = kind_of(&case);
        let object = told(kind, create(kind, case["object"].clone()));
        let mut expected = expected(&case);
        if let Some(metadata) = expected["metadata"].as_object_mut() {
            // Numbered by the server, for every kind alike.
            metadata.shift_remove("generation");
        }
        assert_eq!(masked(object), expected, "{} {}", case["resource"], case["case"]);
    }
}

#[test]
fn defaults_are_idempotent() {
    for case in cases() {
        let kind = kind_of(&case);
        let once = told(kind, create(kind, case["object"].clone()));
        let mut twice = once.clone();
        (kind.default)(&mut twice);
        canonical(kind, &mut twice);
        assert_eq!(twice, once, "{} {}", case["resource"], case["case"]);
        let again = told(kind, kind.to_stored(twice.clone()));
        assert_eq!(again, once, "{} {}", case["resource"], case["case"]);
    }
}

#[test]
fn what_was_created_is_valid() {
    for case in cases() {
        let kind = kind_of(&case);
        let object = create(kind, case["object"].clone());
        let text = object.to_string().replace("${ns}", "a").replace("<<uid>>", "u").replace("<<microtime>>", "t");
        let mut object: Value = serde_json::from_str(&text).unwrap();
        if kind.namespaced {
            object["metadata"]["namespace"] = json!("a");
        }
        let mut faults = kontiki_model::Faults::default();
        kontiki_kinds::metadata::validate(kind, &object, &mut faults);
        (kind.validate)(&object, &mut faults);
        (kind.validate_create)(&object, &mut faults);
        let found: Vec<_> = faults.iter().map(|one| format!("{}: {}", one.field, one.message())).collect();
        assert_eq!(found, Vec::<String>::new(), "{} {}", case["resource"], case["case"]);
    }
}
