//! One step of a field path, with the text it has in `fieldsV1` and the one it has in messages.

use std::fmt;

use serde_json::{Number, Value};

use crate::json;

/// The order of the variants is the order in which a set is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// A member of a struct or a map.
    Field(String),
    /// An item of a list by the members that identify it, sorted by name.
    Key(Vec<(String, Scalar)>),
    /// An item of a set.
    Value(Scalar),
    /// An item by its place.
    Index(i64),
}

/// A value that identifies an item. What is no integer, text or flag is kept as its JSON text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scalar {
    Integer(i64),
    Text(String),
    Flag(bool),
    Other(String),
}

impl Scalar {
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Number(number) => match number.as_i64() {
                Some(integer) => Scalar::Integer(integer),
                None => Scalar::Other(number.to_string()),
            },
            Value::String(text) => Scalar::Text(text.clone()),
            Value::Bool(flag) => Scalar::Flag(*flag),
            other @ (Value::Null | Value::Array(_) | Value::Object(_)) => Scalar::Other(other.to_string()),
        }
    }

    /// As Go's encoder writes it.
    fn json(&self, out: &mut String) {
        match self {
            Scalar::Integer(integer) => out.push_str(&Number::from(*integer).to_string()),
            Scalar::Text(text) => out.push_str(&quoted(text)),
            Scalar::Flag(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Scalar::Other(json) => out.push_str(json),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Integer(integer) => write!(f, "{integer}"),
            Scalar::Text(text) => write!(f, "{text:?}"),
            Scalar::Flag(flag) => write!(f, "{flag}"),
            Scalar::Other(json) => f.write_str(json),
        }
    }
}

impl Element {
    pub fn field(name: impl Into<String>) -> Self {
        Element::Field(name.into())
    }

    /// Its name in `fieldsV1`: `f:spec`, `k:{"name":"a"}`, `v:"x"`, `i:0`.
    pub fn to_json(&self) -> String {
        match self {
            Element::Field(name) => format!("f:{name}"),
            Element::Key(keys) => {
                let mut out = String::from("k:{");
                for (index, (name, value)) in keys.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    out.push_str(&quoted(name));
                    out.push(':');
                    value.json(&mut out);
                }
                out.push('}');
                out
            }
            Element::Value(value) => {
                let mut out = String::from("v:");
                value.json(&mut out);
                out
            }
            Element::Index(index) => format!("i:{index}"),
        }
    }

    /// Reads a name in `fieldsV1`; `None` if it is none.
    pub fn from_json(name: &str) -> Option<Self> {
        let (form, rest) = name.split_at_checked(2)?;
        match form {
            "f:" => Some(Element::Field(rest.to_owned())),
            "k:" => {
                let Value::Object(members) = serde_json::from_str(rest).ok()? else { return None };
                let mut keys: Vec<_> = members.iter().map(|(name, value)| (name.clone(), Scalar::of(value))).collect();
                keys.sort();
                Some(Element::Key(keys))
            }
            "v:" => serde_json::from_str(rest).ok().map(|value| Element::Value(Scalar::of(&value))),
            "i:" => rest.parse().ok().map(Element::Index),
            _ => None,
        }
    }
}

/// As messages have it: `.spec`, `[name="a"]`, `[="x"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Key(keys) => {
                f.write_str("[")?;
                for (index, (name, value)) in keys.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "," })?;
                    write!(f, "{name}={value}")?;
                }
                f.write_str("]")
            }
            Element::Value(value) => write!(f, "[={value}]"),
            Element::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A JSON string as Go writes it: what HTML gives a meaning is escaped.
fn quoted(text: &str) -> String {
    json::escaped_text(Value::from(text).to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn elements_have_a_name_and_a_printed_form() {
        let table = [
            ("f:image", ".image"),
            ("f:", "."),
            ("f:kubernetes.io/name", ".kubernetes.io/name"),
            (r#"k:{"name":"a"}"#, r#"[name="a"]"#),
            (r#"k:{"containerPort":80,"protocol":"TCP"}"#, r#"[containerPort=80,protocol="TCP"]"#),
            (r#"k:{"key":"\u003cx\u003e"}"#, r#"[key="<x>"]"#),
            (r#"v:"example.com/a""#, r#"[="example.com/a"]"#),
            ("v:1", "[=1]"),
            ("v:1.5", "[=1.5]"),
            ("v:true", "[=true]"),
            ("v:null", "[=null]"),
            ("i:3", "[3]"),
        ];
        for (json, printed) in table {
            let element = Element::from_json(json).unwrap();
            assert_eq!(element.to_string(), printed);
            assert_eq!(element.to_json(), json);
        }
        for none in ["", "x", "f", "x:1", "k:1", "k:{", "v:", "i:x", "é"] {
            assert_eq!(Element::from_json(none), None, "{none}");
        }
        let unsorted = Element::from_json(r#"k:{"protocol":"TCP","containerPort":80}"#).unwrap();
        assert_eq!(unsorted.to_json(), r#"k:{"containerPort":80,"protocol":"TCP"}"#);
    }
}
