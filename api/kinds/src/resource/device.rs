//! One device of a ResourceSlice.

use kontiki_model::Faults;
use serde_json::Value;

use super::{
    capacity, dns_label, each, slice::validate_counters, unique, validate_binding_conditions, validate_qualified_name,
    validate_taint,
};
use crate::names::{report, subdomain};
use crate::pod::validate_node_selector;
use crate::tree::{at, count, flag, list, members, missing, text};

pub const ATTRIBUTES_AND_CAPACITIES_MAX: usize = 32;
pub const VALUE_LENGTH_MAX: usize = 64;
const TAINTS_MAX: usize = 16;
const CONSUMPTIONS_MAX: usize = 2;
const COUNTERS_MAX: usize = 32;
/// The scalar forms of an attribute, and those of many values.
const SCALARS: [&str; 4] = ["bool", "int", "string", "version"];
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

/// Such devices are larger, so a slice holds fewer of them.
pub fn is_advanced(device: &Value) -> bool {
    let listed = |(_, attribute): (&'_ String, &'_ Value)| LISTS.iter().any(|member| !attribute[*member].is_null());
    !list(device, "/taints").is_empty()
        || !list(device, "/consumesCounters").is_empty()
        || members(device, "/attributes").any(listed)
}

pub fn validate(device: &Value, by_device: bool, path: &str, faults: &mut Faults) {
    dns_label(text(device, "/name"), &format!("{path}.name"), faults);
    let total = count(device, "/attributes") + count(device, "/capacity");
    if total > ATTRIBUTES_AND_CAPACITIES_MAX {
        let detail =
            format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_AND_CAPACITIES_MAX}");
        faults.invalid(path, total, detail);
    }
    for (name, attribute) in members(device, "/attributes") {
        validate_qualified_name(name, &format!("{path}.attributes"), faults);
        validate_attribute(attribute, &format!("{path}.attributes[{name}]"), faults);
    }
    let shared = flag(device, "/allowMultipleAllocations");
    for (name, amount) in members(device, "/capacity") {
        validate_qualified_name(name, &format!("{path}.capacity"), faults);
        capacity::validate(amount, shared, &format!("{path}.capacity[{name}]"), faults);
    }
    each(list(device, "/taints"), TAINTS_MAX, &format!("{path}.taints"), faults, validate_taint);
    let (consumed, consumed_path) = (list(device, "/consumesCounters"), format!("{path}.consumesCounters"));
    each(consumed, CONSUMPTIONS_MAX, &consumed_path, faults, |one, path, faults| {
        validate_counters(one, "counterSet", COUNTERS_MAX, path, faults);
    });
    unique(consumed, &consumed_path, |one| text(one, "/counterSet").to_owned(), faults);
    validate_nodes(device, by_device, path, faults);
    validate_binding_conditions(device, path, faults);
}

fn validate_attribute(attribute: &Value, path: &str, faults: &mut Faults) {
    let strings = attribute["string"].as_str().map(|value| (format!("{path}.string"), value));
    let versions = attribute["version"].as_str().map(|value| (format!("{path}.version"), value));
    let listed = |member: &'static str| {
        let values = list(attribute, &format!("/{member}")).iter().enumerate();
        values.map(move |(index, value)| (format!("{path}.{member}[{index}]"), value.as_str().unwrap_or_default()))
    };
    for (path, value) in versions.iter().cloned().chain(listed("versions")) {
        if !is_semantic_version(value) {
            faults.invalid(path, value, "must be a string compatible with semver.org spec 2.0.0");
        }
    }
    for (path, value) in strings.into_iter().chain(versions).chain(listed("strings")).chain(listed("versions")) {
        if value.len() > VALUE_LENGTH_MAX {
            faults.too_long(path, VALUE_LENGTH_MAX);
        }
    }
    for member in LISTS.into_iter().filter(|member| attribute[*member].as_array().is_some_and(Vec::is_empty)) {
        faults.invalid(format!("{path}.{member}"), Value::Array(Vec::new()), "must not be empty if specified");
    }
    const DETAIL: &str = "exactly one value must be specified";
    match SCALARS.iter().chain(&LISTS).filter(|member| !attribute[**member].is_null()).count() {
        0 => faults.invalid(path, "", DETAIL),
        1 => {}
        _ => faults.invalid(path, attribute.clone(), DETAIL),
    }
}

/// Which nodes can use it, where its slice leaves that to each device.
fn validate_nodes(device: &Value, by_device: bool, path: &str, faults: &mut Faults) {
    const DETAIL: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to \
                          true in the ResourceSlice spec";
    let named = !missing(device, "/nodeName");
    let (selected, all) = (!missing(device, "/nodeSelector"), !missing(device, "/allNodes"));
    if !by_device {
        if named || selected || all {
            let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the \
                          ResourceSlice spec";
            faults.invalid(path, Value::Null, detail);
        }
        return;
    }
    let mut ways = Vec::new();
    match text(device, "/nodeName") {
        "" if named => faults.invalid(format!("{path}.nodeName"), "", "must not be empty"),
        "" => {}
        name => {
            ways.push("`nodeName`");
            report(subdomain(name), name, &format!("{path}.nodeName"), faults);
        }
    }
    if selected {
        ways.push("`nodeSelector`");
        validate_node_selector(at(device, "/nodeSelector"), &format!("{path}.nodeSelector"), faults);
    }
    if flag(device, "/allNodes") {
        ways.push("`allNodes`");
    } else if all {
        faults.invalid(format!("{path}.allNodes"), false, "must be either unset or set to true");
    }
    match ways[..] {
        [] => faults.required(path, DETAIL),
        [_] => {}
        _ => faults.invalid(path, format!("{{{}}}", ways.join(", ")), DETAIL),
    }
}

/// semver.org 2.0.0: three numbers, then what comes before the release, then the build.
fn is_semantic_version(text: &str) -> bool {
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, before) = rest.split_once('-').map_or((rest, None), |(core, before)| (core, Some(before)));
    let is_number = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let is_word =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_before = |part: &str| is_word(part) && (is_number(part) || part.bytes().any(|byte| !byte.is_ascii_digit()));
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && before.is_none_or(|before| before.split('.').all(is_before))
        && build.is_none_or(|build| build.split('.').all(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_semantic() {
        for good in ["0.0.1", "1.2.3-alpha.1", "1.2.3+build.01", "1.2.3-a-b+c", "10.20.30"] {
            assert!(is_semantic_version(good), "{good}");
        }
        for bad in ["1", "1.2", "1.2.03", "v1.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "1.2.3.4"] {
            assert!(!is_semantic_version(bad), "{bad}");
        }
    }
}
