//! Columns that several kinds have, and the forms their cells share.

use serde_json::Value;

use crate::Column;
use crate::tree::{at, list, text};

pub const NAME: Column = Column {
    name: "Name",
    r#type: "string",
    format: "name",
    description: "Name must be unique within a namespace and cannot be changed.",
    priority: 0,
};
pub const AGE: Column = text_column("Age", 0, "Time since the object was created.");
pub const CONTAINERS: Column = text_column("Containers", 1, "Names of each container in the template.");
pub const IMAGES: Column = text_column("Images", 1, "Images referenced by each container in the template.");
pub const SELECTOR: Column = text_column("Selector", 1, "Label selector of the objects this one is about.");

/// A column of strings; priority 0 is always shown, 1 in the wide form.
pub const fn text_column(name: &'static str, priority: i32, description: &'static str) -> Column {
    Column { name, r#type: "string", format: "", description, priority }
}

/// A column of whole numbers that is always shown.
pub const fn number_column(name: &'static str, description: &'static str) -> Column {
    Column { r#type: "integer", ..text_column(name, 0, description) }
}

/// `metadata.name`.
pub fn name(object: &Value) -> Value {
    at(object, "/metadata/name").clone()
}

/// `metadata.creationTimestamp` as an age.
pub fn age(object: &Value, now: chrono::DateTime<chrono::Utc>) -> Value {
    crate::age::age(at(object, "/metadata/creationTimestamp"), now).into()
}

/// A member of each element, joined by commas: names or images of containers.
pub fn joined(object: &Value, pointer: &str, member: &str) -> Value {
    list(object, pointer).iter().map(|one| text(one, member)).collect::<Vec<_>>().join(",").into()
}

/// The text, or the fallback where it is empty.
pub fn or(text: &str, fallback: &str) -> Value {
    if text.is_empty() { fallback.into() } else { text.into() }
}
