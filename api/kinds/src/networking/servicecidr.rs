//! ServiceCIDR: a range that Service addresses come from.

use kontiki_model::Faults;
use serde_json::{Value, json};

use super::GROUP;
use crate::column::{self, text_column};
use crate::names::{canonical_cidr, parse_cidr, report};
use crate::tree::{at, keep, list, object, text, texts};
use crate::{Column, Kind, Subresource, metadata};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "ServiceCIDR",
    resource: "servicecidrs",
    singular: "servicecidr",
    namespaced: false,
    type_name: "networking.v1.ServiceCIDR",
    subresources: &[Subresource::Status],
    columns: COLUMNS,
    cells: |cidr, now| {
        let ranges = texts(cidr, "/spec/cidrs").collect::<Vec<_>>().join(",");
        vec![column::name(cidr), ranges.into(), column::age(cidr, now)]
    },
    default: |cidr| {
        object(cidr, "status");
    },
    prepare_create: |cidr| cidr["status"] = json!({}),
    prepare_update: |new, old| keep(new, old, "status"),
    validate_create: validate,
    validate_update,
    validate_status: |new, old, faults| metadata::validate_update(new, old, faults),
    ..Kind::BASE
};

/// The ranges that addresses are given out of: those of one that is ready and not about to go.
pub fn usable(cidr: &Value) -> Vec<&str> {
    let is_ready = |condition: &&Value| text(condition, "/type") == "Ready" && text(condition, "/status") == "True";
    let ready = list(cidr, "/status/conditions").iter().any(|condition| is_ready(&condition));
    let going = !text(cidr, "/metadata/deletionTimestamp").is_empty();
    if ready && !going { texts(cidr, "/spec/cidrs").collect() } else { Vec::new() }
}

const COLUMNS: &[Column] =
    &[column::NAME, text_column("CIDRs", 0, "Ranges that Service addresses come from."), column::AGE];

const PATH: &str = "spec.cidrs";

/// One range, or one of each address family.
fn validate(cidr: &Value, faults: &mut Faults) {
    let ranges: Vec<&str> = texts(cidr, "/spec/cidrs").collect();
    match ranges[..] {
        [] => faults.required(PATH, "at least one CIDR required"),
        [_, _, _, ..] => faults.invalid(PATH, at(cidr, "/spec").clone(), "may only hold up to 2 values"),
        _ => {
            for (index, range) in ranges.iter().enumerate() {
                report(canonical_cidr(range), range, &format!("{PATH}[{index}]"), faults);
            }
            let families: Vec<bool> =
                ranges.iter().filter_map(|range| parse_cidr(range)).map(|(address, _)| address.is_ipv4()).collect();
            if families.len() == 2 && families[0] == families[1] {
                let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
                faults.invalid(PATH, list(cidr, "/spec/cidrs").to_vec(), detail);
            }
        }
    }
}

/// A second range may join the first; no range changes or goes.
fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    const DETAIL: &str = "field is immutable";
    metadata::validate_update(new, old, faults);
    let (is, was) = (list(new, "/spec/cidrs"), list(old, "/spec/cidrs"));
    let joined = was.len() == 1 && is.len() == 2;
    if is.len() != was.len() && !joined {
        faults.invalid(PATH, is.to_vec(), DETAIL);
        return;
    }
    for (index, (is, was)) in is.iter().zip(was).enumerate() {
        if is != was {
            faults.invalid(format!("{PATH}[{index}]"), is.clone(), DETAIL);
        }
    }
    if joined {
        validate(new, faults);
    }
}
