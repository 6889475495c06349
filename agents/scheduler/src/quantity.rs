//! Resource amounts as the scheduler counts them: whole units, cpu in thousandths. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, Pod, PodStatus},
    apimachinery::pkg::api::resource::Quantity,
};

/// Amounts by resource name; `cpu` in millicores, everything else in its own unit.
pub type Amounts = BTreeMap<String, i64>;

/// The amount of one resource in the scheduler's unit, rounded up; nothing where it is no quantity.
pub fn amount(resource: &str, quantity: &Quantity) -> i64 {
    let Ok(quantity) = quantity.0.parse::<kontiki_model::Quantity>() else { return 0 };
    if resource == "cpu" { quantity.milli_value() } else { quantity.value() }
}

pub fn amounts(list: Option<&BTreeMap<String, Quantity>>) -> Amounts {
    list.into_iter().flatten().map(|(name, quantity)| (name.clone(), amount(name, quantity))).collect()
}

fn add(to: &mut Amounts, from: &Amounts) {
    for (name, value) in from {
        let sum = to.entry(name.clone()).or_insert(0);
        *sum = sum.saturating_add(*value);
    }
}

fn raise(to: &mut Amounts, from: &Amounts) {
    for (name, value) in from {
        let most = to.entry(name.clone()).or_insert(0);
        *most = (*most).max(*value);
    }
}

/// What a pod asks for: its containers and sidecars together, or the largest init container if that is more,
/// plus the overhead of its runtime class (as Kubernetes' resource helpers define it).
pub fn requests(pod: &Pod) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::new() };
    let asked = |container: &Container| counted(container, pod.status.as_ref());
    let mut total = Amounts::new();
    for container in &spec.containers {
        add(&mut total, &asked(container));
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for init in spec.init_containers.iter().flatten() {
        let mut now = asked(init);
        if init.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, &now);
            raise(&mut peak, &sidecars);
        } else {
            add(&mut now, &sidecars);
            raise(&mut peak, &now);
        }
    }
    add(&mut total, &sidecars);
    raise(&mut total, &peak);
    raise(&mut total, &amounts(spec.resources.as_ref().and_then(|resources| resources.requests.as_ref())));
    add(&mut total, &amounts(spec.overhead.as_ref()));
    total.retain(|_, value| *value > 0);
    total
}

/// What a container asks for or, while a resize is under way, what it has if that is more. What its node can never give it
/// does not count.
fn counted(container: &Container, status: Option<&PodStatus>) -> Amounts {
    let mut asked = amounts(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()));
    let lists = status.map(|status| [&status.container_statuses, &status.init_container_statuses]);
    let mut told = lists.into_iter().flatten().flatten().flatten().filter(|told| told.name == container.name);
    let Some(told) = told.next().filter(|told| told.resources.is_some()) else { return asked };
    let mut has = amounts(told.resources.as_ref().and_then(|resources| resources.requests.as_ref()));
    raise(&mut has, &amounts(told.allocated_resources.as_ref()));
    let mut conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
    if conditions.any(|one| one.type_ == "PodResizePending" && one.reason.as_deref() == Some("Infeasible")) {
        return has;
    }
    raise(&mut asked, &has);
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_rounded_up_to_whole_units() {
        let table = [
            ("cpu", "100m", 100),
            ("cpu", "1", 1000),
            ("cpu", "0.1", 100),
            ("cpu", "100u", 1),
            ("memory", "1Ki", 1024),
            ("memory", "1.5Gi", 1_610_612_736),
            ("memory", "128M", 128_000_000),
            ("memory", "100m", 1),
            ("memory", "1e3", 1000),
            ("memory", "12E", 12_000_000_000_000_000_000_i128.min(i64::MAX.into()) as i64),
            ("cpu", "1e21", i64::MAX),
            ("memory", "0.0000000000000000000001", 1),
            ("memory", "nonsense", 0),
        ];
        for (resource, text, expected) in table {
            assert_eq!(amount(resource, &Quantity(text.into())), expected, "{resource} {text}");
        }
    }

    #[test]
    fn init_containers_count_where_they_ask_for_more() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "1Mi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "100m"}}},
            ],
            "initContainers": [
                {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
                {"name": "once", "resources": {"requests": {"cpu": "500m"}}},
            ],
        }}))
        .unwrap();
        let expected = Amounts::from([("cpu".to_owned(), 550), ("memory".to_owned(), 1 << 20)]);
        assert_eq!(requests(&pod), expected);
    }

    #[test]
    fn a_resize_counts_by_what_is_asked_for_and_what_is_there() {
        let cpu = |asked: &str, allocated: &str, reason: Option<&str>| {
            let condition = reason
                .map(|reason| serde_json::json!([{"type": "PodResizePending", "status": "True", "reason": reason}]));
            let told = serde_json::json!({"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "resources": {"requests": {"cpu": allocated}}, "allocatedResources": {"cpu": allocated}});
            let pod = serde_json::json!({
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": asked}}}]},
                "status": {"containerStatuses": [told], "conditions": condition},
            });
            requests(&serde_json::from_value(pod).unwrap())["cpu"]
        };
        assert_eq!(cpu("200m", "100m", None), 200);
        assert_eq!(cpu("100m", "200m", None), 200);
        assert_eq!(cpu("200m", "100m", Some("Deferred")), 200);
        assert_eq!(cpu("200m", "100m", Some("Infeasible")), 100);
    }
}
