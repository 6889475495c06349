//! Kubernetes' rules for names, labels and identifiers, with its messages (`apimachinery` `validation` and `content`).
//!
//! Each rule returns what is wrong with a value; an empty list means it is valid.

use std::net::IpAddr;

use kontiki_model::{FaultKind, Faults};
use serde_json::Value;

use crate::NameRule;

const LABEL_LENGTH_MAX: usize = 63;
const SUBDOMAIN_LENGTH_MAX: usize = 253;
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

impl NameRule {
    /// What is wrong with a name. A prefix (`generateName`) may end in a dash.
    pub fn check(self, name: &str, prefix: bool) -> Vec<String> {
        let masked = match name.strip_suffix('-') {
            Some(rest) if prefix && !rest.is_empty() => format!("{}a", &rest[..rest.len() - last_char_len(rest)]),
            _ => name.to_owned(),
        };
        match self {
            NameRule::Subdomain => dns1123_subdomain(&masked),
            NameRule::Label => dns1123_label(&masked),
            NameRule::Rfc1035Label => dns1035_label(&masked),
            NameRule::PathSegment => path_segment(name, prefix),
        }
    }
}

fn last_char_len(text: &str) -> usize {
    text.chars().next_back().map_or(0, char::len_utf8)
}

fn no_longer_than(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

fn lower_alnum(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
fn is_label(text: &str) -> bool {
    bounded(text, lower_alnum, |byte| byte == b'-')
}

/// Non-empty, all bytes `edge` or `inner`, first and last `edge`.
fn bounded(text: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    edge(*first) && edge(*last) && bytes.iter().all(|byte| edge(*byte) || inner(*byte))
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// A lowercase RFC 1123 subdomain.
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > SUBDOMAIN_LENGTH_MAX {
        out.push(no_longer_than(SUBDOMAIN_LENGTH_MAX));
    }
    if !is_subdomain(value) {
        out.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end \
             with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        );
    }
    out
}

/// A lowercase RFC 1123 label.
pub fn dns1123_label(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > LABEL_LENGTH_MAX {
        out.push(no_longer_than(LABEL_LENGTH_MAX));
    }
    if is_label(value) {
        return out;
    }
    if is_subdomain(value) {
        out.push("must not contain dots".to_owned());
    } else {
        out.push(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an \
             alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    out
}

/// An RFC 1035 label: as RFC 1123, but starting with a letter.
pub fn dns1035_label(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > LABEL_LENGTH_MAX {
        out.push(no_longer_than(LABEL_LENGTH_MAX));
    }
    if !is_label(value) || value.as_bytes()[0].is_ascii_digit() {
        out.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end \
             with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    out
}

/// One segment of a URL path.
pub fn path_segment(value: &str, prefix: bool) -> Vec<String> {
    let mut out = Vec::new();
    if !prefix && (value == "." || value == "..") {
        out.push(format!("may not be '{value}'"));
    }
    for illegal in ["/", "%"] {
        if value.contains(illegal) {
            out.push(format!("may not contain '{illegal}'"));
        }
    }
    out
}

fn is_label_name(text: &str) -> bool {
    bounded(text, |byte| byte.is_ascii_alphanumeric(), |byte| matches!(byte, b'-' | b'_' | b'.'))
}

const LABEL_NAME_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
    character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// A label or annotation key, or any other "qualified name": `[prefix/]name`.
pub fn label_key(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    let name = match value.split_once('/') {
        Some((_, rest)) if rest.contains('/') => {
            return vec![format!(
                "a valid label key {LABEL_NAME_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
        Some(("", name)) => {
            out.push("prefix part must be non-empty".to_owned());
            name
        }
        Some((prefix, name)) => {
            out.extend(dns1123_subdomain(prefix).into_iter().map(|fault| format!("prefix part {fault}")));
            name
        }
        None => value,
    };
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_LENGTH_MAX {
        out.push(format!("name part {}", no_longer_than(LABEL_LENGTH_MAX)));
    }
    if !is_label_name(name) {
        out.push(format!("name part {LABEL_NAME_RULE}"));
    }
    out
}

/// A label value: empty, or up to 63 characters that start and end alphanumeric.
pub fn label_value(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > LABEL_LENGTH_MAX {
        out.push(no_longer_than(LABEL_LENGTH_MAX));
    }
    if !value.is_empty() && !is_label_name(value) {
        out.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
             an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
             '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .to_owned(),
        );
    }
    out
}

/// The key of a ConfigMap or Secret.
pub fn config_key(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > SUBDOMAIN_LENGTH_MAX {
        out.push(no_longer_than(SUBDOMAIN_LENGTH_MAX));
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if value.is_empty() || !value.bytes().all(legal) {
        out.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or \
             'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .to_owned(),
        );
    }
    match value {
        "." => out.push("must not be '.'".to_owned()),
        ".." => out.push("must not be '..'".to_owned()),
        _ if value.starts_with("..") => out.push("must not start with '..'".to_owned()),
        _ => {}
    }
    out
}

/// The name of an environment variable: since 1.34 any printable ASCII but `=`.
pub fn env_name(value: &str) -> Vec<String> {
    let legal = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    if value.is_empty() || !value.bytes().all(legal) {
        return vec![
            "a valid environment variable name must consist only of printable ASCII characters other than '=' (e.g. 'my.env-name',  or \
             'MY_ENV.NAME',  or 'MyEnvName1', regex used for validation is '^[ -<>-~]+$')"
                .to_owned(),
        ];
    }
    Vec::new()
}

/// The name of a container port (RFC 6335): at most 15, lower case, at least one letter.
pub fn port_name(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > 15 {
        out.push(no_longer_than(15));
    }
    if !value.bytes().all(|byte| lower_alnum(byte) || byte == b'-') || value.is_empty() {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !value.bytes().any(|byte| byte.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        out.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        out.push("must not begin or end with a hyphen".to_owned());
    }
    out
}

/// A port number.
pub fn port_number(value: i64) -> Vec<String> {
    if (1..=65535).contains(&value) { Vec::new() } else { vec!["must be between 1 and 65535, inclusive".to_owned()] }
}

/// An IPv4 or IPv6 address.
pub fn ip(value: &str) -> Vec<String> {
    match value.parse::<IpAddr>() {
        Ok(_) => Vec::new(),
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

/// An address range.
pub fn cidr(value: &str) -> Vec<String> {
    let parsed = value.split_once('/').and_then(|(address, length)| {
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        length.parse::<u8>().ok().filter(|length| *length <= bits)
    });
    match parsed {
        Some(_) => Vec::new(),
        None => vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()],
    }
}

/// Adds an Invalid fault for each thing that is wrong with the value.
pub fn report(found: Vec<String>, value: &str, path: &str, faults: &mut Faults) {
    for fault in found {
        faults.invalid(path, value, fault);
    }
}

pub fn validate_label_key(key: &str, path: &str, faults: &mut Faults) {
    report(label_key(key), key, path, faults);
}

/// Labels or a selector map; faults stand at the map, not at the key.
pub fn validate_labels(labels: &Value, path: &str, faults: &mut Faults) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        validate_label_key(key, path, faults);
        let value = value.as_str().unwrap_or_default();
        report(label_value(value), value, path, faults);
    }
}

/// Annotations: keys in any case, 256 KiB in all.
pub fn validate_annotations(annotations: &Value, path: &str, faults: &mut Faults) {
    let mut bytes = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        report(label_key(&key.to_lowercase()), key, path, faults);
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        faults.add(FaultKind::TooLong, path, None, format!("may not be more than {ANNOTATIONS_BYTES_MAX} bytes"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_accept_and_refuse() {
        type Rule = fn(&str) -> Vec<String>;
        let cases: &[(Rule, &[&str], &[&str])] = &[
            (dns1123_subdomain, &["a", "a.b.c-1", "1"], &["", "-a", "a-", "a..b", "A", "g."]),
            (dns1123_label, &["a", "1-b"], &["", "a.b", "A", "-"]),
            (dns1035_label, &["a1"], &["1a", ""]),
            (label_key, &["a", "x.io/a_B"], &["", "/a", "a/", "a/b/c", "A.io/a", "-bad"]),
            (label_value, &["", "a_B.c"], &["also bad!", "-", "a."]),
            (config_key, &["a", ".x", "A_b-c"], &["", "bad key", ".", "..", "..a"]),
            (env_name, &["A", "a b", "my.env-name"], &["", "a=b", "ä", "a\n"]),
            (port_name, &["http", "a-1"], &["", "-a", "a--b", "123", "UPPER", "sixteen-letters-x"]),
            (ip, &["10.0.0.1", "::1"], &["", "10.0.0", "010.0.0.1", "zzz"]),
            (cidr, &["10.0.0.0/8", "::/0"], &["10.0.0.0", "10.0.0.0/33", "x/1"]),
        ];
        for (rule, good, bad) in cases {
            for value in *good {
                assert_eq!(rule(value), Vec::<String>::new(), "{value:?}");
            }
            for value in *bad {
                assert_ne!(rule(value), Vec::<String>::new(), "{value:?}");
            }
        }
    }

    #[test]
    fn a_prefix_may_end_in_a_dash_but_not_in_a_dot() {
        assert!(NameRule::Subdomain.check("base-", true).is_empty());
        assert!(!NameRule::Subdomain.check("base-", false).is_empty());
        assert!(!NameRule::Subdomain.check("g.", true).is_empty());
        assert!(!NameRule::Subdomain.check("-", true).is_empty());
        assert_eq!(NameRule::Label.check("a.b", false), ["must not contain dots"]);
        assert_eq!(NameRule::PathSegment.check("a/b", false), ["may not contain '/'"]);
        assert!(NameRule::PathSegment.check("Any:Name_OK", false).is_empty());
    }
}
