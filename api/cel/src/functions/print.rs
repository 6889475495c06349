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

/// As Go's `%g` prints it: by its exponent where that is large.
pub fn print_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let power = text.split_once('e').and_then(|(_, power)| power.parse::<i32>().ok()).unwrap_or_default();
    if (-4..6).contains(&power) { value.to_string() } else { two_digits(&text) }
}

/// Go writes at least two digits of the exponent, and its sign.
pub fn two_digits(text: &str) -> String {
    let (mantissa, power) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
    format!("{mantissa}e{sign}{power:0>2}")
}

fn print_duration(nanos: i64) -> String {
    format!("{}s", nanos as f64 / 1e9)
}
