//! An object between its two forms: the tree that the write path works on, and the head and bytes that are stored.
//!
//! The stored bytes are canonical: they start with `kind` and `apiVersion`, and `metadata.uid` is followed by the place
//! where the revision is spliced in. Reading relies on both; [`seal`] is the only one that writes them.

use std::borrow::Cow;

use bytes::Bytes;
use kontiki_kinds::Kind;
use kontiki_model::{Head, OwnerRef, Revision, Status, tree::at};
use kontiki_raft::Stored;
use serde_json::{Map, Value, value::RawValue};

use crate::failure;

/// An object ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub head: Head,
    pub body: Bytes,
}

/// The text at a JSON pointer, or the empty string.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `metadata` of an object, made if it is absent. `object` must be a JSON object.
pub fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Map::new());
    }
    object["metadata"].as_object_mut().expect("it was made an object above")
}

/// The tree of a stored object, with its `resourceVersion`.
pub fn open(stored: &Stored) -> Result<Value, Status> {
    let mut text = Vec::with_capacity(stored.body.len() + 64);
    Spliced::of(stored).write(&mut text);
    serde_json::from_slice(&text).map_err(failure::internal)
}

/// The JSON text of a stored object, with its `resourceVersion`; unlike [`open`], nothing is parsed into a tree.
pub fn json(stored: &Stored) -> serde_json::Result<Box<RawValue>> {
    if stored.body.is_empty() {
        return serde_json::value::to_raw_value(&());
    }
    // Claims and the like are no objects, and have no place for a revision.
    if stored.head.splice == 0 {
        return serde_json::from_slice(&stored.body);
    }
    let mut text = Vec::with_capacity(stored.body.len() + 64);
    Spliced::of(stored).write(&mut text);
    serde_json::from_slice(&text)
}

/// The form of a kind's objects that nothing is said in.
pub fn empty(kind: &Kind) -> Value {
    let mut object = Value::Null;
    kind.schema().canonical(&mut object);
    object
}

/// Brings an object that passed validation into the form that is told, still as a tree.
pub fn settle(kind: &Kind, object: &mut Value) {
    spell(kind.stored(), object);
}

/// Canonical bytes and head of an object that passed validation, in the form that is stored.
pub fn seal(kind: &Kind, mut object: Value) -> Result<Sealed, Status> {
    settle(kind, &mut object);
    seal_settled(kind, object)
}

/// As [`seal`], of what is settled already. What only a webhook could convert must have been converted.
pub fn seal_settled(kind: &Kind, mut object: Value) -> Result<Sealed, Status> {
    if kind.custom.is_some() {
        let stored = kind.stored_group_version();
        convertible(kind, &kind.group_version(), &stored)?;
        object["apiVersion"] = stored.into();
    }
    seal_spelled(kind.stored(), &object)
}

/// As [`seal`], in the version that the object says it is in.
pub fn seal_as_it_is(kind: &Kind, mut object: Value) -> Result<Sealed, Status> {
    let version = object["apiVersion"].take();
    settle(kind, &mut object);
    object["apiVersion"] = version;
    seal_spelled(kind.stored(), &object)
}

/// Whether an object is stored in the form that it would be stored in today.
pub fn is_stored_form(kind: &Kind, stored: &Stored) -> bool {
    let of = kind.stored();
    stored.body.starts_with(prefix_of(of, &of.stored_group_version()).as_bytes())
}

/// A stored object as this kind spells it. Costs nothing where that is the form that is stored.
pub fn told<'a>(kind: &Kind, stored: &'a Stored) -> Result<Cow<'a, Stored>, Status> {
    let as_stored = match &kind.custom {
        Some(custom) => stored.body.starts_with(prefix(kind).as_bytes()) && custom.is_told_as_stored(stored.revision),
        None => kind.spelling.is_none(),
    };
    if as_stored {
        return Ok(Cow::Borrowed(stored));
    }
    let object = kind.from_stored(serde_json::from_slice(&stored.body).map_err(failure::internal)?);
    if kind.custom.is_some() {
        convertible(kind, text(&object, "/apiVersion"), &kind.group_version())?;
    }
    told_from(kind, stored, object).map(Cow::Owned)
}

/// As [`told`], of what was converted already.
pub fn told_from(kind: &Kind, stored: &Stored, mut object: Value) -> Result<Stored, Status> {
    if kind.custom.is_some() {
        kind.schema().prune(&mut object);
        kind.schema().default(&mut object);
    }
    spell(kind, &mut object);
    let Sealed { head, body } = seal_spelled(kind, &object)?;
    Ok(Stored { key: stored.key.clone(), revision: stored.revision, head: head.into(), body })
}

/// What only a webhook can convert must have been `conversion`'s before: it is never told wrong.
fn convertible(kind: &Kind, from: &str, to: &str) -> Result<(), Status> {
    let by_webhook = kind.custom.as_ref().is_some_and(|custom| custom.conversion_webhook.is_some());
    match by_webhook && from != to {
        true => Err(failure::internal(format!("{from}, Kind={} was not converted to {to}", kind.kind))),
        false => Ok(()),
    }
}

fn spell(kind: &Kind, object: &mut Value) {
    let metadata = metadata(object);
    for member in ["resourceVersion", "selfLink"] {
        metadata.shift_remove(member);
    }
    object["kind"] = kind.kind.into();
    object["apiVersion"] = kind.group_version().into();
    kind.schema().canonical(object);
}

fn seal_spelled(kind: &Kind, object: &Value) -> Result<Sealed, Status> {
    let body = kontiki_schema::json::text(object).map_err(failure::internal)?;
    let mut head = head(kind, object);
    head.splice = splice(&body, &head.uid)?;
    debug_assert!(
        body.starts_with(prefix_of(kind, text(object, "/apiVersion")).as_bytes()),
        "canonical bytes start with kind and apiVersion"
    );
    Ok(Sealed { head, body: Bytes::from(body) })
}

/// How every stored body of a kind begins; list items leave it out.
pub fn prefix(kind: &Kind) -> String {
    prefix_of(kind, &kind.group_version())
}

fn prefix_of(kind: &Kind, group_version: &str) -> String {
    format!("{{\"kind\":\"{}\",\"apiVersion\":\"{group_version}\",", kind.kind)
}

/// Behind the uid: `resourceVersion` comes next in the order of `ObjectMeta`, and `creationTimestamp` always follows.
/// The pattern cannot occur earlier: inside of a string its quotes would be escaped.
fn splice(body: &[u8], uid: &str) -> Result<u32, Status> {
    let pattern = format!("\"uid\":\"{uid}\",");
    let found = body.windows(pattern.len()).position(|window| window == pattern.as_bytes());
    let end = found.and_then(|start| u32::try_from(start + pattern.len()).ok());
    end.ok_or_else(|| failure::internal("an object without a uid cannot be stored"))
}

fn head(kind: &Kind, object: &Value) -> Head {
    let list = |pointer: &str| at(object, pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let labels = at(object, "/metadata/labels").and_then(Value::as_object);
    let labels =
        labels.into_iter().flatten().map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().into()));
    Head {
        uid: text(object, "/metadata/uid").to_owned(),
        generation: at(object, "/metadata/generation").and_then(Value::as_i64).unwrap_or_default(),
        labels: labels.collect(),
        owners: list("/metadata/ownerReferences").iter().map(owner).collect(),
        finalizers: list("/metadata/finalizers").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        deletion: Some(text(object, "/metadata/deletionTimestamp").to_owned()).filter(|time| !time.is_empty()),
        fields: kind.field_values(object),
        splice: 0,
        retention: kind.retention,
    }
}

fn owner(reference: &Value) -> OwnerRef {
    let flag = |pointer: &str| at(reference, pointer).and_then(Value::as_bool).unwrap_or_default();
    OwnerRef {
        uid: text(reference, "/uid").to_owned(),
        kind: text(reference, "/kind").to_owned(),
        name: text(reference, "/name").to_owned(),
        controller: flag("/controller"),
        block_deletion: flag("/blockOwnerDeletion"),
    }
}

/// A stored object as it is told: its bytes with the revision in their place.
#[derive(Clone, Copy, Debug)]
pub struct Spliced<'a> {
    pub body: &'a [u8],
    pub splice: usize,
    /// `None` for what was never stored (a dry run), which has revision 0.
    pub revision: Option<Revision>,
}

impl<'a> Spliced<'a> {
    pub fn of(stored: &'a Stored) -> Self {
        let revision = Some(stored.revision).filter(|revision| *revision > 0);
        Spliced { body: &stored.body, splice: stored.head.splice as usize, revision }
    }

    /// The whole object.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_range(0, self.body.len(), out);
    }

    /// The object as an item of a list: without `kind` and `apiVersion`, the first `prefix` bytes.
    pub fn write_item(&self, prefix: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        self.write_range(prefix, self.body.len(), out);
    }

    /// `metadata` alone; the rest of the body is not looked at.
    pub fn write_metadata(&self, prefix: usize, out: &mut Vec<u8>) {
        const MEMBER: &[u8] = b"\"metadata\":";
        let start = prefix + MEMBER.len();
        debug_assert_eq!(&self.body[prefix..start], MEMBER, "metadata follows kind and apiVersion");
        let end = start + object_length(&self.body[start..]);
        self.write_range(start, end, out);
    }

    fn write_range(&self, start: usize, end: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.body[start..self.splice]);
        if let Some(revision) = self.revision {
            out.extend_from_slice(b"\"resourceVersion\":\"");
            out.extend_from_slice(revision.to_string().as_bytes());
            out.extend_from_slice(b"\",");
        }
        out.extend_from_slice(&self.body[self.splice..end]);
    }
}

/// Length of the JSON object that the bytes start with.
fn object_length(bytes: &[u8]) -> usize {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' if !in_string => depth += 1,
            b'}' if !in_string => {
                depth -= 1;
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kontiki_kinds::by_gvk;
    use serde_json::json;

    use super::*;

    fn sealed() -> (&'static Kind, Sealed) {
        let kind = by_gvk("", "v1", "ConfigMap").unwrap();
        let object = json!({
            "metadata": {
                "uid": "u-1", "name": "a\"uid\":\"u-1\",", "namespace": "n", "resourceVersion": "7",
                "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"b": "}\\\"", "a": "1"}, "managedFields": [],
                "finalizers": ["x/y"], "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "o", "uid": "w", "controller": true}],
            },
            "data": {"k": "v"},
        });
        (kind, seal(kind, object).unwrap())
    }

    #[test]
    fn the_head_says_what_the_body_says() {
        let (_, Sealed { head, .. }) = sealed();
        assert_eq!(head.uid, "u-1");
        assert_eq!(head.labels.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(head.finalizers, ["x/y"]);
        assert_eq!(head.deletion, None);
        let owner =
            OwnerRef { uid: "w".into(), kind: "K".into(), name: "o".into(), controller: true, block_deletion: false };
        assert_eq!(head.owners, [owner]);
    }

    #[test]
    fn the_revision_is_spliced_into_every_form() {
        let (kind, Sealed { head, body }) = sealed();
        let whole: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(whole.pointer("/metadata/resourceVersion"), None);
        let spliced = Spliced { body: &body, splice: head.splice as usize, revision: Some(42) };
        let prefix = prefix(kind).len();
        let mut out = Vec::new();
        spliced.write(&mut out);
        let mut expected = whole.clone();
        expected["metadata"]["resourceVersion"] = "42".into();
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
        out.clear();
        spliced.write_metadata(prefix, &mut out);
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected["metadata"]);
        out.clear();
        spliced.write_item(prefix, &mut out);
        let item: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(item, json!({"metadata": expected["metadata"], "data": {"k": "v"}}));
    }
}
