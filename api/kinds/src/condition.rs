//! `metav1.Condition`: what a status says about an object.

use kontiki_model::Faults;
use serde_json::Value;

use crate::names::{qualified, report};
use crate::tree::{missing, text};
use crate::workload;

/// Checks one condition that stands at `path`.
pub fn validate(condition: &Value, path: &str, faults: &mut Faults) {
    let kind = text(condition, "/type");
    report(qualified(kind), kind, &format!("{path}.type"), faults);
    let status = text(condition, "/status");
    if !matches!(status, "False" | "True" | "Unknown") {
        faults.not_supported(format!("{path}.status"), status, &["False", "True", "Unknown"]);
    }
    workload::not_negative_below(condition, path, "observedGeneration", faults);
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
}

fn is_reason(reason: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = reason.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().copied().is_some_and(word)
        && bytes.iter().all(|byte| word(*byte) || b",:".contains(byte))
}
