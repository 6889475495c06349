//! HorizontalPodAutoscaler (autoscaling): the form of v2, which is stored.

mod table;
pub mod v1;
mod validation;

use serde_json::{Value, json};

use crate::tree::{fill, keep, list, missing, object};
use crate::{Kind, Subresource};

pub static KIND: Kind = DECLARED;

/// What both versions have in common is declared here.
const DECLARED: Kind = Kind {
    group: "autoscaling",
    version: "v2",
    kind: "HorizontalPodAutoscaler",
    resource: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    type_name: "autoscaling.v2.HorizontalPodAutoscaler",
    subresources: &[Subresource::Status],
    columns: table::COLUMNS,
    cells: table::cells,
    default,
    prepare_create: |autoscaler| autoscaler["status"] = json!({}),
    prepare_update: |new, old| keep(new, old, "status"),
    validate: validation::validate,
    validate_create: validation::validate_create,
    validate_update: validation::validate_update,
    validate_status: validation::validate_status,
    ..Kind::BASE
};

/// Where nothing says what to scale by, it is the share of the requested cpu.
const CPU_UTILIZATION: i64 = 80;

fn default(autoscaler: &mut Value) {
    let spec = object(autoscaler, "spec");
    fill(spec, "minReplicas", 1);
    if list(spec, "/metrics").is_empty() {
        let target = json!({"type": "Utilization", "averageUtilization": CPU_UTILIZATION});
        spec["metrics"] = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
    }
    if missing(spec, "/behavior") {
        return;
    }
    let behavior = object(spec, "behavior");
    let up = object(behavior, "scaleUp");
    fill(up, "stabilizationWindowSeconds", 0);
    let fast = json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]);
    rules(up, fast);
    rules(object(behavior, "scaleDown"), json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
}

fn rules(rules: &mut Value, policies: Value) {
    fill(rules, "selectPolicy", "Max");
    fill(rules, "policies", policies);
}
