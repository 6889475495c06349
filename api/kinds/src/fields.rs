//! Rules for single fields that several kinds share.

use kontiki_model::Faults;
use kontiki_schema::{TypeId, builtin};
use serde_json::Value;

use crate::names::{label, path_segment, report, subdomain, validate_annotations, validate_labels};
use crate::tree::{at, members};

/// `[A-Za-z0-9/\-._~%!$&'()*+,;=:]+`
const PATH_BYTES: &[u8] = b"/-._~%!$&'()*+,;=:";
pub const DRIVER_NAME_LENGTH_MAX: usize = 63;

/// The member at a JSON pointer is what it was.
pub fn immutable(new: &Value, old: &Value, pointer: &str, faults: &mut Faults) {
    if at(new, pointer) != at(old, pointer) {
        let path = pointer.trim_start_matches('/').replace('/', ".");
        faults.invalid(path, at(new, pointer).clone(), "field is immutable");
    }
}

/// One of these words; an empty one is as wrong as any other.
pub fn one_of(value: &str, path: impl Into<String>, supported: &[&str], faults: &mut Faults) {
    if !supported.contains(&value) {
        faults.not_supported(path, value, supported);
    }
}

/// One of the values that a field is known to have, by its type and its name.
pub fn known(value: &str, (of, field): (TypeId, &str), path: impl Into<String>, faults: &mut Faults) {
    let values = builtin().field(of, field).map_or(&[] as &[&str], |field| field.values);
    assert!(!values.is_empty(), "{field} has no values in the table");
    one_of(value, path, values, faults);
}

/// A name that must be there and keep a rule.
pub fn named(value: &str, rule: fn(&str) -> Vec<String>, path: impl Into<String>, faults: &mut Faults) {
    let path = path.into();
    match value {
        "" => faults.required(path, ""),
        value => report(rule(value), value, &path, faults),
    }
}

/// An optional API group, and a kind and a name that are path segments: a reference to an object.
pub fn reference(reference: &Value, path: &str, kind_member: &str, faults: &mut Faults) {
    let text = |member: &str| reference[member].as_str().unwrap_or_default();
    if let Some(group) = reference["apiGroup"].as_str() {
        report(subdomain(group), group, &format!("{path}.apiGroup"), faults);
    }
    for member in [kind_member, "name"] {
        named(text(member), path_segment, format!("{path}.{member}"), faults);
    }
}

/// `name.example.com`: a domain of at least three parts.
pub fn fully_qualified(value: &str, path: &str, faults: &mut Faults) {
    let wrong = subdomain(value);
    if value.is_empty() {
        faults.required(path, "");
    } else if !wrong.is_empty() {
        faults.invalid(path, value, wrong.join(","));
    } else if value.split('.').count() < 3 {
        faults.invalid(path, value, "should be a domain with at least three segments separated by dots");
    }
}

/// `example.com/path`
pub fn domain_prefixed_path(value: &str, path: &str, faults: &mut Faults) {
    let Some((domain, rest)) = value.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty())
    else {
        faults.invalid(path, value, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        return;
    };
    report(subdomain(domain), domain, path, faults);
    if !rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || PATH_BYTES.contains(&byte)) {
        let detail = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        faults.invalid(path, rest, detail);
    }
}

/// The name of a CSI driver or a resource driver: a subdomain in any case, at most 63 characters.
pub fn driver_name(value: &str, path: &str, faults: &mut Faults) {
    if value.is_empty() {
        faults.required(path, "");
        return;
    }
    if value.len() > DRIVER_NAME_LENGTH_MAX {
        faults.too_long(path, DRIVER_NAME_LENGTH_MAX);
    }
    report(subdomain(&value.to_lowercase()), value, path, faults);
}

/// `example.com/name`, as signers are named.
pub fn signer_name(value: &str, path: &str, faults: &mut Faults) {
    if value.is_empty() {
        faults.required(path, "");
        return;
    }
    let segments: Vec<&str> = value.split('/').collect();
    let [domain, rest] = segments[..] else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        faults.invalid(path, value, detail);
        return;
    };
    let mut first_wrong = |whole: &str, rule: fn(&str) -> Vec<String>| {
        if let Some(part) = whole.split('.').find(|part| !rule(part).is_empty()) {
            for wrong in rule(part) {
                faults.invalid(path, whole, format!("validating label {part:?}: {wrong}"));
            }
        }
    };
    first_wrong(domain, label);
    first_wrong(rest, subdomain);
    if !domain.contains('.') {
        faults.invalid(path, domain, "should be a domain with at least two segments separated by dots");
    }
}

/// The metadata of what is made from a template: only labels and annotations are used.
pub fn template_metadata(metadata: &Value, path: &str, faults: &mut Faults) {
    validate_annotations(at(metadata, "/annotations"), &format!("{path}.annotations"), faults);
    validate_labels(at(metadata, "/labels"), &format!("{path}.labels"), faults);
    for (member, value) in members(metadata, "") {
        if !matches!(member.as_str(), "annotations" | "labels") && !value.is_null() {
            faults.forbidden(format!("{path}.{member}"), "cannot be set");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(check: impl FnOnce(&mut Faults)) -> Vec<String> {
        let mut faults = Faults::default();
        check(&mut faults);
        faults.iter().map(|one| format!("{}: {}", one.field, one.message())).collect()
    }

    #[test]
    fn names_with_domains() {
        type Rule = fn(&str, &str, &mut Faults);
        let cases: &[(Rule, &str, &[&str])] = &[
            (fully_qualified, "a.example.com", &[]),
            (fully_qualified, "", &["f: Required value"]),
            (
                fully_qualified,
                "example.com",
                &[
                    "f: Invalid value: \"example.com\": should be a domain with at least three segments separated by dots",
                ],
            ),
            (domain_prefixed_path, "example.com/a/b", &[]),
            (
                domain_prefixed_path,
                "example.com",
                &["f: Invalid value: \"example.com\": must be a domain-prefixed path (such as \"acme.io/foo\")"],
            ),
            (
                domain_prefixed_path,
                "example.com/a b",
                &[
                    "f: Invalid value: \"a b\": Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')",
                ],
            ),
            (driver_name, "CSI.example.com", &[]),
            (driver_name, "", &["f: Required value"]),
            (signer_name, "example.com/a.b", &[]),
            (
                signer_name,
                "example/a",
                &["f: Invalid value: \"example\": should be a domain with at least two segments separated by dots"],
            ),
            (
                signer_name,
                "example.com",
                &[
                    "f: Invalid value: \"example.com\": must be a fully qualified domain and path of the form 'example.com/signer-name'",
                ],
            ),
        ];
        for (rule, value, expected) in cases {
            assert_eq!(told(|faults| rule(value, "f", faults)), *expected, "{value}");
        }
        let long = "a".repeat(64);
        assert_eq!(told(|faults| driver_name(&long, "f", faults)), ["f: Too long: may not be more than 63 bytes"]);
        assert_eq!(told(|faults| signer_name("exa_mple.com/a", "f", faults)).len(), 1);
    }
}
