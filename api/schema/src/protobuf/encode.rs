//! JSON to protobuf, as Go's generated code writes it: fields by ascending number, everything without a pointer written
//! although it is zero, maps sorted by key.

use kontiki_model::Quantity;

use super::{
    MAGIC,
    source::{Members, Source, member},
    wire::{put_bytes, put_fixed, put_message, put_number},
};
use crate::{
    scalar,
    table::{Field, Form, Item, Shape, Table, TypeId},
};

/// Why an object has no protobuf form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Its type has none. The name is Go's: `v1.Table`.
    #[error(
        "object *{0} does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message"
    )]
    NoProtobuf(String),
    /// It is not what its type says.
    #[error("{field}: cannot write {found} as {expected}")]
    Unfit { field: String, expected: &'static str, found: &'static str },
}

type Result<T = ()> = std::result::Result<T, EncodeError>;

impl Table {
    /// Writes an object with its envelope. What it is stands in its `kind` and `apiVersion`.
    pub fn encode_protobuf(&self, object: &Source<'_>) -> Result<Vec<u8>> {
        let (api_version, kind) = type_meta(object);
        self.encode_protobuf_as(self.writable_type(api_version, kind)?, object)
    }

    /// The same of an object whose type is not known by its `kind` and `apiVersion`.
    pub fn encode_protobuf_as(&self, id: TypeId, object: &Source<'_>) -> Result<Vec<u8>> {
        let (api_version, kind) = type_meta(object);
        let mut out = MAGIC.to_vec();
        put_type_meta(&mut out, api_version, kind);
        put_message(&mut out, 2, |out| self.put_struct(id, object, out))?;
        out.extend_from_slice(&ENVELOPE_END);
        Ok(out)
    }

    pub(super) fn writable_type(&self, api_version: &str, kind: &str) -> Result<TypeId> {
        match self.enveloped_type(api_version, kind) {
            Some(id) if self.has_protobuf(id) => Ok(id),
            Some(id) => Err(EncodeError::NoProtobuf(self.get(id).go_name().to_owned())),
            // What Go keeps objects of kinds in that it has no type for.
            None => Err(EncodeError::NoProtobuf("unstructured.Unstructured".to_owned())),
        }
    }

    /// The fields of a struct, without a tag or a length.
    pub(super) fn put_struct(&self, id: TypeId, source: &Source<'_>, out: &mut Vec<u8>) -> Result {
        match source {
            Source::Object(members) => self.put_members(id, members, out),
            Source::Null => self.put_members(id, &[], out),
            other => Err(unfit("an object", other)),
        }
    }

    fn put_members(&self, id: TypeId, members: &Members<'_>, out: &mut Vec<u8>) -> Result {
        for field in self.fields_by_number(id) {
            let written = match (field.inline, field.shape) {
                (true, Shape::One(Item::Of(inner))) => {
                    put_message(out, field.number, |out| self.put_members(inner, members, out))
                }
                (_, Shape::One(item)) => self.put_one(field, item, member(members, &field.json), out),
                (_, Shape::List(item)) => match member(members, &field.json) {
                    None => Ok(()),
                    Some(Source::List(items)) => {
                        items.iter().try_for_each(|value| self.put_item(field.number, item, value, out))
                    }
                    Some(other) => Err(unfit("a list", other)),
                },
                (_, Shape::Map(item)) => match member(members, &field.json) {
                    None => Ok(()),
                    Some(Source::Object(entries)) => self.put_entries(field.number, item, entries, out),
                    Some(other) => Err(unfit("a map", other)),
                },
            };
            written.map_err(|error| error.within(&field.json))?;
        }
        Ok(())
    }

    fn put_one(&self, field: &Field, item: Item, value: Option<&Source<'_>>, out: &mut Vec<u8>) -> Result {
        match value {
            Some(value) => self.put_item(field.number, item, value, out),
            // A slice in Go, which is no pointer, and all the same can be nil.
            None if field.pointer || self.is_slice(item) => Ok(()),
            None => self.put_item(field.number, item, &Source::Null, out),
        }
    }

    fn is_slice(&self, item: Item) -> bool {
        match item {
            Item::Bytes => true,
            Item::Of(id) => self.get(id).form == Form::StringList,
            Item::String | Item::Bool | Item::Int32 | Item::Int64 | Item::Double | Item::Any => false,
        }
    }

    fn put_entries(&self, number: u32, item: Item, entries: &Members<'_>, out: &mut Vec<u8>) -> Result {
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_by(|(left, _), (right, _)| left.cmp(right));
        entries.into_iter().try_for_each(|(key, value)| {
            put_message(out, number, |out| {
                put_bytes(out, 1, key.as_bytes());
                match (item, value) {
                    (Item::Bytes, Source::Null) => Ok(()),
                    (item, value) => self.put_item(2, item, value, out),
                }
            })
        })
    }

    /// One value with its tag; null is the zero of its type.
    fn put_item(&self, number: u32, item: Item, value: &Source<'_>, out: &mut Vec<u8>) -> Result {
        match (item, value) {
            (Item::String | Item::Bytes, Source::Null) => put_bytes(out, number, b""),
            (Item::String, Source::Text(text)) => put_bytes(out, number, text.as_bytes()),
            (Item::String, other) => return Err(unfit("a string", other)),
            (Item::Bytes, Source::Text(text)) => match scalar::decode_base64(text) {
                Some(bytes) => put_bytes(out, number, &bytes),
                None => return Err(unfit("bytes in base64", value)),
            },
            (Item::Bytes, other) => return Err(unfit("bytes", other)),
            (Item::Bool, Source::Null) => put_number(out, number, 0),
            (Item::Bool, Source::Bool(value)) => put_number(out, number, u64::from(*value)),
            (Item::Bool, other) => return Err(unfit("a boolean", other)),
            (Item::Int32 | Item::Int64, value) => put_number(out, number, integer(value)?.cast_unsigned()),
            (Item::Double, Source::Null) => put_fixed(out, number, 0),
            (Item::Double, Source::Number(value)) => put_fixed(out, number, value.as_f64().unwrap_or(0.0).to_bits()),
            (Item::Double, other) => return Err(unfit("a number", other)),
            (Item::Any, value) => put_bytes(out, number, &json(value)?),
            (Item::Of(id), value) => return put_message(out, number, |out| self.put_value(id, value, out)),
        }
        Ok(())
    }

    fn put_value(&self, id: TypeId, value: &Source<'_>, out: &mut Vec<u8>) -> Result {
        match (self.get(id).form, value) {
            (Form::Struct, value) => self.put_struct(id, value, out)?,
            (Form::Quantity, Source::Null) => put_bytes(out, 1, b"0"),
            (Form::Quantity, Source::Text(text)) => put_bytes(out, 1, text.as_bytes()),
            (Form::Quantity, Source::Number(number)) => match number.to_string().parse::<Quantity>() {
                Ok(quantity) => put_bytes(out, 1, quantity.to_string().as_bytes()),
                Err(_) => return Err(unfit("a quantity", value)),
            },
            (Form::Quantity, other) => return Err(unfit("a quantity", other)),
            (Form::Time | Form::MicroTime, Source::Null) => {}
            (Form::Time, Source::Text(text)) => put_time(text, false, out)?,
            (Form::MicroTime, Source::Text(text)) => put_time(text, true, out)?,
            (Form::Time | Form::MicroTime, other) => return Err(unfit("a time", other)),
            (Form::Duration, Source::Null) => put_number(out, 1, 0),
            (Form::Duration, Source::Text(text)) => match scalar::parse_duration(text) {
                Some(nanos) => put_number(out, 1, nanos.cast_unsigned()),
                None => return Err(unfit("a duration", value)),
            },
            (Form::Duration, other) => return Err(unfit("a duration", other)),
            (Form::IntOrString, Source::Text(text)) => put_int_or_string(1, 0, text, out),
            (Form::IntOrString, value) => put_int_or_string(0, integer(value)?, "", out),
            (Form::RawExtension | Form::FieldsV1 | Form::Json, Source::Null) => {}
            (Form::RawExtension | Form::FieldsV1 | Form::Json, value) => put_bytes(out, 1, &json(value)?),
            (Form::StringList, value) => self.put_choices(1, Item::String, value, out)?,
            (form @ (Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStringArray), value) => {
                self.put_schema_or(form, value, out)?;
            }
        }
        Ok(())
    }

    /// A JSON schema, or what may stand in its place.
    fn put_schema_or(&self, form: Form, value: &Source<'_>, out: &mut Vec<u8>) -> Result {
        let schema = self.lookup("apiextensions.v1.JSONSchemaProps");
        let schema = Item::Of(schema.ok_or_else(|| EncodeError::NoProtobuf("JSONSchemaProps".to_owned()))?);
        match (form, value) {
            (Form::SchemaOrBool, Source::Object(_)) => {
                put_number(out, 1, 1);
                self.put_item(2, schema, value, out)
            }
            (Form::SchemaOrBool, value) => self.put_item(1, Item::Bool, value, out),
            (_, Source::Object(_)) => self.put_item(1, schema, value, out),
            (Form::SchemaOrStringArray, value) => self.put_choices(2, Item::String, value, out),
            (_, value) => self.put_choices(2, schema, value, out),
        }
    }

    fn put_choices(&self, number: u32, item: Item, value: &Source<'_>, out: &mut Vec<u8>) -> Result {
        match value {
            Source::Null => Ok(()),
            Source::List(items) => items.iter().try_for_each(|value| self.put_item(number, item, value, out)),
            other => Err(unfit("a list", other)),
        }
    }
}

/// What an object says it is: `apiVersion` and `kind`. Some documents of discovery do not say the first.
fn type_meta<'s>(object: &'s Source<'_>) -> (&'s str, &'s str) {
    let named = |name: &str| object.get(name).and_then(Source::as_str).filter(|text| !text.is_empty());
    (named("apiVersion").unwrap_or("v1"), named("kind").unwrap_or_default())
}

/// A frame of a watch stream: its length in four bytes, then the bare event, whose object is enveloped.
pub fn watch_frame(event: &str, object: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(object.len() + event.len() + 32);
    frame.extend_from_slice(&[0; 4]);
    put_bytes(&mut frame, 1, event.as_bytes());
    let written: std::result::Result<(), std::convert::Infallible> = put_message(&mut frame, 2, |frame| {
        put_bytes(frame, 1, object);
        Ok(())
    });
    match written {
        Ok(()) => {}
        Err(never) => match never {},
    }
    let length = u32::try_from(frame.len() - 4).expect("an object is smaller than 4 GiB");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

/// Of the envelope, what stands behind the object: the content encoding and type, both empty and written all the same.
pub(super) const ENVELOPE_END: [u8; 4] = [3 << 3 | 2, 0, 4 << 3 | 2, 0];

/// Of the envelope, what stands before the object.
pub(super) fn put_type_meta(out: &mut Vec<u8>, api_version: &str, kind: &str) {
    let mut meta = Vec::with_capacity(api_version.len() + kind.len() + 8);
    put_bytes(&mut meta, 1, api_version.as_bytes());
    put_bytes(&mut meta, 2, kind.as_bytes());
    put_bytes(out, 1, &meta);
}

fn put_time(text: &str, micro: bool, out: &mut Vec<u8>) -> Result {
    let parsed = scalar::point_in_time(text);
    let time = parsed.ok_or_else(|| unfit("a time", &Source::Text(text.into())))?;
    if time != scalar::ZERO_TIME {
        let (seconds, nanos) = time;
        put_number(out, 1, seconds.cast_unsigned());
        put_number(out, 2, if micro { u64::from(nanos / 1_000 * 1_000) } else { 0 });
    }
    Ok(())
}

fn put_int_or_string(kind: u64, number: i64, text: &str, out: &mut Vec<u8>) {
    put_number(out, 1, kind);
    put_number(out, 2, number.cast_unsigned());
    put_bytes(out, 3, text.as_bytes());
}

fn integer(value: &Source<'_>) -> Result<i64> {
    let whole = |number: f64| (number.fract() == 0.0 && number.abs() < WHOLE_FLOAT_MAX).then_some(number as i64);
    let found = match value {
        Source::Null => Some(0),
        Source::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
        Source::Bool(_) | Source::Text(_) | Source::List(_) | Source::Object(_) => None,
    };
    found.ok_or_else(|| unfit("an integer", value))
}

/// Floats below this are exact as integers.
const WHOLE_FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

fn json(value: &Source<'_>) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|_| unfit("JSON", value))
}

fn unfit(expected: &'static str, found: &Source<'_>) -> EncodeError {
    let found = match found {
        Source::Null => "null",
        Source::Bool(_) => "a boolean",
        Source::Number(_) => "a number",
        Source::Text(_) => "a string",
        Source::List(_) => "a list",
        Source::Object(_) => "an object",
    };
    EncodeError::Unfit { field: String::new(), expected, found }
}

impl EncodeError {
    /// The same, told one level further out.
    fn within(self, outer: &str) -> Self {
        match self {
            EncodeError::Unfit { field, expected, found } => {
                let field = if field.is_empty() { outer.to_owned() } else { format!("{outer}.{field}") };
                EncodeError::Unfit { field, expected, found }
            }
            other @ EncodeError::NoProtobuf(_) => other,
        }
    }
}
