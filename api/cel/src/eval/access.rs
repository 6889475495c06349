//! Members and elements of values.

use std::sync::Arc;

use super::Outcome;
use crate::budget::failed;
use crate::functions;
use crate::value::Value;

pub fn select<'a>(found: &Value<'a>, field: &str, is_optional: bool) -> Outcome<'a> {
    match found {
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => Ok(optional(inner.member(field))),
        Value::Object(..) | Value::Map(_) | Value::JsonMap(..) | Value::Made(_) => {
            match (found.member(field), is_optional) {
                (member, true) => Ok(optional(member)),
                (Some(member), false) => Ok(member),
                (None, false) => failed(format!("no such key: {field}")),
            }
        }
        _ if is_optional => Ok(Value::Optional(None)),
        _ => failed(format!("no such key: {field}")),
    }
}

pub fn has(found: &Value<'_>, field: &str) -> bool {
    match found {
        Value::Optional(inner) => inner.as_ref().is_some_and(|inner| inner.member(field).is_some()),
        other => other.member(field).is_some(),
    }
}

pub fn indexed<'a>(found: &Value<'a>, index: &Value<'_>, is_optional: bool) -> Outcome<'a> {
    let (found, is_optional) = match found {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => ((**inner).clone(), true),
        plain => (plain.clone(), is_optional),
    };
    let place = match index {
        Value::Int(at) => usize::try_from(*at).ok(),
        Value::Uint(at) => usize::try_from(*at).ok(),
        Value::Double(at) if at.fract() == 0.0 && *at >= 0.0 => Some(*at as usize),
        _ => None,
    };
    let value = match &found {
        Value::List(items) | Value::Merged(items, _) => place.and_then(|at| items.get(at)).cloned(),
        Value::JsonList(items, list) => {
            place.and_then(|at| items.get(at)).map(|item| crate::value::from_json(item, &list.of))
        }
        Value::Map(entries) => entries.iter().find(|(key, _)| key.equals(index)).map(|(_, value)| value.clone()),
        Value::JsonMap(..) | Value::Object(..) => match index {
            Value::String(name) => found.member(name),
            _ => None,
        },
        _ => return failed("no such overload"),
    };
    match (value, is_optional) {
        (value, true) => Ok(optional(value)),
        (Some(value), false) => Ok(value),
        (None, false) if found.is_list() => failed(format!("index out of bounds: {}", functions::print(index))),
        (None, false) => failed(format!("no such key: {}", functions::print(index))),
    }
}

fn optional(value: Option<Value<'_>>) -> Value<'_> {
    Value::Optional(value.map(Arc::new))
}
