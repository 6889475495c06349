//! A configuration document that an operator wrote, in YAML or JSON: of one kind, read strictly, with null for what is absent.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a document of a kind, in one of these versions; the first is the one to use. What is wrong is told without the values
/// that were found: one of them may be a key that stands in the wrong place.
pub fn read<T: DeserializeOwned>(text: &str, kind: &str, versions: &[&str]) -> Result<T, String> {
    let mut document = kontiki_schema::decode_yaml(text.as_bytes()).map_err(|error| error.0)?;
    if let Some(twice) = document.duplicates.first() {
        return Err(format!("{} is given more than once", twice.path));
    }
    let value = &mut document.value;
    let (found, version) = (value["kind"].as_str().unwrap_or(""), value["apiVersion"].as_str().unwrap_or(""));
    if found != kind || !versions.contains(&version) {
        return Err(format!("it is no {kind} of {}, but {found:?} of {version:?}", versions[0]));
    }
    drop_nulls(value);
    if let Value::Object(members) = value {
        members.retain(|name, _| name != "kind" && name != "apiVersion");
    }
    serde_json::from_value(document.value).map_err(|error| harmless(&error))
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn harmless(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.split_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") => {
            format!("a value has the wrong type: expected {expected}")
        }
        _ => text,
    }
}
