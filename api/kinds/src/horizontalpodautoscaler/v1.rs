//! HorizontalPodAutoscaler as autoscaling/v1 spells it: cpu has a field, and what else v2 says travels in annotations.

mod metrics;

use kontiki_schema::{builtin, ids};
use serde_json::{Map, Value, json};

use super::{CPU_UTILIZATION, DECLARED};
use crate::tree::{at, fill, list, missing, object, remove, text};
use crate::{Kind, Spelling};

pub static KIND: Kind = Kind {
    version: "v1",
    type_name: "autoscaling.v1.HorizontalPodAutoscaler",
    default: |autoscaler| fill(object(autoscaler, "spec"), "minReplicas", 1),
    spelling: Some(Spelling { of: &super::KIND, from_stored, to_stored, fields: &[] }),
    ..DECLARED
};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const ANNOTATIONS: [&str; 4] = [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR];

fn from_stored(mut autoscaler: Value) -> Value {
    drop_annotations(&mut autoscaler);
    let spec = object(&mut autoscaler, "spec");
    let metrics = remove(spec, "metrics").unwrap_or_default();
    let behavior = remove(spec, "behavior").unwrap_or_default();
    let (cpu, others): (Vec<_>, Vec<_>) = list(&metrics, "").iter().partition(is_cpu_utilization);
    if let Some(share) = cpu.first().map(|metric| at(metric, "/resource/target/averageUtilization")) {
        spec["targetCPUUtilizationPercentage"] = share.clone();
    }
    let status = object(&mut autoscaler, "status");
    let current = remove(status, "currentMetrics").unwrap_or_default();
    let conditions = remove(status, "conditions").unwrap_or_default();
    let of_cpu = list(&current, "").iter().filter(|metric| is_cpu(metric));
    if let Some(share) =
        of_cpu.map(|metric| at(metric, "/resource/current/averageUtilization")).find(|share| !share.is_null())
    {
        status["currentCPUUtilizationPercentage"] = share.clone();
    }
    let others = others.into_iter().map(metrics::spec_to_v1).collect();
    annotate(&mut autoscaler, METRICS, printed(ids::AUTOSCALING_V1_METRICSPEC, others));
    let current = list(&current, "").iter().map(metrics::status_to_v1).collect();
    annotate(&mut autoscaler, CURRENT_METRICS, printed(ids::AUTOSCALING_V1_METRICSTATUS, current));
    let conditions = list(&conditions, "").to_vec();
    annotate(&mut autoscaler, CONDITIONS, printed(ids::AUTOSCALING_V1_HORIZONTALPODAUTOSCALERCONDITION, conditions));
    annotate(&mut autoscaler, BEHAVIOR, Some(behavior).filter(Value::is_object).map(|one| printed_behavior(&one)));
    autoscaler
}

fn to_stored(mut autoscaler: Value) -> Value {
    let annotation = |name: &str| {
        let text = at(&autoscaler, "/metadata/annotations").get(name)?.as_str()?;
        // What is no JSON was not written by a conversion.
        serde_json::from_str::<Value>(text).ok().filter(|value| !value.is_null())
    };
    let annotated = |name: &str, convert: fn(&Value) -> Value| {
        let all = annotation(name)?;
        Some(all.as_array()?.iter().map(convert).collect::<Vec<_>>())
    };
    let others = annotated(METRICS, metrics::spec_from_v1).unwrap_or_default();
    let current = annotated(CURRENT_METRICS, metrics::status_from_v1);
    let conditions = annotated(CONDITIONS, Value::clone);
    let behavior = annotation(BEHAVIOR).map(|behavior| uncapitalized(&behavior));
    drop_annotations(&mut autoscaler);

    let spec = object(&mut autoscaler, "spec");
    let cpu = remove(spec, "targetCPUUtilizationPercentage").filter(|share| !share.is_null());
    let mut all = others;
    all.extend(cpu.map(cpu_utilization));
    if all.is_empty() {
        all.push(cpu_utilization(CPU_UTILIZATION.into()));
    }
    spec["metrics"] = all.into();
    if let Some(behavior) = behavior.filter(|behavior| behavior.as_object().is_some_and(|rules| !rules.is_empty())) {
        spec["behavior"] = behavior;
    }
    let status = object(&mut autoscaler, "status");
    let share = remove(status, "currentCPUUtilizationPercentage").filter(|share| !share.is_null());
    let of_cpu = share.map(|share| {
        vec![json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": share}}})]
    });
    // The annotation says more than the field.
    if let Some(current) = current.or(of_cpu) {
        status["currentMetrics"] = current.into();
    }
    if let Some(conditions) = conditions {
        status["conditions"] = conditions.into();
    }
    (super::KIND.default)(&mut autoscaler);
    autoscaler
}

fn is_cpu(metric: &Value) -> bool {
    text(metric, "/type") == "Resource" && text(metric, "/resource/name") == "cpu"
}

fn is_cpu_utilization(metric: &&Value) -> bool {
    is_cpu(metric) && !missing(metric, "/resource/target/averageUtilization")
}

fn cpu_utilization(share: Value) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": share});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

fn drop_annotations(autoscaler: &mut Value) {
    let Some(annotations) = autoscaler.pointer_mut("/metadata/annotations") else { return };
    for name in ANNOTATIONS {
        remove(annotations, name);
    }
    if annotations.as_object().is_some_and(Map::is_empty) {
        remove(&mut autoscaler["metadata"], "annotations");
    }
}

fn annotate(autoscaler: &mut Value, name: &str, text: Option<String>) {
    if let Some(text) = text {
        object(object(autoscaler, "metadata"), "annotations")[name] = text.into();
    }
}

/// The elements as a Go server prints a list of their type; nothing if there are none.
fn printed(r#type: kontiki_schema::TypeId, elements: Vec<Value>) -> Option<String> {
    let canonical = |mut element: Value| {
        builtin().canonical(r#type, &mut element);
        element
    };
    let elements: Vec<_> = elements.into_iter().map(canonical).collect();
    (!elements.is_empty()).then(|| Value::Array(elements).to_string())
}

/// Kubernetes prints the behavior in a form of its own: names begin with a capital, and what is unset is null.
fn printed_behavior(behavior: &Value) -> String {
    let policy =
        |one: &Value| json!({"Type": one["type"], "Value": one["value"], "PeriodSeconds": one["periodSeconds"]});
    let rules = |member: &str| match &behavior[member] {
        rules @ Value::Object(_) => {
            let policies = rules["policies"].as_array().map(|all| all.iter().map(policy).collect::<Vec<_>>());
            json!({
                "StabilizationWindowSeconds": rules["stabilizationWindowSeconds"], "SelectPolicy": rules["selectPolicy"],
                "Policies": policies, "Tolerance": rules["tolerance"],
            })
        }
        _ => Value::Null,
    };
    json!({"ScaleUp": rules("scaleUp"), "ScaleDown": rules("scaleDown")}).to_string()
}

/// The way back; Go reads names in any case, and null as unset.
fn uncapitalized(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().filter(|(_, value)| !value.is_null());
            members.map(|(name, value)| (uncapitalized_name(name), uncapitalized(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(elements) => elements.iter().map(uncapitalized).collect(),
        other => other.clone(),
    }
}

fn uncapitalized_name(name: &str) -> String {
    let mut rest = name.chars();
    rest.next().map(|first| first.to_ascii_lowercase().to_string() + rest.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(mut autoscaler: Value, version: &str) -> Value {
        let name = format!("autoscaling.{version}.HorizontalPodAutoscaler");
        let id = builtin().lookup(&name).expect("the type is in the table");
        builtin().canonical(id, &mut autoscaler);
        autoscaler
    }

    #[test]
    fn cpu_has_a_field_and_the_rest_is_annotated() {
        let stored = json!({
            "metadata": {"name": "h"},
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "minReplicas": 1, "maxReplicas": 3,
                "metrics": [
                    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 50}}},
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
                ],
                "behavior": {"scaleDown": {"selectPolicy": "Max", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}},
            },
            "status": {
                "currentReplicas": 2, "desiredReplicas": 2,
                "currentMetrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "current": {"averageValue": "10m", "averageUtilization": 30}}},
                ],
                "conditions": [{"type": "AbleToScale", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "R"}],
            },
        });
        let spelled = canonical(from_stored(stored.clone()), "v1");
        assert_eq!(spelled["spec"]["targetCPUUtilizationPercentage"], 70);
        assert_eq!(spelled["status"]["currentCPUUtilizationPercentage"], 30);
        let expected = json!({
            BEHAVIOR: "{\"ScaleUp\":null,\"ScaleDown\":{\"StabilizationWindowSeconds\":null,\"SelectPolicy\":\"Max\",\"Policies\":[{\"Type\":\
                       \"Pods\",\"Value\":1,\"PeriodSeconds\":60}],\"Tolerance\":null}}",
            CONDITIONS: "[{\"type\":\"AbleToScale\",\"status\":\"True\",\"lastTransitionTime\":\"2026-01-01T00:00:00Z\",\"reason\":\"R\"}]",
            CURRENT_METRICS: "[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"currentAverageUtilization\":30,\
                              \"currentAverageValue\":\"10m\"}}]",
            METRICS: "[{\"type\":\"Resource\",\"resource\":{\"name\":\"memory\",\"targetAverageUtilization\":50}}]",
        });
        assert_eq!(spelled["metadata"]["annotations"], expected);
        let mut back = canonical(to_stored(spelled), "v2");
        // A behavior that says anything is filled up.
        assert!(remove(&mut back["spec"]["behavior"], "scaleUp").is_some());
        assert_eq!(back, canonical(stored, "v2"));
    }

    #[test]
    fn nothing_said_means_cpu() {
        let stored = to_stored(json!({"metadata": {}, "spec": {"maxReplicas": 1}}));
        assert_eq!(stored["spec"]["metrics"], json!([cpu_utilization(80.into())]));
        let spelled = from_stored(stored);
        assert_eq!(spelled["spec"]["targetCPUUtilizationPercentage"], 80);
        assert_eq!(spelled["metadata"], json!({}));
    }

    #[test]
    fn annotations_that_are_no_json_are_dropped() {
        let spelled = json!({"metadata": {"annotations": {METRICS: "{", "a": "b"}}, "spec": {}});
        let stored = to_stored(spelled);
        assert_eq!(stored["metadata"]["annotations"], json!({"a": "b"}));
        assert_eq!(stored["spec"]["metrics"], json!([cpu_utilization(80.into())]));
    }
}
