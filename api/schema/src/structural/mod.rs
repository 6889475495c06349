//! A CustomResourceDefinition's schema, compiled: what a custom object may hold, what is dropped, filled in and refused.
//!
//! [`Structural::admit`] makes a tree of [`Node`]s from an `openAPIV3Schema` that is written and says what is wrong with it,
//! [`Structural::read`] from one that is served. Values are worked on with that tree alone. It knows no versions, no names and no storage.

mod admit;
mod default;
mod format;
mod ordered;
mod path;
mod prune;
mod publish;
mod read;
mod rules;
mod selectable;
mod table;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

pub use format::is_known as is_known_format;
pub use ordered::sorted;
pub use publish::{custom_types, published};
pub use rules::Rule;
pub use validate::Ratchet;

use crate::table::{Table, TypeId};

/// A structural schema.
#[derive(Debug)]
pub struct Structural {
    pub root: Node,
    /// The same for what works on type tables: apply and its field sets.
    table: Table,
    id: TypeId,
}

/// The schema of one value.
#[derive(Debug, Default)]
pub struct Node {
    pub r#type: Option<JsonType>,
    pub nullable: bool,
    /// An integer or a string, whatever `type` says.
    pub int_or_string: bool,
    /// Members that are not declared stay.
    pub preserve_unknown: bool,
    /// The value is an object of the API by itself: with `apiVersion`, `kind` and `metadata`.
    pub embedded: bool,
    pub list: ListKind,
    pub keys: Vec<String>,
    /// Apply takes the map as one value.
    pub atomic_map: bool,
    pub default: Option<Value>,
    pub properties: BTreeMap<String, Node>,
    pub additional: Option<Additional>,
    pub items: Option<Box<Node>>,
    pub limits: Limits,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonType {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    #[default]
    Atomic,
    Set,
    Map,
}

/// What members besides the properties may be.
#[derive(Debug)]
pub enum Additional {
    Anything,
    Of(Box<Node>),
}

/// What a value of the right type must satisfy besides.
#[derive(Debug, Default)]
pub struct Limits {
    pub format: Option<String>,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
    pub length_min: Option<u64>,
    pub length_max: Option<u64>,
    pub pattern: Option<Pattern>,
    pub items_min: Option<u64>,
    pub items_max: Option<u64>,
    pub unique_items: bool,
    pub properties_min: Option<u64>,
    pub properties_max: Option<u64>,
    pub required: Vec<String>,
    pub choices: Vec<Value>,
    pub all_of: Vec<Node>,
    pub any_of: Vec<Node>,
    pub one_of: Vec<Node>,
    pub not: Option<Box<Node>>,
}

/// A regular expression, compiled once.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub text: String,
    pub regex: Arc<regex::Regex>,
}

impl JsonType {
    pub const ALL: [JsonType; 6] =
        [JsonType::Array, JsonType::Boolean, JsonType::Integer, JsonType::Number, JsonType::Object, JsonType::String];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            JsonType::Array => "array",
            JsonType::Boolean => "boolean",
            JsonType::Integer => "integer",
            JsonType::Number => "number",
            JsonType::Object => "object",
            JsonType::String => "string",
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            JsonType::Array => value.is_array(),
            JsonType::Boolean => value.is_boolean(),
            JsonType::Integer => is_integer(value),
            JsonType::Number => value.is_number(),
            JsonType::Object => value.is_object(),
            JsonType::String => value.is_string(),
        }
    }
}

/// JSON writes 3.0 where it means 3; a double beyond these is no whole number to Go.
fn is_integer(value: &Value) -> bool {
    const SAFE: f64 = 9_007_199_254_740_991.0;
    let whole = |number: f64| number.fract() == 0.0 && number.abs() <= SAFE;
    value.as_i64().is_some() || value.as_f64().is_some_and(whole)
}

/// The type of a value, as messages name it.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Structural {
    /// The schema as a type of a table.
    pub fn table(&self) -> (&Table, TypeId) {
        (&self.table, self.id)
    }
}

impl Node {
    /// The schema of a member, declared or not.
    pub fn member(&self, name: &str) -> Option<&Node> {
        let additional = || match &self.additional {
            Some(Additional::Of(node)) => Some(&**node),
            Some(Additional::Anything) | None => None,
        };
        self.properties.get(name).or_else(additional)
    }

    /// Whether a member may be there at all.
    fn knows(&self, name: &str) -> bool {
        self.properties.contains_key(name) || self.additional.is_some()
    }
}

/// `metadata`, `kind` and `apiVersion` of an object belong to the API, not to the schema.
fn is_envelope(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}
