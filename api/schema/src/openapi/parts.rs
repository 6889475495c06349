//! The version 2 document in parts: what does not change is written once, and a document is put together of what is written.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{head, proto};
use crate::json;

/// What a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Json,
    /// As gnostic's `openapi.v2.Document`.
    Protobuf,
}

/// Some of a document's paths and definitions, written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub paths: Members,
    pub definitions: Members,
}

/// By their names.
pub type Members = BTreeMap<String, Box<[u8]>>;

impl Part {
    /// The paths and the definitions of a document.
    pub fn of(document: &Value, written: Written) -> Self {
        let members = |member: &str, in_protobuf: fn(&Value) -> Vec<u8>| {
            let members = document[member].as_object().into_iter().flatten();
            let write = |value: &Value| match written {
                Written::Json => json::escaped(value.to_string().into_bytes()),
                Written::Protobuf => in_protobuf(value),
            };
            members.map(|(name, value)| (name.clone(), write(value).into())).collect()
        };
        Part { paths: members("paths", proto::path), definitions: members("definitions", proto::definition) }
    }
}

/// The document that the parts make. What two of them have is the same, or else the earlier one's.
pub fn assembled<'p>(parts: impl Iterator<Item = &'p Part>, written: Written) -> Vec<u8> {
    let (mut paths, mut definitions) = (BTreeMap::new(), BTreeMap::new());
    for part in parts {
        add(&mut paths, &part.paths);
        add(&mut definitions, &part.definitions);
    }
    match written {
        Written::Json => in_json(&paths, &definitions),
        Written::Protobuf => proto::document(&head(), &paths, &definitions),
    }
}

pub(super) type Borrowed<'p> = BTreeMap<&'p str, &'p [u8]>;

fn add<'p>(all: &mut Borrowed<'p>, members: &'p Members) {
    for (name, member) in members {
        all.entry(name).or_insert(member);
    }
}

fn in_json(paths: &Borrowed<'_>, definitions: &Borrowed<'_>) -> Vec<u8> {
    let bytes = |members: &Borrowed<'_>| members.iter().map(|(name, one)| name.len() + one.len() + 8).sum::<usize>();
    let mut out = Vec::with_capacity(bytes(paths) + bytes(definitions) + 1024);
    out.push(b'{');
    let head = head();
    for (name, value) in head.as_object().into_iter().flatten() {
        if out.len() > 1 {
            out.push(b',');
        }
        member(&mut out, name);
        match name.as_str() {
            "paths" => object(&mut out, paths),
            "definitions" => object(&mut out, definitions),
            _ => out.extend_from_slice(&json::escaped(value.to_string().into_bytes())),
        }
    }
    out.push(b'}');
    out
}

fn object(out: &mut Vec<u8>, members: &Borrowed<'_>) {
    out.push(b'{');
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        member(out, name);
        out.extend_from_slice(value);
    }
    out.push(b'}');
}

fn member(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(&json::escaped(Value::from(name).to_string().into_bytes()));
    out.push(b':');
}
