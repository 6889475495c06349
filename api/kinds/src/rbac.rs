//! What the four kinds of RBAC share: the forms of rules, of subjects and of the reference to a role, and their validity.

use kontiki_model::Faults;
use serde_json::Value;

use crate::column::{self, text_column};
use crate::names::{report, subdomain};
use crate::tree::{at, fill_text, list, list_mut, object, text};
use crate::{Column, Grants, Kind, NameRule, metadata};

pub const GROUP: &str = "rbac.authorization.k8s.io";

/// What all four have in common.
const BASE: Kind = Kind {
    group: GROUP,
    name_rule: NameRule::PathSegment,
    create_on_update: true,
    validate_update: metadata::validate_update,
    ..Kind::BASE
};

pub const ROLE: Kind = Kind {
    grants: Some(Grants::Rules),
    columns: &[
        column::NAME,
        Column {
            name: "Created At",
            r#type: "date",
            format: "",
            description: "When the server made the object, in UTC.",
            priority: 0,
        },
    ],
    cells: |role, _| vec![column::name(role), at(role, "/metadata/creationTimestamp").clone()],
    ..BASE
};

pub const BINDING: Kind = Kind {
    grants: Some(Grants::Role),
    columns: &[
        column::NAME,
        text_column("Role", 0, "The role that is given."),
        column::AGE,
        text_column("Users", 1, "Users among the subjects."),
        text_column("Groups", 1, "Groups among the subjects."),
        text_column("ServiceAccounts", 1, "Service accounts among the subjects."),
    ],
    cells: |binding, now| {
        let role = format!("{}/{}", text(binding, "/roleRef/kind"), text(binding, "/roleRef/name"));
        let subjects = |kind: &str| subjects_cell(binding, kind);
        vec![
            column::name(binding),
            role.into(),
            column::age(binding, now),
            subjects("User"),
            subjects("Group"),
            subjects("ServiceAccount"),
        ]
    },
    default: default_binding,
    validate_update: validate_binding_update,
    ..BASE
};

fn subjects_cell(binding: &Value, kind: &str) -> Value {
    let told = list(binding, "/subjects").iter().filter(|subject| text(subject, "/kind") == kind).map(|subject| {
        let name = text(subject, "/name");
        if kind == "ServiceAccount" { format!("{}/{name}", text(subject, "/namespace")) } else { name.to_owned() }
    });
    told.collect::<Vec<_>>().join(", ").into()
}

fn default_binding(binding: &mut Value) {
    fill_text(object(binding, "roleRef"), "apiGroup", GROUP);
    for subject in list_mut(binding, "/subjects") {
        if matches!(text(subject, "/kind"), "User" | "Group") {
            fill_text(subject, "apiGroup", GROUP);
        }
    }
}

/// The rules of a role; those of a namespace's own role cannot be about paths.
pub fn validate_rules(role: &Value, namespaced: bool, faults: &mut Faults) {
    for (index, rule) in list(role, "/rules").iter().enumerate() {
        validate_rule(rule, namespaced, &format!("rules[{index}]"), faults);
    }
}

fn validate_rule(rule: &Value, namespaced: bool, path: &str, faults: &mut Faults) {
    let none = |member: &str| list(rule, member).is_empty();
    if none("/verbs") {
        faults.required(format!("{path}.verbs"), "verbs must contain at least one value");
    }
    if !none("/nonResourceURLs") {
        let (field, urls) = (format!("{path}.nonResourceURLs"), at(rule, "/nonResourceURLs"));
        if namespaced {
            faults.invalid(&field, urls.clone(), "namespaced rules cannot apply to non-resource URLs");
        }
        if !(none("/apiGroups") && none("/resources") && none("/resourceNames")) {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            faults.invalid(field, urls.clone(), detail);
        }
        return;
    }
    if none("/apiGroups") {
        faults.required(format!("{path}.apiGroups"), "resource rules must supply at least one api group");
    }
    if none("/resources") {
        faults.required(format!("{path}.resources"), "resource rules must supply at least one resource");
    }
}

/// The reference to a role of one of these kinds, and the subjects.
pub fn validate_binding(binding: &Value, roles: &[&str], namespaced: bool, faults: &mut Faults) {
    let (group, kind, name) =
        (text(binding, "/roleRef/apiGroup"), text(binding, "/roleRef/kind"), text(binding, "/roleRef/name"));
    if group != GROUP {
        faults.not_supported("roleRef.apiGroup", group, &[GROUP]);
    }
    if !roles.contains(&kind) {
        faults.not_supported("roleRef.kind", kind, roles);
    }
    if name.is_empty() {
        faults.required("roleRef.name", "");
    } else {
        report(kontiki_model::names::path_segment(name), name, "roleRef.name", faults);
    }
    for (index, subject) in list(binding, "/subjects").iter().enumerate() {
        validate_subject(subject, namespaced, &format!("subjects[{index}]"), faults);
    }
}

fn validate_subject(subject: &Value, namespaced: bool, path: &str, faults: &mut Faults) {
    let (kind, group, name) = (text(subject, "/kind"), text(subject, "/apiGroup"), text(subject, "/name"));
    if name.is_empty() {
        faults.required(format!("{path}.name"), "");
    }
    match kind {
        "ServiceAccount" => {
            if !name.is_empty() {
                report(subdomain(name), name, &format!("{path}.name"), faults);
            }
            if !group.is_empty() {
                faults.not_supported(format!("{path}.apiGroup"), group, &[""]);
            }
            if !namespaced && text(subject, "/namespace").is_empty() {
                faults.required(format!("{path}.namespace"), "");
            }
        }
        "User" | "Group" if group != GROUP => faults.not_supported(format!("{path}.apiGroup"), group, &[GROUP]),
        "User" | "Group" => {}
        _ => faults.not_supported(format!("{path}.kind"), kind, &["ServiceAccount", "User", "Group"]),
    }
}

/// A binding stays with its role: who may change subjects shall not be able to give another role with it.
fn validate_binding_update(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    let reference = |binding: &Value| {
        let part = |pointer: &str| text(binding, pointer).to_owned();
        (part("/roleRef/apiGroup"), part("/roleRef/kind"), part("/roleRef/name"))
    };
    let (group, kind, name) = reference(new);
    if reference(new) != reference(old) {
        let told = serde_json::json!({"APIGroup": group, "Kind": kind, "Name": name});
        faults.invalid("roleRef", told, "cannot change roleRef");
    }
}
