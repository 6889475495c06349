//! Rules for the identifiers inside objects that the model's general rules do not cover: ports, variables, addresses.
//!
//! Each rule returns what is wrong with a value; an empty list means it is valid.

use std::net::IpAddr;

use kontiki_model::{Faults, metadata};
use serde_json::Value;

pub use kontiki_model::names::{config_key, label, label_value, qualified, subdomain};

use crate::NameRule;

impl NameRule {
    /// The rule itself: what is wrong with a name.
    pub fn rule(self) -> fn(&str) -> Vec<String> {
        match self {
            NameRule::Subdomain => subdomain,
            NameRule::Label => label,
            NameRule::Rfc1035Label => kontiki_model::names::rfc1035_label,
            NameRule::PathSegment => kontiki_model::names::path_segment,
        }
    }
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
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let mut out = Vec::new();
    if value.len() > 15 {
        out.push("must be no more than 15 characters".to_owned());
    }
    if value.is_empty() || !value.bytes().all(legal) {
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

/// A path below a domain: `acme.io/foo`.
pub fn path_with_domain(value: &str) -> Vec<String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    match value.split_once('/') {
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => {
            let mut out = subdomain(domain);
            if !path.bytes().all(legal) {
                out.push(
                    "must consist of alphanumeric characters or characters of '/-._~%!$&'()*+,;=:' behind the domain (regex used for \
                     validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')"
                        .to_owned(),
                );
            }
            out
        }
        _ => vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned()],
    }
}

/// Adds an Invalid fault for each thing that is wrong with the value.
pub fn report(found: Vec<String>, value: &str, path: &str, faults: &mut Faults) {
    for fault in found {
        faults.invalid(path, value, fault);
    }
}

/// Labels or a selector map; faults stand at the map, not at the key.
pub fn validate_labels(labels: &Value, path: &str, faults: &mut Faults) {
    if let Some(labels) = labels.as_object() {
        metadata::labels(labels, path, faults);
    }
}

/// Annotations: keys in any case, 256 KiB in all.
pub fn validate_annotations(annotations: &Value, path: &str, faults: &mut Faults) {
    if let Some(annotations) = annotations.as_object() {
        metadata::annotations(annotations, path, faults);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_accept_and_refuse() {
        type Rule = fn(&str) -> Vec<String>;
        let cases: &[(Rule, &[&str], &[&str])] = &[
            (env_name, &["A", "a b", "my.env-name"], &["", "a=b", "ä", "a\n"]),
            (port_name, &["http", "a-1"], &["", "-a", "a--b", "123", "UPPER", "sixteen-letters-x"]),
            (ip, &["10.0.0.1", "::1"], &["", "10.0.0", "010.0.0.1", "zzz"]),
            (path_with_domain, &["acme.io/foo", "a/b/c"], &["", "foo", "/foo", "acme.io/", "A/b", "a/b c"]),
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
}
