//! Values that may be absent.

use std::sync::Arc;

use super::Outcome;
use crate::budget::failed;
use crate::value::Value;

pub fn call<'a>(name: &str, values: &[Value<'a>]) -> Option<Outcome<'a>> {
    Some(match (name, values) {
        ("optional.of", [value]) => Ok(Value::Optional(Some(Arc::new(value.clone())))),
        ("optional.ofNonZeroValue", [value]) => {
            let zero = match value {
                Value::Null | Value::Bool(false) | Value::Int(0) | Value::Uint(0) => true,
                Value::Double(number) => *number == 0.0,
                other => other.size() == 0,
            };
            Ok(Value::Optional((!zero).then(|| Arc::new(value.clone()))))
        }
        ("optional.none", []) => Ok(Value::Optional(None)),
        ("hasValue", [Value::Optional(value)]) => Ok(Value::Bool(value.is_some())),
        ("value", [Value::Optional(Some(value))]) => Ok((**value).clone()),
        ("value", [Value::Optional(None)]) => failed("optional.none() dereference"),
        ("optional.unwrap" | "unwrapOpt", [list]) => {
            let known = |item| match item {
                Value::Optional(value) => value.map(|value| (*value).clone()),
                plain => Some(plain),
            };
            Ok(Value::list(list.items()?.into_iter().filter_map(known).collect()))
        }
        ("first" | "last", [list]) => {
            let mut items = list.items()?;
            let found = if name == "last" { items.pop() } else { items.into_iter().next() };
            Ok(Value::Optional(found.map(Arc::new)))
        }
        _ => return None,
    })
}
