//! `metav1.Condition`: what a status says about an object.

use std::collections::HashSet;

use kontiki_model::Faults;
use serde_json::Value;

use crate::names::{qualified, report};
use crate::tree::{int, missing, text};

const REASON_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 32 * 1024;

/// Kubernetes' `ValidateConditions`: each type once.
pub fn validate_all(conditions: &[Value], path: &str, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let kind = text(condition, "/type");
        if !seen.insert(kind) {
            faults.duplicate(format!("{path}.type"), kind);
        }
        validate(condition, &path, faults);
    }
}

/// Checks one condition that stands at `path`.
pub fn validate(condition: &Value, path: &str, faults: &mut Faults) {
    let kind = text(condition, "/type");
    report(qualified(kind), kind, &format!("{path}.type"), faults);
    let status = text(condition, "/status");
    if !matches!(status, "False" | "True" | "Unknown") {
        faults.not_supported(format!("{path}.status"), status, &["False", "True", "Unknown"]);
    }
    let generation = int(condition, "/observedGeneration");
    if generation < 0 {
        faults.invalid(format!("{path}.observedGeneration"), generation, "must be greater than or equal to zero");
    }
    if missing(condition, "/lastTransitionTime") {
        faults.required(format!("{path}.lastTransitionTime"), "must be set");
    }
    let reason = text(condition, "/reason");
    if reason.is_empty() {
        faults.required(format!("{path}.reason"), "must be set");
    } else if !is_reason(reason) {
        let rule = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters \
                    or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or \
                    'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
        faults.invalid(format!("{path}.reason"), reason, rule);
    }
    for (member, bytes_max) in [("reason", REASON_BYTES_MAX), ("message", MESSAGE_BYTES_MAX)] {
        if text(condition, &format!("/{member}")).len() > bytes_max {
            faults.too_long(format!("{path}.{member}"), bytes_max);
        }
    }
}

fn is_reason(reason: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = reason.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().copied().is_some_and(word)
        && bytes.iter().all(|byte| word(*byte) || b",:".contains(byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(check: impl FnOnce(&mut Faults)) -> Vec<String> {
        let mut faults = Faults::default();
        check(&mut faults);
        faults.iter().map(|one| format!("{}: {}", one.field, one.message())).collect()
    }

    #[test]
    fn conditions_are_complete() {
        let good =
            json!({"type": "Ready", "status": "True", "reason": "Ok", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        assert_eq!(told(|faults| validate_all(std::slice::from_ref(&good), "c", faults)), Vec::<String>::new());
        let bad = json!({"type": "Ready", "status": "Yes", "observedGeneration": -1});
        assert_eq!(
            told(|faults| validate_all(&[good, bad], "c", faults)),
            [
                "c[1].type: Duplicate value: \"Ready\"",
                "c[1].status: Unsupported value: \"Yes\": supported values: \"False\", \"True\", \"Unknown\"",
                "c[1].observedGeneration: Invalid value: -1: must be greater than or equal to zero",
                "c[1].lastTransitionTime: Required value: must be set",
                "c[1].reason: Required value: must be set",
            ]
        );
    }
}
