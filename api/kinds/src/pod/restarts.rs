//! When a container is restarted: by policies and rules, and by a change of what it may use (`validateResizePolicy`).

use std::collections::HashSet;

use kontiki_model::Faults;
use serde_json::Value;

use crate::fields::one_of;
use crate::tree::{at, list, missing, text, text_or};

const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

/// The policy and rules of the container at `path`.
pub fn validate(container: &Value, path: &str, faults: &mut Faults) {
    let rules = list(container, "/restartPolicyRules");
    match at(container, "/restartPolicy").as_str() {
        Some(policy) => one_of(policy, format!("{path}.restartPolicy"), &["Always", "OnFailure", "Never"], faults),
        None if rules.is_empty() => {}
        None => {
            let detail = "must specify restartPolicy when restart rules are used";
            faults.required(format!("{path}.restartPolicy"), detail);
        }
    }
    let path = format!("{path}.restartPolicyRules");
    if rules.len() > RULES_MAX {
        faults.too_many(path.as_str(), rules.len(), RULES_MAX);
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let actions = ["Restart", "RestartAllContainers"];
        one_of(text(rule, "/action"), format!("{path}.action"), &actions, faults);
        let (codes, path) = (at(rule, "/exitCodes"), format!("{path}.exitCodes"));
        if codes.is_null() {
            faults.required(path, "must be specified");
            continue;
        }
        one_of(text(codes, "/operator"), format!("{path}.operator"), &["In", "NotIn"], faults);
        let count = list(codes, "/values").len();
        if count > EXIT_CODES_MAX {
            faults.too_many(format!("{path}.values"), count, EXIT_CODES_MAX);
        }
    }
}

/// Whether a container that ended with this code runs again: the first of its rules that knows the code says so, then its own policy,
/// then the pod's.
pub fn happens(container: &Value, of_pod: &str, code: i64) -> bool {
    let knows = |rule: &Value| {
        let listed = list(rule, "/exitCodes/values").iter().any(|value| value.as_i64() == Some(code));
        match text(rule, "/exitCodes/operator") {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    };
    if list(container, "/restartPolicyRules").iter().any(knows) {
        return true;
    }
    match text_or(container, "/restartPolicy", of_pod) {
        "OnFailure" => code != 0,
        policy => policy == "Always",
    }
}

/// One of its rules restarts the others, too.
pub fn may_restart_all(container: &Value) -> bool {
    list(container, "/restartPolicyRules").iter().any(|rule| text(rule, "/action") == "RestartAllContainers")
}

/// `resizePolicy` of a container, at `path`; most faults stand at the list.
pub fn validate_resize(container: &Value, of_pod: &str, path: &str, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, policy) in list(container, "/resizePolicy").iter().enumerate() {
        let (resource, restart) = (text(policy, "/resourceName"), text(policy, "/restartPolicy"));
        if !seen.insert(resource) {
            faults.duplicate(format!("{path}[{index}]"), resource);
        }
        for (value, supported) in [(resource, ["cpu", "memory"]), (restart, ["NotRequired", "RestartContainer"])] {
            match value {
                "" => faults.required(path, ""),
                value => one_of(value, path, &supported, faults),
            }
        }
        // What has a policy of its own does not go by the pod's.
        if of_pod == "Never" && missing(container, "/restartPolicy") && restart != "NotRequired" {
            faults.invalid(path, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}
