//! YAML to JSON and back, with the rules of Kubernetes' converter: YAML 1.1 booleans and octal numbers, the last of
//! equal keys wins and is reported.

use std::collections::HashSet;

use bytes::Bytes;
use kontiki_model::Status;
use serde_json::Value;
use serde_saphyr::{
    DuplicateKeyPolicy,
    granit_parser::{Event, Parser},
};

use crate::{content::JsonBody, failure};

pub fn to_json(yaml: &[u8]) -> Result<JsonBody, Status> {
    let refused = |error: &dyn std::fmt::Display| {
        let first = error.to_string().lines().next().unwrap_or_default().to_owned();
        failure::bad_request(format!("error converting YAML to JSON: yaml: {first}"))
    };
    let text = std::str::from_utf8(yaml).map_err(|error| refused(&error))?;
    let mut options = serde_saphyr::Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::LastWins;
    options.legacy_octal_numbers = true;
    options.emit_comments = false;
    let value: Value = serde_saphyr::from_str_with_options(text, options).map_err(|error| refused(&error))?;
    let json = serde_json::to_vec(&value).map_err(|error| refused(&error))?;
    Ok(JsonBody { json: Bytes::from(json), duplicates: duplicate_keys(text) })
}

pub fn from_value(value: &Value) -> Result<String, Status> {
    serde_saphyr::to_string(value).map_err(failure::internal)
}

/// A collection that the parser is inside of.
enum Open {
    Sequence,
    /// The keys so far, and whether a key (not a value) comes next.
    Mapping {
        keys: HashSet<String>,
        key_next: bool,
    },
}

/// Keys that a mapping names twice, in Kubernetes' words. The text has been parsed successfully.
fn duplicate_keys(text: &str) -> Vec<String> {
    let mut open: Vec<Open> = Vec::new();
    let mut found = Vec::new();
    for (event, span) in Parser::new_from_str(text).map_while(Result::ok) {
        match event {
            Event::Scalar(key, ..) => {
                if let Some(Open::Mapping { keys, key_next }) = open.last_mut() {
                    if *key_next && !keys.insert(key.to_string()) {
                        found.push(format!("line {}: key {:?} already set in map", span.start.line(), key));
                    }
                    *key_next = !*key_next;
                }
            }
            Event::Alias(_) => node_ended(&mut open),
            Event::SequenceStart(..) => open.push(Open::Sequence),
            Event::MappingStart(..) => open.push(Open::Mapping { keys: HashSet::new(), key_next: true }),
            Event::SequenceEnd | Event::MappingEnd => {
                open.pop();
                node_ended(&mut open);
            }
            _ => {}
        }
    }
    found
}

fn node_ended(open: &mut [Open]) {
    if let Some(Open::Mapping { key_next, .. }) = open.last_mut() {
        *key_next = !*key_next;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn json(yaml: &str) -> String {
        String::from_utf8(to_json(yaml.as_bytes()).unwrap().json.to_vec()).unwrap()
    }

    #[test]
    fn yaml_becomes_json() {
        let cases = [
            ("a: 1\nb: [x, 'y']\n", r#"{"a":1,"b":["x","y"]}"#),
            ("a: yes\nb: 'yes'\n", r#"{"a":true,"b":"yes"}"#),
            ("mode: 0644\n", r#"{"mode":420}"#),
            ("a: |\n  one\n  two\n", "{\"a\":\"one\\ntwo\\n\"}"),
            ("a: ~\nb:\n", r#"{"a":null,"b":null}"#),
            ("base: &x {k: v}\nuse: *x\n", r#"{"base":{"k":"v"},"use":{"k":"v"}}"#),
            (r#"{"a": {"b": 1.5}}"#, r#"{"a":{"b":1.5}}"#),
        ];
        for (yaml, expected) in cases {
            assert_eq!(json(yaml), expected, "{yaml}");
        }
    }

    #[test]
    fn duplicate_keys_are_reported_and_the_last_wins() {
        let body = to_json(b"kind: X\ndata: {a: 1}\nlist:\n- k: 1\n- k: 2\ndata: {b: 2}\n").unwrap();
        assert_eq!(body.json, r#"{"kind":"X","data":{"b":2},"list":[{"k":1},{"k":2}]}"#);
        assert_eq!(body.duplicates, ["line 6: key \"data\" already set in map"]);
    }

    #[test]
    fn broken_yaml_is_a_bad_request() {
        let status = to_json(b"a: [1").unwrap_err();
        assert_eq!((status.code, status.reason), (400, "BadRequest"));
        assert!(status.message.starts_with("error converting YAML to JSON: yaml: "), "{}", status.message);
    }

    #[test]
    fn strings_that_look_like_other_things_survive_the_way_out() {
        let value =
            serde_json::json!({"a": "yes", "b": "0644", "c": "1e3", "d": "null", "e": "x: y", "f": "a\nb\n", "g": ""});
        let yaml = from_value(&value).unwrap();
        let back: Value = serde_json::from_slice(&to_json(yaml.as_bytes()).unwrap().json).unwrap();
        assert_eq!(back, value, "{yaml}");
    }
}
