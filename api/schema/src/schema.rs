//! What objects of one kind look like, whichever source says so, with the operations every writer needs: a type of a table, or
//! a CustomResourceDefinition's schema.

use kontiki_model::Faults;
use serde_json::{Map, Number, Value};

use crate::decode::{DecodeError, Document};
use crate::ids;
use crate::strict::Objections;
use crate::structural::{Ratchet, Structural, sorted};
use crate::table::{Table, TypeId, builtin};

/// A type and the table it is in; for custom kinds also the schema that the type was made of, which knows more.
#[derive(Clone, Copy, Debug)]
pub struct Schema<'a> {
    pub table: &'a Table,
    pub id: TypeId,
    structural: Option<&'a Structural>,
}

impl Schema<'static> {
    /// A built-in type.
    pub fn builtin(id: TypeId) -> Self {
        Schema { table: builtin(), id, structural: None }
    }
}

impl<'a> Schema<'a> {
    /// The schema of a definition.
    pub fn custom(structural: &'a Structural) -> Self {
        let (table, id) = structural.table();
        Schema { table, id, structural: Some(structural) }
    }

    pub(crate) fn structural(&self) -> Option<&'a Structural> {
        self.structural
    }

    /// A definition's schema, not a built-in type: it has no strategic merge and no protobuf.
    pub fn is_custom(&self) -> bool {
        self.structural.is_some()
    }

    /// What field validation warns of or, when strict, refuses.
    pub fn check_document(&self, document: &Document) -> Result<Objections, DecodeError> {
        let Some(structural) = self.structural else { return self.table.check_document(self.id, document) };
        if let Some(metadata) = document.value.get("metadata") {
            builtin().check(ids::META_V1_OBJECTMETA, metadata)?;
        }
        Ok(Objections::in_turn(&document.duplicates, &structural.unknown(&document.value)))
    }

    /// Removes unknown fields.
    pub fn prune(&self, value: &mut Value) {
        match self.structural {
            Some(structural) => structural.prune(value),
            None => self.table.prune(self.id, value),
        }
    }

    /// Fills what the schema itself says.
    pub fn default(&self, value: &mut Value) {
        match self.structural {
            Some(structural) => structural.default(value),
            None => self.table.default(self.id, value),
        }
    }

    /// Rewrites the value in the form that is stored.
    pub fn canonical(&self, value: &mut Value) {
        match self.structural {
            Some(_) => *value = canonical(value.take()),
            None => self.table.canonical(self.id, value),
        }
    }

    /// Whether the values are such as a definition allows; on updates beside what is replaced. Built-in kinds have their own rules.
    pub fn validate(&self, value: &Value, old: Option<&Value>, faults: &mut Faults) {
        if let Some(structural) = self.structural {
            structural.validate(value, Ratchet::of(old), faults);
        }
    }

    /// The rules of a definition, which make sense only of what has no other faults.
    pub fn run_rules(&self, value: &Value, old: Option<&Value>, faults: &mut Faults) {
        if let Some(structural) = self.structural {
            structural.run_rules(value, Ratchet::of(old), faults);
        }
    }
}

/// Custom objects are written with the API's own members in front, as all stored objects, and the others by name.
fn canonical(value: Value) -> Value {
    let mut members = match value {
        Value::Object(members) => members,
        Value::Null => Map::new(),
        other => return other,
    };
    let mut out = Map::new();
    for name in ["kind", "apiVersion"] {
        if let Some(value) = members.shift_remove(name) {
            out.insert(name.to_owned(), value);
        }
    }
    let mut metadata = members.shift_remove("metadata").unwrap_or_default();
    builtin().canonical(ids::META_V1_OBJECTMETA, &mut metadata);
    out.insert("metadata".to_owned(), metadata);
    let mut rest = Value::Object(members);
    as_go_reads(&mut rest);
    if let Value::Object(rest) = sorted(rest) {
        out.extend(rest);
    }
    Value::Object(out)
}

/// Numbers of no declared type are integers of 64 bits if they are written so, or else floats; those are written without a point
/// where they are whole. Typed clients read no integer from `1.0`.
fn as_go_reads(value: &mut Value) {
    match value {
        Value::Number(number) if !number.is_i64() => {
            let digits = number.as_f64().map(|float| float.to_string()).unwrap_or_default();
            let signed = digits.parse::<i64>().map(Number::from);
            if let Ok(whole) = signed.or_else(|_| digits.parse::<u64>().map(Number::from)) {
                *number = whole;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(as_go_reads),
        Value::Object(members) => members.values_mut().for_each(as_go_reads),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        let cases = [
            ("1", "1"),
            ("1.0", "1"),
            ("1e3", "1000"),
            ("-2.0", "-2"),
            ("-0.0", "0"),
            ("1.5", "1.5"),
            ("9223372036854775807", "9223372036854775807"),
            ("9223372036854775808", "9223372036854776000"),
            ("[{\"a\": 1e15}]", "[{\"a\":1000000000000000}]"),
        ];
        for (written, told) in cases {
            let mut value: Value = serde_json::from_str(written).unwrap();
            as_go_reads(&mut value);
            assert_eq!(value.to_string(), told, "{written}");
        }
    }
}
