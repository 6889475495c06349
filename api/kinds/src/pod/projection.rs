//! Volumes made of what objects say: Secrets, ConfigMaps, the pod itself, tokens.

use std::collections::HashSet;

use kontiki_model::Faults;
use serde_json::Value;

use super::environment::{VOLUME_FIELDS, field_reference, resource_reference};
use crate::tree::{at, int, list, text};
use crate::volumes::paths::relative_and_free;
use crate::volumes::rules::required;

const MODE_RULE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const TOKEN_SECONDS_MIN: i64 = 600;

pub fn secret(source: &Value, path: &str, faults: &mut Faults) {
    required(source, "secretName", path, faults);
    files(source, path, faults);
}

pub fn config_map(source: &Value, path: &str, faults: &mut Faults) {
    required(source, "name", path, faults);
    files(source, path, faults);
}

/// Modes and items of a volume made of a Secret or a ConfigMap.
fn files(source: &Value, path: &str, faults: &mut Faults) {
    mode(source, "defaultMode", path, faults);
    items(source, path, faults);
}

fn items(source: &Value, path: &str, faults: &mut Faults) {
    for (index, item) in list(source, "/items").iter().enumerate() {
        let path = format!("{path}.items[{index}]");
        required(item, "key", &path, faults);
        item_path(item, &path, faults);
        mode(item, "mode", &path, faults);
    }
}

fn item_path(item: &Value, path: &str, faults: &mut Faults) {
    match text(item, "/path") {
        "" => faults.required(format!("{path}.path"), ""),
        target => relative_and_free(target, &format!("{path}.path"), faults),
    }
}

fn mode(source: &Value, member: &str, path: &str, faults: &mut Faults) {
    let value = int(source, &format!("/{member}"));
    if !(0..=0o777).contains(&value) {
        faults.invalid(format!("{path}.{member}"), value, MODE_RULE);
    }
}

pub fn downward_api(source: &Value, path: &str, faults: &mut Faults) {
    mode(source, "defaultMode", path, faults);
    downward_items(source, path, faults);
}

/// Kubernetes tells faults of an item at its list.
fn downward_items(source: &Value, path: &str, faults: &mut Faults) {
    for item in list(source, "/items") {
        item_path(item, path, faults);
        let (field, resource) = (at(item, "/fieldRef"), at(item, "/resourceFieldRef"));
        match (field.is_null(), resource.is_null()) {
            (false, only) => {
                field_reference(field, VOLUME_FIELDS, &format!("{path}.fieldRef"), faults);
                if !only {
                    faults.invalid(
                        path,
                        "resource",
                        "fieldRef and resourceFieldRef can not be specified simultaneously",
                    );
                }
            }
            (true, false) => resource_reference(resource, true, &format!("{path}.resourceFieldRef"), faults),
            (true, true) => faults.required(path, "one of fieldRef and resourceFieldRef is required"),
        }
        mode(item, "mode", path, faults);
    }
}

pub fn projected(source: &Value, path: &str, faults: &mut Faults) {
    mode(source, "defaultMode", path, faults);
    let mut paths = HashSet::new();
    for (index, one) in list(source, "/sources").iter().enumerate() {
        let place = format!("{path}.sources[{index}]");
        let given = one.as_object().into_iter().flatten().filter(|(_, source)| !source.is_null());
        if given.count() > 1 {
            faults.forbidden(place.as_str(), "may not specify more than 1 volume type per source");
        }
        for kind in ["secret", "configMap"] {
            let source = at(one, &format!("/{kind}"));
            if !source.is_null() {
                let place = format!("{place}.{kind}");
                required(source, "name", &place, faults);
                items(source, &place, faults);
                unique_paths(source, text(source, "/name"), &mut paths, path, faults);
            }
        }
        downward_items(at(one, "/downwardAPI"), &format!("{place}.downwardAPI"), faults);
        unique_paths(at(one, "/downwardAPI"), "", &mut paths, path, faults);
        let token = at(one, "/serviceAccountToken");
        if !token.is_null() {
            token_expiration(token, &format!("{place}.serviceAccountToken"), faults);
            item_path(token, path, faults);
        }
    }
}

/// No two projected files at one path. The fault shows the source's name, or the path where it has none.
fn unique_paths<'a>(source: &'a Value, name: &str, seen: &mut HashSet<&'a str>, path: &str, faults: &mut Faults) {
    for target in list(source, "/items").iter().map(|item| text(item, "/path")).filter(|target| !target.is_empty()) {
        if !seen.insert(target) {
            let value = if name.is_empty() { target } else { name };
            faults.invalid(path, value, "conflicting duplicate paths");
        }
    }
}

fn token_expiration(source: &Value, path: &str, faults: &mut Faults) {
    let seconds = int(source, "/expirationSeconds");
    if seconds < TOKEN_SECONDS_MIN {
        faults.invalid(format!("{path}.expirationSeconds"), seconds, "may not specify a duration less than 10 minutes");
    } else if seconds > 1 << 32 {
        faults.invalid(
            format!("{path}.expirationSeconds"),
            seconds,
            "may not specify a duration larger than 2^32 seconds",
        );
    }
}
