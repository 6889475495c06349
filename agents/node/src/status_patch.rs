//! Status writes as JSON merge patches of what has changed. Pure.

use serde::Serialize;
use serde_json::{Map, Value};

/// The merge patch that turns `old` into `new`; `None` when they are the same.
pub fn difference<T: Serialize>(old: &T, new: &T) -> Option<Value> {
    let value = |status: &T| serde_json::to_value(status).expect("API structs are JSON objects");
    merge_patch(value(old), value(new))
}

fn merge_patch(old: Value, new: Value) -> Option<Value> {
    match (old, new) {
        (Value::Object(mut old), Value::Object(new)) => {
            let mut patch = Map::new();
            for (key, value) in new {
                let change = match old.remove(&key) {
                    Some(before) => merge_patch(before, value),
                    None => Some(value),
                };
                if let Some(change) = change {
                    patch.insert(key, change);
                }
            }
            patch.extend(old.into_iter().map(|(key, _)| (key, Value::Null)));
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (old, new) => (old != new).then_some(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_changed_is_written() {
        for (old, new, patch) in [
            (json!({"a": 1}), json!({"a": 1}), None),
            (json!({"a": 1, "b": 2}), json!({"a": 1, "b": 3}), Some(json!({"b": 3}))),
            (json!({"a": 1, "b": 2}), json!({"a": 1}), Some(json!({"b": null}))),
            (json!({"a": {"x": 1, "y": 2}}), json!({"a": {"x": 1}}), Some(json!({"a": {"y": null}}))),
            (json!({"a": [1, 2]}), json!({"a": [1]}), Some(json!({"a": [1]}))),
            (json!({}), json!({"a": {"x": 1}}), Some(json!({"a": {"x": 1}}))),
        ] {
            assert_eq!(merge_patch(old, new), patch);
        }
    }
}
