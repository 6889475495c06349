//! `metav1.LabelSelector` and plain label maps: text form, matching, validity.

use std::collections::BTreeMap;

use kontiki_model::{FaultKind, Faults};
use serde_json::Value;

use crate::names;
use crate::tree::{at, list, members, text};

/// `a=1,b=2`, sorted by key, or `<none>`.
pub fn labels_to_string(labels: &Value) -> String {
    let sorted: BTreeMap<&str, &str> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
        .collect();
    if sorted.is_empty() {
        return "<none>".to_owned();
    }
    sorted.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// The selector as a query parameter and the Scale subresource write it: `a=1,b in (x,y),!c`, sorted by key.
pub fn to_string(selector: &Value) -> String {
    let mut parts: Vec<(&str, String)> = Vec::new();
    for (key, value) in members(selector, "/matchLabels") {
        parts.push((key, format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    for requirement in list(selector, "/matchExpressions") {
        let key = text(requirement, "/key");
        let mut values: Vec<&str> = list(requirement, "/values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        parts.push((
            key,
            match text(requirement, "/operator") {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "Exists" => key.to_owned(),
                _ => format!("!{key}"),
            },
        ));
    }
    parts.sort_by_key(|(key, _)| *key);
    parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(",")
}

/// [`to_string`] for a Table cell: `<none>` where the selector is empty.
pub fn to_cell(selector: &Value) -> Value {
    match to_string(selector) {
        text if text.is_empty() => "<none>".into(),
        text => text.into(),
    }
}

/// An empty selector matches everything.
pub fn matches(selector: &Value, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    members(selector, "/matchLabels").all(|(key, value)| label(key) == value.as_str())
        && list(selector, "/matchExpressions").iter().all(|requirement| {
            let found = label(text(requirement, "/key"));
            let listed = || list(requirement, "/values").iter().any(|value| value.as_str() == found);
            match text(requirement, "/operator") {
                "In" => found.is_some() && listed(),
                "NotIn" => found.is_none() || !listed(),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

/// No requirement at all.
pub fn is_empty(selector: &Value) -> bool {
    members(selector, "/matchLabels").next().is_none() && list(selector, "/matchExpressions").is_empty()
}

/// Kubernetes' `ValidateLabelSelector`.
pub fn validate(selector: &Value, path: &str, faults: &mut Faults) {
    names::validate_labels(at(selector, "/matchLabels"), &format!("{path}.matchLabels"), faults);
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
        names::validate_label_key(text(requirement, "/key"), &format!("{path}.key"), faults);
        for (at, value) in values.iter().enumerate() {
            for fault in names::label_value(value.as_str().unwrap_or_default()) {
                faults.add(FaultKind::Invalid, format!("{path}.values[{at}]"), Some(value.clone()), fault);
            }
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
        assert_eq!(to_string(&selector), "a=1,b=2,c in (x,y),!d,e,f notin (z)");
        assert_eq!(labels_to_string(&json!({"b": "2", "a": "1"})), "a=1,b=2");
        assert_eq!(to_cell(&json!({})), "<none>");
        assert!(matches(&selector, &json!({"a": "1", "b": "2", "c": "x", "e": ""})));
        assert!(!matches(&selector, &json!({"a": "1", "b": "2", "c": "x", "e": "", "d": ""})));
        assert!(!matches(&selector, &json!({"a": "1", "b": "2", "c": "x", "e": "", "f": "z"})));
    }
}
