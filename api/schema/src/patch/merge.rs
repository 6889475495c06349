//! RFC 7396.

use serde_json::{Map, Value};

use super::without_nulls_of;

/// `original` after the patch: members that are null in the patch are removed, objects merged, all else replaced.
pub fn merge_patch(original: Value, patch: Value) -> Value {
    let Value::Object(patch) = patch else { return patch };
    let mut members = match original {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    without_nulls_of(&mut members, &patch);
    for (key, value) in patch.into_iter().filter(|(_, value)| !value.is_null()) {
        let old = members.get_mut(&key).map(Value::take).unwrap_or_default();
        members.insert(key, merge_patch(old, value));
    }
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::merge_patch;

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn follows_the_rfc() {
        let cases: Vec<(Value, Value, Value)> = vec![
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ];
        for (original, patch, expected) in cases {
            assert_eq!(merge_patch(original.clone(), patch.clone()), expected, "{original} {patch}");
        }
    }
}
