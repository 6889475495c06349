//! resource.k8s.io: devices that pods can claim, and the rules its kinds share.

mod adminaccess;
mod capacity;
pub mod claim;
pub mod claimtemplate;
pub mod class;
mod device;
mod expression;
mod request;
pub mod slice;
mod status;
mod usage;

use std::collections::HashSet;

use kontiki_model::Faults;
use serde_json::Value;

use crate::fields;
use crate::names::{c_identifier, label, label_value, qualified, report, subdomain};
use crate::tree::{at, list, missing, text};

const GROUP: &str = "resource.k8s.io";
const CONFIGS_MAX: usize = 32;
const SELECTORS_MAX: usize = 32;
const PARAMETERS_BYTES_MAX: usize = 10 * 1024;
const POOL_NAME_LENGTH_MAX: usize = 253;
const IDENTIFIER_LENGTH_MAX: usize = 32;

/// Each item of a list that is not too long.
fn each(all: &[Value], max: usize, path: &str, faults: &mut Faults, check: impl Fn(&Value, &str, &mut Faults)) {
    if all.len() > max {
        faults.too_many(path, all.len(), max);
        return;
    }
    for (index, item) in all.iter().enumerate() {
        check(item, &format!("{path}[{index}]"), faults);
    }
}

/// No two items have the same key.
fn unique(all: &[Value], path: &str, key: impl Fn(&Value) -> String, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, item) in all.iter().enumerate() {
        let key = key(item);
        if !seen.insert(key.clone()) {
            faults.duplicate(format!("{path}[{index}]"), key);
        }
    }
}

/// Names in a list: strings, each once.
fn name_of(item: &Value) -> String {
    item.as_str().unwrap_or(text(item, "/name")).to_owned()
}

fn dns_label(value: &str, path: &str, faults: &mut Faults) {
    report(label(value), value, path, faults);
}

fn validate_pool_name(name: &str, path: &str, faults: &mut Faults) {
    if name.is_empty() {
        faults.required(path, "");
        return;
    }
    if name.len() > POOL_NAME_LENGTH_MAX {
        faults.too_long(path, POOL_NAME_LENGTH_MAX);
    }
    for part in name.split('/') {
        report(subdomain(part), part, path, faults);
    }
}

/// `name` or `domain/name`: an attribute or a capacity of a device.
fn validate_qualified_name(name: &str, path: &str, faults: &mut Faults) {
    match name.split('/').collect::<Vec<_>>()[..] {
        [name] => validate_identifier(name, path, faults),
        [domain, name] => {
            match domain {
                "" => faults.invalid(path, "", "the domain must not be empty"),
                domain => fields::driver_name(domain, path, faults),
            }
            match name {
                "" => faults.invalid(path, "", "the name must not be empty"),
                name => validate_identifier(name, path, faults),
            }
        }
        _ => faults.invalid(path, name, "must not contain more than one slash"),
    }
}

/// `domain/name`
fn validate_fully_qualified_name(name: &str, path: &str, faults: &mut Faults) {
    validate_qualified_name(name, path, faults);
    if !name.contains('/') {
        faults.invalid(path, name, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

fn validate_identifier(name: &str, path: &str, faults: &mut Faults) {
    if name.len() > IDENTIFIER_LENGTH_MAX {
        faults.too_long(path, IDENTIFIER_LENGTH_MAX);
    }
    report(c_identifier(name), name, path, faults);
}

/// Expressions that tell which devices will do.
fn validate_selectors(holder: &Value, path: &str, faults: &mut Faults) {
    each(list(holder, "/selectors"), SELECTORS_MAX, &format!("{path}.selectors"), faults, |selector, path, faults| {
        if missing(selector, "/cel") {
            faults.required(format!("{path}.cel"), "");
        } else {
            expression::validate(text(selector, "/cel/expression"), &format!("{path}.cel.expression"), faults);
        }
    });
}

/// What a driver is told; it means something to the driver alone.
fn validate_configuration(config: &Value, path: &str, faults: &mut Faults) {
    let path = format!("{path}.opaque");
    if missing(config, "/opaque") {
        faults.required(path, "");
        return;
    }
    fields::driver_name(text(config, "/opaque/driver"), &format!("{path}.driver"), faults);
    validate_opaque(at(config, "/opaque/parameters"), &format!("{path}.parameters"), faults);
}

/// A JSON object of bounded size.
fn validate_opaque(value: &Value, path: &str, faults: &mut Faults) {
    match value {
        Value::Null => faults.required(path, ""),
        Value::Object(_) if value.to_string().len() > PARAMETERS_BYTES_MAX => {
            faults.too_long(path, PARAMETERS_BYTES_MAX);
        }
        Value::Object(_) => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            faults.invalid(path, "<value omitted>", "must be a valid JSON object");
        }
    }
}

const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

fn validate_taint(taint: &Value, path: &str, faults: &mut Faults) {
    let (key, value) = (text(taint, "/key"), text(taint, "/value"));
    report(qualified(key), key, &format!("{path}.key"), faults);
    report(label_value(value), value, &format!("{path}.value"), faults);
    match text(taint, "/effect") {
        "" => faults.required(format!("{path}.effect"), ""),
        effect => fields::one_of(effect, format!("{path}.effect"), &EFFECTS, faults),
    }
}

fn validate_toleration(toleration: &Value, path: &str, faults: &mut Faults) {
    let (key, value, effect) = (text(toleration, "/key"), text(toleration, "/value"), text(toleration, "/effect"));
    if !key.is_empty() {
        report(qualified(key), key, &format!("{path}.key"), faults);
    }
    match text(toleration, "/operator") {
        "Exists" if !value.is_empty() => {
            faults.invalid(format!("{path}.value"), value, "must be empty for operator `Exists`");
        }
        "Exists" => {}
        "Equal" => report(label_value(value), value, &format!("{path}.value"), faults),
        "" => faults.required(format!("{path}.operator"), ""),
        other => faults.not_supported(format!("{path}.operator"), other, &["Equal", "Exists"]),
    }
    if !effect.is_empty() {
        fields::one_of(effect, format!("{path}.effect"), &EFFECTS, faults);
    }
}

/// Conditions that must come true before a device is used, and those that say it never will.
fn validate_binding_conditions(holder: &Value, path: &str, faults: &mut Faults) {
    const MAX: usize = 4;
    let (wanted, failed) = (list(holder, "/bindingConditions"), list(holder, "/bindingFailureConditions"));
    for (member, all) in [("bindingConditions", wanted), ("bindingFailureConditions", failed)] {
        let path = format!("{path}.{member}");
        each(all, MAX, &path, faults, |name, path, faults| {
            let name = name.as_str().unwrap_or_default();
            report(qualified(name), name, path, faults);
        });
        unique(all, &path, name_of, faults);
    }
    for (index, name) in failed.iter().enumerate().filter(|(_, name)| wanted.contains(name)) {
        let path = format!("{path}.bindingFailureConditions[{index}]");
        faults.invalid(path, name.clone(), "bindingFailureConditions must not overlap with bindingConditions");
    }
    if wanted.is_empty() != failed.is_empty() {
        let (member, other) = match wanted.is_empty() {
            true => ("bindingConditions", "bindingFailureConditions"),
            false => ("bindingFailureConditions", "bindingConditions"),
        };
        faults.invalid(
            format!("{path}.{member}"),
            Value::Array(Vec::new()),
            format!("{member} are required to use {other}"),
        );
    }
}
