//! What the declared functions do. Methods get their target as the first value.

mod collections;
mod patterns;
mod strings;
mod times;

pub use patterns::Patterns;

use std::cmp::Ordering;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta};
use kontiki_model::{Quantity, names};

use crate::authorizer;
use crate::eval::{RunError, failed};
use crate::network::{self, Cidr, Semver, Url};
use crate::value::{Value, duration, timestamp};

type Outcome<'a> = Result<Value<'a>, RunError>;

/// What a call costs: one, and more where it looks through what it is given.
pub fn cost(name: &str, values: &[Value<'_>]) -> u64 {
    let tenth = |value: Option<&Value<'_>>| value.map_or(0, Value::size).div_ceil(10);
    match name {
        "check" if matches!(values.first(), Some(Value::Check(_))) => authorizer::COST,
        "contains" | "matches" | "find" | "findAll" | "replace" | "split" | "indexOf" | "lastIndexOf"
        | "startsWith" | "endsWith" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "quantity"
        | "isQuantity" | "url" | "isURL" | "ip" | "isIP" | "cidr" | "isCIDR" | "semver" | "isSemver" => {
            1 + tenth(values.first())
        }
        "_+_" | "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => {
            let all = values.iter().map(Value::size).max().unwrap_or_default();
            1 + all / 10
        }
        "@in" => 1 + values.get(1).filter(|value| value.items().is_some()).map_or(0, Value::size),
        "isSorted" | "sum" | "min" | "max" | "distinct" | "sort" | "flatten" | "join" | "reverse" | "slice" => {
            1 + values.first().map_or(0, Value::size)
        }
        "sets.contains" | "sets.equivalent" | "sets.intersects" => 1 + values.iter().map(Value::size).product::<u64>(),
        _ => 1,
    }
}

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
        Value::List(_) | Value::JsonList(..) => {
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

fn print_double(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        value if value.is_infinite() => if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
        value => value.to_string(),
    }
}

fn print_duration(nanos: i64) -> String {
    format!("{}s", print_double(nanos as f64 / 1e9))
}

fn overflow<'a>() -> Outcome<'a> {
    failed("return error for overflow")
}

fn no_overload<'a>() -> Outcome<'a> {
    failed("no such overload")
}

pub fn call<'a>(name: &str, method: bool, values: &[Value<'a>], literal: &Patterns) -> Outcome<'a> {
    if let Some(done) = operator(name, values) {
        return done;
    }
    if let Some(done) = patterns::call(name, values, literal) {
        return done;
    }
    if let Some(done) = strings::call(name, values) {
        return done;
    }
    if let Some(done) = collections::call(name, values) {
        return done;
    }
    if let Some(done) = times::call(name, values) {
        return done;
    }
    if let Some(done) = authorizer::call(name, values) {
        return done;
    }
    if let Some(done) = extension(name, values) {
        return done;
    }
    match conversion(name, values) {
        Some(done) if !method => done,
        Some(_) | None => no_overload(),
    }
}

fn operator<'a>(name: &str, values: &[Value<'a>]) -> Option<Outcome<'a>> {
    let order = |wanted: fn(Ordering) -> bool| match values {
        [left, right] => match left.compare(right) {
            Some(order) => Ok(Value::Bool(wanted(order))),
            None => no_overload(),
        },
        _ => no_overload(),
    };
    Some(match (name, values) {
        ("!_", [Value::Bool(value)]) => Ok(Value::Bool(!value)),
        ("-_", [Value::Int(value)]) => value.checked_neg().map_or_else(overflow, |value| Ok(Value::Int(value))),
        ("-_", [Value::Double(value)]) => Ok(Value::Double(-value)),
        ("_==_", [left, right]) => Ok(Value::Bool(left.equals(right))),
        ("_!=_", [left, right]) => Ok(Value::Bool(!left.equals(right))),
        ("_<_", _) => order(Ordering::is_lt),
        ("_<=_", _) => order(Ordering::is_le),
        ("_>_", _) => order(Ordering::is_gt),
        ("_>=_", _) => order(Ordering::is_ge),
        ("@in", [value, within]) => match (within.items(), within) {
            (Some(items), _) => Ok(Value::Bool(items.iter().any(|item| item.equals(value)))),
            (None, map) => match (map.entries(), value) {
                (Some(_), Value::String(name)) => Ok(Value::Bool(map.member(name).is_some())),
                (Some(entries), value) => Ok(Value::Bool(entries.iter().any(|(key, _)| key.equals(value)))),
                (None, _) => no_overload(),
            },
        },
        ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [left, right]) => arithmetic(name, left, right),
        ("!_" | "-_" | "_==_" | "_!=_" | "@in" | "_+_" | "_-_" | "_*_" | "_/_" | "_%_", _) => no_overload(),
        _ => return None,
    })
}

fn arithmetic<'a>(name: &str, left: &Value<'a>, right: &Value<'a>) -> Outcome<'a> {
    match (name, left, right) {
        (_, Value::Int(left), Value::Int(right)) => {
            let done = match name {
                "_+_" => left.checked_add(*right),
                "_-_" => left.checked_sub(*right),
                "_*_" => left.checked_mul(*right),
                "_/_" if *right == 0 => return failed("division by zero"),
                "_/_" => left.checked_div(*right),
                _ if *right == 0 => return failed("modulus by zero"),
                _ => left.checked_rem(*right),
            };
            done.map_or_else(overflow, |value| Ok(Value::Int(value)))
        }
        (_, Value::Uint(left), Value::Uint(right)) => {
            let done = match name {
                "_+_" => left.checked_add(*right),
                "_-_" => left.checked_sub(*right),
                "_*_" => left.checked_mul(*right),
                "_/_" if *right == 0 => return failed("division by zero"),
                "_/_" => left.checked_div(*right),
                _ if *right == 0 => return failed("modulus by zero"),
                _ => left.checked_rem(*right),
            };
            done.map_or_else(overflow, |value| Ok(Value::Uint(value)))
        }
        ("_+_", Value::Double(left), Value::Double(right)) => Ok(Value::Double(left + right)),
        ("_-_", Value::Double(left), Value::Double(right)) => Ok(Value::Double(left - right)),
        ("_*_", Value::Double(left), Value::Double(right)) => Ok(Value::Double(left * right)),
        ("_/_", Value::Double(left), Value::Double(right)) => Ok(Value::Double(left / right)),
        ("_+_", Value::String(left), Value::String(right)) => Ok(Value::text(format!("{left}{right}"))),
        ("_+_", Value::Bytes(left), Value::Bytes(right)) => Ok(Value::Bytes([&**left, &**right].concat().into())),
        ("_+_", Value::Timestamp(time), Value::Duration(nanos))
        | ("_+_", Value::Duration(nanos), Value::Timestamp(time)) => {
            let moved = time.checked_add_signed(TimeDelta::nanoseconds(*nanos));
            moved.map_or_else(overflow, |time| Ok(Value::Timestamp(time)))
        }
        ("_-_", Value::Timestamp(time), Value::Duration(nanos)) => {
            let moved = time.checked_sub_signed(TimeDelta::nanoseconds(*nanos));
            moved.map_or_else(overflow, |time| Ok(Value::Timestamp(time)))
        }
        ("_-_", Value::Timestamp(left), Value::Timestamp(right)) => {
            (*left - *right).num_nanoseconds().map_or_else(overflow, |nanos| Ok(Value::Duration(nanos)))
        }
        ("_+_", Value::Duration(left), Value::Duration(right)) => {
            left.checked_add(*right).map_or_else(overflow, |nanos| Ok(Value::Duration(nanos)))
        }
        ("_-_", Value::Duration(left), Value::Duration(right)) => {
            left.checked_sub(*right).map_or_else(overflow, |nanos| Ok(Value::Duration(nanos)))
        }
        ("_+_", left, right) => match (left.items(), right.items()) {
            (Some(left), Some(right)) => Ok(Value::list([left, right].concat())),
            _ => no_overload(),
        },
        _ => no_overload(),
    }
}

fn conversion<'a>(name: &str, values: &[Value<'a>]) -> Option<Outcome<'a>> {
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

/// Kubernetes' own types, and optional values.
fn extension<'a>(name: &str, values: &[Value<'a>]) -> Option<Outcome<'a>> {
    let text = |text: &str| Ok(Value::text(text));
    let sign = |order: Ordering| Ok(Value::Int(order as i64));
    let made = |made: Result<Value<'a>, String>| made.map_err(RunError::Failed);
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
        ("ip", [Value::String(given)]) => made(network::ip(given).map(Value::Ip)),
        ("isIP", [Value::String(given)]) => Ok(Value::Bool(network::ip(given).is_ok())),
        ("ip.isCanonical", [Value::String(given)]) => {
            made(network::ip(given).map(|ip| Value::Bool(ip.to_string() == **given)))
        }
        ("family", [Value::Ip(ip)]) => Ok(Value::Int(if ip.is_ipv4() { 4 } else { 6 })),
        ("isUnspecified", [Value::Ip(ip)]) => Ok(Value::Bool(ip.is_unspecified())),
        ("isLoopback", [Value::Ip(ip)]) => Ok(Value::Bool(ip.is_loopback())),
        ("isLinkLocalMulticast", [Value::Ip(ip)]) => Ok(Value::Bool(match ip {
            std::net::IpAddr::V4(four) => four.octets()[..3] == [224, 0, 0],
            std::net::IpAddr::V6(six) => six.segments()[0] & 0xff0f == 0xff02,
        })),
        ("isLinkLocalUnicast", [Value::Ip(ip)]) => Ok(Value::Bool(match ip {
            std::net::IpAddr::V4(four) => four.is_link_local(),
            std::net::IpAddr::V6(six) => six.segments()[0] & 0xffc0 == 0xfe80,
        })),
        ("isGlobalUnicast", [Value::Ip(ip)]) => {
            let local = match ip {
                std::net::IpAddr::V4(four) => four.is_link_local() || four.is_broadcast(),
                std::net::IpAddr::V6(six) => six.segments()[0] & 0xffc0 == 0xfe80,
            };
            Ok(Value::Bool(!(local || ip.is_loopback() || ip.is_multicast() || ip.is_unspecified())))
        }
        ("cidr", [Value::String(given)]) => made(Cidr::parse(given).map(Value::Cidr)),
        ("isCIDR", [Value::String(given)]) => Ok(Value::Bool(Cidr::parse(given).is_ok())),
        ("containsIP", [Value::Cidr(range), Value::Ip(ip)]) => Ok(Value::Bool(range.holds(*ip))),
        ("containsIP", [Value::Cidr(range), Value::String(given)]) => {
            made(network::ip(given).map(|ip| Value::Bool(range.holds(ip))))
        }
        ("containsCIDR", [Value::Cidr(range), Value::Cidr(other)]) => Ok(Value::Bool(range.holds_all(*other))),
        ("containsCIDR", [Value::Cidr(range), Value::String(given)]) => {
            made(Cidr::parse(given).map(|other| Value::Bool(range.holds_all(other))))
        }
        ("ip", [Value::Cidr(range)]) => Ok(Value::Ip(range.address)),
        ("masked", [Value::Cidr(range)]) => Ok(Value::Cidr(range.masked())),
        ("prefixLength", [Value::Cidr(range)]) => Ok(Value::Int(i64::from(range.length))),
        ("url", [Value::String(given)]) => made(Url::parse(given).map(|url| Value::Url(Arc::new(url)))),
        ("isURL", [Value::String(given)]) => Ok(Value::Bool(Url::parse(given).is_ok())),
        ("getScheme", [Value::Url(url)]) => text(&url.scheme),
        ("getHost", [Value::Url(url)]) => text(&url.host),
        ("getHostname", [Value::Url(url)]) => text(url.hostname()),
        ("getPort", [Value::Url(url)]) => text(url.port()),
        ("getEscapedPath", [Value::Url(url)]) => text(&url.path),
        ("getQuery", [Value::Url(url)]) => {
            let entry = |(name, values): (String, Vec<String>)| {
                (Value::text(name), Value::list(values.into_iter().map(Value::text).collect()))
            };
            Ok(Value::Map(url.parameters().into_iter().map(entry).collect::<Vec<_>>().into()))
        }
        ("quantity", [Value::String(given)]) => made(
            given
                .parse()
                .map(|quantity| Value::Quantity(Arc::new(quantity)))
                .map_err(|error: kontiki_model::QuantityError| error.to_string()),
        ),
        ("isQuantity", [Value::String(given)]) => Ok(Value::Bool(given.parse::<Quantity>().is_ok())),
        ("jsonpatch.escapeKey", [Value::String(key)]) => text(&key.replace('~', "~0").replace('/', "~1")),
        ("isInteger", [Value::Quantity(quantity)]) => Ok(Value::Bool(is_whole(quantity))),
        ("asInteger", [Value::Quantity(quantity)]) if is_whole(quantity) => Ok(Value::Int(quantity.value())),
        ("asInteger", [Value::Quantity(_)]) => failed("cannot convert value to integer"),
        ("asApproximateFloat", [Value::Quantity(quantity)]) => Ok(Value::Double(quantity.as_f64())),
        ("sign", [Value::Quantity(quantity)]) => sign((**quantity).cmp(&Quantity::ZERO)),
        ("add", [Value::Quantity(one), Value::Quantity(other)]) => Ok(Value::Quantity(Arc::new(one.add(other)))),
        ("add", [Value::Quantity(one), Value::Int(other)]) => {
            Ok(Value::Quantity(Arc::new(one.add(&Quantity::from_units(*other)))))
        }
        ("sub", [Value::Quantity(one), Value::Quantity(other)]) => Ok(Value::Quantity(Arc::new(one.sub(other)))),
        ("sub", [Value::Quantity(one), Value::Int(other)]) => {
            Ok(Value::Quantity(Arc::new(one.sub(&Quantity::from_units(*other)))))
        }
        ("isGreaterThan", [one @ (Value::Quantity(_) | Value::Semver(_)), other]) => {
            one.compare(other).map_or_else(no_overload, |order| Ok(Value::Bool(order.is_gt())))
        }
        ("isLessThan", [one @ (Value::Quantity(_) | Value::Semver(_)), other]) => {
            one.compare(other).map_or_else(no_overload, |order| Ok(Value::Bool(order.is_lt())))
        }
        ("compareTo", [one @ (Value::Quantity(_) | Value::Semver(_)), other]) => {
            one.compare(other).map_or_else(no_overload, sign)
        }
        ("semver", [Value::String(given)]) => {
            made(Semver::parse(given).map(|version| Value::Semver(Arc::new(version))))
        }
        ("isSemver", [Value::String(given)]) => Ok(Value::Bool(Semver::parse(given).is_ok())),
        ("major" | "minor" | "patch", [Value::Semver(version)]) => {
            let at = ["major", "minor", "patch"].iter().position(|part| *part == name).unwrap_or_default();
            i64::try_from(version.numbers[at]).map_or_else(|_| overflow(), |number| Ok(Value::Int(number)))
        }
        ("format.named", [Value::String(given)]) => {
            let known = FORMATS.iter().find(|(known, _)| **known == **given);
            Ok(Value::Optional(known.map(|(known, _)| Arc::new(Value::Format(known)))))
        }
        ("validate", [Value::Format(format), Value::String(given)]) => {
            let check = FORMATS.iter().find(|(known, _)| known == format).map(|(_, check)| check);
            let wrong = check.map(|check| check(given)).unwrap_or_default();
            let list = Value::list(wrong.iter().map(|why| Value::text(why.as_str())).collect());
            Ok(Value::Optional((!wrong.is_empty()).then(|| Arc::new(list))))
        }
        (name, []) => {
            match name.strip_prefix("format.").and_then(|name| FORMATS.iter().find(|(known, _)| *known == name)) {
                Some((known, _)) => Ok(Value::Format(known)),
                None => return None,
            }
        }
        _ => return None,
    })
}

fn is_whole(quantity: &Quantity) -> bool {
    Quantity::from_units(quantity.value()) == *quantity
}

type Check = fn(&str) -> Vec<String>;

/// Formats that a value can be checked against, each with what is wrong.
const FORMATS: &[(&str, Check)] = &[
    ("dns1123Label", names::label),
    ("dns1123Subdomain", names::subdomain),
    ("dns1035Label", names::rfc1035_label),
    ("qualifiedName", names::qualified),
    ("labelValue", names::label_value),
    ("uri", |text| wrong(Url::parse(text).is_ok(), "must be a valid URI")),
    ("uuid", |text| {
        let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
        let dashed = text.len() == 36 && [8, 13, 18, 23].iter().all(|at| text.as_bytes()[*at] == b'-');
        wrong(digits == 32 && dashed, "does not match the UUID format")
    }),
    ("byte", |text| {
        use base64::Engine as _;
        wrong(base64::engine::general_purpose::STANDARD.decode(text).is_ok(), "invalid base64")
    }),
    ("date", |text| wrong(text.len() == 10 && timestamp(text).is_some(), "invalid date")),
    ("datetime", |text| wrong(text.len() > 10 && timestamp(text).is_some(), "invalid datetime")),
];

fn wrong(fits: bool, why: &str) -> Vec<String> {
    if fits { Vec::new() } else { vec![why.to_owned()] }
}
