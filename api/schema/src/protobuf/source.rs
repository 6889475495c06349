//! The JSON that protobuf is written from: a tree that borrows its texts, so that a stored object is read without a copy.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
    ser::{SerializeMap as _, SerializeSeq as _},
};
use serde_json::{Number, Value};

/// A JSON value, with the members of objects in the order they came in.
#[derive(Clone, Debug, PartialEq)]
pub enum Source<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Source<'a>>),
    Object(Vec<(Cow<'a, str>, Source<'a>)>),
}

impl<'a> Source<'a> {
    /// Reads JSON text, which nests as deep as `serde_json` allows and no deeper.
    pub fn parse(json: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    pub fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Source::Null,
            Value::Bool(value) => Source::Bool(*value),
            Value::Number(number) => Source::Number(number.clone()),
            Value::String(text) => Source::Text(Cow::Borrowed(text)),
            Value::Array(items) => Source::List(items.iter().map(Source::of).collect()),
            Value::Object(members) => {
                let member = |(name, value): (&'a String, &'a Value)| (Cow::Borrowed(name.as_str()), Source::of(value));
                Source::Object(members.iter().map(member).collect())
            }
        }
    }

    /// A member that is not null, of an object.
    pub fn get(&self, name: &str) -> Option<&Source<'a>> {
        match self {
            Source::Object(members) => member(members, name),
            Source::Null | Source::Bool(_) | Source::Number(_) | Source::Text(_) | Source::List(_) => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Source::Text(text) => Some(text),
            Source::Null | Source::Bool(_) | Source::Number(_) | Source::List(_) | Source::Object(_) => None,
        }
    }
}

pub(super) type Members<'a> = [(Cow<'a, str>, Source<'a>)];

/// A member that is not null.
pub(super) fn member<'m, 'a>(members: &'m Members<'a>, name: &str) -> Option<&'m Source<'a>> {
    let found = members.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value).filter(|value| **value != Source::Null)
}

impl<'de: 'a, 'a> Deserialize<'de> for Source<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = Source<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Source<'de>, E> {
        Ok(Source::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Source<'de>, E> {
        Ok(Source::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Source<'de>, E> {
        Ok(Source::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Source<'de>, E> {
        Ok(Source::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Source<'de>, E> {
        Number::from_f64(value).map(Source::Number).ok_or_else(|| E::custom("number is not finite"))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Source<'de>, E> {
        Ok(Source::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Source<'de>, E> {
        Ok(Source::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Source<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Source::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Source<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some((Name(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(Source::Object(members))
    }
}

/// A member's name: serde borrows a `Cow` only where it is told to.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(value)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(value.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

impl Serialize for Source<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Source::Null => serializer.serialize_unit(),
            Source::Bool(value) => serializer.serialize_bool(*value),
            Source::Number(number) => number.serialize(serializer),
            Source::Text(text) => serializer.serialize_str(text),
            Source::List(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| seq.serialize_element(item))?;
                seq.end()
            }
            Source::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
    }
}
