//! What the targets share: an object on its way from a body to what is stored, with what must hold on it.

use kontiki_schema::{Document, Schema, TypeId, builtin, decode_json};
use serde_json::Value;

/// The built-in type of an object, by what it says it is.
pub fn type_of(object: &Value) -> Option<TypeId> {
    let word = |name: &str| object.get(name).and_then(Value::as_str);
    let (api_version, kind) = (word("apiVersion")?, word("kind")?);
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    builtin().lookup_gvk(group, version, kind)
}

/// Takes an object the way of a write. It is refused, or comes out in a form that does not change any more and reads back as
/// itself.
pub fn settle(document: &Document) -> Option<(TypeId, Value)> {
    let id = type_of(&document.value)?;
    let schema = Schema::builtin(id);
    schema.check_document(document).ok()?;
    let mut value = document.value.clone();
    schema.prune(&mut value);
    schema.default(&mut value);
    schema.canonical(&mut value);
    let mut again = value.clone();
    schema.canonical(&mut again);
    assert_eq!(again, value, "the canonical form of a canonical form");
    let text = serde_json::to_vec(&value).expect("a value prints");
    let read = decode_json(&text).expect("what was printed reads back");
    assert_eq!(read.value, value, "and as itself");
    assert!(read.duplicates.is_empty(), "{:?}", read.duplicates);
    Some((id, value))
}
