//! Objects that expressions make: parts of Kubernetes objects, `Object{spec: Object.spec{replicas: 3}}`, and operations of JSON
//! patches, `JSONPatch{op: "remove", path: "/spec/paused"}`.

use crate::types::Type;
use crate::value::Value;

/// The object as a whole; parts of it are named by their place: `Object.spec.template`.
pub const OBJECT: &str = "Object";
pub const PATCH: &str = "JSONPatch";

/// An object that was made.
#[derive(Clone, Debug)]
pub struct Made<'a> {
    pub name: &'a str,
    pub fields: Vec<(&'a str, Value<'a>)>,
}

impl<'a> Made<'a> {
    pub fn field(&self, name: &str) -> Option<&Value<'a>> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

/// Whether there is a type of this name.
pub fn exists(name: &str) -> bool {
    name == PATCH || name == OBJECT || name.strip_prefix(OBJECT).is_some_and(|rest| rest.starts_with('.'))
}

/// The type of a field; nothing is known of those of objects.
pub fn field(of: &str, name: &str) -> Option<Type> {
    match (of, name) {
        (PATCH, "op" | "path" | "from") => Some(Type::String),
        (PATCH, "value") => Some(Type::Dyn),
        (PATCH, _) => None,
        (_, _) => Some(Type::Dyn),
    }
}

/// Objects whose names do not say where they stand; each with the name it should have.
pub fn misplaced(value: &Value<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if let Value::Made(made) = value {
        look(value, made.name, &mut found);
    }
    found
}

fn look(value: &Value<'_>, place: &str, found: &mut Vec<String>) {
    match value {
        Value::Made(made) => {
            if made.name != place {
                let name = made.name;
                found.push(format!(
                    "unexpected type name {name:?}, expected {place:?}, which matches field name path from root Object type"
                ));
            }
            made.fields.iter().for_each(|(name, value)| look(value, &format!("{place}.{name}"), found));
        }
        Value::List(items) | Value::Merged(items, _) => items.iter().for_each(|item| look(item, place, found)),
        Value::Map(entries) => entries.iter().for_each(|(_, value)| look(value, place, found)),
        _ => {}
    }
}
