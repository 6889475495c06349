//! How much a pod asks for and may use, as LimitRanges and ResourceQuotas add it up.

use chrono::{DateTime, TimeDelta, Utc};
use kontiki_model::{Quantity, Resources};
use serde_json::Value;

use super::resources::{QosClass, is_extended, is_measured, qos_class};
use crate::quota::{Measure, Scope};
use crate::tree::{at, int, list, missing, text};

pub static MEASURE: Measure = Measure {
    usage,
    is_bounded_by,
    is_in,
    must_say,
    uses: Some("status.phase!=Succeeded,status.phase!=Failed"),
    grows_by: |subresource| subresource == "resize",
    ..Measure::COUNT
};

/// The two lists of `resources`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Requests,
    Limits,
}

impl Side {
    fn of(self, resources: &Value) -> Resources {
        Resources::from_json(match self {
            Side::Requests => at(resources, "/requests"),
            Side::Limits => at(resources, "/limits"),
        })
    }
}

/// What the containers come to: those that run side by side in sum, at least what any stage of the start needs; what
/// the pod says for all of them goes before. The overhead is not in it.
pub fn containers(pod: &Value, side: Side) -> Resources {
    total(pod, side, &|container| side.of(at(container, "/resources")))
}

/// The same, whatever the pod says for all of them.
pub fn of_containers(pod: &Value, side: Side) -> Resources {
    together(pod, &|container| side.of(at(container, "/resources")))
}

/// As `containers`, with what is allocated to containers while a resize is under way, and the overhead.
fn with_overhead(pod: &Value, side: Side) -> Resources {
    let mut all = total(pod, side, &|container| allocated(pod, container, side));
    let overhead = Resources::from_json(at(pod, "/spec/overhead"));
    match side {
        Side::Requests => all.add(&overhead),
        // Without a limit there is nothing that the overhead could raise.
        Side::Limits => {
            let limited = overhead.only(|name| all.get(name).is_some_and(|limit| !limit.is_zero()));
            all.add(&limited);
        }
    }
    all
}

fn total(pod: &Value, side: Side, of: &dyn Fn(&Value) -> Resources) -> Resources {
    let mut all = together(pod, of);
    let whole = side.of(at(pod, "/spec/resources"));
    for (name, amount) in whole.iter().filter(|(name, _)| is_of_whole_pods(name)) {
        all.set(name, amount.clone());
    }
    all
}

fn together(pod: &Value, of: &dyn Fn(&Value) -> Resources) -> Resources {
    let mut running = Resources::default();
    for container in list(pod, "/spec/containers") {
        running.add(&of(container));
    }
    let mut sidecars = Resources::default();
    let mut starting = Resources::default();
    for container in list(pod, "/spec/initContainers") {
        let mut own = of(container);
        if text(container, "/restartPolicy") == "Always" {
            running.add(&own);
            sidecars.add(&own);
            starting.raise_to(&sidecars);
        } else {
            own.add(&sidecars);
            starting.raise_to(&own);
        }
    }
    running.raise_to(&starting);
    running
}

/// What a pod may say for all of its containers.
pub fn is_of_whole_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// The most of what a container asks for and what it has, unless what it asks for cannot be given to it.
fn allocated(pod: &Value, container: &Value, side: Side) -> Resources {
    let mut wanted = side.of(at(container, "/resources"));
    let statuses = list(pod, "/status/containerStatuses").iter().chain(list(pod, "/status/initContainerStatuses"));
    let mut named = statuses.filter(|status| text(status, "/name") == text(container, "/name"));
    let Some(status) = named.next().filter(|status| !missing(status, "/resources")) else { return wanted };
    let mut has = side.of(at(status, "/resources"));
    if side == Side::Requests {
        has.raise_to(&Resources::from_json(at(status, "/allocatedResources")));
    }
    let infeasible = list(pod, "/status/conditions")
        .iter()
        .any(|one| text(one, "/type") == "PodResizePending" && text(one, "/reason") == "Infeasible");
    if infeasible {
        return has;
    }
    wanted.raise_to(&has);
    wanted
}

fn usage(pod: &Value, now: DateTime<Utc>) -> Resources {
    if is_over(pod, now) {
        return Resources::default();
    }
    let mut usage = named(&with_overhead(pod, Side::Requests), &with_overhead(pod, Side::Limits));
    usage.set("pods", Quantity::from_units(1));
    usage
}

/// It has ended; or it should have, and a node that does not answer must not keep others from starting.
fn is_over(pod: &Value, now: DateTime<Utc>) -> bool {
    let deadline = || {
        let deleted = DateTime::parse_from_rfc3339(text(pod, "/metadata/deletionTimestamp")).ok()?;
        let grace = at(pod, "/metadata/deletionGracePeriodSeconds").as_i64()?;
        deleted.to_utc().checked_add_signed(TimeDelta::try_seconds(grace)?)
    };
    super::is_finished(pod) || deadline().is_some_and(|deadline| now > deadline)
}

/// The names by which quotas bound requests and limits.
fn named(requests: &Resources, limits: &Resources) -> Resources {
    let mut out = Resources::default();
    for (name, amount) in requests.iter() {
        let bare = is_measured(name) || name.starts_with("hugepages-");
        if bare {
            out.set(name, amount.clone());
        }
        if bare || is_extended(name) {
            out.set(format!("requests.{name}"), amount.clone());
        }
    }
    for (name, amount) in limits.iter().filter(|(name, _)| is_measured(name)) {
        out.set(format!("limits.{name}"), amount.clone());
    }
    out
}

fn is_bounded_by(name: &str) -> bool {
    let requested = name.strip_prefix("requests.");
    let limited = name.strip_prefix("limits.").is_some_and(is_measured);
    let bare = requested.unwrap_or(name);
    let extended = || requested.is_some() && name.contains('/') && !name.contains("kubernetes.io/");
    name == "pods" || limited || is_measured(bare) || bare.starts_with("hugepages-") || extended()
}

/// Cpu and memory that are bounded must be said by each container, unless the pod says them for all.
fn must_say(pod: &Value, bounded: &[&str]) -> Result<(), String> {
    let for_all = at(pod, "/spec/resources");
    let said = |side: Side, of: &Value| side.of(of).names().any(is_of_whole_pods);
    if said(Side::Requests, for_all) || said(Side::Limits, for_all) {
        return Ok(());
    }
    let required = |name: &&&str| {
        let bare = name.strip_prefix("requests.").or(name.strip_prefix("limits.")).unwrap_or(name);
        matches!(bare, "cpu" | "memory")
    };
    let mut missing = Vec::new();
    for name in bounded.iter().filter(required) {
        let containers = list(pod, "/spec/containers").iter().chain(list(pod, "/spec/initContainers"));
        let silent = containers.filter(|container| {
            let resources = at(container, "/resources");
            !named(&Side::Requests.of(resources), &Side::Limits.of(resources)).has(name)
        });
        let mut silent: Vec<&str> = silent.map(|container| text(container, "/name")).collect();
        silent.sort_unstable();
        if !silent.is_empty() {
            missing.push(format!("{name} for: {}", silent.join(",")));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(format!("must specify {}", missing.join("; "))) }
}

fn is_in(pod: &Value, scope: &Scope<'_>) -> bool {
    let ends_by_itself = !missing(pod, "/spec/activeDeadlineSeconds") && int(pod, "/spec/activeDeadlineSeconds") >= 0;
    let best_effort = qos_class(pod) == QosClass::BestEffort;
    match scope.name {
        "Terminating" => ends_by_itself,
        "NotTerminating" => !ends_by_itself,
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "PriorityClass" => scope.allows(Some(text(pod, "/spec/priorityClassName")).filter(|name| !name.is_empty())),
        "CrossNamespacePodAffinity" => looks_into_other_namespaces(pod),
        _ => false,
    }
}

fn looks_into_other_namespaces(pod: &Value) -> bool {
    let affinity = at(pod, "/spec/affinity");
    ["/podAffinity", "/podAntiAffinity"].into_iter().map(|side| at(affinity, side)).any(|side| {
        let required = list(side, "/requiredDuringSchedulingIgnoredDuringExecution").iter();
        let preferred = list(side, "/preferredDuringSchedulingIgnoredDuringExecution").iter();
        let mut terms = required.chain(preferred.map(|one| at(one, "/podAffinityTerm")));
        terms.any(|term| !list(term, "/namespaces").is_empty() || !missing(term, "/namespaceSelector"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn requests(pod: Value) -> String {
        with_overhead(&pod, Side::Requests).to_string()
    }

    fn container(cpu: &str) -> Value {
        json!({"name": cpu, "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}})
    }

    fn sidecar(cpu: &str) -> Value {
        let mut sidecar = container(cpu);
        sidecar["restartPolicy"] = "Always".into();
        sidecar
    }

    #[test]
    fn what_runs_together_adds_up_and_the_start_needs_its_peak() {
        let cases = [
            (json!([container("1"), container("2")]), json!([]), "cpu=3"),
            (json!([container("1")]), json!([container("2"), container("3")]), "cpu=3"),
            (json!([container("1")]), json!([sidecar("1"), container("3")]), "cpu=4"),
            (json!([container("1")]), json!([container("3"), sidecar("1")]), "cpu=3"),
            (json!([container("1")]), json!([sidecar("1"), sidecar("2")]), "cpu=4"),
        ];
        for (containers, init, expected) in cases {
            let pod = json!({"spec": {"containers": containers, "initContainers": init}});
            assert_eq!(requests(pod.clone()), expected, "{pod}");
        }
    }

    #[test]
    fn the_pod_speaks_for_its_containers_and_overhead_comes_on_top() {
        let mut pod = json!({"spec": {
            "containers": [container("1")], "overhead": {"cpu": "100m", "memory": "8Mi"},
            "resources": {"requests": {"cpu": "4", "example.com/x": "1"}},
        }});
        assert_eq!(requests(pod.clone()), "cpu=4100m,memory=8Mi");
        assert_eq!(with_overhead(&pod, Side::Limits).to_string(), "cpu=1100m");
        assert_eq!(containers(&pod, Side::Requests).to_string(), "cpu=4");
        pod["spec"]["resources"] = Value::Null;
        assert_eq!(requests(pod), "cpu=1100m,memory=8Mi");
    }

    #[test]
    fn a_resize_counts_what_is_wanted_and_what_is_had() {
        let status = |cpu: &str| json!([{"name": "1", "resources": {"requests": {"cpu": cpu}}}]);
        let mut pod = json!({"spec": {"containers": [container("1")]}, "status": {"containerStatuses": status("2")}});
        assert_eq!(requests(pod.clone()), "cpu=2");
        pod["status"]["containerStatuses"] = status("500m");
        assert_eq!(requests(pod.clone()), "cpu=1");
        pod["status"]["conditions"] = json!([{"type": "PodResizePending", "reason": "Infeasible"}]);
        assert_eq!(requests(pod), "cpu=500m");
    }

    #[test]
    fn usage_has_the_names_of_quotas() {
        let resources = json!({
            "requests": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Mi", "hugepages-2Mi": "4Mi", "example.com/x": "2"},
            "limits": {"cpu": "2", "hugepages-2Mi": "4Mi", "example.com/x": "2"},
        });
        let pod = json!({"spec": {"containers": [{"resources": resources}]}});
        let expected = "cpu=1,ephemeral-storage=1Mi,hugepages-2Mi=4Mi,limits.cpu=2,memory=1Gi,pods=1,requests.cpu=1,\
                        requests.ephemeral-storage=1Mi,requests.example.com/x=2,requests.hugepages-2Mi=4Mi,requests.memory=1Gi";
        let usage = usage(&pod, DateTime::UNIX_EPOCH);
        assert_eq!(usage.to_string(), expected);
        assert!(usage.names().all(is_bounded_by));
        for other in
            ["services", "count/pods", "requests.storage", "limits.hugepages-2Mi", "x.example.com/requests.cpu"]
        {
            assert!(!is_bounded_by(other), "{other}");
        }
    }

    #[test]
    fn who_is_at_an_end_uses_nothing() {
        let over = |pod: Value| is_over(&pod, DateTime::UNIX_EPOCH + TimeDelta::seconds(60));
        let deleted =
            |at: &str, grace: i64| json!({"metadata": {"deletionTimestamp": at, "deletionGracePeriodSeconds": grace}});
        assert!(over(json!({"status": {"phase": "Failed"}})));
        assert!(!over(json!({"status": {"phase": "Running"}})));
        assert!(over(deleted("1970-01-01T00:00:00Z", 30)));
        assert!(!over(deleted("1970-01-01T00:00:50Z", 30)));
    }

    #[test]
    fn bounded_cpu_and_memory_must_be_said() {
        let pod = json!({"spec": {"containers": [{"name": "b"}, container("1"), {"name": "a"}]}});
        let refused = must_say(&pod, &["limits.memory", "pods", "requests.cpu", "requests.ephemeral-storage"]);
        assert_eq!(refused, Err("must specify limits.memory for: 1,a,b; requests.cpu for: a,b".to_owned()));
        let mut whole = pod.clone();
        whole["spec"]["resources"] = json!({"requests": {"memory": "1Gi"}});
        assert_eq!(must_say(&whole, &["requests.cpu"]), Ok(()));
    }

    #[test]
    fn scopes_tell_pods_apart() {
        let is_in = |pod: &Value, name: &str| {
            let values = ["high".into()];
            let operator = if name == "PriorityClass" { "In" } else { "Exists" };
            is_in(pod, &Scope { name, operator, values: &values })
        };
        let abroad = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "podAffinityTerm": {"namespaceSelector": {}}},
        ]}});
        let plain = json!({"spec": {"containers": [{}]}});
        let other = json!({"spec": {
            "containers": [container("1")], "activeDeadlineSeconds": 5, "priorityClassName": "high", "affinity": abroad,
        }});
        let of_other = ["Terminating", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity"];
        for scope in of_other {
            assert!(is_in(&other, scope) && !is_in(&plain, scope), "{scope}");
        }
        for scope in ["NotTerminating", "BestEffort"] {
            assert!(!is_in(&other, scope) && is_in(&plain, scope), "{scope}");
        }
        assert!(!is_in(&plain, "VolumeAttributesClass"));
    }
}
