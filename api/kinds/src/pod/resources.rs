//! Requests and limits of containers, and the quality of service class they amount to.

use kontiki_model::{Faults, Quantity};
use serde_json::Value;

use crate::names::{qualified, report, subdomain};
use crate::tree::{at, list, object_mut};

/// How a pod fares when its node runs out of something: the last to suffer, the middle, the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QosClass {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl QosClass {
    pub fn name(self) -> &'static str {
        match self {
            QosClass::Guaranteed => "Guaranteed",
            QosClass::Burstable => "Burstable",
            QosClass::BestEffort => "BestEffort",
        }
    }
}

/// Cpu and memory decide: all containers limited to what they request, some request or limit, or none.
pub fn qos_class(pod: &Value) -> QosClass {
    let containers = || list(pod, "/spec/containers").iter().chain(list(pod, "/spec/initContainers"));
    let pod_level = at(pod, "/spec/resources");
    let quantity = |holder: &Value, pointer: &str| quantity(at(holder, pointer)).filter(|one| !one.is_zero());
    let any = |resources: &Value| {
        ["/requests/cpu", "/requests/memory", "/limits/cpu", "/limits/memory"]
            .iter()
            .any(|pointer| quantity(resources, pointer).is_some())
    };
    let guaranteed = |resources: &Value| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = quantity(resources, &format!("/limits/{name}"));
            let request = quantity(resources, &format!("/requests/{name}"));
            limit.is_some() && (request.is_none() || request == limit)
        })
    };
    if any(pod_level) {
        return if guaranteed(pod_level) { QosClass::Guaranteed } else { QosClass::Burstable };
    }
    if !containers().any(|one| any(at(one, "/resources"))) {
        QosClass::BestEffort
    } else if containers().all(|one| guaranteed(at(one, "/resources"))) {
        QosClass::Guaranteed
    } else {
        QosClass::Burstable
    }
}

/// A quantity of an object; the schema has checked that it is one.
pub fn quantity(value: &Value) -> Option<Quantity> {
    Quantity::from_json(value)
}

/// The resource list at a pointer is kept to thousandths and in canonical notation: `1000m` is `1`.
pub fn round(holder: &mut Value, pointer: &str) {
    let Some(resources) = object_mut(holder, pointer) else { return };
    for (_, value) in resources.as_object_mut().into_iter().flatten() {
        if let Some(quantity) = quantity(value) {
            *value = quantity.rounded_to_milli().to_string().into();
        }
    }
}

/// Cpu, memory and what containers write beside their volumes: what every node has.
pub fn is_measured(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage")
}

/// More of it may be promised than there is: what Kubernetes itself names, but for huge pages.
pub fn overcommits(name: &str) -> bool {
    (!name.contains('/') || name.contains("kubernetes.io/")) && !name.starts_with("hugepages-")
}

/// The name of a resource that containers use.
pub fn validate_container_resource(name: &str, path: &str, faults: &mut Faults) {
    let wrong = qualified(name);
    if wrong.is_empty() && !name.contains('/') {
        standard(name, path, faults);
        if !is_measured(name) && !name.starts_with("hugepages-") {
            faults.invalid(path, name, "must be a standard resource for containers");
        }
    } else if wrong.is_empty() && !name.contains("kubernetes.io/") && !is_extended(name) {
        faults.invalid(path, name, "doesn't follow extended resource name standard");
    }
    report(wrong, name, path, faults);
}

/// The name of anything that is counted or measured.
pub fn validate_resource(name: &str, path: &str, faults: &mut Faults) {
    report(qualified(name), name, path, faults);
    if !name.contains('/') {
        standard(name, path, faults);
    }
}

fn standard(name: &str, path: &str, faults: &mut Faults) {
    if name != "storage" && !is_quota_resource(name) {
        faults.invalid(path, name, "must be a standard resource type or fully qualified");
    }
}

/// What is counted one by one.
const COUNTED: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

/// What a ResourceQuota may bound without a group in its name.
pub fn is_quota_resource(name: &str) -> bool {
    let measured = |name: &str| is_measured(name) || name.starts_with("hugepages-");
    let prefixed = |prefix: &str| name.strip_prefix(prefix).is_some_and(measured);
    measured(name)
        || COUNTED.contains(&name)
        || prefixed("requests.")
        || prefixed("limits.") && !name.contains("hugepages-")
        || name == "requests.storage"
}

/// An amount of a resource: not negative, and whole where half of one is nothing.
pub fn validate_quantity(name: &str, value: &Value, path: &str, faults: &mut Faults) {
    let Some(value) = quantity(value) else { return };
    if value.is_negative() {
        faults.invalid(path, value.to_string(), "must be greater than or equal to 0");
    }
    if (is_extended(name) || COUNTED.contains(&name)) && value.milli_value() % 1000 != 0 {
        faults.invalid(path, value.to_string(), "must be an integer");
    }
}

/// `example.com/thing`: outside of `kubernetes.io`, and short enough for a quota's `requests.` prefix.
pub fn is_extended(name: &str) -> bool {
    let Some((domain, _)) = name.split_once('/') else { return false };
    !domain.ends_with("kubernetes.io") && !name.starts_with("requests.") && subdomain(domain).is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quality_of_service_follows_cpu_and_memory() {
        let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1Gi"}});
        let cases = [
            (json!([{}]), "BestEffort"),
            (json!([{"resources": {"requests": {"example.com/x": "1"}}}]), "BestEffort"),
            (json!([{"resources": {"requests": {"cpu": "0"}}}]), "BestEffort"),
            (json!([{"resources": {"requests": {"cpu": "1"}}}]), "Burstable"),
            (json!([{"resources": full}]), "Guaranteed"),
            (json!([{"resources": full}, {}]), "Burstable"),
            (json!([{"resources": {"limits": {"cpu": "1", "memory": "1"}, "requests": {"cpu": "1m"}}}]), "Burstable"),
        ];
        for (containers, class) in cases {
            assert_eq!(qos_class(&json!({"spec": {"containers": containers}})).name(), class, "{containers}");
        }
    }
}
