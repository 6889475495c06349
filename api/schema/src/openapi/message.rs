//! Protobuf as gnostic's documents need it: messages made of JSON.

use serde_json::{Map, Value};

use super::parts::Borrowed;

/// A protobuf message being written. Absent values write nothing.
#[derive(Default)]
pub(super) struct Message {
    pub bytes: Vec<u8>,
}

impl Message {
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub fn block(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number << 3 | 2));
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    pub fn flag(&mut self, number: u32, value: &Value) {
        if value.as_bool() == Some(true) {
            self.varint(u64::from(number << 3));
            self.bytes.push(1);
        }
    }

    /// As it is, also when false.
    pub fn given_flag(&mut self, number: u32, value: bool) {
        self.varint(u64::from(number << 3));
        self.bytes.push(value.into());
    }

    pub fn whole(&mut self, number: u32, value: &Value) {
        if let Some(whole) = value.as_i64() {
            self.varint(u64::from(number << 3));
            self.varint(whole.cast_unsigned());
        }
    }

    pub fn float(&mut self, number: u32, value: &Value) {
        if let Some(float) = value.as_f64() {
            self.varint(u64::from(number << 3 | 1));
            self.bytes.extend_from_slice(&float.to_le_bytes());
        }
    }

    pub fn text(&mut self, number: u32, value: &Value) {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            self.block(number, text.as_bytes());
        }
    }

    pub fn texts(&mut self, number: u32, value: &Value) {
        for text in value.as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.block(number, text.as_bytes());
        }
    }

    pub fn nested(&mut self, number: u32, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.block(number, &inner.bytes);
    }

    pub fn message(&mut self, number: u32, value: &Value, write: impl FnOnce(&mut Message, &Value)) {
        if value.is_object() {
            self.nested(number, |inner| write(inner, value));
        }
    }

    pub fn messages(&mut self, number: u32, value: &Value, write: impl Fn(&mut Message, &Value)) {
        for item in value.as_array().into_iter().flatten() {
            self.message(number, item, &write);
        }
    }

    /// A map as a list of (name, value) messages.
    pub fn named(&mut self, number: u32, value: &Value, write: impl Fn(&mut Message, &Value)) {
        for (name, value) in value.as_object().unwrap_or(&Map::new()) {
            self.nested(number, |inner| {
                inner.block(1, name.as_bytes());
                inner.nested(2, |inner| write(inner, value));
            });
        }
    }

    /// As [`named`](Self::named), of values that are written.
    pub fn written(&mut self, number: u32, values: &Borrowed<'_>) {
        for (name, value) in values {
            self.nested(number, |inner| {
                inner.block(1, name.as_bytes());
                inner.block(2, value);
            });
        }
    }

    /// An `Any`, which holds YAML; JSON is YAML.
    pub fn yaml(&mut self, value: &Value) {
        self.block(2, format!("{value}\n").as_bytes());
    }

    pub fn extensions(&mut self, number: u32, value: &Value) {
        for (name, value) in value.as_object().unwrap_or(&Map::new()).iter().filter(|(name, _)| name.starts_with("x-"))
        {
            self.nested(number, |inner| {
                inner.block(1, name.as_bytes());
                inner.nested(2, |inner| inner.yaml(value));
            });
        }
    }
}
