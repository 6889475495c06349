//! Requests and limits as cgroup settings, by the rules of Kubernetes.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use kontiki_runtime::spec::Resources;

use crate::{pod, quantity};

const CPU_PERIOD_US: u64 = 100_000;
const CPU_QUOTA_MIN_US: i64 = 1_000;
const CPU_SHARES_MIN: u64 = 2;
const CPU_SHARES_MAX: u64 = 262_144;
const SHARES_PER_CPU: i64 = 1_024;

/// `None` where the container says nothing.
pub fn amount(list: Option<&ResourceRequirements>, limits: bool, name: &str) -> Option<i64> {
    let list = list?;
    let map = if limits { list.limits.as_ref() } else { list.requests.as_ref() }?;
    let text = &map.get(name)?.0;
    let amount = if name == "cpu" { quantity::milli(text) } else { quantity::value(text) };
    (amount > 0).then_some(amount)
}

/// As much cpu and memory in both, however it is written.
pub fn same_amounts(one: Option<&ResourceRequirements>, other: Option<&ResourceRequirements>) -> bool {
    let same =
        |name: &str| [false, true].iter().all(|limits| amount(one, *limits, name) == amount(other, *limits, name));
    ["cpu", "memory"].into_iter().all(same)
}

fn shares(milli_cpu: i64) -> u64 {
    u64::try_from(milli_cpu.saturating_mul(SHARES_PER_CPU) / 1000).unwrap_or(0).clamp(CPU_SHARES_MIN, CPU_SHARES_MAX)
}

fn quota_us(milli_cpu: i64) -> i64 {
    (milli_cpu.saturating_mul(CPU_PERIOD_US as i64) / 1000).max(CPU_QUOTA_MIN_US)
}

pub fn of_container(pod: &Pod, container: &Container, memory_capacity: i64) -> Resources {
    let asked = container.resources.as_ref();
    let cpu_limit = bound(pod, container, "cpu");
    let cpu_request = amount(asked, false, "cpu").or(cpu_limit);
    Resources {
        cpu_shares: Some(cpu_request.map_or(CPU_SHARES_MIN, shares)),
        cpu_quota_us: cpu_limit.map(quota_us),
        cpu_period_us: cpu_limit.map(|_| CPU_PERIOD_US),
        memory_bytes: bound(pod, container, "memory"),
        pids: None,
        oom_score_adj: Some(oom_score_adj(pod, container, memory_capacity)),
    }
}

/// A container without a limit of its own is bounded by its pod's.
fn bound(pod: &Pod, container: &Container, name: &str) -> Option<i64> {
    let whole = || amount(pod.spec.as_ref()?.resources.as_ref(), true, name);
    amount(container.resources.as_ref(), true, name).or_else(whole)
}

/// Who dies first when the machine runs out of memory: the more a container asked for, the later.
fn oom_score_adj(pod: &Pod, container: &Container, memory_capacity: i64) -> i32 {
    match pod::qos_class(pod).as_str() {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let asked = container.resources.as_ref();
            let request = amount(asked, false, "memory").or_else(|| amount(asked, true, "memory")).unwrap_or(0);
            let request = request.saturating_add(share_of_rest(&pod::spec(pod)));
            let score = 1000 - 1000 * i128::from(request) / i128::from(memory_capacity.max(1));
            score.clamp(3, 999) as i32
        }
    }
}

/// Memory that a pod asks for beyond what its containers do, in equal parts for each.
fn share_of_rest(spec: &PodSpec) -> i64 {
    let Some(whole) = amount(spec.resources.as_ref(), false, "memory") else { return 0 };
    let own = pod_sum(spec, |container| amount(container.resources.as_ref(), false, "memory"));
    let containers = spec.containers.len() + spec.init_containers.iter().flatten().count();
    whole.saturating_sub(own).max(0) / i64::try_from(containers.max(1)).unwrap_or(i64::MAX)
}

/// The whole pod: what it asks itself or its containers do together, and its overhead. Without a limit of the pod's own
/// there is one only if every container has one.
pub fn of_pod(spec: &PodSpec) -> Resources {
    let cpu_request = request(spec, "cpu").saturating_add(overhead(spec, "cpu"));
    let cpu_limit = limit(spec, "cpu");
    let memory_limit = limit(spec, "memory");
    Resources {
        cpu_shares: Some(shares(cpu_request)),
        cpu_quota_us: cpu_limit.map(quota_us),
        cpu_period_us: cpu_limit.map(|_| CPU_PERIOD_US),
        memory_bytes: memory_limit,
        pids: None,
        oom_score_adj: None,
    }
}

/// What the pod asks for: by itself, or else its containers together, for which a limit is a request too.
pub fn request(spec: &PodSpec, name: &str) -> i64 {
    let of = |container: &Container| {
        let asked = container.resources.as_ref();
        amount(asked, false, name).or_else(|| amount(asked, true, name))
    };
    amount(spec.resources.as_ref(), false, name).unwrap_or_else(|| pod_sum(spec, of))
}

fn limit(spec: &PodSpec, name: &str) -> Option<i64> {
    let of = |container: &Container| amount(container.resources.as_ref(), true, name);
    let all = pod::containers(spec).all(|container| of(container).is_some());
    let limit = amount(spec.resources.as_ref(), true, name).or_else(|| all.then(|| pod_sum(spec, of)))?;
    Some(limit.saturating_add(overhead(spec, name)))
}

/// What the pod's runtime class says that its sandbox takes.
pub fn overhead(spec: &PodSpec, name: &str) -> i64 {
    let text = spec.overhead.as_ref().and_then(|overhead| overhead.get(name)).map_or("", |quantity| &quantity.0);
    if name == "cpu" { quantity::milli(text) } else { quantity::value(text) }
}

/// The most that runs at one time: containers and sidecars together, or one init container with the sidecars before it.
pub fn pod_sum(spec: &PodSpec, of: impl Fn(&Container) -> Option<i64>) -> i64 {
    let mut sidecars: i64 = 0;
    let mut peak: i64 = 0;
    for container in spec.init_containers.iter().flatten() {
        let own = of(container).unwrap_or(0);
        if pod::is_sidecar(container) {
            sidecars = sidecars.saturating_add(own);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars.saturating_add(own));
        }
    }
    let main = spec.containers.iter().filter_map(of).fold(0, i64::saturating_add);
    peak.max(main.saturating_add(sidecars))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"spec": value})).unwrap()
    }

    #[test]
    fn requests_and_limits_become_cgroup_settings() {
        let pod = pod(serde_json::json!({"containers": [
            {"name": "a", "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}}},
            {"name": "b"}]}));
        let spec = pod.spec.as_ref().unwrap();
        let a = of_container(&pod, &spec.containers[0], 1 << 30);
        assert_eq!(
            a,
            Resources {
                cpu_shares: Some(256),
                cpu_quota_us: Some(50_000),
                cpu_period_us: Some(100_000),
                memory_bytes: Some(512 << 20),
                pids: None,
                oom_score_adj: Some(750),
            }
        );
        let b = of_container(&pod, &spec.containers[1], 1 << 30);
        assert_eq!((b.cpu_shares, b.cpu_quota_us, b.memory_bytes, b.oom_score_adj), (Some(2), None, None, Some(999)));
        let whole = of_pod(spec);
        assert_eq!((whole.cpu_shares, whole.cpu_quota_us, whole.memory_bytes), (Some(256), None, None));
    }

    #[test]
    fn what_is_said_of_the_whole_pod_holds_for_it_and_bounds_its_containers() {
        let pod = pod(serde_json::json!({
            "resources": {"requests": {"cpu": "300m", "memory": "512Mi"}, "limits": {"cpu": "500m", "memory": "1Gi"}},
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}}},
                {"name": "b"}]}));
        let spec = pod.spec.as_ref().unwrap();
        let whole = of_pod(spec);
        let told = (whole.cpu_shares, whole.cpu_quota_us, whole.memory_bytes);
        assert_eq!(told, (Some(307), Some(50_000), Some(1 << 30)));
        for (container, shares, memory, score) in
            [(&spec.containers[0], 256, 512 << 20, 625), (&spec.containers[1], 512, 1 << 30, 875)]
        {
            let own = of_container(&pod, container, 1 << 30);
            let told = (own.cpu_shares, own.cpu_quota_us, own.memory_bytes, own.oom_score_adj);
            assert_eq!(told, (Some(shares), Some(50_000), Some(memory), Some(score)), "{}", container.name);
        }
    }

    #[test]
    fn overhead_is_added_to_requests_and_to_limits_that_there_are() {
        let whole = |limits: serde_json::Value| {
            let resources = serde_json::json!({"requests": {"cpu": "500m"}, "limits": limits});
            let spec = serde_json::json!({"overhead": {"cpu": "500m", "memory": "64Mi"},
                "containers": [{"name": "a", "resources": resources}]});
            let whole = of_pod(pod(spec).spec.as_ref().unwrap());
            (whole.cpu_shares, whole.cpu_quota_us, whole.memory_bytes)
        };
        assert_eq!(whole(serde_json::json!({"memory": "64Mi"})), (Some(1024), None, Some(128 << 20)));
        assert_eq!(whole(serde_json::json!({"cpu": "1"})), (Some(1024), Some(150_000), None));
    }

    #[test]
    fn init_containers_count_alone_but_with_the_sidecars_before_them() {
        let pod = pod(serde_json::json!({
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
                {"name": "i", "resources": {"requests": {"cpu": "1"}}}],
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "500m"}}}]}));
        let cpu = |container: &Container| amount(container.resources.as_ref(), false, "cpu");
        assert_eq!(pod_sum(pod.spec.as_ref().unwrap(), cpu), 1100);
    }
}
