//! From an `openAPIV3Schema` to a tree of nodes, with everything that is wrong with it, in Kubernetes' words.
//!
//! A *structural* schema says of every member once, outside of `allOf`, `anyOf`, `oneOf` and `not`, what type it has. Those four
//! may then only narrow values.

use std::sync::Arc;

use kontiki_model::Faults;
use serde_json::{Map, Value};

use super::{Additional, JsonType, Limits, ListKind, Node, Pattern, Structural, rules, table};

/// More nodes than any sound definition has; what is made of a schema stays bounded.
const NODES_MAX: usize = 30_000;
/// A deeper schema is refused: it is worked on by recursion.
const DEPTH_MAX: usize = 100;

const EXTENSIONS: [&str; 6] = [
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
];

/// Members of a schema that Kubernetes knows and does not serve.
const UNSUPPORTED: [(&str, &str); 7] = [
    ("$ref", "$ref is not supported"),
    ("$schema", "schema is not supported"),
    ("additionalItems", "additionalItems is not supported"),
    ("definitions", "definitions is not supported"),
    ("dependencies", "dependencies is not supported"),
    ("id", "id is not supported"),
    ("patternProperties", "patternProperties is not supported"),
];

impl Structural {
    /// Reads a schema; `path` is where it stands, for the faults.
    pub fn read(schema: &Value, path: &str, faults: &mut Faults) -> Option<Self> {
        let before = faults.iter().count();
        let mut reader = Reader { faults, nodes: 0 };
        let mut root = reader.structural(schema, path, Place::Root, 0);
        if faults.iter().count() > before {
            return None;
        }
        rules::compile(&mut root, schema, path, faults);
        if faults.iter().count() > before {
            return None;
        }
        let (table, id) = table::table(&root);
        let structural = Structural { root, table, id };
        structural.check_defaults(path, faults);
        (faults.iter().count() == before).then_some(structural)
    }

    /// Defaults must be what the schema itself lets through, untouched.
    fn check_defaults(&self, path: &str, faults: &mut Faults) {
        check_defaults(&self.root, path, faults);
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

    fn extensions(&mut self, node: &mut Node, members: &Map<String, Value>, path: &str, place: Place) {
        let preserve = "x-kubernetes-preserve-unknown-fields";
        if members.get(preserve) == Some(&Value::Bool(false)) {
            self.faults.invalid(format!("{path}.{preserve}"), false, "must be true or undefined");
        }
        if node.preserve_unknown && node.r#type.is_some_and(|found| found != JsonType::Object) {
            let found = node.r#type.map_or("", JsonType::name);
            self.faults.invalid(
                format!("{path}.type"),
                found,
                "must be object if x-kubernetes-preserve-unknown-fields is true",
            );
        }
        if node.embedded {
            if node.r#type != Some(JsonType::Object) {
                let found = node.r#type.map_or("", JsonType::name);
                self.faults.invalid(
                    format!("{path}.type"),
                    found,
                    "must be object if x-kubernetes-embedded-resource is true",
                );
            }
            if node.properties.is_empty() && !node.preserve_unknown {
                let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
                self.faults.required(format!("{path}.properties"), detail);
            }
            if place == Place::Root {
                self.faults.forbidden(format!("{path}.x-kubernetes-embedded-resource"), "must be false at the root");
            }
        }
        if (place == Place::Root || node.embedded)
            && let Some(metadata) = node.properties.get("metadata")
        {
            let at = format!("{path}.properties[metadata]");
            if metadata.r#type != Some(JsonType::Object) {
                self.faults.invalid(format!("{at}.type"), metadata.r#type.map_or("", JsonType::name), "must be object");
            }
            if metadata.properties.keys().any(|name| !matches!(name.as_str(), "name" | "generateName")) {
                let detail =
                    "must not specify anything other than name and generateName, but metadata is implicitly specified";
                self.faults.forbidden(at, detail);
            }
        }
    }

    fn lists(&mut self, node: &Node, members: &Map<String, Value>, path: &str) {
        let kind = members.get("x-kubernetes-list-type").and_then(Value::as_str);
        let at = |member: &str| format!("{path}.{member}");
        if let Some(kind) = kind {
            if node.r#type != Some(JsonType::Array) {
                let found = node.r#type.map_or("", JsonType::name);
                self.faults.invalid(at("type"), found, "must be array if x-kubernetes-list-type is specified");
            } else if !matches!(kind, "atomic" | "map" | "set") {
                self.faults.not_supported(at("x-kubernetes-list-type"), kind, &["atomic", "map", "set"]);
            }
        }
        if !node.keys.is_empty() && kind != Some("map") {
            let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
            self.faults.invalid(at("x-kubernetes-list-type"), kind.unwrap_or(""), detail);
        }
        match members.get("x-kubernetes-map-type").and_then(Value::as_str) {
            None => {}
            Some(_) if node.r#type != Some(JsonType::Object) => {
                let found = node.r#type.map_or("", JsonType::name);
                self.faults.invalid(at("type"), found, "must be object if x-kubernetes-map-type is specified");
            }
            Some("atomic" | "granular") => {}
            Some(other) => self.faults.not_supported(at("x-kubernetes-map-type"), other, &["atomic", "granular"]),
        }
        if node.list != ListKind::Map {
            return;
        }
        if node.keys.is_empty() {
            self.faults
                .required(at("x-kubernetes-list-map-keys"), "must not be empty if x-kubernetes-list-type is map");
        }
        let Some(items) = &node.items else { return };
        if items.r#type != Some(JsonType::Object) {
            let found = items.r#type.map_or("", JsonType::name);
            self.faults.invalid(
                at("items.type"),
                found,
                "must be object if parent array's x-kubernetes-list-type is map",
            );
        }
        if items.nullable {
            self.faults.forbidden(at("items.nullable"), "cannot be nullable when x-kubernetes-list-type is map");
        }
        for (index, key) in node.keys.iter().enumerate() {
            let place = at(&format!("x-kubernetes-list-map-keys[{index}]"));
            if node.keys[..index].contains(key) {
                self.faults.duplicate(place.clone(), key.as_str());
            }
            let Some(property) = items.properties.get(key) else {
                let detail = "entries must all be names of item properties";
                self.faults.invalid(place, key.as_str(), detail);
                continue;
            };
            if matches!(property.r#type, Some(JsonType::Array | JsonType::Object)) {
                let found = property.r#type.map_or("", JsonType::name);
                let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                self.faults.invalid(at(&format!("items.properties[{key}].type")), found, detail);
            }
            if property.default.is_none() && !items.limits.required.contains(key) {
                let place = at(&format!("items.properties[{key}].default"));
                let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                self.faults.required(place, detail);
            }
        }
    }

    /// What may stand anywhere in a schema.
    fn shared(&mut self, members: &Map<String, Value>, path: &str, depth: usize) -> Node {
        for (name, why) in UNSUPPORTED {
            if members.get(name).is_some_and(|value| !value.is_null() && value != "") {
                self.faults.forbidden(format!("{path}.{name}"), why);
            }
        }
        if flag(members, "uniqueItems") {
            let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.faults.forbidden(format!("{path}.uniqueItems"), detail);
        }
        let list = match members.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("map") => ListKind::Map,
            Some("set") => ListKind::Set,
            _ => ListKind::Atomic,
        };
        Node {
            list,
            keys: texts(members, "x-kubernetes-list-map-keys"),
            atomic_map: members.get("x-kubernetes-map-type").is_some_and(|kind| kind == "atomic"),
            limits: self.limits(members, path, depth),
            ..Node::default()
        }
    }

    fn limits(&mut self, members: &Map<String, Value>, path: &str, depth: usize) -> Limits {
        let number = |name: &str| members.get(name).and_then(Value::as_f64);
        let count = |name: &str| members.get(name).and_then(Value::as_u64);
        let pattern = members.get("pattern").and_then(Value::as_str).filter(|text| !text.is_empty());
        let pattern = pattern.and_then(|text| match regex::Regex::new(text) {
            Ok(regex) => Some(Pattern { text: text.to_owned(), regex: Arc::new(regex) }),
            Err(error) => {
                let detail = format!("must be a valid regular expression, but isn't: {error}");
                self.faults.invalid(format!("{path}.pattern"), text, detail);
                None
            }
        });
        let choices = members.get("enum").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut several = |name: &str| {
            let parts = members.get(name).and_then(Value::as_array).into_iter().flatten().enumerate();
            parts.map(|(index, part)| self.narrowing(part, &format!("{path}.{name}[{index}]"), depth + 1)).collect()
        };
        let (all_of, any_of, one_of) = (several("allOf"), several("anyOf"), several("oneOf"));
        let not = members.get("not").filter(|part| part.is_object());
        Limits {
            format: members.get("format").and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned),
            minimum: number("minimum"),
            exclusive_minimum: flag(members, "exclusiveMinimum"),
            maximum: number("maximum"),
            exclusive_maximum: flag(members, "exclusiveMaximum"),
            multiple_of: number("multipleOf"),
            length_min: count("minLength"),
            length_max: count("maxLength"),
            pattern,
            items_min: count("minItems"),
            items_max: count("maxItems"),
            unique_items: flag(members, "uniqueItems"),
            properties_min: count("minProperties"),
            properties_max: count("maxProperties"),
            required: texts(members, "required"),
            choices,
            all_of,
            any_of,
            one_of,
            not: not.map(|part| Box::new(self.narrowing(part, &format!("{path}.not"), depth + 1))),
        }
    }

    /// A schema below `allOf` and the like: it may narrow values and say nothing else.
    fn narrowing(&mut self, schema: &Value, path: &str, depth: usize) -> Node {
        self.nodes += 1;
        let empty = Map::new();
        let members = schema.as_object().unwrap_or(&empty);
        if self.nodes > NODES_MAX || depth > DEPTH_MAX {
            return Node::default();
        }
        for name in
            ["default", "nullable", "title", "description", "additionalProperties"].into_iter().chain(EXTENSIONS)
        {
            let there = members.get(name).is_some_and(|value| !value.is_null() && *value != Value::Bool(false));
            // Either spelling of an int-or-string's alternatives names types.
            if there && !matches!(name, "x-kubernetes-int-or-string") {
                let detail = if name == "additionalProperties" {
                    "must be undefined to be structural"
                } else {
                    "must be empty to be structural"
                };
                self.faults.forbidden(format!("{path}.{name}"), detail);
            }
        }
        let mut node = self.shared(members, path, depth);
        let name = members.get("type").and_then(Value::as_str).unwrap_or("");
        node.r#type = JsonType::ALL.into_iter().find(|one| one.name() == name);
        if let Some(properties) = members.get("properties").and_then(Value::as_object) {
            for (name, below) in properties {
                let below = self.narrowing(below, &format!("{path}.properties[{name}]"), depth + 1);
                node.properties.insert(name.clone(), below);
            }
        }
        if let Some(items @ Value::Object(_)) = members.get("items") {
            node.items = Some(Box::new(self.narrowing(items, &format!("{path}.items"), depth + 1)));
        }
        node
    }
}

/// What a narrowing part speaks of must be declared outside of it; only the alternatives of an int-or-string name types.
fn complete(node: &Node, part: &Node, path: &str, faults: &mut Faults) {
    if part.r#type.is_some() && !node.int_or_string {
        faults.forbidden(format!("{path}.type"), "must be empty to be structural");
    }
    for (name, below) in &part.properties {
        match node.properties.get(name) {
            Some(declared) => complete(declared, below, &format!("{path}.properties[{name}]"), faults),
            None if node.additional.is_some() || node.preserve_unknown => {}
            None => faults.required(format!("{path}.properties[{name}]"), format!("because it is defined in {path}")),
        }
    }
    match (&part.items, &node.items) {
        (Some(below), Some(declared)) => complete(declared, below, &format!("{path}.items"), faults),
        (Some(_), None) => faults.required(format!("{path}.items"), format!("because it is defined in {path}")),
        (None, _) => {}
    }
    let parts = &part.limits;
    for below in parts.all_of.iter().chain(&parts.any_of).chain(&parts.one_of).chain(parts.not.as_deref()) {
        complete(node, below, path, faults);
    }
}

fn check_defaults(node: &Node, path: &str, faults: &mut Faults) {
    if let Some(default) = &node.default {
        check_default(node, default, &format!("{path}.default"), faults);
    }
    for (name, below) in &node.properties {
        check_defaults(below, &format!("{path}.properties[{name}]"), faults);
    }
    if let Some(Additional::Of(below)) = &node.additional {
        check_defaults(below, &format!("{path}.additionalProperties"), faults);
    }
    if let Some(items) = &node.items {
        check_defaults(items, &format!("{path}.items"), faults);
    }
}

fn check_default(node: &Node, default: &Value, path: &str, faults: &mut Faults) {
    let mut pruned = default.clone();
    super::prune::prune_value(node, &mut pruned);
    if pruned != *default {
        faults.invalid(path, default.clone(), "must not have unknown fields");
        return;
    }
    super::validate::value(node, default, path, faults);
    if node.embedded {
        let check = |member: &str| default.get(member).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        for member in ["apiVersion", "kind"].into_iter().filter(|member| !check(member)) {
            faults.required(format!("{path}.{member}"), "");
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
