//! APIService (apiregistration.k8s.io): who serves a group and version.

use chrono::{DateTime, SecondsFormat, Utc};
use kontiki_model::Faults;
use serde_json::{Value, json};

use crate::column::{self, text_column};
use crate::names::{path_segment, port_number, report, rfc1035_label, subdomain};
use crate::tree::{at, fill, flag, int, keep, list, list_mut, missing, object, object_mut, text};
use crate::{Column, FinalizerRule, KINDS, Kind, NameRule, Subresource, fields, metadata};

pub static KIND: Kind = Kind {
    group: "apiregistration.k8s.io",
    kind: "APIService",
    resource: "apiservices",
    singular: "apiservice",
    categories: &["api-extensions"],
    namespaced: false,
    type_name: "apiregistration.v1.APIService",
    name_rule: NameRule::PathSegment,
    finalizers: FinalizerRule::Qualified,
    subresources: &[Subresource::Status],
    status_resets: Kind::ALL_BUT_STATUS,
    unconditional_update: false,
    columns: COLUMNS,
    cells: |service, now| {
        let by = match missing(service, "/spec/service") {
            true => "Local".to_owned(),
            false => format!("{}/{}", text(service, "/spec/service/namespace"), text(service, "/spec/service/name")),
        };
        vec![column::name(service), by.into(), availability(service).into(), column::age(service, now)]
    },
    default: |service| {
        if let Some(by) = object_mut(service, "/spec/service") {
            fill(by, "port", 443);
        }
        object(service, "status");
    },
    prepare_create,
    prepare_update: |new, old| keep(new, old, "status"),
    stamp,
    validate,
    validate_update: |new, old, faults| metadata::validate_update(new, old, faults),
    validate_status: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        for (index, condition) in list(new, "/status/conditions").iter().enumerate() {
            let path = format!("status.conditions[{index}].status");
            fields::one_of(text(condition, "/status"), path, &["True", "False", "Unknown"], faults);
        }
    },
    initial: local,
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Service", 0, "The Service behind it, or Local."),
    text_column("Available", 0, "Whether the group and version is served."),
    column::AGE,
];

/// Kubernetes' own group-versions: the priority of the group, and that of the version within it.
const LOCAL: [(&str, &str, i64, i64); 21] = [
    ("", "v1", 18_000, 1),
    ("admissionregistration.k8s.io", "v1", 16_700, 15),
    ("apiextensions.k8s.io", "v1", 16_700, 15),
    ("apps", "v1", 17_800, 15),
    ("authentication.k8s.io", "v1", 17_700, 15),
    ("authorization.k8s.io", "v1", 17_600, 15),
    ("autoscaling", "v1", 17_500, 15),
    ("autoscaling", "v2", 17_500, 30),
    ("batch", "v1", 17_400, 15),
    ("certificates.k8s.io", "v1", 17_300, 15),
    ("coordination.k8s.io", "v1", 16_500, 15),
    ("discovery.k8s.io", "v1", 16_200, 15),
    ("events.k8s.io", "v1", 17_750, 15),
    ("flowcontrol.apiserver.k8s.io", "v1", 16_100, 21),
    ("networking.k8s.io", "v1", 17_200, 15),
    ("node.k8s.io", "v1", 16_300, 15),
    ("policy", "v1", 17_100, 15),
    ("rbac.authorization.k8s.io", "v1", 17_000, 15),
    ("resource.k8s.io", "v1", 16_200, 20),
    ("scheduling.k8s.io", "v1", 16_600, 15),
    ("storage.k8s.io", "v1", 16_800, 15),
];
/// These have no stored kinds: they only answer questions.
const REVIEWS: [&str; 2] = ["authentication.k8s.io", "authorization.k8s.io"];

/// The label of an APIService that the server keeps, and how long it does: while the group-version is served, or made once at start.
pub const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
pub const WHILE_SERVED: &str = "true";
const ON_START: &str = "onstart";
/// What definitions make stands behind what is built in.
const CUSTOM_PRIORITIES: (i64, i64) = (1_000, 100);

const GROUP_PRIORITY_MAX: i64 = 20_000;
const VERSION_PRIORITY_MAX: i64 = 1_000;

/// One for each group-version that is served here. This group has none: it is what they are told of with.
fn local() -> Vec<Value> {
    let served = |group: &str, version: &str| {
        REVIEWS.contains(&group) || KINDS.iter().any(|kind| (kind.group, kind.version) == (group, version))
    };
    let all = LOCAL.iter().filter(|(group, version, ..)| served(group, version));
    all.map(|(group, version, ..)| {
        let mut service = own(group, version);
        service["metadata"]["labels"] = json!({AUTOMANAGED: ON_START});
        service
    })
    .collect()
}

/// The APIService of a group-version that this server serves itself.
pub fn own(group: &str, version: &str) -> Value {
    let (group_priority, version_priority) = priorities(group, version);
    let mut spec = json!({
        "version": version, "groupPriorityMinimum": group_priority, "versionPriority": version_priority,
    });
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    json!({"metadata": {"name": format!("{version}.{group}")}, "spec": spec})
}

/// The priority of a group served here, and that of the version within it. This group's own stands above all others.
pub fn priorities(group: &str, version: &str) -> (i64, i64) {
    if group == KIND.group {
        return (i64::MAX, 1);
    }
    let found = LOCAL.iter().find(|(known, of, ..)| (*known, *of) == (group, version));
    found.map_or(CUSTOM_PRIORITIES, |(.., group, version)| (*group, *version))
}

fn availability(service: &Value) -> String {
    let found = list(service, "/status/conditions").iter().find(|one| text(one, "/type") == "Available");
    match found.map(|condition| (text(condition, "/status"), text(condition, "/reason"))) {
        Some(("True", _)) => "True".to_owned(),
        Some((status, reason)) => format!("{status} ({reason})"),
        None => "Unknown".to_owned(),
    }
}

/// What this server serves itself is there from the first moment.
fn prepare_create(service: &mut Value) {
    service["status"] = match missing(service, "/spec/service") {
        false => json!({}),
        true => json!({"conditions": [{
            "type": "Available",
            "status": "True",
            "lastTransitionTime": null,
            "reason": "Local",
            "message": "Local APIServices are always available",
        }]}),
    };
}

fn stamp(service: &mut Value, _: Option<&Value>, now: DateTime<Utc>) {
    for condition in list_mut(service, "/status/conditions") {
        fill(condition, "lastTransitionTime", now.to_rfc3339_opts(SecondsFormat::Secs, true));
    }
}

fn validate(service: &Value, faults: &mut Faults) {
    let spec = at(service, "/spec");
    let (group, version, name) = (text(spec, "/group"), text(spec, "/version"), text(service, "/metadata/name"));
    let required = format!("{version}.{group}");
    if !name.is_empty() && path_segment(name).is_empty() && name != required {
        faults.invalid("metadata.name", name, format!("must be `spec.version+\".\"+spec.group`: {required:?}"));
    }
    match group {
        "" if version != "v1" => {
            faults.required("spec.group", "only v1 may have an empty group and it better be legacy kube");
        }
        "" => {}
        group => report(subdomain(group), group, "spec.group", faults),
    }
    report(rfc1035_label(version), version, "spec.version", faults);
    for (member, max) in [("groupPriorityMinimum", GROUP_PRIORITY_MAX), ("versionPriority", VERSION_PRIORITY_MAX)] {
        let priority = int(spec, &format!("/{member}"));
        if !(1..=max).contains(&priority) {
            faults.invalid(format!("spec.{member}"), priority, format!("must be positive and less than {max}"));
        }
    }
    validate_service(spec, faults);
}

fn validate_service(spec: &Value, faults: &mut Faults) {
    const INSECURE: &str = "spec.insecureSkipTLSVerify";
    let (insecure, bundle) = (flag(spec, "/insecureSkipTLSVerify"), text(spec, "/caBundle"));
    if missing(spec, "/service") {
        if !bundle.is_empty() {
            let size = format!("{} bytes", crate::configmap::decoded_length(at(spec, "/caBundle")));
            faults.invalid("spec.caBundle", size, "local APIServices may not have a caBundle");
        }
        if insecure {
            faults.invalid(INSECURE, insecure, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    for member in ["namespace", "name"] {
        if text(spec, &format!("/service/{member}")).is_empty() {
            faults.required(format!("spec.service.{member}"), "");
        }
    }
    let port = int(spec, "/service/port");
    for wrong in port_number(port) {
        faults.invalid("spec.service.port", port, format!("port is not valid: {wrong}"));
    }
    if insecure && !bundle.is_empty() {
        faults.invalid(INSECURE, insecure, "may not be true if caBundle is present");
    }
}
