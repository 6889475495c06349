//! Texts.

use super::{Outcome, failed, formatting, no_overload};
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
            Some(values) => formatting::format(text, &values),
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
