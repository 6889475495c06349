//! ConfigMap.

use kontiki_model::Faults;
use serde_json::Value;

use crate::column::{self, text_column};
use crate::names::{config_key, report};
use crate::quota::Measure;
use crate::tree::{at, count, flag, members};
use crate::{Column, Kind, metadata};

/// What a ConfigMap or Secret may hold, in bytes.
pub const DATA_BYTES_MAX: usize = 1024 * 1024;

pub static KIND: Kind = Kind {
    kind: "ConfigMap",
    resource: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    type_name: "core.v1.ConfigMap",
    columns: COLUMNS,
    cells: |map, now| {
        let entries = count(map, "/data") + count(map, "/binaryData");
        vec![column::name(map), entries.into(), column::age(map, now)]
    },
    validate,
    validate_update,
    measure: Some(&Measure { alias: Some("configmaps"), ..Measure::COUNT }),
    ..Kind::BASE
};

const COLUMNS: &[Column] =
    &[column::NAME, text_column("Data", 0, "Number of entries in data and binaryData."), column::AGE];

fn validate(map: &Value, faults: &mut Faults) {
    let mut bytes = 0;
    let binary = at(map, "/binaryData");
    for (key, value) in members(map, "/data") {
        report(config_key(key), key, &format!("data[{key}]"), faults);
        if binary.get(key).is_some() {
            faults.invalid(format!("data[{key}]"), key.as_str(), "duplicate of key present in binaryData");
        }
        bytes += value.as_str().map_or(0, str::len);
    }
    for (key, value) in members(map, "/binaryData") {
        report(config_key(key), key, &format!("binaryData[{key}]"), faults);
        bytes += decoded_length(value);
    }
    if bytes > DATA_BYTES_MAX {
        faults.too_long("", DATA_BYTES_MAX);
    }
}

/// Bytes behind a base64 string.
pub fn decoded_length(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default().trim_end_matches('=');
    text.len() * 3 / 4
}

fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    immutable_data(new, old, &["data", "binaryData"], faults);
}

/// Once `immutable` is set, neither it nor the data may change.
pub fn immutable_data(new: &Value, old: &Value, members: &[&str], faults: &mut Faults) {
    const DETAIL: &str = "field is immutable when `immutable` is set";
    if !flag(old, "/immutable") {
        return;
    }
    if !flag(new, "/immutable") {
        faults.forbidden("immutable", DETAIL);
    }
    for member in members {
        let pointer = format!("/{member}");
        let (new, old) = (at(new, &pointer), at(old, &pointer));
        let empty = |value: &Value| value.as_object().is_none_or(serde_json::Map::is_empty);
        if new != old && !(empty(new) && empty(old)) {
            faults.forbidden(*member, DETAIL);
        }
    }
}
