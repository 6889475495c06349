//! Defaults: what is absent is filled in; a null that is not allowed is dropped first, where there is a default.

use serde_json::Value;

use super::{Node, Structural};

impl Structural {
    /// Fills what is absent. Idempotent.
    pub fn default(&self, object: &mut Value) {
        default(&self.root, object);
    }
}

fn default(node: &Node, value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, below) in &node.properties {
                let Some(filling) = &below.default else { continue };
                let dropped = members.get(name).is_none_or(|value| value.is_null() && !below.nullable);
                if dropped {
                    members.insert(name.clone(), filling.clone());
                }
            }
            for (name, value) in members.iter_mut() {
                let Some(below) = node.member(name) else { continue };
                if let Some(filling) = below.default.as_ref().filter(|_| value.is_null() && !below.nullable) {
                    *value = filling.clone();
                }
                default(below, value);
            }
            let refused =
                |name: &str, value: &Value| value.is_null() && node.member(name).is_some_and(|node| !node.nullable);
            members.retain(|name, value| !refused(name, value));
        }
        Value::Array(items) => {
            let Some(below) = &node.items else { return };
            for item in items {
                if let Some(filling) = below.default.as_ref().filter(|_| item.is_null() && !below.nullable) {
                    *item = filling.clone();
                }
                default(below, item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use kontiki_model::Faults;
    use serde_json::{Value, json};

    use crate::structural::Structural;

    fn structural() -> Structural {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "color": {"type": "string", "default": "red"},
            "maybe": {"type": "string", "nullable": true, "default": "d"},
            "plain": {"type": "string"},
            "items": {"type": "array", "items": {"type": "object", "properties": {"v": {"type": "string", "default": "dv"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}}},
            "deep": {"type": "object", "default": {}, "properties": {"x": {"type": "integer", "default": 7}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "port": {"x-kubernetes-int-or-string": true},
        }}}});
        Structural::read(&schema, "schema", &mut Faults::default()).unwrap()
    }

    #[test]
    fn what_is_absent_is_filled_in_and_what_is_null_as_well() {
        let deep = json!({"x": 7});
        let table = [
            (json!({}), json!({"color": "red", "maybe": "d", "deep": deep})),
            (json!({"color": null, "maybe": null}), json!({"color": "red", "maybe": null, "deep": deep})),
            (json!({"plain": null}), json!({"color": "red", "maybe": "d", "deep": deep})),
            (
                json!({"items": [{}, {"v": "x"}], "map": {"a": {}}, "deep": {"x": 1}}),
                json!({"items": [{"v": "dv"}, {"v": "x"}], "map": {"a": {"n": 1}}, "deep": {"x": 1}, "color": "red", "maybe": "d"}),
            ),
        ];
        for (spec, expected) in table {
            let mut object = json!({"spec": spec});
            structural().default(&mut object);
            assert_eq!(object["spec"], expected);
        }
        let mut nothing = json!({});
        structural().default(&mut nothing);
        assert_eq!(nothing, json!({}), "what is not there gets no members");
    }

    #[test]
    fn unknown_members_are_listed_and_dropped() {
        let object = json!({
            "apiVersion": "a/v1", "kind": "K", "junk": 1,
            "metadata": {"name": "n", "nope": 1},
            "spec": {"junk": 1, "free": {"any": {"thing": 1}}, "items": [{"v": "1", "w": 2}], "port": "http", "map": {"k": {"z": 1}}},
        });
        let mut unknown = structural().unknown(&object);
        unknown.sort();
        assert_eq!(unknown, ["junk", "metadata.nope", "spec.items[0].w", "spec.junk", "spec.map.k.z"]);
        let mut pruned = object;
        structural().prune(&mut pruned);
        let expected: Value = json!({
            "apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n"},
            "spec": {"free": {"any": {"thing": 1}}, "items": [{"v": "1"}], "port": "http", "map": {"k": {}}},
        });
        assert_eq!(pruned, expected);
    }
}
