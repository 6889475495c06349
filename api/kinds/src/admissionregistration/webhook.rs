//! What validating and mutating webhooks have in common.

use std::collections::HashSet;

use kontiki_model::Faults;
use serde_json::{Value, json};

use super::{FAILURE_POLICIES, MATCH_POLICIES, default_rules, validate_match_conditions, validate_rule};
use crate::column::{self, text_column};
use crate::names::{port_number, report, rfc1035_label, subdomain};
use crate::tree::{at, fill, int, list, list_mut, missing, object_mut, text, texts};
use crate::{Column, fields, selector};

pub const COLUMNS: &[Column] = &[
    column::NAME,
    Column { r#type: "integer", ..text_column("Webhooks", 0, "How many webhooks are asked.") },
    column::AGE,
];

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];

pub fn cells(configuration: &Value, now: chrono::DateTime<chrono::Utc>) -> Vec<Value> {
    let count = list(configuration, "/webhooks").len();
    vec![column::name(configuration), count.into(), column::age(configuration, now)]
}

pub fn default(configuration: &mut Value) {
    for webhook in list_mut(configuration, "/webhooks") {
        fill(webhook, "failurePolicy", "Fail");
        fill(webhook, "matchPolicy", "Equivalent");
        fill(webhook, "namespaceSelector", json!({}));
        fill(webhook, "objectSelector", json!({}));
        fill(webhook, "timeoutSeconds", 10);
        default_rules(webhook, "/rules");
        if let Some(service) = object_mut(webhook, "/clientConfig/service") {
            fill(service, "port", 443);
        }
    }
}

pub fn validate(configuration: &Value, faults: &mut Faults) {
    let mut names = HashSet::new();
    for (index, webhook) in list(configuration, "/webhooks").iter().enumerate() {
        let path = format!("webhooks[{index}]");
        validate_webhook(webhook, &path, faults);
        validate_review_versions(webhook, &format!("{path}.admissionReviewVersions"), faults);
        let name = text(webhook, "/name");
        if !name.is_empty() && !names.insert(name) {
            faults.duplicate(format!("{path}.name"), name);
        }
    }
}

fn validate_webhook(webhook: &Value, path: &str, faults: &mut Faults) {
    fields::fully_qualified(text(webhook, "/name"), &format!("{path}.name"), faults);
    for (index, rule) in list(webhook, "/rules").iter().enumerate() {
        validate_rule(rule, &format!("{path}.rules[{index}]"), faults);
    }
    for (member, supported) in [("failurePolicy", FAILURE_POLICIES), ("matchPolicy", MATCH_POLICIES)] {
        fields::one_of(text(webhook, &format!("/{member}")), format!("{path}.{member}"), &supported, faults);
    }
    match at(webhook, "/sideEffects").as_str() {
        None => {
            let detail = format!("must specify one of {}", SIDE_EFFECTS.join(", "));
            faults.required(format!("{path}.sideEffects"), detail);
        }
        Some(effects) => fields::one_of(effects, format!("{path}.sideEffects"), &SIDE_EFFECTS, faults),
    }
    let seconds = int(webhook, "/timeoutSeconds");
    if !(1..=30).contains(&seconds) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        faults.invalid(format!("{path}.timeoutSeconds"), seconds, detail);
    }
    for member in ["namespaceSelector", "objectSelector"] {
        selector::validate(at(webhook, &format!("/{member}")), &format!("{path}.{member}"), faults);
    }
    validate_client(at(webhook, "/clientConfig"), &format!("{path}.clientConfig"), faults);
    validate_match_conditions(list(webhook, "/matchConditions"), false, &format!("{path}.matchConditions"), faults);
}

fn validate_review_versions(webhook: &Value, path: &str, faults: &mut Faults) {
    let versions: Vec<&str> = texts(webhook, "/admissionReviewVersions").collect();
    let known = REVIEW_VERSIONS.join(", ");
    if versions.is_empty() {
        faults.required(path, format!("must specify one of {known}"));
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if versions[..index].contains(version) {
            faults.invalid(path, *version, "duplicate version");
            continue;
        }
        report(rfc1035_label(version), version, &path, faults);
    }
    if !versions.iter().any(|version| REVIEW_VERSIONS.contains(version)) {
        let value = at(webhook, "/admissionReviewVersions").clone();
        faults.invalid(path, value, format!("must include at least one of {known}"));
    }
}

/// A URL or a Service.
pub fn validate_client(client: &Value, path: &str, faults: &mut Faults) {
    match (at(client, "/url").as_str(), missing(client, "/service")) {
        (Some(url), true) => validate_url(url, &format!("{path}.url"), faults),
        (None, false) => validate_service(at(client, "/service"), &format!("{path}.service"), faults),
        (Some(_), false) | (None, true) => faults.required(path, "exactly one of url or service is required"),
    }
}

fn validate_url(url: &str, path: &str, faults: &mut Faults) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = rest.split_once("://").unwrap_or(("", rest));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or_default() };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if scheme != "https" {
        faults.invalid(path, scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        faults.invalid(path, host, format!("host must be specified{FORM}"));
    }
    for (part, detail) in [
        (user, "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ] {
        if !part.is_empty() {
            faults.invalid(path, part, detail);
        }
    }
}

fn validate_service(service: &Value, path: &str, faults: &mut Faults) {
    // Kubernetes takes one for the other here, and clients compare paths.
    for (member, reported) in [("namespace", "name"), ("name", "namespace")] {
        if text(service, &format!("/{member}")).is_empty() {
            faults.required(format!("{path}.{reported}"), "");
        }
    }
    let port = int(service, "/port");
    let wrong = port_number(port);
    if !wrong.is_empty() {
        faults.invalid(format!("{path}.port"), port, format!("port is not valid: {}", wrong.join(", ")));
    }
    validate_path(text(service, "/path"), &format!("{path}.path"), faults);
}

fn validate_path(url: &str, path: &str, faults: &mut Faults) {
    match url {
        "" | "/" => return,
        "//" => {
            faults.invalid(path, url, "segment[0] may not be empty");
            return;
        }
        url if !url.starts_with('/') => faults.invalid(path, url, "must start with a '/'"),
        _ => {}
    }
    let segments: String = url.chars().skip(1).collect();
    for (index, segment) in segments.strip_suffix('/').unwrap_or(&segments).split('/').enumerate() {
        if segment.is_empty() {
            faults.invalid(path, url, format!("segment[{index}] may not be empty"));
            continue;
        }
        for wrong in subdomain(segment) {
            faults.invalid(path, url, format!("segment[{index}]: {wrong}"));
        }
    }
}
