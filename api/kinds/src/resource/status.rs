//! What has become of a ResourceClaim: which devices it got, for whom, and how they are.

use std::net::IpAddr;

use kontiki_model::Faults;
use serde_json::Value;

use super::{
    CONFIGS_MAX, dns_label, each, name_of, request::Names, unique, validate_binding_conditions, validate_configuration,
    validate_opaque, validate_pool_name, validate_toleration,
};
use crate::names::{parse_cidr, report};
use crate::pod::validate_node_selector;
use crate::tree::{at, keep_all_but_status, list, missing, remove, text};
use crate::{condition, fields, metadata};

const RESERVED_MAX: usize = 256;
const RESULTS_MAX: usize = 32;
const CONDITIONS_MAX: usize = 8;
const ADDRESSES_MAX: usize = 16;

/// What is told of devices goes with them.
pub fn prepare(new: &mut Value, old: &Value) {
    keep_all_but_status(new, old);
    let kept = allocated(new);
    let gone: Vec<String> = allocated(old).into_iter().filter(|device| !kept.contains(device)).collect();
    if let Some(Value::Array(devices)) = new.pointer_mut("/status/devices") {
        devices.retain(|device| !gone.contains(&device_key(device)));
        if devices.is_empty() {
            remove(&mut new["status"], "devices");
        }
    }
}

/// `driver/pool/device`, and the share where a device is shared.
fn device_key(device: &Value) -> String {
    let key = ["driver", "pool", "device"].map(|member| text(device, &format!("/{member}"))).join("/");
    match text(device, "/shareID") {
        "" => key,
        share => format!("{key}/{share}"),
    }
}

fn allocated(claim: &Value) -> Vec<String> {
    list(claim, "/status/allocation/devices/results").iter().map(device_key).collect()
}

pub fn validate(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    validate_reserved(new, old, faults);
    let (devices, allocated) = (list(new, "/status/devices"), allocated(new));
    each(devices, usize::MAX, "status.devices", faults, |device, path, faults| {
        validate_device(device, &allocated, path, faults);
    });
    unique(devices, "status.devices", device_key, faults);
    let (is, was) = (at(new, "/status/allocation"), at(old, "/status/allocation"));
    match (is.is_null(), was.is_null()) {
        (false, false) => fields::immutable(new, old, "/status/allocation", faults),
        (false, true) => validate_allocation(is, &Names::of(at(new, "/spec")), faults),
        (true, _) => {}
    }
}

fn validate_reserved(new: &Value, old: &Value, faults: &mut Faults) {
    const PATH: &str = "status.reservedFor";
    let (reserved, before) = (list(new, "/status/reservedFor"), list(old, "/status/reservedFor"));
    each(reserved, RESERVED_MAX, PATH, faults, |consumer, path, faults| {
        for member in ["resource", "name", "uid"] {
            if text(consumer, &format!("/{member}")).is_empty() {
                faults.required(format!("{path}.{member}"), "");
            }
        }
    });
    unique(reserved, PATH, |consumer| text(consumer, "/uid").to_owned(), faults);
    if !reserved.is_empty() && missing(new, "/status/allocation") {
        faults.forbidden(PATH, "may not be specified when `allocated` is not set");
    } else if !missing(new, "/metadata/deletionTimestamp") && reserved.iter().any(|one| !before.contains(one)) {
        let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        faults.forbidden(PATH, detail);
    }
}

fn validate_allocation(allocation: &Value, names: &Names<'_>, faults: &mut Faults) {
    const PATH: &str = "status.allocation";
    let results = list(allocation, "/devices/results");
    each(results, RESULTS_MAX, &format!("{PATH}.devices.results"), faults, |result, path, faults| {
        names.validate(text(result, "/request"), &format!("{path}.request"), faults);
        validate_place(result, path, faults);
        validate_binding_conditions(result, path, faults);
        for (index, toleration) in list(result, "/tolerations").iter().enumerate() {
            validate_toleration(toleration, &format!("{path}.tolerations[{index}]"), faults);
        }
    });
    let configs = list(allocation, "/devices/config");
    each(configs, 2 * CONFIGS_MAX, &format!("{PATH}.devices.config"), faults, |config, path, faults| {
        match text(config, "/source") {
            "" => faults.required(format!("{path}.source"), ""),
            source => {
                let supported = ["FromClaim", "FromClass"];
                fields::one_of(source, format!("{path}.source"), &supported, faults);
            }
        }
        names.validate_all(config, path, faults);
        validate_configuration(config, path, faults);
    });
    if !missing(allocation, "/nodeSelector") {
        validate_node_selector(at(allocation, "/nodeSelector"), &format!("{PATH}.nodeSelector"), faults);
    }
}

/// Which device of which pool of which driver.
fn validate_place(device: &Value, path: &str, faults: &mut Faults) {
    fields::driver_name(text(device, "/driver"), &format!("{path}.driver"), faults);
    validate_pool_name(text(device, "/pool"), &format!("{path}.pool"), faults);
    dns_label(text(device, "/device"), &format!("{path}.device"), faults);
}

fn validate_device(device: &Value, allocated: &[String], path: &str, faults: &mut Faults) {
    validate_place(device, path, faults);
    let key = device_key(device);
    if !allocated.contains(&key) {
        faults.invalid(path, key, "must be an allocated device in the claim");
    }
    let conditions = list(device, "/conditions");
    if conditions.len() > CONDITIONS_MAX {
        faults.too_many(format!("{path}.conditions"), conditions.len(), CONDITIONS_MAX);
    }
    condition::validate_all(conditions, &format!("{path}.conditions"), faults);
    if !missing(device, "/data") {
        validate_opaque(at(device, "/data"), &format!("{path}.data"), faults);
    }
    validate_network(at(device, "/networkData"), &format!("{path}.networkData"), faults);
}

fn validate_network(data: &Value, path: &str, faults: &mut Faults) {
    for (member, max) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        if text(data, &format!("/{member}")).len() > max {
            faults.too_long(format!("{path}.{member}"), max);
        }
    }
    let (path, addresses) = (format!("{path}.ips"), list(data, "/ips"));
    each(addresses, ADDRESSES_MAX, &path, faults, |address, path, faults| {
        let address = address.as_str().unwrap_or_default();
        report(interface_address(address), address, path, faults);
    });
    unique(addresses, &path, name_of, faults);
}

/// An address with the prefix length of its network, in canonical form.
fn interface_address(value: &str) -> Vec<String> {
    let canonical = parse_cidr(value).map(|(address, length): (IpAddr, u8)| format!("{address}/{length}"));
    match canonical {
        None => {
            vec!["must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)".to_owned()]
        }
        Some(canonical) if canonical != value => vec![format!("must be in canonical form ({canonical:?})")],
        Some(_) => Vec::new(),
    }
}
