//! How Go prints values, where Kubernetes lets that show in messages.

use serde_json::Value;

/// A decoded value as `%v` prints it: `map[$patch:frob name:x]`.
pub fn print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(value) => value.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(print).collect::<Vec<_>>().join(" ")),
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            let members: Vec<_> = sorted.into_iter().map(|(key, value)| format!("{key}:{}", print(value))).collect();
            format!("map[{}]", members.join(" "))
        }
    }
}

/// What `encoding/json` calls the JSON value it could not store. Numbers show their text where a number was expected.
pub fn json_word(value: &Value, number_expected: bool) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if number_expected => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}
