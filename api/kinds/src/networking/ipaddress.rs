//! IPAddress: an address of the Service network that something holds. Those of Services come and go with what holds them.

use kontiki_model::Faults;
use serde_json::{Value, json};

use super::GROUP;
use crate::column::{self, text_column};
use crate::names::{path_segment, report, subdomain};
use crate::tree::{at, text};
use crate::{Column, Holder, Kind, NameRule, Restore, fields, metadata};

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
    // Whose an address is, is said by who holds it now.
    restore: Restore::Never,
    validate,
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        fields::immutable(new, old, "/spec/parentRef", faults);
    },
    ..Kind::BASE
};

/// What tells that an address is held, as Kubernetes' allocator makes it.
pub fn record(address: &str, holder: &Holder<'_>) -> Value {
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    let labels = json!({
        "ipaddress.kubernetes.io/ip-family": family,
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    });
    json!({"metadata": {"name": address, "labels": labels}, "spec": {"parentRef": reference(holder)}})
}

/// Whether it tells of this holder.
pub fn tells_of(record: &Value, holder: &Holder<'_>) -> bool {
    let (is, other) = (at(record, "/spec/parentRef"), reference(holder));
    ["/group", "/resource", "/namespace", "/name"].into_iter().all(|part| text(is, part) == text(&other, part))
}

fn reference(holder: &Holder<'_>) -> Value {
    json!({
        "group": holder.kind.group,
        "resource": holder.kind.resource,
        "namespace": holder.namespace,
        "name": holder.name,
    })
}

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
