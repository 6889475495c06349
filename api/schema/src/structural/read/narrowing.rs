//! What narrows the values of a node: its limits, and the schemas below `allOf`, `anyOf`, `oneOf` and `not`, which may do nothing else.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    super::{JsonType, Limits, ListKind, Node, Pattern},
    DEPTH_MAX, NODES_MAX, Reader, flag, texts,
};

impl Reader<'_> {
    /// What may stand anywhere in a schema.
    pub(super) fn shared(&mut self, members: &Map<String, Value>, path: &str, depth: usize) -> Node {
        let list = match members.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("map") => ListKind::Map,
            Some("set") => ListKind::Set,
            _ => ListKind::Atomic,
        };
        Node {
            r#type: members.get("type").and_then(Value::as_str).and_then(JsonType::named),
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
        let mut node = self.shared(members, path, depth);
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
