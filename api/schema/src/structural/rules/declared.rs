//! What rules know of a node's values: their type, and how large they can be.

use std::collections::BTreeMap;
use std::sync::Arc;

use kontiki_cel::{Bound, FieldType, Identity, ObjectType, Type, escape};
use serde_json::Value;

use super::super::{Additional, JsonType, ListKind, Node};

/// The largest request, which bounds what no limit bounds.
const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;

/// The type of a node's values in expressions, and how large they can be.
pub(super) fn declared(node: &Node, resource: bool) -> (Type, Bound) {
    let sized = |element: Option<Bound>| Bound { element: element.map(Arc::new), ..Bound::of(size_max(node)) };
    if node.int_or_string {
        return (Type::Dyn, sized(None));
    }
    match node.r#type {
        None => (Type::Dyn, Bound::default()),
        Some(JsonType::Boolean) => (Type::Bool, sized(None)),
        Some(JsonType::Integer) => (Type::Int, sized(None)),
        Some(JsonType::Number) => (Type::Double, sized(None)),
        Some(JsonType::String) => match node.limits.format.as_deref() {
            Some("byte") => (Type::Bytes, sized(None)),
            Some("date" | "date-time") => (Type::Timestamp, sized(None)),
            Some("duration") => (Type::Duration, sized(None)),
            _ => (Type::String, sized(None)),
        },
        Some(JsonType::Array) => {
            let (of, bound) =
                node.items.as_ref().map_or((Type::Dyn, Bound::default()), |items| declared(items, items.embedded));
            (Type::list_by(identity(node), of), sized(Some(bound)))
        }
        Some(JsonType::Object) => match &node.additional {
            Some(Additional::Of(below)) => {
                let (of, bound) = declared(below, below.embedded);
                (Type::map(Type::String, of), sized(Some(bound)))
            }
            Some(Additional::Anything) => (Type::map(Type::String, Type::Dyn), sized(None)),
            None => (Type::Object(Arc::new(object(node, resource))), sized(None)),
        },
    }
}

fn identity(node: &Node) -> Identity {
    match node.list {
        ListKind::Atomic => Identity::Place,
        ListKind::Set => Identity::Value,
        ListKind::Map => Identity::Keys(node.keys.clone()),
    }
}

fn object(node: &Node, resource: bool) -> ObjectType {
    let mut fields: BTreeMap<String, FieldType> = BTreeMap::new();
    let mut add = |json: &str, r#type: Type, bound: Bound| {
        if let Some(name) = escape(json) {
            fields.insert(name, FieldType { json: json.to_owned(), r#type, bound });
        }
    };
    for (name, below) in &node.properties {
        let (r#type, bound) = declared(below, below.embedded);
        add(name, r#type, bound);
    }
    if resource {
        let text = || (Type::String, Bound::of(253));
        let mut metadata: BTreeMap<String, FieldType> = BTreeMap::new();
        for name in ["name", "generateName"] {
            let (r#type, bound) = text();
            metadata.insert(name.to_owned(), FieldType { json: name.to_owned(), r#type, bound });
        }
        let metadata = ObjectType { name: "metadata".to_owned(), fields: metadata };
        for name in ["apiVersion", "kind"] {
            let (r#type, bound) = text();
            add(name, r#type, bound);
        }
        add("metadata", Type::Object(Arc::new(metadata)), Bound::default());
    }
    ObjectType { name: "object".to_owned(), fields }
}

/// How large a value can be at most, by its own limits or by those of a request.
pub(super) fn size_max(node: &Node) -> u64 {
    let limits = &node.limits;
    match node.r#type {
        Some(JsonType::String) => {
            let choice = limits.choices.iter().filter_map(Value::as_str).map(|text| text.len() as u64).max();
            let format = match limits.format.as_deref() {
                Some("date") => Some(10),
                Some("date-time" | "duration") => Some(64),
                _ => None,
            };
            let own = [limits.length_max, choice, format].into_iter().flatten().min();
            own.unwrap_or(REQUEST_BYTES_MAX - 2)
        }
        Some(JsonType::Array) => {
            let each = node.items.as_deref().map_or(1, size_min) + 1;
            limits.items_max.unwrap_or((REQUEST_BYTES_MAX - 2) / each)
        }
        Some(JsonType::Object) => match &node.additional {
            Some(Additional::Of(below)) => {
                limits.properties_max.unwrap_or((REQUEST_BYTES_MAX - 2) / (size_min(below) + 5))
            }
            Some(Additional::Anything) => limits.properties_max.unwrap_or((REQUEST_BYTES_MAX - 2) / 6),
            None => node.properties.len() as u64,
        },
        Some(JsonType::Boolean | JsonType::Integer | JsonType::Number) => 1,
        None => REQUEST_BYTES_MAX - 2,
    }
}

/// The fewest bytes a value takes in a request.
fn size_min(node: &Node) -> u64 {
    match node.r#type {
        Some(JsonType::String) => 2 + node.limits.length_min.unwrap_or_default(),
        Some(JsonType::Boolean) => 4,
        Some(JsonType::Object) => {
            let required = node.limits.required.iter().filter_map(|name| Some((name, node.properties.get(name)?)));
            let needed = required.filter(|(_, below)| below.default.is_none());
            2 + needed.map(|(name, below)| name.len() as u64 + 4 + size_min(below)).sum::<u64>()
        }
        Some(JsonType::Array) => 2,
        Some(JsonType::Integer | JsonType::Number) | None => 1,
    }
}
