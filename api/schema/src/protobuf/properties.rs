//! What must hold for every type of the table: JSON goes to protobuf and back without a loss, bytes that were read are written
//! again as they were, and bytes of any kind are read or refused, never more.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::{builtin, scalar, table::Shape};

/// Random values that fit their types, from one seed. `fill` of a hundred optional members are there.
struct Generator {
    state: u64,
    fill: u64,
}

/// Below this, nothing optional is generated: types that hold themselves come to an end.
const LEVELS_MAX: usize = 4;

impl Generator {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    fn text(&mut self) -> String {
        let length = self.below(5) * self.below(60);
        (0..length).map(|_| self.pick(&['a', 'Z', '0', '"', '\\', '\n', 'ü', '€', '\u{1f980}', ' '])).collect()
    }

    fn integer(&mut self) -> i64 {
        self.pick(&[0, 1, -1, 127, 128, 1 << 20, i64::from(i32::MAX), i64::from(i32::MIN)])
    }

    fn json(&mut self, levels: usize) -> Value {
        match self.below(if levels == 0 { 5 } else { 7 }) {
            0 => Value::Bool(true),
            1 => self.integer().into(),
            2 => json!(1.5),
            3 | 4 => self.text().into(),
            5 => (0..self.below(3)).map(|_| self.json(levels - 1)).collect(),
            _ => Value::Object((0..self.below(3)).map(|_| (self.text(), self.json(levels - 1))).collect()),
        }
    }

    fn members(&mut self, id: TypeId, out: &mut Map<String, Value>, level: usize) {
        for field in builtin().get(id).fields.iter() {
            if let (true, Shape::One(Item::Of(inner))) = (field.inline, field.shape) {
                self.members(inner, out, level);
                continue;
            }
            if level > LEVELS_MAX || self.below(100) >= self.fill {
                continue;
            }
            let value = match field.shape {
                Shape::One(item) => self.item(item, level + 1),
                Shape::List(item) => (0..self.below(3)).map(|_| self.item(item, level + 1)).collect(),
                Shape::Map(item) => {
                    Value::Object((0..self.below(3)).map(|_| (self.text(), self.item(item, level + 1))).collect())
                }
            };
            out.insert(field.json.to_string(), value);
        }
    }

    fn item(&mut self, item: Item, level: usize) -> Value {
        match item {
            Item::String => self.text().into(),
            Item::Bool => (self.below(2) == 0).into(),
            Item::Int32 => self.integer().into(),
            Item::Int64 => self.pick(&[0, 5, -5, i64::MAX, i64::MIN]).into(),
            Item::Double => self.pick(&[0.0, 0.25, -3.5, 1e300]).into(),
            Item::Bytes => scalar::print_base64(self.text().as_bytes()).into(),
            Item::Any => self.json(2),
            Item::Of(id) => self.value(id, level),
        }
    }

    fn value(&mut self, id: TypeId, level: usize) -> Value {
        let schema = builtin().lookup("apiextensions.v1.JSONSchemaProps").unwrap();
        match builtin().get(id).form {
            Form::Struct => {
                let mut members = Map::new();
                self.members(id, &mut members, level);
                Value::Object(members)
            }
            Form::Quantity => self.pick(&["0", "1500m", "1Gi", "-3", "7"]).into(),
            Form::Time => self.pick(&["2026-01-02T03:04:05Z", "1970-01-01T00:00:00Z", "0990-12-31T23:59:59Z"]).into(),
            Form::MicroTime => self.pick(&["2026-01-02T03:04:05.678901Z", "1969-12-31T23:59:59.000001Z"]).into(),
            Form::Duration => self.pick(&["0s", "1h2m3.5s", "-20ns"]).into(),
            Form::IntOrString => match self.below(2) {
                0 => self.integer().into(),
                _ => self.text().into(),
            },
            Form::RawExtension | Form::FieldsV1 => json!({"a": self.json(3)}),
            Form::Json => self.json(3),
            Form::StringList => json!([self.text()]),
            Form::SchemaOrArray if self.below(2) == 0 => json!([self.value(schema, level + 1)]),
            Form::SchemaOrBool if self.below(2) == 0 => (self.below(2) == 0).into(),
            Form::SchemaOrStringArray if self.below(2) == 0 => json!([self.text()]),
            Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStringArray => self.value(schema, level + 1),
        }
    }
}

fn types() -> impl Iterator<Item = TypeId> {
    let table = builtin();
    table.iter().map(|(id, _)| id).filter(|id| table.get(*id).form == Form::Struct && whole(*id, 0))
}

/// Has a protobuf form, down to its last member.
fn whole(id: TypeId, level: usize) -> bool {
    let below = |item: Item| match item {
        Item::Of(id) => level > 2 || whole(id, level + 1),
        _ => true,
    };
    builtin().has_protobuf(id) && builtin().get(id).fields.iter().all(|field| below(field.item()))
}

fn canonical(id: TypeId, value: &Value) -> Value {
    let mut value = value.clone();
    builtin().canonical(id, &mut value);
    value
}

/// A message of this type without its envelope.
fn written(id: TypeId, value: &Value) -> Vec<u8> {
    let text = value.to_string();
    let mut out = Vec::new();
    builtin().put_struct(id, &Source::parse(text.as_bytes()).unwrap(), &mut out).unwrap();
    out
}

fn read(id: TypeId, bytes: &[u8]) -> Value {
    let mut members = Map::new();
    builtin().members(id, bytes, &mut members, 1).unwrap();
    Value::Object(members)
}

#[test]
fn nearly_every_type_has_a_protobuf_form() {
    let without = builtin().iter().filter(|(id, _)| !whole(*id, 0)).map(|(_, kind)| kind.name.to_string());
    let expected = ["meta.v1.Table", "meta.v1.TableColumnDefinition", "meta.v1.TableRow", "meta.v1.TableRowCondition"];
    assert_eq!(without.collect::<Vec<_>>(), expected);
}

fn goes_to_protobuf_and_back(id: TypeId, state: u64, fill: u64) {
    let value = canonical(id, &Generator { state, fill }.value(id, 0));
    let bytes = written(id, &value);
    let back = read(id, &bytes);
    let name = &builtin().get(id).name;
    assert_eq!(canonical(id, &back).to_string(), value.to_string(), "{name}");
    assert_eq!(written(id, &back), bytes, "{name}");
}

#[test]
fn every_type_goes_to_protobuf_and_back() {
    for (seed, id) in (0..).zip(types()) {
        goes_to_protobuf_and_back(id, seed, 25);
    }
}

/// Cases look at a part of the types each, so that a run is short.
const PARTS: u16 = 20;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn types_go_to_protobuf_and_back(state: u64, fill in 0..40u64, part in 0..PARTS) {
        types().filter(|id| id.0 % PARTS == part).for_each(|id| goes_to_protobuf_and_back(id, state, fill));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), part in 0..PARTS) {
        for id in types().filter(|id| id.0 % PARTS == part) {
            let _ = builtin().members(id, &bytes, &mut Map::new(), 1);
        }
        let _ = builtin().decode_protobuf(&[&MAGIC[..], &bytes].concat());
    }

    #[test]
    fn damaged_objects_are_read_or_refused(state: u64, at: prop::sample::Index, bit in 0..8u32, cut: prop::sample::Index) {
        let id = builtin().lookup("core.v1.Pod").unwrap();
        let mut bytes = written(id, &canonical(id, &Generator { state, fill: 30 }.value(id, 0)));
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let _ = builtin().members(id, &bytes, &mut Map::new(), 1);
        bytes.truncate(cut.index(bytes.len()));
        let _ = builtin().members(id, &bytes, &mut Map::new(), 1);
    }
}
