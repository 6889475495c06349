//! Types, as declarations and results have them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::Bound;

#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<ListType>),
    Map(Arc<Type>, Arc<Type>),
    Object(Arc<ObjectType>),
    Optional(Arc<Type>),
    /// The type of types.
    Type,
    /// A type of an extension: a quantity, an address.
    Opaque(&'static str),
    /// An object that expressions make.
    Made(Arc<str>),
    /// Stands for any type in the declaration of a function.
    Param(u8),
}

/// A list, and what of two elements makes them the same one.
#[derive(Clone, Debug)]
pub struct ListType {
    pub of: Type,
    pub identity: Identity,
}

/// By it values are compared and put together; what is well typed does not depend on it.
impl PartialEq for ListType {
    fn eq(&self, other: &Self) -> bool {
        self.of == other.of
    }
}

/// Lists whose elements are known by more than their place are compared in any order, and hold each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    Place,
    Value,
    /// By these members, as the JSON names them.
    Keys(Vec<String>),
}

/// An object with declared fields.
#[derive(Clone, PartialEq)]
pub struct ObjectType {
    /// As messages name it.
    pub name: String,
    /// By the names that expressions use; see [`escape`].
    pub fields: BTreeMap<String, FieldType>,
}

/// Only the name: objects nest deeply.
impl fmt::Debug for ObjectType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct FieldType {
    /// As the JSON has it.
    pub json: String,
    pub r#type: Type,
    pub bound: Bound,
}

/// Words that no identifier may be.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Whether a word is the language's own, or may become so.
pub fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

/// A member's name as an expression has to write it; `None` where there is no way.
pub fn escape(name: &str) -> Option<String> {
    if is_reserved(name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::new();
    let mut rest = name;
    while let Some(char) = rest.chars().next() {
        let (part, length) = match char {
            '_' if rest.starts_with("__") => ("__underscores__", 2),
            '.' => ("__dot__", 1),
            '-' => ("__dash__", 1),
            '/' => ("__slash__", 1),
            'a'..='z' | 'A'..='Z' | '_' => (&rest[..1], 1),
            '0'..='9' if !out.is_empty() => (&rest[..1], 1),
            _ => return None,
        };
        out.push_str(part);
        rest = &rest[length..];
    }
    (!out.is_empty()).then_some(out)
}

impl Type {
    pub fn list(of: Type) -> Self {
        Type::list_by(Identity::Place, of)
    }

    pub fn list_by(identity: Identity, of: Type) -> Self {
        Type::List(Arc::new(ListType { of, identity }))
    }

    pub fn map(key: Type, value: Type) -> Self {
        Type::Map(Arc::new(key), Arc::new(value))
    }

    pub fn optional(of: Type) -> Self {
        Type::Optional(Arc::new(of))
    }

    /// Whether a value of the other type can be used where this one is wanted; parameters take what they are given.
    pub fn takes(&self, other: &Type, params: &mut [Option<Type>; 4]) -> bool {
        match (self, other) {
            (Type::Param(index), other) => {
                let slot = usize::from(*index) % params.len();
                match params[slot].clone() {
                    None => {
                        params[slot] = Some(other.clone());
                        true
                    }
                    Some(Type::Dyn) => true,
                    Some(known) => match (known.takes(other, &mut Default::default()), matches!(other, Type::Dyn)) {
                        // What is only partly known gives way to what is known.
                        (true, _) | (_, true) => true,
                        (false, false) => {
                            let wider = other.takes(&known, &mut Default::default());
                            if wider {
                                params[slot] = Some(other.clone());
                            }
                            wider
                        }
                    },
                }
            }
            (Type::Dyn, _) | (_, Type::Dyn) => true,
            (Type::List(one), Type::List(other)) => one.of.takes(&other.of, params),
            (Type::Optional(one), Type::Optional(other)) => one.takes(other, params),
            (Type::Map(key, value), Type::Map(other_key, other_value)) => {
                key.takes(other_key, params) && value.takes(other_value, params)
            }
            // An object whose fields are not told apart is a map of anything.
            (Type::Object(one), Type::Object(other)) => Arc::ptr_eq(one, other) || one.name == other.name,
            (
                Type::Null,
                Type::Object(_)
                | Type::Made(_)
                | Type::Optional(_)
                | Type::Timestamp
                | Type::Duration
                | Type::Opaque(_),
            )
            | (
                Type::Object(_)
                | Type::Made(_)
                | Type::Optional(_)
                | Type::Timestamp
                | Type::Duration
                | Type::Opaque(_),
                Type::Null,
            ) => true,
            (one, other) => one == other,
        }
    }

    /// The type with its parameters put in.
    pub fn filled(&self, params: &[Option<Type>; 4]) -> Type {
        match self {
            Type::Param(index) => params[usize::from(*index) % params.len()].clone().unwrap_or(Type::Dyn),
            Type::List(list) => Type::list_by(list.identity.clone(), list.of.filled(params)),
            Type::Optional(of) => Type::optional(of.filled(params)),
            Type::Map(key, value) => Type::map(key.filled(params), value.filled(params)),
            plain => plain.clone(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn => formatter.write_str("dyn"),
            Type::Null => formatter.write_str("null"),
            Type::Bool => formatter.write_str("bool"),
            Type::Int => formatter.write_str("int"),
            Type::Uint => formatter.write_str("uint"),
            Type::Double => formatter.write_str("double"),
            Type::String => formatter.write_str("string"),
            Type::Bytes => formatter.write_str("bytes"),
            Type::Timestamp => formatter.write_str("timestamp"),
            Type::Duration => formatter.write_str("duration"),
            Type::List(list) => write!(formatter, "list({})", list.of),
            Type::Map(key, value) => write!(formatter, "map({key}, {value})"),
            Type::Object(object) => formatter.write_str(&object.name),
            Type::Optional(of) => write!(formatter, "optional_type({of})"),
            Type::Type => formatter.write_str("type"),
            Type::Opaque(name) => formatter.write_str(name),
            Type::Made(name) => formatter.write_str(name),
            Type::Param(index) => write!(formatter, "{}", char::from(b'A' + index)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_kubernetes_escapes_them() {
        let table = [
            ("plain", Some("plain")),
            ("x-y", Some("x__dash__y")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("a__b", Some("a__underscores__b")),
            ("namespace", Some("__namespace__")),
            ("1a", None),
            ("ä", None),
        ];
        for (name, expected) in table {
            assert_eq!(escape(name).as_deref(), expected, "{name}");
        }
    }
}
