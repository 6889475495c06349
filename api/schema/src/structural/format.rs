//! Formats of strings that are checked; a schema may name any other, which then says nothing.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use chrono::{DateTime, NaiveDate};

use crate::scalar;

type Check = fn(&str) -> bool;

/// In the order of their names.
const FORMATS: &[(&str, Check)] = &[
    ("bsonobjectid", |text| text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())),
    ("byte", |text| base64::engine::general_purpose::STANDARD.decode(text).is_ok()),
    ("cidr", is_cidr),
    ("date", |text| text.len() == 10 && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()),
    ("date-time", |text| DateTime::parse_from_rfc3339(text).is_ok()),
    ("datetime", |text| DateTime::parse_from_rfc3339(text).is_ok()),
    ("duration", |text| scalar::duration(text).is_ok()),
    ("email", is_email),
    ("hostname", is_hostname),
    ("ipv4", |text| text.parse::<Ipv4Addr>().is_ok()),
    ("ipv6", |text| text.parse::<Ipv6Addr>().is_ok()),
    ("isbn", |text| is_isbn10(text) || is_isbn13(text)),
    ("isbn10", is_isbn10),
    ("isbn13", is_isbn13),
    ("k8s-long-name", |text| kontiki_model::names::subdomain(text).is_empty()),
    ("k8s-short-name", |text| kontiki_model::names::label(text).is_empty()),
    ("mac", is_mac),
    ("password", |_| true),
    ("uri", is_uri),
    ("uuid", |text| is_uuid(text, None)),
    ("uuid3", |text| is_uuid(text, Some(b'3'))),
    ("uuid4", |text| is_uuid(text, Some(b'4'))),
    ("uuid5", |text| is_uuid(text, Some(b'5'))),
];

/// Whether the format is one that is checked.
pub fn is_known(name: &str) -> bool {
    check_of(name).is_some()
}

/// Whether a text has the format; any text has a format that is not known.
pub(super) fn fits(name: &str, text: &str) -> bool {
    check_of(name).is_none_or(|check| check(text))
}

fn check_of(name: &str) -> Option<Check> {
    let plain = name.replace('-', "");
    let found = FORMATS.iter().find(|(known, _)| *known == name || known.replace('-', "") == plain);
    found.map(|(_, check)| *check)
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let bits = match (address.parse::<Ipv4Addr>(), address.parse::<Ipv6Addr>()) {
        (Ok(_), _) => 32,
        (_, Ok(_)) => 128,
        (Err(_), Err(_)) => return false,
    };
    !length.is_empty()
        && length.bytes().all(|byte| byte.is_ascii_digit())
        && length.parse::<u8>().is_ok_and(|length| length <= bits)
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    !local.is_empty() && local.len() <= 64 && !local.contains([' ', '<', '>', '@']) && is_hostname(domain)
}

fn is_hostname(text: &str) -> bool {
    let label = |label: &str| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' || byte >= 0x80;
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(legal)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 255 && text.split('.').all(label)
}

fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return text.starts_with('/') };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(legal)
        && !rest.is_empty()
        && !text.contains(|one: char| one.is_whitespace() || one.is_control())
}

fn is_mac(text: &str) -> bool {
    let separator = if text.contains('-') { '-' } else { ':' };
    let parts: Vec<&str> = text.split(separator).collect();
    let pair = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    matches!(parts.len(), 6 | 8 | 20) && parts.iter().all(pair)
}

fn is_uuid(text: &str, version: Option<u8>) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    let dashed = text.len() == 36 && [8, 13, 18, 23].iter().all(|at| text.as_bytes()[*at] == b'-');
    digits.len() == 32
        && (dashed || text.len() == 32)
        && digits.iter().all(u8::is_ascii_hexdigit)
        && version.is_none_or(|version| digits[12] == version)
}

fn is_isbn10(text: &str) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-' && *byte != b' ').collect();
    let value = |(at, byte): (usize, &u8)| match byte {
        b'0'..=b'9' => Some(u32::from(byte - b'0')),
        b'X' if at == 9 => Some(10),
        _ => None,
    };
    let Some(values) = digits.iter().enumerate().map(value).collect::<Option<Vec<_>>>() else { return false };
    values.len() == 10 && values.iter().zip((1..=10).rev()).map(|(value, weight)| value * weight).sum::<u32>() % 11 == 0
}

fn is_isbn13(text: &str) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-' && *byte != b' ').collect();
    let sum = digits.iter().enumerate().map(|(at, byte)| u32::from(byte - b'0') * if at % 2 == 0 { 1 } else { 3 });
    digits.len() == 13 && digits.iter().all(u8::is_ascii_digit) && sum.sum::<u32>() % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_accept_and_refuse() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("byte", &["", "aGk="], &["a", "***"]),
            ("cidr", &["10.0.0.0/8", "::/0"], &["10.0.0.0", "10.0.0.0/33"]),
            ("date", &["2026-01-31"], &["2026-13-01", "2026-1-1"]),
            ("date-time", &["2026-01-31T10:00:00Z", "2026-01-31T10:00:00.5+01:00"], &["2026-01-31", "x"]),
            ("duration", &["1h", "22s"], &["", "1x"]),
            ("email", &["a@b.c"], &["a", "@b"]),
            ("hostname", &["a.b-c"], &["-a", "a..b"]),
            ("ipv4", &["1.2.3.4"], &["1.2.3", "::1"]),
            ("ipv6", &["::1"], &["1.2.3.4"]),
            ("isbn10", &["0-306-40615-2"], &["0-306-40615-3"]),
            ("isbn13", &["978-0-306-40615-7"], &["978-0-306-40615-8"]),
            ("mac", &["01:23:45:67:89:ab"], &["01:23"]),
            ("uri", &["https://a/b", "urn:x"], &["not a uri", "a:"]),
            ("uuid4", &["6ba7b810-9dad-41d1-80b4-00c04fd430c8"], &["6ba7b810-9dad-11d1-80b4-00c04fd430c8", "x"]),
            ("no-such-format", &["anything"], &[]),
        ];
        for (format, good, bad) in table {
            good.iter().for_each(|text| assert!(fits(format, text), "{format} {text:?}"));
            bad.iter().for_each(|text| assert!(!fits(format, text), "{format} {text:?}"));
        }
    }
}
