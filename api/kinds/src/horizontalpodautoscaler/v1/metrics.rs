//! Metrics in the form that annotations of v1 hold: each source names its own target instead of having a `target`.

use serde_json::{Map, Value, json};

use crate::tree::{at, missing, remove, set};

/// `(member in v1, JSON pointer in v2)` of what a metric asks for, for each source.
type Names = &'static [(&'static str, &'static str)];

const SPECS: &[(&str, Names)] = &[
    (
        "object",
        &[
            ("target", "/describedObject"),
            ("metricName", "/metric/name"),
            ("targetValue", "/target/value"),
            ("selector", "/metric/selector"),
            ("averageValue", "/target/averageValue"),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", "/metric/name"),
            ("targetAverageValue", "/target/averageValue"),
            ("selector", "/metric/selector"),
        ],
    ),
    (
        "resource",
        &[
            ("name", "/name"),
            ("targetAverageUtilization", "/target/averageUtilization"),
            ("targetAverageValue", "/target/averageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            ("name", "/name"),
            ("targetAverageUtilization", "/target/averageUtilization"),
            ("targetAverageValue", "/target/averageValue"),
            ("container", "/container"),
        ],
    ),
    (
        "external",
        &[
            ("metricName", "/metric/name"),
            ("metricSelector", "/metric/selector"),
            ("targetValue", "/target/value"),
            ("targetAverageValue", "/target/averageValue"),
        ],
    ),
];

const STATUSES: &[(&str, Names)] = &[
    (
        "object",
        &[
            ("target", "/describedObject"),
            ("metricName", "/metric/name"),
            ("currentValue", "/current/value"),
            ("selector", "/metric/selector"),
            ("averageValue", "/current/averageValue"),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", "/metric/name"),
            ("currentAverageValue", "/current/averageValue"),
            ("selector", "/metric/selector"),
        ],
    ),
    (
        "resource",
        &[
            ("name", "/name"),
            ("currentAverageUtilization", "/current/averageUtilization"),
            ("currentAverageValue", "/current/averageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            ("name", "/name"),
            ("currentAverageUtilization", "/current/averageUtilization"),
            ("currentAverageValue", "/current/averageValue"),
            ("container", "/container"),
        ],
    ),
    (
        "external",
        &[
            ("metricName", "/metric/name"),
            ("metricSelector", "/metric/selector"),
            ("currentValue", "/current/value"),
            ("currentAverageValue", "/current/averageValue"),
        ],
    ),
];

pub fn spec_to_v1(metric: &Value) -> Value {
    to_v1(metric, SPECS)
}

pub fn status_to_v1(metric: &Value) -> Value {
    to_v1(metric, STATUSES)
}

/// The type of a target is not written in v1: it is what the target is given in.
pub fn spec_from_v1(metric: &Value) -> Value {
    let mut spec = from_v1(metric, SPECS);
    for (source, _) in SPECS.iter().filter(|(source, _)| !missing(metric, &format!("/{source}"))) {
        // An amount of an object is written even when it is none.
        let averaged = !missing(&spec, &format!("/{source}/target/averageValue"));
        let zero = spec.pointer(&format!("/{source}/target/value")).is_some_and(|value| value == "0");
        if averaged && zero {
            remove(&mut spec[*source]["target"], "value");
        }
        let target = at(&spec, &format!("/{source}/target"));
        let kind = match *source {
            "resource" | "containerResource" if !missing(target, "/averageUtilization") => "Utilization",
            "object" if !averaged => "Value",
            "external" if !missing(target, "/value") => "Value",
            _ => "AverageValue",
        };
        set(&mut spec, &format!("/{source}/target/type"), kind.into());
    }
    spec
}

pub fn status_from_v1(metric: &Value) -> Value {
    from_v1(metric, STATUSES)
}

fn to_v1(metric: &Value, sources: &[(&str, Names)]) -> Value {
    let mut out = json!({"type": at(metric, "/type")});
    for (source, names) in sources {
        let from = at(metric, &format!("/{source}"));
        if !from.is_null() {
            let members = names.iter().map(|(name, pointer)| ((*name).to_owned(), at(from, pointer).clone()));
            out[*source] = members.filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>().into();
        }
    }
    out
}

fn from_v1(metric: &Value, sources: &[(&str, Names)]) -> Value {
    let mut out = json!({"type": at(metric, "/type")});
    for (source, names) in sources {
        let from = at(metric, &format!("/{source}"));
        if from.is_null() {
            continue;
        }
        out[*source] = json!({});
        for (name, pointer) in *names {
            let value = at(from, &format!("/{name}"));
            if let (false, Some((parent, _))) = (value.is_null(), pointer.rsplit_once('/')) {
                if let Some(parent) =
                    parent.strip_prefix('/').filter(|parent| missing(&out, &format!("/{source}/{parent}")))
                {
                    out[*source][parent] = json!({});
                }
                set(&mut out[*source], pointer, value.clone());
            }
        }
        // What holds the value is there even when it is empty.
        for member in ["target", "current"] {
            if names.iter().any(|(_, pointer)| pointer.starts_with(&format!("/{member}/")))
                && missing(&out[*source], &format!("/{member}"))
            {
                out[*source][member] = json!({});
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_survive_the_way_through_v1() {
        let metric = json!({"name": "m", "selector": {"matchLabels": {"a": "b"}}});
        let described = json!({"kind": "Service", "name": "s"});
        let cases = [
            json!({"type": "Object", "object": {"describedObject": described, "metric": metric, "target": {"value": "5", "type": "Value"}}}),
            json!({"type": "Object", "object": {"describedObject": described, "metric": metric, "target": {"averageValue": "5", "type": "AverageValue"}}}),
            json!({"type": "Pods", "pods": {"metric": metric, "target": {"averageValue": "5", "type": "AverageValue"}}}),
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 5, "type": "Utilization"}}}),
            json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": {"averageValue": "5", "type": "AverageValue"}}}),
            json!({"type": "External", "external": {"metric": metric, "target": {"value": "5", "type": "Value"}}}),
        ];
        for spec in cases {
            assert_eq!(spec_from_v1(&spec_to_v1(&spec)), spec);
        }
        let status = json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 5, "averageValue": "1"}}});
        assert_eq!(status_from_v1(&status_to_v1(&status)), status);
    }
}
