//! storage.k8s.io, and the rules its kinds share.

pub mod csidriver;
pub mod csinode;
pub mod csistoragecapacity;
pub mod storageclass;
pub mod volumeattachment;
pub mod volumeattributesclass;

use kontiki_model::Faults;
use serde_json::Value;

use crate::names::{qualified, report};
use crate::tree::{at, count, members, text};

const GROUP: &str = "storage.k8s.io";
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;

/// The name of what provides volumes, in any case.
fn validate_provisioner(class: &Value, member: &str, faults: &mut Faults) {
    match text(class, &format!("/{member}")) {
        "" => faults.required(member, ""),
        name => {
            let name = name.to_lowercase();
            report(qualified(&name), &name, member, faults);
        }
    }
}

/// What the provider is told; it means something to the provider alone.
fn validate_parameters(class: &Value, faults: &mut Faults) {
    const PATH: &str = "parameters";
    if count(class, "/parameters") > PARAMETERS_MAX {
        faults.too_long(PATH, PARAMETERS_MAX);
        return;
    }
    if at(class, "/parameters").get("").is_some() {
        faults.invalid(PATH, "", "field can not be empty.");
    }
    if bytes(class, "/parameters") > PARAMETERS_BYTES_MAX {
        faults.too_long(PATH, PARAMETERS_BYTES_MAX);
    }
}

/// Bytes of the keys and values of a map.
fn bytes(object: &Value, pointer: &str) -> usize {
    members(object, pointer).map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum()
}

/// What a class was made with stays.
fn kept(new: &Value, old: &Value, member: &str, faults: &mut Faults) {
    let pointer = format!("/{member}");
    if at(new, &pointer) != at(old, &pointer) {
        faults.forbidden(member, format!("updates to {member} are forbidden."));
    }
}
