//! The devices that a claim asks for: `spec` of ResourceClaims and of their templates.

use std::collections::BTreeMap;

use kontiki_model::Faults;
use kontiki_schema::ids;
use serde_json::Value;

use super::{
    CONFIGS_MAX, dns_label, each, name_of, unique, validate_configuration, validate_fully_qualified_name,
    validate_selectors, validate_toleration,
};
use crate::fields;
use crate::names::subdomain;
use crate::tree::{at, fill_int, fill_text, int, list, list_mut, missing, object_mut, text};

const REQUESTS_MAX: usize = 32;
const CONSTRAINTS_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 8;

/// One device, unless the request says otherwise.
pub fn default(spec: &mut Value) {
    for request in list_mut(spec, "/devices/requests") {
        if let Some(exactly) = object_mut(request, "/exactly") {
            default_amount(exactly);
        }
        list_mut(request, "/firstAvailable").iter_mut().for_each(default_amount);
    }
}

fn default_amount(request: &mut Value) {
    fill_text(request, "allocationMode", "ExactCount");
    if text(request, "/allocationMode") == "ExactCount" {
        fill_int(request, "count", 1);
    }
}

/// Names of requests, with those of their alternatives.
pub struct Names<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Names<'a> {
    pub fn of(spec: &'a Value) -> Self {
        let requests = list(spec, "/devices/requests").iter();
        let named = requests.map(|request| {
            let alternatives = list(request, "/firstAvailable").iter().map(|one| text(one, "/name"));
            (text(request, "/name"), alternatives.collect())
        });
        Names(named.collect())
    }

    /// `request` or `request/alternative`, of this claim.
    pub fn validate(&self, name: &str, path: &str, faults: &mut Faults) {
        const DETAIL: &str =
            "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
        let segments: Vec<&str> = name.split('/').collect();
        let known = match segments[..] {
            [request] => self.0.contains_key(request),
            [request, alternative] => self.0.get(request).is_some_and(|known| known.contains(&alternative)),
            _ => {
                faults.invalid(path, name, DETAIL);
                return;
            }
        };
        for segment in segments {
            dns_label(segment, path, faults);
        }
        if !known {
            faults.invalid(path, name, DETAIL);
        }
    }

    /// A list of such names, each once.
    pub fn validate_all(&self, holder: &Value, path: &str, faults: &mut Faults) {
        let (path, all) = (format!("{path}.requests"), list(holder, "/requests"));
        each(all, REQUESTS_MAX, &path, faults, |name, path, faults| {
            self.validate(name.as_str().unwrap_or_default(), path, faults);
        });
        unique(all, &path, name_of, faults);
    }
}

pub fn validate(spec: &Value, path: &str, faults: &mut Faults) {
    let (path, names) = (format!("{path}.devices"), Names::of(spec));
    let requests = list(spec, "/devices/requests");
    each(requests, REQUESTS_MAX, &format!("{path}.requests"), faults, validate_request);
    unique(requests, &format!("{path}.requests"), name_of, faults);
    let constraints = list(spec, "/devices/constraints");
    each(constraints, CONSTRAINTS_MAX, &format!("{path}.constraints"), faults, |constraint, path, faults| {
        names.validate_all(constraint, path, faults);
        validate_constraint(constraint, path, faults);
    });
    each(list(spec, "/devices/config"), CONFIGS_MAX, &format!("{path}.config"), faults, |config, path, faults| {
        names.validate_all(config, path, faults);
        validate_configuration(config, path, faults);
    });
}

fn validate_request(request: &Value, path: &str, faults: &mut Faults) {
    const DETAIL: &str = "exactly one of `exactly` or `firstAvailable` is required";
    dns_label(text(request, "/name"), &format!("{path}.name"), faults);
    let alternatives = list(request, "/firstAvailable");
    match (missing(request, "/exactly"), alternatives.is_empty()) {
        (true, true) => faults.required(path, DETAIL),
        (false, false) => faults.invalid(path, Value::Null, format!("{DETAIL}, but multiple fields are set")),
        (false, true) => validate_amount(at(request, "/exactly"), &format!("{path}.exactly"), faults),
        (true, false) => {
            let path = format!("{path}.firstAvailable");
            each(alternatives, ALTERNATIVES_MAX, &path, faults, |one, path, faults| {
                dns_label(text(one, "/name"), &format!("{path}.name"), faults);
                validate_amount(one, path, faults);
            });
            unique(alternatives, &path, name_of, faults);
        }
    }
}

/// Of which class, which of them, and how many.
fn validate_amount(request: &Value, path: &str, faults: &mut Faults) {
    fields::named(text(request, "/deviceClassName"), subdomain, format!("{path}.deviceClassName"), faults);
    validate_selectors(request, path, faults);
    let count = int(request, "/count");
    match text(request, "/allocationMode") {
        "All" if count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            faults.invalid(format!("{path}.count"), count, detail);
        }
        "ExactCount" if count <= 0 => faults.invalid(format!("{path}.count"), count, "must be greater than zero"),
        mode => {
            let field = (ids::RESOURCE_V1_EXACTDEVICEREQUEST, "allocationMode");
            fields::known(mode, field, format!("{path}.allocationMode"), faults);
        }
    }
    for (index, toleration) in list(request, "/tolerations").iter().enumerate() {
        validate_toleration(toleration, &format!("{path}.tolerations[{index}]"), faults);
    }
}

fn validate_constraint(constraint: &Value, path: &str, faults: &mut Faults) {
    let named = ["matchAttribute", "distinctAttribute"]
        .into_iter()
        .find_map(|member| Some((member, constraint[member].as_str()?)));
    match named {
        Some((member, name)) => validate_fully_qualified_name(name, &format!("{path}.{member}"), faults),
        None => {
            let detail =
                "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
            faults.required(path, detail);
        }
    }
}
