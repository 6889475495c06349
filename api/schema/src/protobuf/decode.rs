//! Kubernetes' protobuf form to a value: the envelope, then the object by the field numbers of its type.
//!
//! What Go writes although it is empty (scalars without a pointer) is left out again where JSON would leave it out.

use serde_json::{Map, Value};

use super::{
    MAGIC,
    wire::{Wire, fields, last, number_of, text_of, utf8, varint},
};
use crate::{
    decode::{DEPTH_MAX, DecodeError, nests_deeper},
    scalar,
    table::{Field, Form, Item, Omit, Shape, Table, TypeId},
};

/// An object out of its envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct Enveloped {
    pub api_version: String,
    pub kind: String,
    pub value: Value,
}

impl Table {
    /// Reads an enveloped object. `kind` and `apiVersion` come first in the value, as JSON has them.
    pub fn decode_protobuf(&self, bytes: &[u8]) -> Result<Enveloped, DecodeError> {
        self.envelope(bytes, 0)
    }

    fn envelope(&self, bytes: &[u8], depth: usize) -> Result<Enveloped, DecodeError> {
        let Some(body) = bytes.strip_prefix(&MAGIC) else {
            let expected = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]";
            return Err(DecodeError(expected.to_owned()));
        };
        let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &body[..0]);
        for field in fields(body) {
            match field? {
                (1, Wire::Bytes(meta)) => {
                    for field in fields(meta) {
                        match field? {
                            (1, Wire::Bytes(text)) => api_version = utf8(text)?,
                            (2, Wire::Bytes(text)) => kind = utf8(text)?,
                            _ => {}
                        }
                    }
                }
                (2, Wire::Bytes(bytes)) => raw = bytes,
                _ => {}
            }
        }
        let unknown = || DecodeError(format!("no kind {kind:?} is registered for version {api_version:?}"));
        let id = self.enveloped_type(&api_version, &kind).ok_or_else(unknown)?;
        let mut value = Map::new();
        value.insert("kind".to_owned(), kind.clone().into());
        value.insert("apiVersion".to_owned(), api_version.clone().into());
        self.members(id, raw, &mut value, depth + 1)?;
        Ok(Enveloped { api_version, kind, value: Value::Object(value) })
    }

    /// The fields of a struct into its JSON object; those of inlined structs too.
    pub(super) fn members(
        &self,
        id: TypeId,
        bytes: &[u8],
        out: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        if depth > DEPTH_MAX {
            return Err(too_deep());
        }
        let known = &self.get(id).fields;
        for field in fields(bytes) {
            let (number, wire) = field?;
            let Some(field) = known.iter().find(|one| one.number == number) else { continue };
            match (field.inline, field.shape) {
                (true, Shape::One(Item::Of(inner))) => self.members(inner, wire.bytes()?, out, depth + 1)?,
                (_, Shape::One(item)) => {
                    let value = self.item(item, wire, depth)?;
                    if !is_left_out(field, &value) {
                        out.insert(field.json.to_string(), value);
                    }
                }
                (_, Shape::List(item)) => {
                    let list = out.entry(field.json.to_string()).or_insert_with(|| Value::Array(Vec::new()));
                    let values = list.as_array_mut().expect("a list field holds a list");
                    self.elements(item, wire, values, depth + 1)?;
                }
                (_, Shape::Map(item)) => {
                    let (key, value) = self.entry(item, wire.bytes()?, depth + 1)?;
                    let map = out.entry(field.json.to_string()).or_insert_with(|| Value::Object(Map::new()));
                    map.as_object_mut().expect("a map field holds a map").insert(key, value);
                }
            }
        }
        Ok(())
    }

    /// One element, or several numbers packed into one field.
    fn elements(&self, item: Item, wire: Wire<'_>, out: &mut Vec<Value>, depth: usize) -> Result<(), DecodeError> {
        let packed = matches!(item, Item::Bool | Item::Int32 | Item::Int64);
        match wire {
            Wire::Bytes(mut bytes) if packed => {
                while !bytes.is_empty() {
                    let number = varint(&mut bytes)?;
                    out.push(self.item(item, Wire::Varint(number), depth)?);
                }
            }
            wire => out.push(self.item(item, wire, depth)?),
        }
        Ok(())
    }

    fn entry(&self, item: Item, bytes: &[u8], depth: usize) -> Result<(String, Value), DecodeError> {
        let (mut key, mut value) = (String::new(), None);
        for field in fields(bytes) {
            match field? {
                (1, Wire::Bytes(text)) => key = utf8(text)?,
                (2, wire) => value = Some(self.item(item, wire, depth)?),
                _ => {}
            }
        }
        let value = match value {
            Some(value) => value,
            None => self.item(item, nothing(item), depth)?,
        };
        Ok((key, value))
    }

    fn item(&self, item: Item, wire: Wire<'_>, depth: usize) -> Result<Value, DecodeError> {
        Ok(match item {
            Item::String => utf8(wire.bytes()?)?.into(),
            Item::Bool => (wire.varint()? != 0).into(),
            // Negative numbers are written as 64 bits, whatever their type.
            Item::Int32 | Item::Int64 => wire.varint()?.cast_signed().into(),
            Item::Double => f64::from_bits(wire.fixed()?).into(),
            Item::Bytes => scalar::print_base64(wire.bytes()?).into(),
            Item::Any => json(wire.bytes()?, depth + 1)?,
            Item::Of(id) => self.value(id, wire.bytes()?, depth + 1)?,
        })
    }

    fn value(&self, id: TypeId, bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
        Ok(match self.get(id).form {
            Form::Struct => {
                let mut members = Map::new();
                self.members(id, bytes, &mut members, depth)?;
                Value::Object(members)
            }
            Form::Quantity => text_of(bytes, 1)?.into(),
            Form::Time | Form::MicroTime if bytes.is_empty() => Value::Null,
            Form::Time => time(number_of(bytes, 1)?, 0, false)?,
            Form::MicroTime => time(number_of(bytes, 1)?, number_of(bytes, 2)?, true)?,
            Form::Duration => scalar::print_duration(number_of(bytes, 1)?).into(),
            Form::IntOrString => match number_of(bytes, 1)? {
                0 => number_of(bytes, 2)?.into(),
                _ => text_of(bytes, 3)?.into(),
            },
            Form::RawExtension => match last(bytes, 1)? {
                Some(Wire::Bytes(raw)) if raw.starts_with(&MAGIC) => self.envelope(raw, depth)?.value,
                Some(Wire::Bytes(raw)) => json(raw, depth)?,
                _ => Value::Null,
            },
            Form::FieldsV1 | Form::Json => match last(bytes, 1)? {
                Some(Wire::Bytes(raw)) => json(raw, depth)?,
                _ => Value::Null,
            },
            Form::StringList => self.choices(bytes, 1, Item::String, depth)?.into(),
            form @ (Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStringArray) => {
                self.schema_or(form, bytes, depth)?
            }
        })
    }

    /// A JSON schema, or what may stand in its place.
    fn schema_or(&self, form: Form, bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
        let schema = self.lookup("apiextensions.v1.JSONSchemaProps");
        let schema = Item::Of(schema.ok_or_else(|| DecodeError("the table has no JSON schema".to_owned()))?);
        let (place, other) = match form {
            Form::SchemaOrBool => (2, 1),
            _ => (1, 2),
        };
        if let Some(wire) = last(bytes, place)? {
            return self.item(schema, wire, depth);
        }
        Ok(match form {
            Form::SchemaOrBool => (number_of(bytes, other)? != 0).into(),
            Form::SchemaOrStringArray => self.choices(bytes, other, Item::String, depth)?.into(),
            _ => self.choices(bytes, other, schema, depth)?.into(),
        })
    }

    fn choices(&self, bytes: &[u8], number: u32, item: Item, depth: usize) -> Result<Vec<Value>, DecodeError> {
        let mut out = Vec::new();
        for field in fields(bytes) {
            let (found, wire) = field?;
            if found == number {
                out.push(self.item(item, wire, depth)?);
            }
        }
        Ok(out)
    }
}

/// Zero, where JSON has no member for it.
fn is_left_out(field: &Field, value: &Value) -> bool {
    let zero = match (field.item(), value) {
        (_, Value::Null) => true,
        (Item::Of(_) | Item::Any, _) => false,
        (_, Value::Bool(value)) => !value,
        (_, Value::Number(value)) => value.as_f64() == Some(0.0),
        (_, Value::String(value)) => value.is_empty(),
        (_, Value::Array(_) | Value::Object(_)) => false,
    };
    zero && !field.pointer && field.omit != Omit::Never
}

fn nothing(item: Item) -> Wire<'static> {
    match item {
        Item::Bool | Item::Int32 | Item::Int64 => Wire::Varint(0),
        Item::Double => Wire::Fixed(0),
        Item::String | Item::Bytes | Item::Any | Item::Of(_) => Wire::Bytes(&[]),
    }
}

fn time(seconds: i64, nanos: i64, micro: bool) -> Result<Value, DecodeError> {
    let printed = scalar::print_time(seconds, nanos, micro);
    printed.map(Value::from).ok_or_else(|| DecodeError("a time that no calendar has".to_owned()))
}

fn too_deep() -> DecodeError {
    DecodeError("exceeded max depth".to_owned())
}

/// JSON within the object, at this depth.
fn json(bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let value = serde_json::from_slice(bytes).map_err(|error| DecodeError(error.to_string()))?;
    if nests_deeper(&value, (DEPTH_MAX + 1).saturating_sub(depth)) { Err(too_deep()) } else { Ok(value) }
}
