//! Which topology spread constraints are valid (`validateTopologySpreadConstraints`).

use std::collections::HashMap;

use kontiki_model::Faults;
use kontiki_schema::ids;
use serde_json::Value;

use super::label_keys;
use crate::fields::known;
use crate::selector;
use crate::tree::{at, int, text};

pub fn validate(constraints: &[Value], path: &str, faults: &mut Faults) {
    let last: HashMap<_, _> = constraints.iter().enumerate().map(|(index, one)| (pair(one), index)).collect();
    for (index, constraint) in constraints.iter().enumerate() {
        let path = format!("{path}[{index}]");
        validate_one(constraint, &path, faults);
        let (key, action) = pair(constraint);
        if last[&(key, action)] != index {
            let value = format!("{{{key}, {action}}}");
            faults.duplicate(format!("{path}.{{topologyKey, whenUnsatisfiable}}"), value);
        }
    }
}

/// No two constraints agree in both.
fn pair(constraint: &Value) -> (&str, &str) {
    (text(constraint, "/topologyKey"), text(constraint, "/whenUnsatisfiable"))
}

fn validate_one(constraint: &Value, path: &str, faults: &mut Faults) {
    let skew = int(constraint, "/maxSkew");
    if skew <= 0 {
        faults.invalid(format!("{path}.maxSkew"), skew, "must be greater than zero");
    }
    if text(constraint, "/topologyKey").is_empty() {
        faults.required(format!("{path}.topologyKey"), "can not be empty");
    }
    let action = text(constraint, "/whenUnsatisfiable");
    let field = (ids::CORE_V1_TOPOLOGYSPREADCONSTRAINT, "whenUnsatisfiable");
    known(action, field, format!("{path}.whenUnsatisfiable"), faults);
    min_domains(at(constraint, "/minDomains"), action, &format!("{path}.minDomains"), faults);
    for member in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        if let Some(policy) = at(constraint, &format!("/{member}")).as_str() {
            known(policy, (ids::CORE_V1_TOPOLOGYSPREADCONSTRAINT, member), format!("{path}.{member}"), faults);
        }
    }
    let keys = format!("{path}.matchLabelKeys");
    label_keys::validate(constraint, "matchLabelKeys", &keys, faults);
    label_keys::validate_once(constraint, &keys, faults);
    selector::validate(at(constraint, "/labelSelector"), &format!("{path}.labelSelector"), faults);
}

fn min_domains(domains: &Value, action: &str, path: &str, faults: &mut Faults) {
    let Some(domains) = domains.as_i64() else { return };
    if domains <= 0 {
        faults.invalid(path, domains, "must be greater than zero");
    }
    if action != "DoNotSchedule" {
        let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        faults.invalid(path, domains, detail);
    }
}
