//! What kinds do with `metav1.LabelSelector` objects and label maps: their text in cells, matching, validity.

use kontiki_model::{Faults, LabelSelector};
use serde_json::Value;

use crate::names::{label_value, qualified, report, validate_labels};
use crate::tree::{at, list, members, text};

/// `a=1,b=2`, sorted by key, or `<none>`.
pub fn labels_to_cell(labels: &Value) -> Value {
    let labels = labels.as_object().into_iter().flatten();
    cell(&LabelSelector::from_labels(labels.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))))
}

/// The selector as a query parameter writes it: `a=1,b in (x,y),!c`; `<none>` for one that selects everything or nothing.
pub fn to_cell(selector: &Value) -> Value {
    match LabelSelector::from_json(selector) {
        Ok(selector) => cell(&selector),
        Err(_) => "<error>".into(),
    }
}

fn cell(selector: &LabelSelector) -> Value {
    match selector.to_string() {
        text if text.is_empty() => "<none>".into(),
        text => text.into(),
    }
}

/// Whether the selector selects an object with these labels; an invalid one selects nothing.
pub fn matches(selector: &Value, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    LabelSelector::from_json(selector).is_ok_and(|selector| selector.matches_by(label))
}

/// Whether it says what it selects.
pub fn is_sound(selector: &Value) -> bool {
    let mut faults = Faults::default();
    validate(selector, "", &mut faults);
    faults.is_empty()
}

/// No requirement at all.
pub fn is_empty(selector: &Value) -> bool {
    members(selector, "/matchLabels").next().is_none() && list(selector, "/matchExpressions").is_empty()
}

/// Kubernetes' `ValidateLabelSelector`.
pub fn validate(selector: &Value, path: &str, faults: &mut Faults) {
    validate_labels(at(selector, "/matchLabels"), &format!("{path}.matchLabels"), faults);
    for (index, requirement) in list(selector, "/matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let operator = text(requirement, "/operator");
        let values = list(requirement, "/values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                faults.required(format!("{path}.values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                faults.forbidden(
                    format!("{path}.values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => faults.invalid(format!("{path}.operator"), other, "not a valid selector operator"),
        }
        let key = text(requirement, "/key");
        report(qualified(key), key, &format!("{path}.key"), faults);
        for (at, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            report(label_value(value), value, &format!("{path}.values[{at}]"), faults);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_forms_sort_by_key() {
        let selector = json!({
            "matchLabels": {"b": "2", "a": "1"},
            "matchExpressions": [
                {"key": "d", "operator": "DoesNotExist"},
                {"key": "c", "operator": "In", "values": ["y", "x"]},
                {"key": "e", "operator": "Exists"},
                {"key": "f", "operator": "NotIn", "values": ["z"]},
            ],
        });
        assert_eq!(to_cell(&selector), "a=1,b=2,c in (x,y),!d,e,f notin (z)");
        assert_eq!(labels_to_cell(&json!({"b": "2", "a": "1"})), "a=1,b=2");
        assert_eq!((to_cell(&json!({})), labels_to_cell(&json!({}))), ("<none>".into(), "<none>".into()));
        assert!(matches(&selector, &json!({"a": "1", "b": "2", "c": "x", "e": ""})));
        assert!(!matches(&selector, &json!({"a": "1", "b": "2", "c": "x", "e": "", "d": ""})));
        assert!(!matches(&selector, &json!({"a": "1", "b": "2", "c": "x", "e": "", "f": "z"})));
    }
}
