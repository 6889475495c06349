//! How values read in messages and as strings.

use crate::value::Value;

/// How a value reads in a message and as a string.
pub fn print(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => print_double(*value),
        Value::String(text) => text.clone().into_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Timestamp(time) => time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
        Value::Duration(nanos) => print_duration(*nanos),
        Value::Type(name) | Value::Format(name) => (*name).to_owned(),
        Value::Quantity(quantity) => quantity.to_string(),
        Value::Ip(address) => address.to_string(),
        Value::Cidr(range) => range.to_string(),
        Value::Url(url) => format!("{}://{}{}", url.scheme, url.host, url.path),
        Value::Semver(version) => version.text.clone(),
        Value::Optional(None) => "optional.none()".to_owned(),
        Value::Optional(Some(inner)) => format!("optional({})", print(inner)),
        Value::List(_) | Value::Merged(..) | Value::JsonList(..) => {
            let items: Vec<String> = value.items().unwrap_or_default().iter().map(print).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Variables => "variables".to_owned(),
        Value::Check(check) => check.type_name().to_owned(),
        Value::Decision(decision) => if decision.allowed { "allowed" } else { "denied" }.to_owned(),
        Value::Map(_) | Value::JsonMap(..) | Value::Object(..) | Value::Made(_) => {
            let entries = value.entries().unwrap_or_default();
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{}: {}", print(key), print(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

pub fn print_double(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        value if value.is_infinite() => if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
        value => value.to_string(),
    }
}

fn print_duration(nanos: i64) -> String {
    format!("{}s", print_double(nanos as f64 / 1e9))
}
