//! Objects of the API inside of an object: they say what they are, and their metadata is held to the API's own rules.

use kontiki_model::{Faults, metadata, names};
use serde_json::Value;

use super::super::{Node, path::Path};

pub fn check(node: &Node, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    match value {
        Value::Object(members) => {
            if node.embedded {
                object(value, path, faults);
            }
            for (name, value) in members {
                let Some(below) = node.member(name) else { continue };
                let path = path.member(node, name);
                check(below, value, &path, faults);
            }
        }
        Value::Array(items) => {
            let Some(below) = &node.items else { return };
            for (index, item) in items.iter().enumerate() {
                check(below, item, &path.item(index), faults);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn object(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    for (name, rule) in [("apiVersion", group_version as Rule), ("kind", kind)] {
        let path = path.field(name).place();
        match value.get(name) {
            None => faults.required(path, ""),
            Some(Value::String(text)) if text.is_empty() => faults.invalid(path, "", "must not be empty"),
            Some(Value::String(text)) => {
                if let Some(detail) = rule(text) {
                    faults.invalid(path, text.as_str(), detail);
                }
            }
            Some(other) => faults.invalid(path, other.clone(), "must be a string"),
        }
    }
    if let Some(own) = value.get("metadata").filter(|own| own.is_object()) {
        faults.extend(own_metadata(own).below(&path.place()));
    }
}

/// An object that is not stored needs no name.
fn own_metadata(own: &Value) -> Faults {
    let mut own = own.clone();
    let has = |own: &Value, member: &str| own[member].as_str().is_some_and(|text| !text.is_empty());
    if !has(&own, "name") {
        own["name"] = "unnamed".into();
    }
    let mut faults = Faults::default();
    metadata::validate(&own, names::path_segment, has(&own, "namespace"), &mut faults);
    faults
}

/// What is wrong with a text.
type Rule = fn(&str) -> Option<String>;

fn group_version(text: &str) -> Option<String> {
    (text.matches('/').count() > 1).then(|| format!("unexpected GroupVersion string: {text}"))
}

fn kind(text: &str) -> Option<String> {
    let wrong = names::rfc1035_label(&text.to_lowercase());
    (!wrong.is_empty()).then(|| format!("may have mixed case, but should otherwise match: {}", wrong.join(",")))
}
