//! Which tolerations are valid (`ValidateTolerations`).

use kontiki_model::Faults;
use serde_json::Value;

use crate::names::{label_value, qualified, report};
use crate::tree::{missing, text};

pub fn validate(all: &[Value], path: &str, faults: &mut Faults) {
    for (index, toleration) in all.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let (key, operator) = (text(toleration, "/key"), text(toleration, "/operator"));
        let (value, effect) = (text(toleration, "/value"), text(toleration, "/effect"));
        if !key.is_empty() {
            report(qualified(key), key, &format!("{path}.key"), faults);
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            faults.invalid(format!("{path}.operator"), operator, detail);
        }
        if !missing(toleration, "/tolerationSeconds") && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            faults.invalid(format!("{path}.effect"), effect, detail);
        }
        match operator {
            "" | "Equal" => {
                let wrong = label_value(value);
                if !wrong.is_empty() {
                    faults.invalid(format!("{path}.operator"), value, wrong.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                faults.invalid(format!("{path}.operator"), value, "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            other => faults.not_supported(format!("{path}.operator"), other, &["Equal", "Exists"]),
        }
        match effect {
            "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
            other => {
                let supported = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
                faults.not_supported(format!("{path}.effect"), other, &supported);
            }
        }
    }
}
