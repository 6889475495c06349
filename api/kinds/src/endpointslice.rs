//! EndpointSlice (discovery.k8s.io).

use std::collections::HashSet;
use std::net::IpAddr;

use kontiki_model::Faults;
use kontiki_schema::ids;
use serde_json::{Value, json};

use crate::column::{self, text_column};
use crate::endpoints::{first_few, validate_usable_ip};
use crate::names::{ip_warning, label, label_value, qualified, report, subdomain, validate_labels};
use crate::tree::{NULL, at, count, fill, list, list_mut, missing, remove, text, texts};
use crate::{Column, Kind, fields, metadata};

pub static KIND: Kind = Kind {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    resource: "endpointslices",
    singular: "endpointslice",
    type_name: "discovery.v1.EndpointSlice",
    generation: true,
    columns: COLUMNS,
    cells,
    default,
    prepare_create: |slice| drop_topology(slice, &NULL),
    prepare_update: |new, old| {
        metadata::count_as_content("labels", new, old);
        if list(new, "/endpoints") != list(old, "/endpoints") {
            drop_topology(new, old);
        }
    },
    validate,
    validate_update,
    warnings,
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("AddressType", 0, "Type of the addresses of all endpoints of this slice."),
    text_column("Ports", 0, "Ports of each endpoint of this slice."),
    text_column("Endpoints", 0, "Addresses of this slice."),
    column::AGE,
];

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const TOPOLOGY_LABELS_MAX: usize = 16;
const HINTS_MAX: usize = 8;
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGERS: [&str; 2] = ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

fn cells(slice: &Value, now: chrono::DateTime<chrono::Utc>) -> Vec<Value> {
    let unset = |all: Vec<String>| if all.is_empty() { "<unset>".to_owned() } else { first_few(&all) };
    let ports =
        list(slice, "/ports").iter().map(|port| port.get("port").map_or("*".to_owned(), Value::to_string)).collect();
    let addresses = list(slice, "/endpoints")
        .iter()
        .flat_map(|endpoint| list(endpoint, "/addresses"))
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    vec![
        column::name(slice),
        text(slice, "/addressType").into(),
        unset(ports).into(),
        unset(addresses).into(),
        column::age(slice, now),
    ]
}

fn default(slice: &mut Value) {
    for endpoint in list_mut(slice, "/endpoints") {
        fill(endpoint, "conditions", json!({}));
    }
    for port in list_mut(slice, "/ports") {
        fill(port, "name", "");
        fill(port, "protocol", "TCP");
    }
}

/// Labels of nodes are no part of this version. A node that only they named until now is named by the field for it.
fn drop_topology(slice: &mut Value, old: &Value) {
    let before: HashSet<&str> = list(old, "/endpoints").iter().map(node_of_topology).collect();
    for endpoint in list_mut(slice, "/endpoints") {
        let node = node_of_topology(endpoint).to_owned();
        if missing(endpoint, "/nodeName") && before.contains(node.as_str()) && subdomain(&node).is_empty() {
            endpoint["nodeName"] = node.into();
        }
        remove(endpoint, "deprecatedTopology");
    }
}

fn node_of_topology(endpoint: &Value) -> &str {
    text(endpoint, "/deprecatedTopology/kubernetes.io~1hostname")
}

fn warnings(slice: &Value, old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    if old.is_none() && text(slice, "/addressType") == "FQDN" {
        out.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
    }
    // They write addresses as usual, and many.
    let manager = at(slice, "/metadata/labels").get(MANAGED_BY).and_then(Value::as_str);
    if manager.is_some_and(|manager| MANAGERS.contains(&manager)) {
        return out;
    }
    for (index, endpoint) in list(slice, "/endpoints").iter().enumerate() {
        let each = texts(endpoint, "/addresses").map(ip_warning).enumerate();
        out.extend(each.filter_map(|(at, why)| Some(format!("endpoints[{index}].addresses[{at}]: {}", why?))));
    }
    out
}

fn validate(slice: &Value, faults: &mut Faults) {
    let kind = text(slice, "/addressType");
    match kind {
        "" => faults.required("addressType", ""),
        other => fields::known(other, (ids::DISCOVERY_V1_ENDPOINTSLICE, "addressType"), "addressType", faults),
    }
    let endpoints = list(slice, "/endpoints");
    if endpoints.len() > ENDPOINTS_MAX {
        faults.too_many("endpoints", endpoints.len(), ENDPOINTS_MAX);
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        validate_endpoint(endpoint, kind, &format!("endpoints[{index}]"), faults);
    }
    validate_ports(list(slice, "/ports"), faults);
}

fn validate_endpoint(endpoint: &Value, kind: &str, path: &str, faults: &mut Faults) {
    let addresses = list(endpoint, "/addresses");
    match addresses.len() {
        0 => faults.required(format!("{path}.addresses"), "must contain at least 1 address"),
        many if many > ADDRESSES_MAX => faults.too_many(format!("{path}.addresses"), many, ADDRESSES_MAX),
        _ => {}
    }
    for (index, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
        validate_address(address, kind, &format!("{path}.addresses[{index}]"), faults);
    }
    let node = text(endpoint, "/nodeName");
    if !node.is_empty() {
        report(subdomain(node), node, &format!("{path}.nodeName"), faults);
    }
    let labels = count(endpoint, "/deprecatedTopology");
    if labels > TOPOLOGY_LABELS_MAX {
        faults.too_many(format!("{path}.deprecatedTopology"), labels, TOPOLOGY_LABELS_MAX);
    }
    validate_labels(at(endpoint, "/deprecatedTopology"), &format!("{path}.deprecatedTopology"), faults);
    let hostname = text(endpoint, "/hostname");
    if !hostname.is_empty() {
        report(label(hostname), hostname, &format!("{path}.hostname"), faults);
    }
    validate_hints(endpoint, "forZones", label_value, path, faults);
    validate_hints(endpoint, "forNodes", subdomain, path, faults);
}

/// Who had best use the endpoint: few zones or nodes, each once.
fn validate_hints(endpoint: &Value, member: &str, rule: fn(&str) -> Vec<String>, path: &str, faults: &mut Faults) {
    let (hints, path) = (list(endpoint, &format!("/hints/{member}")), format!("{path}.hints.{member}"));
    if hints.len() > HINTS_MAX {
        faults.too_many(path, hints.len(), HINTS_MAX);
        return;
    }
    let mut seen = HashSet::new();
    for (index, hint) in hints.iter().enumerate() {
        let (name, path) = (text(hint, "/name"), format!("{path}[{index}].name"));
        if !seen.insert(name) {
            faults.duplicate(path.as_str(), name);
        }
        report(rule(name), name, &path, faults);
    }
}

fn validate_address(address: &str, kind: &str, path: &str, faults: &mut Faults) {
    match kind {
        "FQDN" => report(fqdn(address), address, path, faults),
        "IPv4" | "IPv6" => {
            let fits = address.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6() == (kind == "IPv6"));
            if !fits {
                faults.invalid(path, address, format!("must be a valid {kind} address"));
            }
            validate_usable_ip(address, path, faults);
        }
        _ => {}
    }
}

/// A subdomain with at least two labels.
fn fqdn(name: &str) -> Vec<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let wrong = subdomain(name);
    if wrong.is_empty() && !name.contains('.') {
        return vec!["should be a domain with at least two segments separated by dots".to_owned()];
    }
    wrong
}

fn validate_ports(ports: &[Value], faults: &mut Faults) {
    if ports.len() > PORTS_MAX {
        faults.too_many("ports", ports.len(), PORTS_MAX);
        return;
    }
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = format!("ports[{index}]");
        let name = text(port, "/name");
        if !name.is_empty() {
            report(label(name), name, &format!("{path}.name"), faults);
        }
        if !seen.insert(name) {
            faults.duplicate(format!("{path}.name"), name);
        }
        match text(port, "/protocol") {
            "" => faults.required(format!("{path}.protocol"), ""),
            other => {
                fields::known(other, (ids::DISCOVERY_V1_ENDPOINTPORT, "protocol"), format!("{path}.protocol"), faults)
            }
        }
        let protocol = text(port, "/appProtocol");
        if !protocol.is_empty() {
            report(qualified(protocol), protocol, &format!("{path}.appProtocol"), faults);
        }
    }
}

fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    if text(new, "/addressType") != text(old, "/addressType") {
        faults.invalid("addressType", text(new, "/addressType"), "field is immutable");
    }
}
