//! CSINode: the storage drivers of a node.

use std::collections::HashSet;

use kontiki_model::Faults;
use serde_json::Value;

use super::GROUP;
use crate::column::{self, text_column};
use crate::names::{qualified, report};
use crate::tree::{at, list, remove, text, texts};
use crate::{Column, Kind, Restore, fields};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "CSINode",
    resource: "csinodes",
    singular: "csinode",
    namespaced: false,
    type_name: "storage.v1.CSINode",
    delete_returns_object: true,
    unconditional_update: false,
    columns: COLUMNS,
    cells: |node, now| vec![column::name(node), list(node, "/spec/drivers").len().into(), column::age(node, now)],
    validate,
    validate_update,
    restore: Restore::WhileThere,
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    Column { r#type: "integer", ..text_column("Drivers", 0, "How many storage drivers run on the node.") },
    column::AGE,
];

const NODE_ID_LENGTH_MAX: usize = 256;

fn validate(node: &Value, faults: &mut Faults) {
    let mut names = HashSet::new();
    for (index, driver) in list(node, "/spec/drivers").iter().enumerate() {
        let path = format!("spec.drivers[{index}]");
        let (name, id) = (text(driver, "/name"), text(driver, "/nodeID"));
        fields::driver_name(name, &format!("{path}.name"), faults);
        if id.is_empty() {
            faults.required(format!("{path}.nodeID"), "");
        }
        if id.len() > NODE_ID_LENGTH_MAX {
            let detail = format!("must be {NODE_ID_LENGTH_MAX} characters or less");
            faults.invalid(format!("{path}.nodeID"), id, detail);
        }
        if let Some(count) = at(driver, "/allocatable/count").as_i64().filter(|count| *count < 0) {
            faults.invalid(format!("{path}.allocatable.count"), count, "must be greater than or equal to 0");
        }
        if !names.insert(name) {
            faults.duplicate(format!("{path}.name"), name);
        }
        validate_topology(driver, &path, faults);
    }
}

/// Kubernetes reports these at the driver.
fn validate_topology(driver: &Value, path: &str, faults: &mut Faults) {
    let mut keys = HashSet::new();
    for key in texts(driver, "/topologyKeys") {
        if key.is_empty() {
            faults.required(path, "");
        }
        if !keys.insert(key) {
            faults.duplicate(path, key);
        }
        report(qualified(key), key, path, faults);
    }
}

/// Of a driver that stays, only how many volumes it takes may change.
fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    let identity = |driver: &Value| {
        let mut driver = driver.clone();
        remove(&mut driver, "allocatable");
        driver
    };
    for was in list(old, "/spec/drivers") {
        let same = list(new, "/spec/drivers").iter().filter(|is| text(is, "/name") == text(was, "/name"));
        for is in same.map(identity).filter(|is| *is != identity(was)) {
            faults.invalid("spec.drivers", is, "field is immutable");
        }
    }
}
