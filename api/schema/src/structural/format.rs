//! Formats of strings that are checked; a schema may name any other, which then says nothing.

use std::net::Ipv6Addr;
use std::sync::LazyLock;

use chrono::NaiveDate;
use kontiki_cel::{is_url, wide_duration};
use regex::Regex;

use crate::scalar;

type Check = fn(&str) -> bool;

/// In the order of their names.
const FORMATS: &[(&str, Check)] = &[
    ("bsonobjectid", |text| text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())),
    ("byte", |text| scalar::decode_base64(text).is_some()),
    ("cidr", is_cidr),
    ("creditcard", is_credit_card),
    ("date", is_date),
    ("date-time", is_date_time),
    ("duration", |text| wide_duration(text).is_some()),
    ("email", is_email),
    ("hexcolor", |text| HEX_COLOR.is_match(text)),
    ("hostname", is_hostname),
    ("ipv4", |text| text.contains('.') && is_address(text)),
    ("ipv6", |text| text.contains(':') && is_address(text)),
    ("isbn", |text| is_isbn10(text) || is_isbn13(text)),
    ("isbn10", is_isbn10),
    ("isbn13", is_isbn13),
    ("k8s-long-name", |text| kontiki_model::names::subdomain(text).is_empty()),
    ("k8s-short-name", |text| kontiki_model::names::label(text).is_empty()),
    ("mac", is_mac),
    ("password", |_| true),
    ("rgbcolor", |text| RGB_COLOR.is_match(text)),
    ("ssn", |text| text.len() == 11 && SOCIAL_SECURITY_NUMBER.is_match(text)),
    ("uri", is_url),
    ("uuid", |text| is_uuid(text, HEX, HEX)),
    ("uuid3", |text| is_uuid(text, "3", HEX)),
    ("uuid4", |text| is_uuid(text, "4", "89ab")),
    ("uuid5", |text| is_uuid(text, "5", "89ab")),
];

/// Whether the format of a type is one that is checked.
pub fn is_known(r#type: &str, name: &str) -> bool {
    match r#type {
        "" | "string" => check_of(name).is_some(),
        "integer" => matches!(name, "int32" | "int64"),
        "number" => matches!(name, "float" | "double"),
        _ => false,
    }
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

static HEX_COLOR: LazyLock<Regex> = LazyLock::new(|| compiled(r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"));
static RGB_COLOR: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"^rgb\(\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])(\s*,\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])){2}\s*\)$",
    )
});
static SOCIAL_SECURITY_NUMBER: LazyLock<Regex> = LazyLock::new(|| compiled(r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$"));
static CREDIT_CARD: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$",
    )
});
/// Behind the `t`.
static TIME: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|[+-][0-9]{2}:[0-9]{2})$"));

fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is one of those above")
}

/// As Go has read addresses once: with zeros in front.
fn is_address(text: &str) -> bool {
    let four = |text: &str| {
        let parts: Vec<&str> = text.split('.').collect();
        let sound = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        parts.len() == 4 && parts.iter().all(|part| sound(part) && part.parse::<u8>().is_ok())
    };
    match text.rsplit_once(':') {
        None => four(text),
        // Its end may be written as an address of four numbers.
        Some((before, last)) if last.contains('.') => four(last) && format!("{before}:1:1").parse::<Ipv6Addr>().is_ok(),
        Some(_) => text.parse::<Ipv6Addr>().is_ok(),
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let bits = if address.contains(':') { 128 } else { 32 };
    is_address(address)
        && !length.is_empty()
        && length.bytes().all(|byte| byte.is_ascii_digit())
        && length.parse::<u8>().is_ok_and(|length| length <= bits)
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    // The sum of Luhn: of each second digit from behind, twice.
    let value = |(place, byte): (usize, u8)| match (place % 2, u32::from(byte - b'0')) {
        (0, digit) => digit,
        (_, digit) => digit * 2 / 10 + digit * 2 % 10,
    };
    CREDIT_CARD.is_match(&digits) && digits.bytes().rev().enumerate().map(value).sum::<u32>() % 10 == 0
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}

/// No date reaches beyond what calendars have; a zone may be any.
fn is_date_time(text: &str) -> bool {
    let text = text.to_lowercase();
    let mut parts = text.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    let Some(found) = TIME.captures(time) else { return false };
    is_date(date) && &found[1] <= "23" && &found[2] <= "59" && &found[3] <= "59"
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

/// Six, eight or twenty octets: `00:00:5e:…`, with dashes, or by twos with dots.
fn is_mac(text: &str) -> bool {
    let (by, width) = match text.find([':', '-', '.']) {
        Some(2) => (if text.contains(':') { ':' } else { '-' }, 2),
        Some(4) => ('.', 4),
        Some(_) | None => return false,
    };
    let parts: Vec<&str> = text.split(by).collect();
    let sound = |part: &&str| part.len() == width && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    matches!(parts.len() * width / 2, 6 | 8 | 20) && parts.iter().all(sound)
}

/// Dashes may be left out; what tells version and variant is one of these.
fn is_uuid(text: &str, version: &str, variant: &str) -> bool {
    let mut rest = text;
    for (index, width) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        rest = if index > 0 { rest.strip_prefix('-').unwrap_or(rest) } else { rest };
        let Some((group, behind)) = rest.split_at_checked(width) else { return false };
        let first = group.as_bytes()[0].to_ascii_lowercase();
        let wanted = match index {
            2 => version,
            3 => variant,
            _ => HEX,
        };
        if !wanted.as_bytes().contains(&first) || !group.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return false;
        }
        rest = behind;
    }
    rest.is_empty()
}

const HEX: &str = "0123456789abcdef";

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
            ("creditcard", &["4111 1111-1111 1111", "378282246310005"], &["4111111111111112", "1234", ""]),
            (
                "date-time",
                &["2026-01-31T10:00:00Z", "2026-01-31t10:00:00.5+01:00", "2026-01-31T10:00:00-99:00"],
                &["2026-01-31", "x", "2026-01-31 10:00:00Z", "2026-01-31T24:00:00Z", "2026-02-31T10:00:00Z", "1t"],
            ),
            (
                "duration",
                &[
                    "1h", "22s", "1d", "2w", "1 h", "10 ms", "3 hours", "2 weeks", "-1.5h", "- 3 days", "1 Minute",
                    "5µs",
                ],
                &["", "1x", "1", "h", "2 months", "99999999999999999999 s", "tomorrow"],
            ),
            ("email", &["a@b.c"], &["a", "@b"]),
            ("hostname", &["a.b-c"], &["-a", "a..b"]),
            ("hexcolor", &["#fff", "A0b1C2"], &["#ffff", "red"]),
            ("ipv4", &["1.2.3.4", "010.1.1.1", "::ffff:1.2.3.4"], &["1.2.3", "::1", "256.1.1.1"]),
            ("ipv6", &["::1", "::ffff:1.2.3.4"], &["1.2.3.4", "::1.2.3", ":1"]),
            ("isbn10", &["0-306-40615-2"], &["0-306-40615-3"]),
            ("isbn13", &["978-0-306-40615-7"], &["978-0-306-40615-8"]),
            (
                "mac",
                &["01:23:45:67:89:ab", "01-23-45-67-89-AB", "0000.5e00.5301"],
                &["01:23", "01:23-45:67:89:ab", "0000.5e00", "00005e005301"],
            ),
            ("rgbcolor", &["rgb(0, 128,255)"], &["rgb(0,0,256)", "rgb(0,0)"]),
            ("ssn", &["123-45-6789", "123 45 6789"], &["123456789", "12-345-6789"]),
            ("uri", &["https://a/b", "urn:x", "/a b", "a:"], &["not a uri", "https://a/%zz", ""]),
            (
                "uuid4",
                &["6ba7b810-9dad-41d1-80b4-00c04fd430c8", "6BA7B8109dad-41d180b4-00c04fd430c8"],
                &["6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b810-9dad-41d1-c0b4-00c04fd430c8", "x"],
            ),
            ("no-such-format", &["anything"], &[]),
        ];
        for (format, good, bad) in table {
            good.iter().for_each(|text| assert!(fits(format, text), "{format} {text:?}"));
            bad.iter().for_each(|text| assert!(!fits(format, text), "{format} {text:?}"));
        }
    }
}
