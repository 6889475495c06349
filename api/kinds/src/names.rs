//! Rules for the identifiers inside objects that the model's general rules do not cover: ports, variables, addresses.
//!
//! Each rule returns what is wrong with a value; an empty list means it is valid.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kontiki_model::{Faults, metadata};
use serde_json::Value;

pub use kontiki_model::names::{config_key, label, label_value, path_segment, qualified, rfc1035_label, subdomain};

use crate::NameRule;

impl NameRule {
    /// The rule itself: what is wrong with a name.
    pub fn rule(self) -> fn(&str) -> Vec<String> {
        match self {
            NameRule::Subdomain => subdomain,
            NameRule::Label => label,
            NameRule::Rfc1035Label => rfc1035_label,
            NameRule::PathSegment => path_segment,
            NameRule::IpAddress => canonical_ip,
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

/// An IPv4 or IPv6 address, of which no two readers make different ones.
pub fn ip(value: &str) -> Vec<String> {
    let wrong = match (value.parse::<IpAddr>(), without_leading_zeros(value).parse::<IpAddr>()) {
        (Ok(address), _) if is_mapped(address) => "must not be an IPv4-mapped IPv6 address",
        (Ok(_), _) => return Vec::new(),
        (Err(_), Ok(_)) => "must not have leading 0s",
        (Err(_), Err(_)) => "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
    };
    vec![wrong.to_owned()]
}

/// An address range, of which no two readers make different ones.
pub fn cidr(value: &str) -> Vec<String> {
    let padded = value.split_once('/').is_some_and(|(_, length)| length.len() > 1 && length.starts_with('0'));
    let wrong = match (parse_cidr(value), parse_cidr(&without_leading_zeros(value))) {
        (None, None) => "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        (None, Some(_)) => "must not have leading 0s in IP or prefix length",
        (Some(_), _) if padded => "must not have leading 0s in IP or prefix length",
        (Some((address, _)), _) if is_mapped(address) => "must not have an IPv4-mapped IPv6 address",
        (Some((address, length)), _) if network(address, length) != address => {
            "must not have bits set beyond the prefix length"
        }
        (Some(_), _) => return Vec::new(),
    };
    vec![wrong.to_owned()]
}

/// Some read octets with leading zeros as decimal, some as octal, and most not at all.
fn without_leading_zeros(value: &str) -> String {
    let octets: Vec<&str> = value.split('.').collect();
    let bare = octets.iter().map(|octet| match octet.trim_start_matches('0') {
        "" if !octet.is_empty() => "0".to_owned(),
        rest if rest.starts_with('/') => format!("0{rest}"),
        rest => rest.to_owned(),
    });
    bare.collect::<Vec<_>>().join(".")
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

/// An address as it is printed: one text for each address, so that texts can be compared.
pub fn canonical_ip(value: &str) -> Vec<String> {
    match value.parse::<IpAddr>() {
        Err(_) => ip(value),
        Ok(address) if is_mapped(address) => ip(value),
        Ok(address) if address.to_string() != value => vec![format!("must be in canonical form (\"{address}\")")],
        Ok(_) => Vec::new(),
    }
}

/// An address range as it is printed, without bits beyond its prefix.
pub fn canonical_cidr(value: &str) -> Vec<String> {
    let wrong = cidr(value);
    let Some((address, length)) = parse_cidr(value).filter(|_| wrong.is_empty()) else { return wrong };
    let canonical = format!("{address}/{length}");
    if canonical == value { Vec::new() } else { vec![format!("must be in canonical form (\"{canonical}\")")] }
}

/// What a spelling of an address that is not the usual one may lead to.
pub fn ip_warning(value: &str) -> Option<String> {
    let strict = value.parse::<IpAddr>();
    let address = strict.clone().or_else(|_| without_leading_zeros(value).parse()).ok()?;
    let canonical = address.to_canonical().to_string();
    if strict.is_err() || is_mapped(address) {
        return Some(format!(
            "non-standard IP address {value:?} will be considered invalid in a future Kubernetes release: use {canonical:?}"
        ));
    }
    let spelled = address.is_ipv6() && canonical != value;
    spelled.then(|| format!("IPv6 address {value:?} should be in RFC 5952 canonical format ({canonical:?})"))
}

/// Bits beyond the prefix say nothing, and IPv6 has many spellings.
pub fn cidr_warning(range: &str) -> Option<String> {
    let (address, length) = parse_cidr(range)?;
    let base = network(address, length);
    if base != address {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let (whole, single) = (format!("{base}/{length}"), format!("{address}/{bits}"));
        return Some(format!("CIDR value {range:?} is ambiguous in this context (should be {whole:?} or {single:?}?)"));
    }
    let canonical = format!("{address}/{length}");
    let spelled = matches!(address, IpAddr::V6(_)) && canonical != range;
    spelled.then(|| format!("IPv6 CIDR value {range:?} should be in RFC 5952 canonical format ({canonical:?})"))
}

/// The address and the prefix length of a range.
pub fn parse_cidr(value: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = value.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    Some((address, length.parse().ok().filter(|length| *length <= bits)?))
}

/// The first address of the range that this address is in.
pub fn network(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// `*.` and a subdomain.
pub fn wildcard_subdomain(value: &str) -> Vec<String> {
    match value.strip_prefix("*.") {
        Some(rest) if subdomain(rest).is_empty() => Vec::new(),
        Some(_) | None => vec![
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case \
             alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation \
             is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        ],
    }
}

/// `[A-Za-z_][A-Za-z0-9_]*`
pub fn c_identifier(value: &str) -> Vec<String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts = value.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    if starts && value.bytes().all(legal) {
        return Vec::new();
    }
    vec![
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. \
         'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')"
            .to_owned(),
    ]
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
    fn addresses_say_what_is_wrong_with_them() {
        type Rule = fn(&str) -> Vec<String>;
        let cases: &[(Rule, &str, &str)] = &[
            (ip, "1.2.03.4", "must not have leading 0s"),
            (ip, "::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address"),
            (ip, "1.2.3.x", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
            (cidr, "10.0.0.5/8", "must not have bits set beyond the prefix length"),
            (cidr, "10.0.00/8", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
            (cidr, "10.0.0.00/8", "must not have leading 0s in IP or prefix length"),
            (cidr, "10.0.0.0/08", "must not have leading 0s in IP or prefix length"),
            (cidr, "::ffff:10.0.0.0/104", "must not have an IPv4-mapped IPv6 address"),
        ];
        for (rule, value, told) in cases {
            assert_eq!(rule(value), [*told], "{value}");
        }
    }

    #[test]
    fn spellings_that_are_not_the_usual_one() {
        let invalid = |value: &str, usual: &str| {
            let when = "will be considered invalid in a future Kubernetes release";
            Some(format!("non-standard IP address {value:?} {when}: use {usual:?}"))
        };
        let cases = [
            ("10.0.0.1", None),
            ("0:0::1", Some("IPv6 address \"0:0::1\" should be in RFC 5952 canonical format (\"::1\")".to_owned())),
            ("010.0.0.01", invalid("010.0.0.01", "10.0.0.1")),
            ("::ffff:1.2.3.4", invalid("::ffff:1.2.3.4", "1.2.3.4")),
            ("None", None),
            ("", None),
        ];
        for (value, expected) in cases {
            assert_eq!(ip_warning(value), expected, "{value}");
        }
    }

    #[test]
    fn rules_accept_and_refuse() {
        type Rule = fn(&str) -> Vec<String>;
        let cases: &[(Rule, &[&str], &[&str])] = &[
            (env_name, &["A", "a b", "my.env-name"], &["", "a=b", "ä", "a\n"]),
            (port_name, &["http", "a-1"], &["", "-a", "a--b", "123", "UPPER", "sixteen-letters-x"]),
            (ip, &["10.0.0.1", "::1", "0.0.0.0"], &["", "10.0.0", "010.0.0.1", "zzz", "::ffff:1.2.3.4"]),
            (
                cidr,
                &["10.0.0.0/8", "::/0", "0.0.0.0/0"],
                &["10.0.0.0", "10.0.0.0/33", "x/1", "10.0.0.5/8", "10.0.0.0/08", "10.00.0.0/8", "::ffff:10.0.0.0/104"],
            ),
            (canonical_ip, &["10.0.0.1", "2001:db8::1"], &["010.0.0.1", "2001:DB8::1", "::ffff:10.0.0.1", "x"]),
            (canonical_cidr, &["10.0.0.0/8", "::/0", "10.0.0.1/32"], &["10.0.0.1/8", "2001:DB8::/64", "x"]),
            (wildcard_subdomain, &["*.a.b"], &["*", "a.*", "*.*.a", "*.A"]),
            (c_identifier, &["a_1", "_"], &["", "1a", "a-b"]),
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
