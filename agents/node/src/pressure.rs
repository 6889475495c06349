//! Which pods a node lets in while it is short of something. Pure; as the kubelet's eviction manager decides.

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Toleration};

use crate::{eviction::EVICTED, machine::Rejection, pod};

const MEMORY: &str = "MemoryPressure";
const CONDITIONS: [&str; 3] = [MEMORY, "DiskPressure", "PIDPressure"];
const MEMORY_TAINT: &str = "node.kubernetes.io/memory-pressure";
/// From here on a pod is one that the cluster itself needs.
const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// What the node says it is short of.
pub fn told(node: &Node) -> Vec<&'static str> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let holding: Vec<&str> =
        conditions.filter(|condition| condition.status == "True").map(|condition| condition.type_.as_str()).collect();
    CONDITIONS.into_iter().filter(|condition| holding.contains(condition)).collect()
}

/// `None` if the pod may run here nevertheless.
pub fn refuse(pod: &Pod, spec: &PodSpec, pressures: &[&str]) -> Option<Rejection> {
    let critical = spec.priority.is_some_and(|priority| priority >= CRITICAL_PRIORITY);
    if pressures.is_empty() || critical {
        return None;
    }
    // Who has said how much memory he needs is the last to blame for the want of it.
    let tolerates = || spec.tolerations.iter().flatten().any(tolerates_memory_pressure);
    if pressures == [MEMORY] && (pod::qos_class(pod) != "BestEffort" || tolerates()) {
        return None;
    }
    let message = format!("Pod was rejected: The node had condition: [{}]. ", pressures.join(" "));
    Some(Rejection::new(EVICTED, message))
}

fn tolerates_memory_pressure(toleration: &Toleration) -> bool {
    let said = |text: &Option<String>| text.clone().unwrap_or_default();
    let (effect, key, value) = (said(&toleration.effect), said(&toleration.key), said(&toleration.value));
    let exists = toleration.operator.as_deref() == Some("Exists");
    let of_taint = key == MEMORY_TAINT || (key.is_empty() && exists);
    of_taint && (exists || value.is_empty()) && (effect.is_empty() || effect == "NoSchedule")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_node_that_is_short_of_something_lets_in_whom_the_kubelet_would() {
        let pod = |spec: Value| {
            let mut spec = spec;
            let resources = spec.as_object_mut().unwrap().remove("resources");
            spec["containers"] = json!([{"name": "c", "resources": resources}]);
            serde_json::from_value::<Pod>(json!({"spec": spec})).unwrap()
        };
        let node = |types: &[&str]| {
            let conditions: Vec<Value> = types.iter().map(|type_| json!({"type": type_, "status": "True"})).collect();
            serde_json::from_value::<Node>(json!({"status": {"conditions": conditions}})).unwrap()
        };
        let some = json!({"resources": {"requests": {"memory": "1Mi"}}});
        let tolerating = json!({"tolerations": [{"key": MEMORY_TAINT, "operator": "Exists", "effect": "NoSchedule"}]});
        let (memory, disk, both) =
            (Some("[MemoryPressure]"), Some("[DiskPressure]"), Some("[MemoryPressure DiskPressure]"));
        for (spec, conditions, expected) in [
            (json!({}), vec!["Ready"], None),
            (json!({}), vec!["Ready", "DiskPressure"], disk),
            (json!({"priority": 1_000_000_000}), vec!["DiskPressure"], disk),
            (json!({"priority": 2_000_001_000}), vec!["DiskPressure"], None),
            (some.clone(), vec!["DiskPressure"], disk),
            (json!({}), vec!["MemoryPressure"], memory),
            (some.clone(), vec!["MemoryPressure"], None),
            (tolerating.clone(), vec!["MemoryPressure"], None),
            (tolerating, vec!["DiskPressure", "MemoryPressure"], both),
            (some, vec!["PIDPressure"], Some("[PIDPressure]")),
        ] {
            let pod = pod(spec.clone());
            let refused = refuse(&pod, &pod::spec(&pod), &told(&node(&conditions)));
            let expected = expected.map(|names| format!("Pod was rejected: The node had condition: {names}. "));
            assert_eq!(refused.map(|rejection| rejection.message), expected, "{spec} {conditions:?}");
        }
    }
}
