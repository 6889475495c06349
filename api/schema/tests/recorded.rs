//! Objects and patches recorded from a Kubernetes 1.36 API server: what it stored and answered, we must too.
//! Fixtures hold one case per line; object fixtures are the texts of answers, so the order of members counts.

use kontiki_schema::{Document, PatchError, TypeId, builtin, decode_json, decode_patch, json_patch, merge_patch};
use serde_json::Value;

fn lines(text: &str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| decode_json(line.as_bytes()).expect("fixtures are JSON").value)
}

fn type_of(object: &Value) -> TypeId {
    let api_version = object["apiVersion"].as_str().expect("apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    builtin().lookup_gvk(group, version, object["kind"].as_str().expect("kind")).expect("a known kind")
}

#[test]
fn recorded_objects_are_already_canonical() {
    let mut count = 0;
    for object in lines(include_str!("fixtures/objects.jsonl")) {
        let id = type_of(&object);
        let document = Document { value: object.clone(), duplicates: Vec::new() };
        assert!(builtin().check_document(id, &document).expect("types fit").is_empty(), "{object}");
        let mut written = object.clone();
        builtin().prune(id, &mut written);
        builtin().default(id, &mut written);
        builtin().canonical(id, &mut written);
        assert_eq!(written.to_string(), object.to_string());
        count += 1;
    }
    assert!(count > 40, "one object of nearly every kind, found {count}");
}

#[test]
fn shuffled_objects_come_back_in_canonical_order() {
    for object in lines(include_str!("fixtures/objects.jsonl")) {
        let mut reversed = object.clone();
        reverse(&mut reversed);
        builtin().canonical(type_of(&object), &mut reversed);
        assert_eq!(reversed.to_string(), object.to_string());
    }
}

/// Turns the order of members around, except in raw values, which keep the order they came in.
fn reverse(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let taken: Vec<_> = std::mem::take(members).into_iter().rev().collect();
            members.extend(taken);
            let raw = ["data", "fieldsV1", "parameters"];
            members.iter_mut().filter(|(key, _)| !raw.contains(&key.as_str())).for_each(|(_, member)| reverse(member));
        }
        Value::Array(items) => items.iter_mut().for_each(reverse),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn recorded_patches_give_the_recorded_result() {
    let mut count = 0;
    for case in lines(include_str!("fixtures/patches.jsonl")) {
        let id = builtin().lookup(case["type"].as_str().expect("type")).expect("a known type");
        let (original, patch) = (case["original"].clone(), case["patch"].as_str().expect("patch").as_bytes());
        let result = match case["kind"].as_str() {
            Some("json") => json_patch(&original, patch),
            Some("merge") => decode_patch(patch).map(|patch| merge_patch(original, patch.value)),
            Some("strategic") => {
                decode_patch(patch).and_then(|patch| builtin().strategic_merge(id, original, patch.value))
            }
            other => panic!("unknown patch {other:?}"),
        };
        match (result, &case["expected"], &case["refused"]) {
            (Ok(mut value), expected @ Value::Object(_), _) => {
                builtin().default(id, &mut value);
                builtin().canonical(id, &mut value);
                assert_eq!(value.to_string(), expected.to_string(), "{}", case["patch"]);
            }
            (Err(PatchError::Unprocessable(_)), _, Value::String(text)) => assert_eq!(text, "unprocessable"),
            (Err(error), _, Value::String(text)) => assert_eq!(&error.to_string(), text),
            (result, ..) => panic!("{}: {result:?}", case["patch"]),
        }
        count += 1;
    }
    assert!(count > 12, "every patch of the recording, found {count}");
}
