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
        _ => return None,
    })
}
