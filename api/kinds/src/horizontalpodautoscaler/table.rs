//! How a HorizontalPodAutoscaler reads in one line.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::Column;
use crate::column::{self, text_column};
use crate::tree::{NULL, at, int, list, text};

pub const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Reference", 0, "What is scaled."),
    text_column("Targets", 0, "Each metric as it is, and as it should be."),
    text_column("MinPods", 0, "The fewest replicas that may be set."),
    text_column("MaxPods", 0, "The most replicas that may be set."),
    text_column("Replicas", 0, "How many replicas there are."),
    column::AGE,
];

/// How many metrics are told.
const SHOWN_MAX: usize = 2;

pub fn cells(autoscaler: &Value, now: DateTime<Utc>) -> Vec<Value> {
    let target = |pointer: &str| text(autoscaler, &format!("/spec/scaleTargetRef/{pointer}"));
    let least = at(autoscaler, "/spec/minReplicas").as_i64().map_or("<unset>".to_owned(), |count| count.to_string());
    vec![
        column::name(autoscaler),
        format!("{}/{}", target("kind"), target("name")).into(),
        metrics(autoscaler).into(),
        least.into(),
        int(autoscaler, "/spec/maxReplicas").into(),
        int(autoscaler, "/status/currentReplicas").into(),
        column::age(autoscaler, now),
    ]
}

fn metrics(autoscaler: &Value) -> String {
    let (specs, statuses) = (list(autoscaler, "/spec/metrics"), list(autoscaler, "/status/currentMetrics"));
    if specs.is_empty() {
        return "<none>".to_owned();
    }
    let told = specs.iter().enumerate().take(SHOWN_MAX);
    let told: Vec<_> = told.map(|(index, spec)| metric(spec, statuses.get(index).unwrap_or(&NULL))).collect();
    match specs.len() - told.len() {
        0 => told.join(", "),
        more => format!("{} + {more} more...", told.join(", ")),
    }
}

fn metric(spec: &Value, status: &Value) -> String {
    let (source, averages) = match text(spec, "/type") {
        "External" => ("external", true),
        "Object" => ("object", true),
        "Pods" => ("pods", false),
        "Resource" => ("resource", false),
        "ContainerResource" => ("containerResource", false),
        _ => return "<unknown type>".to_owned(),
    };
    let is = |member: &str| quantity(at(status, &format!("/{source}/current/{member}")));
    let wanted = |member: &str| quantity(at(spec, &format!("/{source}/target/{member}")));
    let unknown = || "<unknown>".to_owned();
    match (averages, source) {
        (true, _) if wanted("averageValue").is_some() => {
            let wanted = wanted("averageValue").unwrap_or_default();
            format!("{}/{wanted} (avg)", is("averageValue").unwrap_or_else(unknown))
        }
        (true, _) => format!("{}/{}", is("value").unwrap_or_else(unknown), wanted("value").unwrap_or_else(zero)),
        (false, "pods") => {
            format!("{}/{}", is("averageValue").unwrap_or_else(unknown), wanted("averageValue").unwrap_or_else(zero))
        }
        (false, _) => {
            let name = text(spec, &format!("/{source}/name"));
            let (is, wanted) = match wanted("averageValue") {
                Some(wanted) => (is("averageValue"), wanted),
                None => {
                    let share = |value: Option<String>| value.map(|share| format!("{share}%"));
                    (
                        share(is("averageUtilization")),
                        share(wanted("averageUtilization")).unwrap_or("<auto>".to_owned()),
                    )
                }
            };
            format!("{name}: {}/{wanted}", is.unwrap_or_else(unknown))
        }
    }
}

fn zero() -> String {
    "0".to_owned()
}

/// A quantity or a count, as it is printed.
fn quantity(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn targets_read_as_kubectl_prints_them() {
        let resource = |target: Value| json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        let cases = [
            (json!([]), json!([]), "<none>"),
            (json!([resource(json!({"averageUtilization": 80}))]), json!([]), "cpu: <unknown>/80%"),
            (
                json!([resource(json!({"averageValue": "1"}))]),
                json!([{"type": "Resource", "resource": {"current": {"averageValue": "10m"}}}]),
                "cpu: 10m/1",
            ),
            (
                json!([
                    {"type": "Object", "object": {"target": {"value": "5"}}},
                    {"type": "External", "external": {"target": {"averageValue": "7"}}},
                    {"type": "Pods", "pods": {"target": {"averageValue": "9"}}},
                ]),
                json!([{"type": "Object", "object": {"current": {"value": "4"}}}]),
                "4/5, <unknown>/7 (avg) + 1 more...",
            ),
        ];
        for (specs, statuses, expected) in cases {
            let autoscaler = json!({"spec": {"metrics": specs}, "status": {"currentMetrics": statuses}});
            assert_eq!(metrics(&autoscaler), expected);
        }
    }
}
