//! NetworkPolicy.

use kontiki_model::Faults;
use serde_json::{Value, json};

use super::GROUP;
use crate::column::{self, text_column};
use crate::names::{cidr, cidr_warning, network, parse_cidr, port_name, port_number, report};
use crate::tree::{at, fill, list, list_mut, missing, object, text, texts};
use crate::{Column, Kind, fields, metadata, selector};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "NetworkPolicy",
    resource: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
    type_name: "networking.v1.NetworkPolicy",
    generation: true,
    columns: COLUMNS,
    cells: |policy, now| {
        vec![column::name(policy), selector::to_cell(at(policy, "/spec/podSelector")), column::age(policy, now)]
    },
    default,
    validate,
    validate_update: |new, old, faults| metadata::validate_update(new, old, faults),
    warnings: |policy, _| blocks(policy).into_iter().flat_map(|(block, path)| block_warnings(block, &path)).collect(),
    ..Kind::BASE
};

const COLUMNS: &[Column] =
    &[column::NAME, text_column("Pod-Selector", 0, "The pods that the policy is about."), column::AGE];

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
/// The two directions: rules, and where their peers stand.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

/// A policy is about incoming traffic, and about outgoing traffic if it has rules for it.
fn default(policy: &mut Value) {
    let spec = object(policy, "spec");
    for (rules, _) in DIRECTIONS {
        for rule in list_mut(spec, &format!("/{rules}")) {
            for port in list_mut(rule, "/ports") {
                fill(port, "protocol", "TCP");
            }
        }
    }
    if list(spec, "/policyTypes").is_empty() {
        let egress = !list(spec, "/egress").is_empty();
        spec["policyTypes"] = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
}

fn validate(policy: &Value, faults: &mut Faults) {
    let spec = at(policy, "/spec");
    selector::validate(at(spec, "/podSelector"), "spec.podSelector", faults);
    for (rules, peers) in DIRECTIONS {
        for (index, rule) in list(spec, &format!("/{rules}")).iter().enumerate() {
            let path = format!("spec.{rules}[{index}]");
            for (at, port) in list(rule, "/ports").iter().enumerate() {
                validate_port(port, &format!("{path}.ports[{at}]"), faults);
            }
            for (at, peer) in list(rule, &format!("/{peers}")).iter().enumerate() {
                validate_peer(peer, &format!("{path}.{peers}[{at}]"), faults);
            }
        }
    }
    let types = list(spec, "/policyTypes");
    if types.len() > DIRECTIONS.len() {
        faults.invalid("spec.policyTypes", types.to_vec(), "may not specify more than two policyTypes");
        return;
    }
    for (index, kind) in texts(spec, "/policyTypes").enumerate() {
        fields::one_of(kind, format!("spec.policyTypes[{index}]"), &["Ingress", "Egress"], faults);
    }
}

fn validate_port(port: &Value, path: &str, faults: &mut Faults) {
    if let Some(protocol) = at(port, "/protocol").as_str() {
        fields::one_of(protocol, format!("{path}.protocol"), &PROTOCOLS, faults);
    }
    let (target, end) = (at(port, "/port"), at(port, "/endPort").as_i64());
    let end_path = format!("{path}.endPort");
    match (target.as_i64(), target.as_str(), end) {
        (Some(number), _, end) => {
            for wrong in port_number(number) {
                faults.invalid(format!("{path}.port"), number, wrong);
            }
            let Some(end) = end else { return };
            if end < number {
                faults.invalid(end_path.as_str(), end, "must be greater than or equal to `port`");
            }
            for wrong in port_number(end) {
                faults.invalid(end_path.as_str(), end, wrong);
            }
        }
        (None, Some(name), end) => {
            if let Some(end) = end {
                faults.invalid(end_path, end, "may not be specified when `port` is non-numeric");
            }
            report(port_name(name), name, &format!("{path}.port"), faults);
        }
        (None, None, Some(end)) => faults.invalid(end_path, end, "may not be specified when `port` is not specified"),
        (None, None, None) => {}
    }
}

fn validate_peer(peer: &Value, path: &str, faults: &mut Faults) {
    let selectors = ["podSelector", "namespaceSelector"];
    let selected = selectors.into_iter().filter(|member| !peer[*member].is_null());
    let mut peers = 0;
    for member in selected {
        peers += 1;
        selector::validate(&peer[member], &format!("{path}.{member}"), faults);
    }
    if !missing(peer, "/ipBlock") {
        peers += 1;
        validate_block(at(peer, "/ipBlock"), &format!("{path}.ipBlock"), faults);
    }
    if peers == 0 {
        faults.required(path, "must specify a peer");
    } else if peers > 1 && !missing(peer, "/ipBlock") {
        faults.forbidden(path, "may not specify both ipBlock and another peer");
    }
}

fn validate_block(block: &Value, path: &str, faults: &mut Faults) {
    let range = text(block, "/cidr");
    fields::named(range, cidr, format!("{path}.cidr"), faults);
    let Some((base, length)) = parse_cidr(range) else { return };
    for (index, except) in texts(block, "/except").enumerate() {
        let path = format!("{path}.except[{index}]");
        report(cidr(except), except, &path, faults);
        let Some((inner, inner_length)) = parse_cidr(except) else { continue };
        let inside = inner.is_ipv4() == base.is_ipv4() && network(inner, length) == network(base, length);
        if !inside || length >= inner_length {
            faults.invalid(path, except, "must be a strict subset of `cidr`");
        }
    }
}

/// All address blocks, with their paths.
fn blocks(policy: &Value) -> Vec<(&Value, String)> {
    let mut out = Vec::new();
    for (rules, peers) in DIRECTIONS {
        for (index, rule) in list(policy, &format!("/spec/{rules}")).iter().enumerate() {
            for (at, peer) in list(rule, &format!("/{peers}")).iter().enumerate() {
                out.extend(
                    peer.get("ipBlock").map(|block| (block, format!("spec.{rules}[{index}].{peers}[{at}].ipBlock"))),
                );
            }
        }
    }
    out
}

fn block_warnings(block: &Value, path: &str) -> Vec<String> {
    let except = texts(block, "/except").enumerate().map(|(index, range)| (format!("{path}.except[{index}]"), range));
    let all = std::iter::once((format!("{path}.cidr"), text(block, "/cidr"))).chain(except);
    all.filter_map(|(path, range)| cidr_warning(range).map(|warning| format!("{path}: {warning}"))).collect()
}
