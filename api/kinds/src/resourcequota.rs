//! ResourceQuota.

use std::collections::BTreeSet;

use kontiki_model::Faults;
use serde_json::{Value, json};

use crate::column::{self, text_column};
use crate::pod;
use crate::quota::Measure;
use crate::tree::{at, keep, list, members, object, text};
use crate::{Column, Kind, Subresource, metadata};

pub static KIND: Kind = Kind {
    kind: "ResourceQuota",
    resource: "resourcequotas",
    singular: "resourcequota",
    short_names: &["quota"],
    type_name: "core.v1.ResourceQuota",
    subresources: &[Subresource::Status],
    delete_returns_object: true,
    columns: COLUMNS,
    cells: |quota, now| {
        let (requests, limits) = told(quota);
        vec![column::name(quota), requests.into(), limits.into(), column::age(quota, now)]
    },
    default: |quota| {
        for pointer in ["/spec/hard", "/status/hard", "/status/used"] {
            pod::round_resources(quota, pointer);
        }
        object(quota, "status");
    },
    prepare_create: |quota| quota["status"] = json!({}),
    prepare_update: |new, old| keep(new, old, "status"),
    validate,
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        let scopes = |quota| list(quota, "/spec/scopes").iter().filter_map(Value::as_str).collect::<BTreeSet<_>>();
        if scopes(new) != scopes(old) {
            faults.invalid("spec.scopes", at(new, "/spec/scopes").clone(), "field is immutable");
        }
    },
    validate_status: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        for part in ["hard", "used"] {
            for (name, amount) in members(new, &format!("/status/{part}")) {
                let path = format!("status.{part}[{name}]");
                validate_name(name, &path, faults);
                pod::validate_quantity(name, amount, &path, faults);
            }
        }
    },
    measure: Some(&Measure { alias: Some("resourcequotas"), ..Measure::COUNT }),
    rebounds: |new, old| {
        let changed = |old| ["/spec", "/status/hard"].into_iter().any(|part| at(new, part) != at(old, part));
        old.is_none_or(changed)
    },
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Request", 0, "What is used of each bound, and the bound."),
    text_column("Limit", 0, "The same of bounds on limits."),
    column::AGE,
];

/// `pods: 3/10, …` of the bounds that hold, those on limits apart.
fn told(quota: &Value) -> (String, String) {
    let amount = |part: &str, name: &str| {
        let amount = at(quota, &format!("/status/{part}")).get(name).and_then(Value::as_str);
        amount.unwrap_or("0").to_owned()
    };
    let mut names: Vec<&String> = members(quota, "/status/hard").map(|(name, _)| name).collect();
    names.sort_unstable();
    let (limits, requests): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.starts_with("limits."));
    let joined = |names: Vec<&String>| {
        let one = |name: &String| format!("{name}: {}/{}", amount("used", name), amount("hard", name));
        names.into_iter().map(one).collect::<Vec<_>>().join(", ")
    };
    (joined(requests), joined(limits))
}

fn validate(quota: &Value, faults: &mut Faults) {
    for (name, amount) in members(quota, "/spec/hard") {
        let path = format!("spec.hard[{name}]");
        validate_name(name, &path, faults);
        pod::validate_quantity(name, amount, &path, faults);
    }
    let bounded: Vec<&str> = members(quota, "/spec/hard").map(|(name, _)| name.as_str()).collect();
    validate_scopes(at(quota, "/spec/scopes"), &bounded, faults);
    validate_selector(at(quota, "/spec/scopeSelector"), &bounded, faults);
}

fn validate_name(name: &str, path: &str, faults: &mut Faults) {
    pod::validate_resource(name, path, faults);
    if !name.contains('/') && !pod::is_quota_resource(name) {
        faults.invalid(path, name, "must be a standard resource for quota");
    }
}

const OF_PODS: &[&str] = &["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory", "pods"];
const OF_CLAIMS: &[&str] = &["persistentvolumeclaims", "requests.storage"];

/// What a scope can bound; `None` for a scope that does not exist.
fn scoped(scope: &str) -> Option<&'static [&'static str]> {
    match scope {
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            Some(OF_PODS)
        }
        "BestEffort" => Some(&["pods"]),
        "VolumeAttributesClass" => Some(OF_CLAIMS),
        _ => None,
    }
}

/// How many of the bounded resources a scope cannot be about.
fn inapplicable(scope: &str, bounded: &[&str]) -> usize {
    let Some(known) = scoped(scope) else { return 0 };
    bounded.iter().filter(|name| pod::is_quota_resource(name) && !known.contains(name)).count()
}

fn conflict(scopes: &[&str]) -> bool {
    let both = |one: &str, other: &str| scopes.contains(&one) && scopes.contains(&other);
    both("BestEffort", "NotBestEffort") || both("Terminating", "NotTerminating")
}

fn validate_scopes(all: &Value, bounded: &[&str], faults: &mut Faults) {
    const PATH: &str = "spec.scopes";
    let scopes: Vec<&str> = list(all, "").iter().filter_map(Value::as_str).collect();
    for scope in &scopes {
        if scoped(scope).is_none() {
            faults.invalid(PATH, all.clone(), "unsupported scope");
        }
        for _ in 0..inapplicable(scope, bounded) {
            faults.invalid(PATH, all.clone(), "unsupported scope applied to resource");
        }
    }
    if conflict(&scopes) {
        faults.invalid(PATH, all.clone(), "conflicting scopes");
    }
}

/// Faults stand at the list of requirements, as Kubernetes tells them.
fn validate_selector(selector: &Value, bounded: &[&str], faults: &mut Faults) {
    const PATH: &str = "spec.scopeSelector.matchExpressions";
    let requirements = list(selector, "/matchExpressions");
    for requirement in requirements {
        let (scope, operator) = (text(requirement, "/scopeName"), text(requirement, "/operator"));
        let values = list(requirement, "/values");
        if scoped(scope).is_none() {
            faults.invalid(format!("{PATH}.scopeName"), scope, "unsupported scope");
        }
        for _ in 0..inapplicable(scope, bounded) {
            faults.invalid(PATH, selector.clone(), "unsupported scope applied to resource");
        }
        let only_exists = matches!(
            scope,
            "BestEffort" | "NotBestEffort" | "Terminating" | "NotTerminating" | "CrossNamespacePodAffinity"
        );
        if only_exists && operator != "Exists" {
            let detail = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
                          ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                          ResourceQuotaScopeCrossNamespacePodAffinity";
            faults.invalid(format!("{PATH}.operator"), operator, detail);
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                faults.required(format!("{PATH}.values"), detail);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                faults.invalid(format!("{PATH}.values"), values.to_vec(), detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => faults.invalid(format!("{PATH}.operator"), other, "not a valid selector operator"),
        }
    }
    let scopes: Vec<&str> = requirements.iter().map(|one| text(one, "/scopeName")).collect();
    if conflict(&scopes) {
        faults.invalid(PATH, selector.clone(), "conflicting scopes");
    }
}
