//! From an `openAPIV3Schema` to a tree of nodes, with everything that is wrong with it, in Kubernetes' words.
//!
//! A *structural* schema says of every member once, outside of `allOf`, `anyOf`, `oneOf` and `not`, what type it has. Those four
//! may then only narrow values.

mod defaults;
mod extensions;
mod narrowing;

use kontiki_model::Faults;
use serde_json::{Map, Value};

use super::{Additional, JsonType, Node, Structural, rules, table};
use narrowing::complete;

/// More nodes than any sound definition has; what is made of a schema stays bounded.
const NODES_MAX: usize = 30_000;
/// A deeper schema is refused: it is worked on by recursion.
const DEPTH_MAX: usize = 100;

impl Structural {
    /// Reads a schema; `path` is where it stands, for the faults.
    pub fn read(schema: &Value, path: &str, faults: &mut Faults) -> Option<Self> {
        let before = faults.count();
        let mut reader = Reader { faults, nodes: 0 };
        let mut root = reader.structural(schema, path, Place::Root, 0);
        if faults.count() > before {
            return None;
        }
        rules::compile(&mut root, schema, path, faults);
        if faults.count() > before {
            return None;
        }
        let (table, id) = table::table(&root);
        let structural = Structural { root, table, id };
        defaults::check_all(&structural.root, path, faults);
        (faults.count() == before).then_some(structural)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Property,
    Items,
    Additional,
}

struct Reader<'f> {
    faults: &'f mut Faults,
    nodes: usize,
}

impl Reader<'_> {
    fn structural(&mut self, schema: &Value, path: &str, place: Place, depth: usize) -> Node {
        self.nodes += 1;
        let empty = Map::new();
        let members = schema.as_object().unwrap_or(&empty);
        if self.nodes > NODES_MAX || depth > DEPTH_MAX {
            if self.nodes == NODES_MAX + 1 || depth == DEPTH_MAX + 1 {
                self.faults.invalid(path, Value::Null, "the schema is too large");
            }
            return Node::default();
        }
        let mut node = self.shared(members, path, depth);
        self.type_of(&mut node, members, path, place);
        node.nullable = flag(members, "nullable");
        node.default = members.get("default").cloned();
        if let Some(properties) = members.get("properties").and_then(Value::as_object) {
            for (name, below) in properties {
                let path = format!("{path}.properties[{name}]");
                let below = self.structural(below, &path, Place::Property, depth + 1);
                node.properties.insert(name.clone(), below);
            }
        }
        node.additional = match members.get("additionalProperties") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(true)) => Some(Additional::Anything),
            Some(Value::Bool(false)) => {
                self.faults
                    .forbidden(format!("{path}.additionalProperties"), "additionalProperties cannot be set to false");
                None
            }
            Some(below) => {
                let path = format!("{path}.additionalProperties");
                Some(Additional::Of(Box::new(self.structural(below, &path, Place::Additional, depth + 1))))
            }
        };
        if !node.properties.is_empty() && node.additional.is_some() {
            let detail = "additionalProperties and properties are mutual exclusive";
            self.faults.forbidden(format!("{path}.additionalProperties"), detail);
        }
        match members.get("items") {
            Some(below @ Value::Object(_)) => {
                let path = format!("{path}.items");
                node.items = Some(Box::new(self.structural(below, &path, Place::Items, depth + 1)));
            }
            Some(Value::Array(_)) => {
                self.faults.forbidden(format!("{path}.items"), "items must be a schema object and not an array");
            }
            _ if node.r#type == Some(JsonType::Array) => {
                self.faults.required(format!("{path}.items"), "must be specified");
            }
            _ => {}
        }
        self.extensions(&mut node, members, path, place);
        self.lists(&node, members, path);
        for part in node
            .limits
            .all_of
            .iter()
            .chain(&node.limits.any_of)
            .chain(&node.limits.one_of)
            .chain(node.limits.not.as_deref())
        {
            complete(&node, part, path, self.faults);
        }
        node
    }

    fn type_of(&mut self, node: &mut Node, members: &Map<String, Value>, path: &str, place: Place) {
        node.int_or_string = flag(members, "x-kubernetes-int-or-string");
        node.preserve_unknown = flag(members, "x-kubernetes-preserve-unknown-fields");
        node.embedded = flag(members, "x-kubernetes-embedded-resource");
        let name = members.get("type").and_then(Value::as_str).unwrap_or("");
        let at = || format!("{path}.type");
        node.r#type = JsonType::ALL.into_iter().find(|one| one.name() == name);
        match (name, node.r#type, place) {
            ("", _, Place::Root) => self.faults.required(at(), "must not be empty at the root"),
            ("", ..) if node.int_or_string || node.preserve_unknown => {}
            ("", _, Place::Property) => self.faults.required(at(), "must not be empty for specified object fields"),
            ("", _, Place::Items) => self.faults.required(at(), "must not be empty for specified array items"),
            ("", _, Place::Additional) => self.faults.required(at(), "must not be empty for specified object fields"),
            ("null", ..) => self.faults.forbidden(at(), "type cannot be set to null, use nullable as an alternative"),
            (_, None, _) => {
                let known = ["array", "boolean", "integer", "number", "object", "string"];
                self.faults.not_supported(at(), name, &known);
            }
            (_, Some(found), Place::Root) if found != JsonType::Object => {
                self.faults.invalid(at(), name, "must be object at the root");
            }
            (_, Some(_), _) if node.int_or_string => {
                let detail = "must be empty if x-kubernetes-int-or-string is true";
                self.faults.invalid(at(), name, detail);
            }
            (_, Some(_), _) => {}
        }
    }
}

fn flag(members: &Map<String, Value>, name: &str) -> bool {
    members.get(name).and_then(Value::as_bool).unwrap_or_default()
}

fn texts(members: &Map<String, Value>, name: &str) -> Vec<String> {
    let all = members.get(name).and_then(Value::as_array).into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

const _: () = assert!(NODES_MAX < u16::MAX as usize / 2, "each node is at most one type of a table");

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(schema: &Value) -> Vec<String> {
        let mut faults = Faults::default();
        let read = Structural::read(schema, "s", &mut faults);
        assert_eq!(read.is_some(), faults.is_empty());
        faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message())).collect()
    }

    #[test]
    fn schemas_that_are_not_structural_are_refused() {
        let table = [
            (json!({}), "s.type: Required value: must not be empty at the root"),
            (
                json!({"type": "object", "properties": {"apiVersion": {"type": "object"}}}),
                "s.properties[apiVersion].type: Invalid value: \"object\": must be string",
            ),
            (json!({"type": "string"}), "s.type: Invalid value: \"string\": must be object at the root"),
            (
                json!({"type": "object", "properties": {"a": {}}}),
                "s.properties[a].type: Required value: must not be empty for specified object fields",
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "array"}}}),
                "s.properties[a].items: Required value: must be specified",
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "array", "items": {}}}}),
                "s.properties[a].items.type: Required value: must not be empty for specified array items",
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "float"}}}),
                "s.properties[a].type: Unsupported value: \"float\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
            ),
            (json!({"type": "object", "$ref": "#/x"}), "s.$ref: Forbidden: $ref is not supported"),
            (
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": true}),
                "s.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
            ),
            (
                json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false}),
                "s.x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
            ),
            (
                json!({"type": "object", "anyOf": [{"properties": {"a": {"minimum": 1}}}]}),
                "s.properties[a]: Required value: because it is defined in s",
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
                "s.properties[a].pattern: Invalid value: \"(\"",
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}}),
                "s.properties[a].default: Invalid value: \"string\"",
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "object", "default": {"x": 1}}}}),
                "s.properties[a].default: Invalid value: {\"x\":1}: must not have unknown fields",
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                    "items": {"type": "object", "properties": {"k": {"type": "string"}}}}}}),
                "s.properties[a].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            ),
            (
                json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
                "s.properties[metadata]: Forbidden",
            ),
        ];
        for (schema, expected) in table {
            let found = told(&schema);
            assert!(found.first().is_some_and(|told| told.starts_with(expected)), "{schema}: {found:#?}");
        }
    }

    #[test]
    fn sound_schemas_are_read() {
        let table = [
            json!({"type": "object"}),
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
            json!({"type": "object", "properties": {"p": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true}}}),
            json!({"type": "object", "properties": {"e": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}}),
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "pattern": "^a"}}}}}),
        ];
        for schema in table {
            assert_eq!(told(&schema), Vec::<String>::new(), "{schema}");
        }
    }
}
