//! Texts.

use super::{Outcome, failed, no_overload, print, print_double};
use crate::value::Value;

pub fn call<'a>(name: &str, values: &[Value<'a>]) -> Option<Outcome<'a>> {
    let Some(Value::String(text)) = values.first() else { return None };
    let text: &str = text;
    let made = |text: String| Ok(Value::text(text));
    let number = |at: Option<usize>| Ok(Value::Int(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)));
    Some(match (name, &values[1..]) {
        ("size", []) => number(Some(text.chars().count())),
        ("startsWith", [Value::String(part)]) => Ok(Value::Bool(text.starts_with(&**part))),
        ("endsWith", [Value::String(part)]) => Ok(Value::Bool(text.ends_with(&**part))),
        ("contains", [Value::String(part)]) => Ok(Value::Bool(text.contains(&**part))),
        ("charAt", [Value::Int(at)]) => match substring(text, *at, at.checked_add(1)) {
            _ if usize::try_from(*at) == Ok(text.chars().count()) => made(String::new()),
            Some(char) => made(char),
            None => failed(format!("index out of range: {at}")),
        },
        ("indexOf", [Value::String(part)]) => number(index_of(text, part, 0)),
        ("indexOf", [Value::String(part), Value::Int(from)]) => match usize::try_from(*from) {
            Ok(from) if from <= text.chars().count() => number(index_of(text, part, from)),
            _ => failed(format!("index out of range: {from}")),
        },
        ("lastIndexOf", [Value::String(part)]) => number(last_index_of(text, part, usize::MAX)),
        ("lastIndexOf", [Value::String(part), Value::Int(to)]) => match usize::try_from(*to) {
            Ok(to) if to <= text.chars().count() => number(last_index_of(text, part, to)),
            _ => failed(format!("index out of range: {to}")),
        },
        ("lowerAscii", []) => made(text.to_ascii_lowercase()),
        ("upperAscii", []) => made(text.to_ascii_uppercase()),
        ("jsonpatch.escapeKey", []) => made(text.replace('~', "~0").replace('/', "~1")),
        ("strings.quote", []) => made(quoted(text)),
        ("trim", []) => made(text.trim().to_owned()),
        ("reverse", []) => made(text.chars().rev().collect()),
        ("replace", [Value::String(old), Value::String(new)]) => made(text.replace(&**old, new)),
        ("replace", [Value::String(old), Value::String(new), Value::Int(times)]) => match usize::try_from(*times) {
            Ok(times) => made(text.replacen(&**old, new, times)),
            Err(_) => made(text.replace(&**old, new)),
        },
        ("split", [Value::String(by)]) => Ok(split(text, by, -1)),
        ("split", [Value::String(by), Value::Int(limit)]) => Ok(split(text, by, *limit)),
        ("substring", [Value::Int(from)]) => {
            substring(text, *from, None).map_or_else(|| failed(format!("index out of range: {from}")), made)
        }
        ("substring", [Value::Int(from), Value::Int(to)]) => {
            substring(text, *from, Some(*to)).map_or_else(|| failed(format!("index out of range: {to}")), made)
        }
        ("format", [list]) => match list.items() {
            Some(values) => format(text, &values),
            None => no_overload(),
        },
        _ => return None,
    })
}

/// As a literal of the language.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for char in text.chars() {
        match char {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '"' | '\\' => out.extend(['\\', char]),
            plain => out.push(plain),
        }
    }
    out.push('"');
    out
}

fn index_of(text: &str, part: &str, from: usize) -> Option<usize> {
    let start = text.char_indices().nth(from).map_or(text.len(), |(at, _)| at);
    let found = text[start..].find(part)?;
    Some(text[..start + found].chars().count())
}

fn last_index_of(text: &str, part: &str, to: usize) -> Option<usize> {
    let last = text.char_indices().nth(to).map_or(text.len(), |(at, _)| at);
    let end = last.saturating_add(part.len()).min(text.len());
    let end = (end..=text.len()).find(|end| text.is_char_boundary(*end))?;
    Some(text[..text[..end].rfind(part)?].chars().count())
}

fn substring(text: &str, from: i64, to: Option<i64>) -> Option<String> {
    let count = text.chars().count();
    let from = usize::try_from(from).ok().filter(|from| *from <= count)?;
    let to = match to {
        Some(to) => usize::try_from(to).ok().filter(|to| *to <= count && *to >= from)?,
        None => count,
    };
    Some(text.chars().skip(from).take(to - from).collect())
}

fn split<'a>(text: &str, by: &str, limit: i64) -> Value<'a> {
    let parts: Vec<String> = match (usize::try_from(limit), by) {
        (Ok(0), _) => Vec::new(),
        (Ok(limit), "") => {
            let mut parts: Vec<String> = text.chars().take(limit - 1).map(String::from).collect();
            let rest: String = text.chars().skip(limit - 1).collect();
            parts.extend(Some(rest).filter(|rest| !rest.is_empty()));
            parts
        }
        (Err(_), "") => text.chars().map(String::from).collect(),
        (Ok(limit), by) => text.splitn(limit, by).map(str::to_owned).collect(),
        (Err(_), by) => text.split(by).map(str::to_owned).collect(),
    };
    Value::list(parts.into_iter().map(Value::text).collect())
}

/// A precision makes much of little.
const FORMATTED_MAX: usize = 4 << 20;

/// `%s`, `%d`, `%f`, `%e`, `%b`, `%x`, `%X`, `%o`, with a precision for decimals.
fn format<'a>(text: &str, values: &[Value<'_>]) -> Outcome<'a> {
    let (mut out, mut values) = (String::new(), values.iter());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if char != '%' {
            out.push(char);
            continue;
        }
        let mut precision = String::new();
        if chars.next_if_eq(&'.').is_some() {
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                precision.push(digit);
            }
        }
        let Some(verb) = chars.next() else { return failed("unexpected end of string") };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = values.next() else { return failed("index out of range") };
        let digits = match precision.as_str() {
            "" => Some(6),
            written => written.parse::<u16>().ok().map(usize::from),
        };
        let Some(digits) = digits else { return failed(format!("precision {precision} is too large")) };
        let double = match value {
            Value::Int(number) => Some(*number as f64),
            Value::Uint(number) => Some(*number as f64),
            Value::Double(number) => Some(*number),
            _ => None,
        };
        let written = match (verb, value) {
            ('s', value) => print(value),
            ('d', Value::Int(_) | Value::Uint(_)) => print(value),
            ('d', Value::Double(number)) => print_double(*number),
            ('f', _) => match double {
                Some(number) => format!("{number:.digits$}"),
                None => return failed("fixed-point clause can only be used on doubles"),
            },
            ('e', _) => match double {
                Some(number) => exponent(number, digits),
                None => return failed("scientific notation can only be used on doubles"),
            },
            ('b', Value::Bool(value)) => u8::from(*value).to_string(),
            ('b', Value::Int(number)) => format!("{number:b}"),
            ('b', Value::Uint(number)) => format!("{number:b}"),
            ('o', Value::Int(number)) => format!("{number:o}"),
            ('o', Value::Uint(number)) => format!("{number:o}"),
            ('x', Value::Int(number)) => format!("{number:x}"),
            ('X', Value::Int(number)) => format!("{number:X}"),
            ('x', Value::Uint(number)) => format!("{number:x}"),
            ('X', Value::Uint(number)) => format!("{number:X}"),
            ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('X', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
            ('x', Value::Bytes(bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            ('X', Value::Bytes(bytes)) => bytes.iter().map(|byte| format!("{byte:02X}")).collect(),
            (verb, value) => {
                return failed(format!(
                    "error during formatting: unrecognized formatting clause \"{verb}\" of {}",
                    value.type_name()
                ));
            }
        };
        out.push_str(&written);
        if out.len() > FORMATTED_MAX {
            return failed(format!("the formatted text is longer than {FORMATTED_MAX} bytes"));
        }
    }
    Ok(Value::text(out))
}

/// Go writes at least two digits of the exponent.
fn exponent(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$e}");
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
    format!("{mantissa}e{sign}{power:0>2}")
}
