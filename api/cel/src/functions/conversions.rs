//! From one type to another.

use chrono::DateTime;

use super::{Outcome, overflow, print::print};
use crate::budget::failed;
use crate::duration::duration;
use crate::value::{Value, timestamp};

pub fn call<'a>(name: &str, values: &[Value<'a>]) -> Option<Outcome<'a>> {
    let [value] = values else { return None };
    let wrong = |what: &str| failed(format!("type conversion error from '{}' to '{what}'", value.type_name()));
    Some(match (name, value) {
        ("dyn", value) => Ok(value.clone()),
        ("type", value) => Ok(Value::Type(value.type_name())),
        ("int", Value::Int(_))
        | ("uint", Value::Uint(_))
        | ("double", Value::Double(_))
        | ("string", Value::String(_))
        | ("bool", Value::Bool(_))
        | ("bytes", Value::Bytes(_))
        | ("duration", Value::Duration(_))
        | ("timestamp", Value::Timestamp(_)) => Ok(value.clone()),
        ("int", Value::Uint(number)) => {
            i64::try_from(*number).map_or_else(|_| overflow(), |number| Ok(Value::Int(number)))
        }
        ("int", Value::Double(number)) if number.abs() < 9.2e18 => Ok(Value::Int(*number as i64)),
        ("int", Value::Double(_)) => overflow(),
        ("int", Value::String(text)) => text.parse().map_or_else(|_| wrong("int"), |number| Ok(Value::Int(number))),
        ("int", Value::Timestamp(time)) => Ok(Value::Int(time.timestamp())),
        ("uint", Value::Int(number)) => {
            u64::try_from(*number).map_or_else(|_| overflow(), |number| Ok(Value::Uint(number)))
        }
        ("uint", Value::Double(number)) if (0.0..1.8e19).contains(number) => Ok(Value::Uint(*number as u64)),
        ("uint", Value::Double(_)) => overflow(),
        ("uint", Value::String(text)) => text.parse().map_or_else(|_| wrong("uint"), |number| Ok(Value::Uint(number))),
        ("double", Value::Int(number)) => Ok(Value::Double(*number as f64)),
        ("double", Value::Uint(number)) => Ok(Value::Double(*number as f64)),
        ("double", Value::String(text)) => {
            text.parse().map_or_else(|_| wrong("double"), |number| Ok(Value::Double(number)))
        }
        ("string", Value::Bytes(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::text(text)),
            Err(_) => failed("invalid UTF-8 in bytes, cannot convert to string"),
        },
        (
            "string",
            Value::Bool(_)
            | Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::Timestamp(_)
            | Value::Duration(_)
            | Value::Ip(_)
            | Value::Cidr(_)
            | Value::Quantity(_),
        ) => Ok(Value::text(print(value))),
        ("bool", Value::String(text)) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
            _ => wrong("bool"),
        },
        ("bytes", Value::String(text)) => Ok(Value::Bytes(text.as_bytes().into())),
        ("duration", Value::String(text)) => {
            duration(text).map_or_else(|| wrong("duration"), |nanos| Ok(Value::Duration(nanos)))
        }
        ("timestamp", Value::String(text)) => {
            timestamp(text).map_or_else(|| wrong("timestamp"), |time| Ok(Value::Timestamp(time)))
        }
        ("timestamp", Value::Int(seconds)) => {
            DateTime::from_timestamp(*seconds, 0).map_or_else(overflow, |time| Ok(Value::Timestamp(time)))
        }
        _ => return None,
    })
}
