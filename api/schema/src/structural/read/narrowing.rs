//! What narrows the values of a node: its limits, and the schemas below `allOf`, `anyOf`, `oneOf` and `not`, which may do nothing else.

use std::sync::Arc;

use kontiki_model::Faults;
use serde_json::{Map, Value};

use super::{
    super::{JsonType, Limits, ListKind, Node, Pattern},
    DEPTH_MAX, NODES_MAX, Reader, flag, texts,
};

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

impl Reader<'_> {
    /// What may stand anywhere in a schema.
    pub(super) fn shared(&mut self, members: &Map<String, Value>, path: &str, depth: usize) -> Node {
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
        let pattern = pattern.and_then(|text| match kontiki_cel::regexp::compile(text) {
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
pub(super) fn complete(node: &Node, part: &Node, path: &str, faults: &mut Faults) {
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
