//! IPAddress: an address of the Service network that something holds.

use kontiki_model::Faults;
use serde_json::Value;

use super::GROUP;
use crate::column::{self, text_column};
use crate::names::{path_segment, report, subdomain};
use crate::tree::{at, text};
use crate::{Column, Kind, NameRule, fields, metadata};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "IPAddress",
    resource: "ipaddresses",
    singular: "ipaddress",
    short_names: &["ip"],
    namespaced: false,
    type_name: "networking.v1.IPAddress",
    name_rule: NameRule::IpAddress,
    columns: COLUMNS,
    // Kubernetes gives one cell more than it names columns.
    cells: |address, now| {
        vec![column::name(address), parent(at(address, "/spec/parentRef")).into(), column::age(address, now)]
    },
    validate,
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        fields::immutable(new, old, "/spec/parentRef", faults);
    },
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[column::NAME, text_column("ParentRef", 0, "What holds the address.")];

/// `services/default/web`
fn parent(reference: &Value) -> String {
    if reference.is_null() {
        return "<none>".to_owned();
    }
    let resource = match (text(reference, "/resource"), text(reference, "/group")) {
        (resource, "") => resource.to_lowercase(),
        (resource, group) => format!("{resource}.{group}").to_lowercase(),
    };
    let place = [text(reference, "/namespace"), text(reference, "/name")];
    let place = place.into_iter().filter(|part| !part.is_empty());
    std::iter::once(resource.as_str()).chain(place).collect::<Vec<_>>().join("/")
}

fn validate(address: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.parentRef";
    let parent = at(address, "/spec/parentRef");
    if parent.is_null() {
        faults.required(PATH, "");
        return;
    }
    let group = text(parent, "/group");
    if !group.is_empty() {
        report(subdomain(group), group, &format!("{PATH}.group"), faults);
    }
    for member in ["resource", "name"] {
        fields::named(text(parent, &format!("/{member}")), path_segment, format!("{PATH}.{member}"), faults);
    }
    let namespace = text(parent, "/namespace");
    report(path_segment(namespace), namespace, &format!("{PATH}.namespace"), faults);
}
