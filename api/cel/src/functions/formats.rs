//! Formats that texts are checked against.

use std::sync::Arc;

use kontiki_model::names;

use super::Outcome;
use crate::url::Url;
use crate::value::{Value, timestamp};

pub fn call<'a>(name: &str, values: &[Value<'a>]) -> Option<Outcome<'a>> {
    Some(match (name, values) {
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

type Check = fn(&str) -> Vec<String>;

/// Formats that a value can be checked against, each with what is wrong.
const FORMATS: &[(&str, Check)] = &[
    ("dns1123Label", names::label),
    ("dns1123LabelPrefix", |text| names::label(&as_prefix(text))),
    ("dns1123Subdomain", names::subdomain),
    ("dns1123SubdomainPrefix", |text| names::subdomain(&as_prefix(text))),
    ("dns1035Label", names::rfc1035_label),
    ("dns1035LabelPrefix", |text| names::rfc1035_label(&as_prefix(text))),
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

/// What something is appended to may end with a dash.
fn as_prefix(text: &str) -> String {
    text.strip_suffix('-').filter(|rest| !rest.is_empty()).map_or_else(|| text.to_owned(), |rest| format!("{rest}a"))
}

fn wrong(fits: bool, why: &str) -> Vec<String> {
    if fits { Vec::new() } else { vec![why.to_owned()] }
}
