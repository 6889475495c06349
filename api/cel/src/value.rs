//! What expressions work on. JSON is read where it stands, under its declared type, and never copied as a whole.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use chrono::{DateTime, Utc};
use kontiki_model::Quantity;
use serde_json::{Map, Value as Json};

use crate::authorizer::{Check, Decision};
use crate::construct::Made;
use crate::duration::wide_duration;
use crate::network::{Cidr, Semver};
use crate::types::{Identity, ListType, ObjectType, Type};
use crate::url::Url;

#[derive(Clone, Debug)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Cow<'a, str>),
    Bytes(Arc<[u8]>),
    Timestamp(DateTime<Utc>),
    /// Nanoseconds.
    Duration(i64),
    List(Arc<[Value<'a>]>),
    /// Put together from a list whose elements are known by more than their place.
    Merged(Arc<[Value<'a>]>, &'a Identity),
    Map(Arc<[(Value<'a>, Value<'a>)]>),
    /// An object whose fields are declared.
    Object(&'a Map<String, Json>, &'a ObjectType),
    JsonList(&'a [Json], &'a ListType),
    JsonMap(&'a Map<String, Json>, &'a Type),
    Optional(Option<Arc<Value<'a>>>),
    Type(&'static str),
    Quantity(Arc<Quantity>),
    Ip(IpAddr),
    Cidr(Cidr),
    Url(Arc<Url>),
    Semver(Arc<Semver>),
    Format(&'static str),
    /// An object that the expression made.
    Made(Arc<Made<'a>>),
    /// The named expressions of a [`Composition`](crate::Composition).
    Variables,
    /// A question to an authorizer, and its answer.
    Check(Arc<Check<'a>>),
    Decision(Arc<Decision>),
}

#[derive(PartialEq, Eq, Hash)]
enum MapKey<'k> {
    Text(&'k str),
    Number(i128),
    Bool(bool),
}

static UNDECLARED: ListType = ListType { of: Type::Dyn, identity: Identity::Place };

/// A JSON value under its declared type. What does not fit is what it is.
pub fn from_json<'a>(json: &'a Json, declared: &'a Type) -> Value<'a> {
    match (declared, json) {
        (_, Json::Null) => Value::Null,
        (Type::Optional(of), json) => Value::Optional(Some(Arc::new(from_json(json, of)))),
        (Type::Double, Json::Number(number)) => Value::Double(number.as_f64().unwrap_or_default()),
        (Type::Int, Json::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::Int(number as i64),
            (None, None) => Value::Null,
        },
        (Type::Timestamp, Json::String(text)) => match timestamp(text) {
            Some(time) => Value::Timestamp(time),
            None => Value::String(text.into()),
        },
        (Type::Duration, Json::String(text)) => match wide_duration(text) {
            Some(nanos) => Value::Duration(nanos),
            None => Value::String(text.into()),
        },
        (Type::Bytes, Json::String(text)) => match base64::engine::general_purpose::STANDARD.decode(text) {
            Ok(bytes) => Value::Bytes(bytes.into()),
            Err(_) => Value::String(text.into()),
        },
        (Type::List(list), Json::Array(items)) => Value::JsonList(items, list),
        (Type::Map(_, value), Json::Object(members)) => Value::JsonMap(members, value),
        (Type::Object(object), Json::Object(members)) => Value::Object(members, object),
        (_, Json::Bool(value)) => Value::Bool(*value),
        (_, Json::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::Double(number),
            (None, None) => Value::Null,
        },
        (_, Json::String(text)) => Value::String(text.into()),
        (_, Json::Array(items)) => Value::JsonList(items, &UNDECLARED),
        (_, Json::Object(members)) => Value::JsonMap(members, &Type::Dyn),
    }
}

/// RFC 3339; a date alone is its first moment.
pub fn timestamp(text: &str) -> Option<DateTime<Utc>> {
    let whole = if text.len() == 10 { Cow::Owned(format!("{text}T00:00:00Z")) } else { Cow::Borrowed(text) };
    DateTime::parse_from_rfc3339(&whole).ok().map(|time| time.to_utc())
}

impl<'a> Value<'a> {
    pub fn text(text: impl Into<String>) -> Self {
        Value::String(Cow::Owned(text.into()))
    }

    pub fn list(items: Vec<Value<'a>>) -> Self {
        Value::List(items.into())
    }

    /// The name of its type, as `type()` gives it and messages show it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::List(_) | Value::Merged(..) | Value::JsonList(..) => "list",
            Value::Map(_) | Value::JsonMap(..) | Value::Object(..) => "map",
            Value::Optional(_) => "optional_type",
            Value::Type(_) => "type",
            Value::Quantity(_) => "kubernetes.Quantity",
            Value::Ip(_) => "net.IP",
            Value::Cidr(_) => "net.CIDR",
            Value::Url(_) => "kubernetes.URL",
            Value::Semver(_) => "kubernetes.Semver",
            Value::Format(_) => "kubernetes.NamedFormat",
            Value::Made(_) => crate::construct::OBJECT,
            Value::Variables => "kubernetes.variables",
            Value::Check(check) => check.type_name(),
            Value::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    pub fn is_list(&self) -> bool {
        matches!(self, Value::List(_) | Value::Merged(..) | Value::JsonList(..))
    }

    /// What the elements of a list are known by.
    pub fn identity(&self) -> &'a Identity {
        match self {
            Value::Merged(_, identity) => identity,
            Value::JsonList(_, list) => &list.identity,
            _ => &Identity::Place,
        }
    }

    /// The elements of a list.
    pub fn items(&self) -> Option<Vec<Value<'a>>> {
        match self {
            Value::List(items) | Value::Merged(items, _) => Some(items.to_vec()),
            Value::JsonList(items, list) => Some(items.iter().map(|item| from_json(item, &list.of)).collect()),
            _ => None,
        }
    }

    /// The entries of a map or an object.
    pub fn entries(&self) -> Option<Vec<(Value<'a>, Value<'a>)>> {
        match self {
            Value::Map(entries) => Some(entries.to_vec()),
            Value::JsonMap(members, of) => Some(
                members.iter().map(|(key, value)| (Value::String(key.as_str().into()), from_json(value, of))).collect(),
            ),
            Value::Object(members, object) => {
                let mut out = Vec::new();
                for (name, field) in &object.fields {
                    if let Some(value) = members.get(&field.json) {
                        out.push((Value::text(name.as_str()), from_json(value, &field.r#type)));
                    }
                }
                Some(out)
            }
            Value::Made(made) => {
                Some(made.fields.iter().map(|(name, value)| (Value::String((*name).into()), value.clone())).collect())
            }
            _ => None,
        }
    }

    /// How much it holds, which is what looking through it costs.
    pub fn size(&self) -> u64 {
        match self {
            Value::String(text) => text.chars().count() as u64,
            Value::Bytes(bytes) => bytes.len() as u64,
            Value::List(items) | Value::Merged(items, _) => items.len() as u64,
            Value::JsonList(items, _) => items.len() as u64,
            Value::Map(entries) => entries.len() as u64,
            Value::JsonMap(members, _) => members.len() as u64,
            Value::Object(members, object) => {
                object.fields.values().filter(|field| members.contains_key(&field.json)).count() as u64
            }
            Value::Made(made) => made.fields.len() as u64,
            _ => 1,
        }
    }

    /// A member of a map or object; an optional one gives an optional one.
    pub fn member(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Value::Object(members, object) => {
                let field = object.fields.get(name)?;
                members.get(&field.json).map(|value| from_json(value, &field.r#type))
            }
            Value::JsonMap(members, of) => members.get(name).map(|value| from_json(value, of)),
            Value::Made(made) => made.field(name).cloned(),
            Value::Map(entries) => {
                let is = |key: &Value<'_>| matches!(key, Value::String(text) if text == name);
                entries.iter().find(|(key, _)| is(key)).map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Value::Int(number) => Some(*number as f64),
            Value::Uint(number) => Some(*number as f64),
            Value::Double(number) => Some(*number),
            _ => None,
        }
    }

    /// As the key of a map: strings, whole numbers and truth values, which is all that keys may be.
    fn as_key(&self) -> Option<MapKey<'_>> {
        match self {
            Value::String(text) => Some(MapKey::Text(text)),
            Value::Int(number) => Some(MapKey::Number(i128::from(*number))),
            Value::Uint(number) => Some(MapKey::Number(i128::from(*number))),
            Value::Bool(value) => Some(MapKey::Bool(*value)),
            _ => None,
        }
    }

    /// Values of different types are different, numbers apart.
    pub fn equals(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(one), Value::Bool(other)) => one == other,
            (Value::Int(one), Value::Int(other)) => one == other,
            (Value::Uint(one), Value::Uint(other)) => one == other,
            (Value::String(one), Value::String(other)) => one == other,
            (Value::Bytes(one), Value::Bytes(other)) => one == other,
            (Value::Timestamp(one), Value::Timestamp(other)) => one == other,
            (Value::Duration(one), Value::Duration(other)) => one == other,
            (Value::Type(one), Value::Type(other)) | (Value::Format(one), Value::Format(other)) => one == other,
            (Value::Quantity(one), Value::Quantity(other)) => (**one).cmp(&**other).is_eq(),
            (Value::Ip(one), Value::Ip(other)) => one == other,
            (Value::Cidr(one), Value::Cidr(other)) => one == other,
            (Value::Url(one), Value::Url(other)) => one == other,
            (Value::Semver(one), Value::Semver(other)) => one.compare(other).is_eq(),
            (Value::Optional(one), Value::Optional(other)) => match (one, other) {
                (Some(one), Some(other)) => one.equals(other),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            },
            _ => {
                if let (Some(one), Some(other)) = (self.number(), other.number()) {
                    return one == other;
                }
                if let (Some(one), Some(other)) = (self.items(), other.items()) {
                    return one.len() == other.len() && self.identity().equal(&one, &other);
                }
                let (Some(one), Some(other)) = (self.entries(), other.entries()) else { return false };
                let other: HashMap<_, _> = other.iter().map(|(key, value)| (key.as_key(), value)).collect();
                one.len() == other.len()
                    && one.iter().all(|(key, value)| other.get(&key.as_key()).is_some_and(|other| value.equals(other)))
            }
        }
    }

    /// The order of two values that have one.
    pub fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
            (Value::Int(one), Value::Int(other)) => Some(one.cmp(other)),
            (Value::Uint(one), Value::Uint(other)) => Some(one.cmp(other)),
            (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
            (Value::Bytes(one), Value::Bytes(other)) => Some(one.cmp(other)),
            (Value::Timestamp(one), Value::Timestamp(other)) => Some(one.cmp(other)),
            (Value::Duration(one), Value::Duration(other)) => Some(one.cmp(other)),
            (Value::Quantity(one), Value::Quantity(other)) => Some((**one).cmp(&**other)),
            (Value::Semver(one), Value::Semver(other)) => Some(one.compare(other)),
            _ => self.number()?.partial_cmp(&other.number()?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_equal_by_their_keys() {
        let map = |numbers: &[i64]| {
            Value::Map(numbers.iter().map(|number| (Value::Int(*number), Value::Bool(true))).collect::<Vec<_>>().into())
        };
        assert!(map(&[1, 2]).equals(&map(&[2, 1])));
        assert!(!map(&[1, 2]).equals(&map(&[1, 3])) && !map(&[1]).equals(&map(&[1, 2])));
        let unsigned = Value::Map(vec![(Value::Uint(1), Value::Bool(true))].into());
        assert!(map(&[1]).equals(&unsigned));
        let long: Map<String, Json> = (0..50_000).map(|number| (format!("k{number}"), number.into())).collect();
        let reversed: Map<String, Json> = long.clone().into_iter().rev().collect();
        assert!(Value::JsonMap(&long, &Type::Dyn).equals(&Value::JsonMap(&reversed, &Type::Dyn)));
    }
}
