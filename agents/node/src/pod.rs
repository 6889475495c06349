//! Questions about a pod that its spec alone answers: names, restart rules, grace, quality of service.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{
    Container, ContainerRestartRule, EphemeralContainer, Pod, PodSpec, Probe, ResourceRequirements,
};

use crate::{
    clock::Millis,
    limits::{GRACE_DEFAULT_S, GRACE_MAX_S, GRACE_MIN_S},
    spec::resources::amount,
};

/// What decides on the class of service.
const COMPUTE: [&str; 2] = ["cpu", "memory"];

/// Who a pod is, for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl PodId {
    pub fn of(pod: &Pod) -> PodId {
        let metadata = &pod.metadata;
        PodId {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
        }
    }

    /// `name_namespace(uid)`, as Kubernetes' messages name pods.
    pub fn full_name(&self) -> String {
        format!("{}_{}({})", self.name, self.namespace, self.uid)
    }
}

/// The spec; the API does not admit a pod without one, and one without containers runs nothing.
pub fn spec(pod: &Pod) -> PodSpec {
    pod.spec.clone().unwrap_or_default()
}

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub fn is_terminal(phase: Option<&str>) -> bool {
    matches!(phase, Some("Succeeded" | "Failed"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

impl RestartPolicy {
    fn parse(text: Option<&str>) -> RestartPolicy {
        match text {
            Some("Never") => RestartPolicy::Never,
            Some("OnFailure") => RestartPolicy::OnFailure,
            _ => RestartPolicy::Always,
        }
    }

    fn allows(self, exit_code: i32) -> bool {
        match self {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => exit_code != 0,
            RestartPolicy::Never => false,
        }
    }
}

pub fn restart_policy(spec: &PodSpec) -> RestartPolicy {
    RestartPolicy::parse(spec.restart_policy.as_deref())
}

/// An init container that keeps running beside the others.
pub fn is_sidecar(init_container: &Container) -> bool {
    init_container.restart_policy.as_deref() == Some("Always")
}

/// Whether a container (not a plain init container) runs again after it ended with `exit_code`.
pub fn restarts(spec: &PodSpec, container: &Container, exit_code: i32) -> bool {
    if rule_restarts(container, exit_code) {
        return true;
    }
    match container.restart_policy.as_deref() {
        Some(own) => RestartPolicy::parse(Some(own)).allows(exit_code),
        None => restart_policy(spec).allows(exit_code),
    }
}

/// Whether a plain init container runs again: a pod that always restarts wants its init containers to succeed once.
pub fn init_restarts(spec: &PodSpec, container: &Container, exit_code: i32) -> bool {
    if exit_code == 0 {
        return false;
    }
    let policy = match container.restart_policy.as_deref() {
        Some(own) => RestartPolicy::parse(Some(own)),
        None => restart_policy(spec),
    };
    rule_restarts(container, exit_code) || policy != RestartPolicy::Never
}

fn rule_restarts(container: &Container, exit_code: i32) -> bool {
    rule_action(container, exit_code) == Some("Restart")
}

/// Whether the end of the container restarts all of the pod's.
pub fn restarts_all(container: &Container, exit_code: i32) -> bool {
    rule_action(container, exit_code) == Some(RESTART_ALL)
}

/// Whether some end of the container does.
pub fn may_restart_all(container: &Container) -> bool {
    container.restart_policy_rules.iter().flatten().any(|rule| rule.action == RESTART_ALL)
}

const RESTART_ALL: &str = "RestartAllContainers";

/// What the first rule that knows the code wants done.
fn rule_action(container: &Container, exit_code: i32) -> Option<&str> {
    let knows = |rule: &&ContainerRestartRule| {
        rule.exit_codes.as_ref().is_some_and(|codes| {
            let listed = codes.values.iter().flatten().any(|value| *value == exit_code);
            match codes.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                _ => false,
            }
        })
    };
    container.restart_policy_rules.iter().flatten().find(knows).map(|rule| rule.action.as_str())
}

/// Grace in milliseconds when the pod ends: the deleter's word first, then the spec's; at least a second.
pub fn grace_ms(pod: &Pod) -> Millis {
    let seconds = pod
        .metadata
        .deletion_grace_period_seconds
        .or_else(|| pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds))
        .unwrap_or(GRACE_DEFAULT_S);
    bounded_ms(seconds)
}

/// Grace when a failed probe stops one container.
pub fn probe_grace_ms(spec: &PodSpec, probe: Option<&Probe>) -> Millis {
    let seconds = probe
        .and_then(|probe| probe.termination_grace_period_seconds)
        .or(spec.termination_grace_period_seconds)
        .unwrap_or(GRACE_DEFAULT_S);
    bounded_ms(seconds)
}

fn bounded_ms(grace_s: i64) -> Millis {
    grace_s.clamp(GRACE_MIN_S, GRACE_MAX_S) * 1000
}

/// The containers that the pod is about, init containers first.
pub fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// Ephemeral containers, as containers like others.
pub fn ephemeral_containers(spec: &PodSpec) -> impl Iterator<Item = Container> {
    spec.ephemeral_containers.iter().flatten().map(ephemeral)
}

/// Every container, ephemeral ones last.
pub fn all_containers(spec: &PodSpec) -> impl Iterator<Item = Cow<'_, Container>> {
    containers(spec).map(Cow::Borrowed).chain(ephemeral_containers(spec).map(Cow::Owned))
}

pub fn container<'a>(spec: &'a PodSpec, name: &str) -> Option<Cow<'a, Container>> {
    all_containers(spec).find(|container| container.name == name)
}

/// The container whose processes an ephemeral one asks to see.
pub fn target<'a>(spec: &'a PodSpec, name: &str) -> Option<&'a str> {
    let one = spec.ephemeral_containers.iter().flatten().find(|ephemeral| ephemeral.name == name)?;
    one.target_container_name.as_deref().filter(|target| !target.is_empty())
}

/// Where an event about a container points.
pub fn field_path(spec: &PodSpec, name: &str) -> String {
    let list = if spec.init_containers.iter().flatten().any(|container| container.name == name) {
        "initContainers"
    } else if spec.ephemeral_containers.iter().flatten().any(|container| container.name == name) {
        "ephemeralContainers"
    } else {
        "containers"
    };
    format!("spec.{list}{{{name}}}")
}

/// It runs once, whatever the pod's policy; the API admits no probes, hooks, ports and resources.
fn ephemeral(one: &EphemeralContainer) -> Container {
    let one = one.clone();
    Container {
        name: one.name,
        image: one.image,
        image_pull_policy: one.image_pull_policy,
        command: one.command,
        args: one.args,
        working_dir: one.working_dir,
        env: one.env,
        env_from: one.env_from,
        volume_mounts: one.volume_mounts,
        volume_devices: one.volume_devices,
        security_context: one.security_context,
        stdin: one.stdin,
        stdin_once: one.stdin_once,
        tty: one.tty,
        termination_message_path: one.termination_message_path,
        termination_message_policy: one.termination_message_policy,
        restart_policy: Some("Never".to_owned()),
        ..Container::default()
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`, as the API server sets it at creation.
pub fn qos_class(pod: &Pod) -> String {
    if let Some(class) = pod.status.as_ref().and_then(|status| status.qos_class.clone()) {
        return class;
    }
    let Some(spec) = &pod.spec else { return "BestEffort".to_owned() };
    let asks = |resources: &ResourceRequirements| {
        COMPUTE.iter().any(|name| [false, true].iter().any(|limits| amount(Some(resources), *limits, name).is_some()))
    };
    let whole = spec.resources.as_ref().filter(|resources| asks(resources));
    let own = || containers(spec).map(|container| container.resources.clone().unwrap_or_default());
    let all: Vec<ResourceRequirements> = whole.map_or_else(|| own().collect(), |whole| vec![whole.clone()]);
    let limited = |resources: &ResourceRequirements| {
        COMPUTE.iter().all(|name| {
            let limit = amount(Some(resources), true, name);
            limit.is_some() && amount(Some(resources), false, name).or(limit) == limit
        })
    };
    let (any, guaranteed) = (all.iter().any(asks), all.iter().all(limited));
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
    .to_owned()
}

pub fn on_host_network(spec: &PodSpec) -> bool {
    spec.host_network == Some(true)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_said_of_the_whole_pod_decides_on_its_class() {
        let both = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1Gi"}});
        let some = json!({"requests": {"cpu": "1"}});
        for (whole, own, class) in [
            (Value::Null, Value::Null, "BestEffort"),
            (Value::Null, some.clone(), "Burstable"),
            (Value::Null, both.clone(), "Guaranteed"),
            (both.clone(), Value::Null, "Guaranteed"),
            (both.clone(), some.clone(), "Guaranteed"),
            (some, both, "Burstable"),
        ] {
            let spec = json!({"resources": whole, "containers": [{"name": "c", "resources": own}]});
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            assert_eq!(qos_class(&pod), class, "{spec}");
        }
    }

    #[test]
    fn the_longest_grace_is_long() {
        for (seconds, expected) in [(0, 1000), (30, 30_000), (i64::MAX, GRACE_MAX_S * 1000)] {
            let spec = json!({"containers": [], "terminationGracePeriodSeconds": seconds});
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            assert_eq!(grace_ms(&pod), expected, "{seconds}");
            assert_eq!(probe_grace_ms(pod.spec.as_ref().unwrap(), None), expected, "{seconds}");
        }
    }
}
