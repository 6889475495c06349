//! How values merge at each place of a type.

use serde_json::Value;

use super::element::{Element, Scalar};
use crate::table::{Field, Form, Item, ListType, Omit, Shape, Table, TypeId};

/// What the schema says of a place in an object.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// One value, whatever it holds: scalars, and what is atomic.
    Leaf,
    /// The members of a struct, each for itself.
    Struct(TypeId),
    /// The entries of a map, each for itself.
    Map(Item),
    /// A list of different values, each for itself.
    Set,
    /// A list whose items are told apart by keys.
    Keyed(&'a Field, Item),
    /// Data without a schema: maps merge, everything else is one value.
    Free,
}

/// Why an item has no place in its list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    #[error("associative list with keys may not have a null element")]
    Null,
    #[error("associative list with keys may not have non-map elements")]
    NoMap,
    #[error("associative list with keys has an element that omits key field {0:?} (and doesn't have default value)")]
    NoKey(String),
}

impl Table {
    /// The member of a struct.
    pub(super) fn member_place(&self, id: TypeId, name: &str) -> Place<'_> {
        match self.field(id, name) {
            Some(field) => self.field_place(field),
            None if self.get(id).preserve_unknown => Place::Free,
            None => Place::Leaf,
        }
    }

    fn field_place<'a>(&self, field: &'a Field) -> Place<'a> {
        match (field.shape, field.list) {
            (Shape::One(item), _) => self.item_place(item, field.atomic),
            (Shape::Map(_), _) if field.atomic == Some(true) => Place::Leaf,
            (Shape::Map(item), _) => Place::Map(item),
            (Shape::List(_), ListType::Set) => Place::Set,
            (Shape::List(item), ListType::Map) => Place::Keyed(field, item),
            (Shape::List(_), ListType::Unset | ListType::Atomic) => Place::Leaf,
        }
    }

    /// An item of a list, or the value of a map's entry.
    pub(super) fn item_place(&self, item: Item, atomic: Option<bool>) -> Place<'static> {
        match item {
            Item::Of(id) if self.get(id).form == Form::Struct => {
                if atomic.unwrap_or(self.get(id).atomic) {
                    Place::Leaf
                } else {
                    Place::Struct(id)
                }
            }
            Item::Of(_) | Item::String | Item::Bool | Item::Int32 | Item::Int64 | Item::Double => Place::Leaf,
            Item::Bytes | Item::Any => Place::Leaf,
        }
    }

    /// One step down from a place, and whether the step is a declared field of a struct.
    pub(super) fn step<'a>(&'a self, place: Place<'a>, element: &Element) -> (Place<'a>, bool) {
        match (place, element) {
            (Place::Struct(id), Element::Field(name)) => (self.member_place(id, name), self.field(id, name).is_some()),
            (Place::Map(item), Element::Field(_)) => (self.item_place(item, None), false),
            (Place::Free, Element::Field(_)) => (Place::Free, false),
            (Place::Keyed(_, item), Element::Key(_)) => (self.item_place(item, None), false),
            (Place::Leaf | Place::Set | Place::Struct(_) | Place::Map(_) | Place::Free | Place::Keyed(..), _) => {
                (Place::Leaf, false)
            }
        }
    }

    /// What tells an item of a list with keys from the others.
    pub(super) fn key_element(&self, field: &Field, item: Item, value: &Value) -> Result<Element, ItemError> {
        let members = match value {
            Value::Object(members) => members,
            Value::Null => return Err(ItemError::Null),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => return Err(ItemError::NoMap),
        };
        let mut keys = Vec::with_capacity(field.keys.len());
        for name in field.keys.iter() {
            let key = match members.get(name.as_ref()) {
                Some(value) => Scalar::of(value),
                None => self.key_default(item, name).ok_or_else(|| ItemError::NoKey(name.to_string()))?,
            };
            keys.push((name.to_string(), key));
        }
        keys.sort();
        Ok(Element::Key(keys))
    }

    /// The key of an item that does not say it: the schema's default, or zero where that is always written.
    fn key_default(&self, item: Item, name: &str) -> Option<Scalar> {
        let Item::Of(id) = item else { return None };
        let field = self.field(id, name)?;
        if let Some(default) = &field.default {
            return serde_json::from_str(default).ok().map(|value| Scalar::of(&value));
        }
        if field.pointer || field.omit != Omit::Never {
            return None;
        }
        match field.item() {
            Item::String => Some(Scalar::Text(String::new())),
            Item::Bool => Some(Scalar::Flag(false)),
            Item::Int32 | Item::Int64 | Item::Double => Some(Scalar::Integer(0)),
            Item::Bytes | Item::Any | Item::Of(_) => None,
        }
    }
}
