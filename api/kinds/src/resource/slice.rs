//! ResourceSlice: devices that a driver offers, on which nodes.

use chrono::{DateTime, SecondsFormat, Utc};
use kontiki_model::Faults;
use serde_json::{Value, json};

use super::{GROUP, device, dns_label, each, name_of, unique, validate_pool_name};
use crate::column::{self, text_column};
use crate::names::{report, subdomain};
use crate::pod::validate_node_selector;
use crate::tree::{at, fill, flag, int, list, list_mut, members, missing, text};
use crate::{Column, Disabled, Field, Kind, Restore, fields, metadata};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "ResourceSlice",
    resource: "resourceslices",
    singular: "resourceslice",
    namespaced: false,
    type_name: "resource.v1.ResourceSlice",
    generation: true,
    delete_returns_object: true,
    fields: &[
        Field { path: "spec.nodeName", get: |slice| text(slice, "/spec/nodeName").to_owned() },
        Field { path: "spec.driver", get: |slice| text(slice, "/spec/driver").to_owned() },
    ],
    columns: COLUMNS,
    cells: |slice, now| {
        vec![
            column::name(slice),
            text(slice, "/spec/nodeName").into(),
            text(slice, "/spec/driver").into(),
            text(slice, "/spec/pool/name").into(),
            column::age(slice, now),
        ]
    },
    disabled: &[
        Disabled::new(
            "DRAListTypeAttributes",
            &[
                &["spec", "devices", "*", "attributes", "*", "bools"],
                &["spec", "devices", "*", "attributes", "*", "ints"],
                &["spec", "devices", "*", "attributes", "*", "strings"],
                &["spec", "devices", "*", "attributes", "*", "versions"],
            ],
        ),
        Disabled::new("DRANodeAllocatableResources", &[&["spec", "devices", "*", "nodeAllocatableResourceMappings"]]),
    ],
    stamp,
    validate,
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        for pointer in ["/spec/pool/name", "/spec/driver", "/spec/nodeName"] {
            fields::immutable(new, old, pointer, faults);
        }
    },
    restore: Restore::WhileThere,
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Node", 0, "The node that has the devices."),
    text_column("Driver", 0, "The driver that offers them."),
    text_column("Pool", 0, "The pool that they belong to."),
    column::AGE,
];

const DEVICES_MAX: usize = 128;
const ADVANCED_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;

/// A taint is as old as the write that brought it.
fn stamp(slice: &mut Value, _: Option<&Value>, now: DateTime<Utc>) {
    for device in list_mut(slice, "/spec/devices") {
        for taint in list_mut(device, "/taints") {
            fill(taint, "timeAdded", now.to_rfc3339_opts(SecondsFormat::Secs, true));
        }
    }
}

fn validate(slice: &Value, faults: &mut Faults) {
    let spec = at(slice, "/spec");
    fields::driver_name(text(spec, "/driver"), "spec.driver", faults);
    validate_pool_name(text(spec, "/pool/name"), "spec.pool.name", faults);
    let (count, generation) = (int(spec, "/pool/resourceSliceCount"), int(spec, "/pool/generation"));
    if count <= 0 {
        faults.invalid("spec.pool.resourceSliceCount", count, "must be greater than zero");
    }
    if generation < 0 {
        faults.invalid("spec.pool.generation", generation, "must be greater than or equal to zero");
    }
    validate_nodes(spec, faults);
    if !missing(spec, "/sharedCounters") && !missing(spec, "/devices") {
        faults.invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let (devices, by_device) = (list(spec, "/devices"), flag(spec, "/perDeviceNodeSelection"));
    let max = if devices.iter().any(device::is_advanced) { ADVANCED_DEVICES_MAX } else { DEVICES_MAX };
    each(devices, max, "spec.devices", faults, |one, path, faults| device::validate(one, by_device, path, faults));
    unique(devices, "spec.devices", name_of, faults);
    let sets = list(spec, "/sharedCounters");
    each(sets, COUNTER_SETS_MAX, "spec.sharedCounters", faults, |set, path, faults| {
        validate_counters(set, "name", COUNTERS_MAX, path, faults);
    });
    unique(sets, "spec.sharedCounters", name_of, faults);
}

/// Exactly one way of saying which nodes can use the devices.
fn validate_nodes(spec: &Value, faults: &mut Faults) {
    const DETAIL: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut ways = Vec::new();
    match at(spec, "/nodeName").as_str() {
        None => {}
        Some("") => faults.invalid("spec.nodeName", "", "must be either unset or set to a non-empty string"),
        Some(name) => {
            ways.push("`nodeName`");
            report(subdomain(name), name, "spec.nodeName", faults);
        }
    }
    let selector = at(spec, "/nodeSelector");
    if !selector.is_null() {
        ways.push("`nodeSelector`");
        validate_node_selector(selector, "spec.nodeSelector", faults);
        let terms = list(selector, "/nodeSelectorTerms");
        if terms.len() != 1 {
            let path = "spec.nodeSelector.nodeSelectorTerms";
            faults.invalid(path, json!(terms), "must have exactly one node selector term");
        }
    }
    for (member, word) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        match spec[member].as_bool() {
            None => {}
            Some(true) => ways.push(word),
            Some(false) => faults.invalid(format!("spec.{member}"), false, "must be either unset or set to true"),
        }
    }
    match ways[..] {
        [] => faults.required("spec", DETAIL),
        [_] => {}
        _ => {
            let set = format!("{{{}}}", ways.join(", "));
            faults.invalid("spec", set, format!("{DETAIL}, but multiple fields are set"));
        }
    }
}

/// A set of counters: its own, or what a device takes of it.
pub fn validate_counters(set: &Value, member: &str, max: usize, path: &str, faults: &mut Faults) {
    fields::named(text(set, &format!("/{member}")), crate::names::label, format!("{path}.{member}"), faults);
    let counters: Vec<&String> = members(set, "/counters").map(|(name, _)| name).collect();
    let path = format!("{path}.counters");
    if counters.is_empty() {
        faults.required(path, "");
    } else if counters.len() > max {
        faults.too_many(path, counters.len(), max);
    } else {
        counters.into_iter().for_each(|name| dns_label(name, &path, faults));
    }
}
