//! A structural schema as types of a table: what apply needs of it, field by field and list by list.

use std::borrow::Cow;

use super::{Additional, JsonType, ListKind, Node};
use crate::generated::ids;
use crate::table::{Field, Form, Item, ListType, Shape, Table, Type, TypeId, builtin};

/// The types of an object whose members are the root's, with the API's own. The built-in table's types are in front, so that
/// `metadata` means the same in both.
pub(super) fn table(root: &Node) -> (Table, TypeId) {
    let mut types: Vec<Type> = Vec::new();
    let mut metadata = Metadata::default();
    let metadata = metadata.copy(ids::META_V1_OBJECTMETA, &mut types);
    let id = object(root, metadata, true, &mut types);
    (Table::new(Cow::Owned(types)), id)
}

/// Built-in types copied into another table, closed under reference.
#[derive(Default)]
struct Metadata {
    copied: Vec<(TypeId, TypeId)>,
}

impl Metadata {
    fn copy(&mut self, id: TypeId, types: &mut Vec<Type>) -> TypeId {
        if let Some((_, there)) = self.copied.iter().find(|(from, _)| *from == id) {
            return *there;
        }
        let there = next(types);
        self.copied.push((id, there));
        types.push(builtin().get(id).clone());
        let mut fields = builtin().get(id).fields.to_vec();
        for field in &mut fields {
            field.shape = match field.shape {
                Shape::One(Item::Of(below)) => Shape::One(Item::Of(self.copy(below, types))),
                Shape::List(Item::Of(below)) => Shape::List(Item::Of(self.copy(below, types))),
                Shape::Map(Item::Of(below)) => Shape::Map(Item::Of(self.copy(below, types))),
                plain => plain,
            };
        }
        types[usize::from(there.0)].fields = Cow::Owned(fields);
        there
    }
}

/// [`super::read`] bounds how many nodes a schema has.
fn next(types: &[Type]) -> TypeId {
    TypeId(u16::try_from(types.len()).expect("a schema has fewer nodes than a table holds types"))
}

fn object(node: &Node, metadata: TypeId, resource: bool, types: &mut Vec<Type>) -> TypeId {
    let id = next(types);
    types.push(Type {
        name: Cow::Owned(format!("custom.{}", id.0)),
        gvk: None,
        form: Form::Struct,
        type_meta: resource,
        atomic: node.atomic_map,
        preserve_unknown: node.preserve_unknown || matches!(node.additional, Some(Additional::Anything)),
        fields: Cow::Borrowed(&[]),
    });
    let mut fields = Vec::new();
    if resource {
        fields.push(Field::custom("metadata", Shape::One(Item::Of(metadata))));
    }
    for (name, below) in &node.properties {
        if resource && super::is_envelope(name) {
            continue;
        }
        let mut one = Field::custom(name, shape(below, metadata, types));
        one.list = match (below.r#type, below.list) {
            (Some(JsonType::Array), ListKind::Atomic) => ListType::Atomic,
            (Some(JsonType::Array), ListKind::Set) => ListType::Set,
            (Some(JsonType::Array), ListKind::Map) => ListType::Map,
            _ => ListType::Unset,
        };
        one.keys = below.keys.iter().map(|key| Cow::Owned(key.clone())).collect();
        one.atomic = below.atomic_map.then_some(true);
        // A default decides which element of a list is meant where its key is left out.
        one.default = below.default.as_ref().map(|value| Cow::Owned(value.to_string()));
        fields.push(one);
    }
    types[usize::from(id.0)].fields = Cow::Owned(fields);
    id
}

fn shape(node: &Node, metadata: TypeId, types: &mut Vec<Type>) -> Shape {
    match (node.r#type, &node.items, &node.additional) {
        (Some(JsonType::Array), Some(items), _) => Shape::List(item(items, metadata, types)),
        (Some(JsonType::Object), _, Some(Additional::Of(below))) => Shape::Map(item(below, metadata, types)),
        _ => Shape::One(item(node, metadata, types)),
    }
}

fn item(node: &Node, metadata: TypeId, types: &mut Vec<Type>) -> Item {
    match node.r#type {
        Some(JsonType::Object) if !matches!(node.additional, Some(Additional::Of(_))) => {
            Item::Of(object(node, metadata, node.embedded, types))
        }
        Some(JsonType::String) => Item::String,
        Some(JsonType::Boolean) => Item::Bool,
        Some(JsonType::Integer) => Item::Int64,
        Some(JsonType::Number) => Item::Double,
        // A list of lists, or a map in a list, is one value.
        Some(JsonType::Array | JsonType::Object) | None => Item::Any,
    }
}
