//! The pod's status as the API is to show it: assembled from phase, conditions and container states.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, HostIP, PodIP, PodStatus};

use super::{
    Host, conditions,
    container_state::{Role, States},
    ending::Ending,
    observed::{Rejection, Sandbox},
    phase,
    plan::Plan,
};
use crate::{clock::api_time, pod};

pub fn compute(plan: &Plan<'_>, host: Host, ending: Option<&Ending>) -> PodStatus {
    let acknowledged = &plan.observed.acknowledged;
    if ending == Some(&Ending::Over) {
        return over(plan, host);
    }
    let mut status = PodStatus {
        qos_class: Some(pod::qos_class(plan.pod)),
        start_time: acknowledged.start_time.clone().or_else(|| Some(api_time(plan.now_ms))),
        observed_generation: plan.pod.metadata.generation,
        ..acknowledged.clone()
    };
    let failure = match ending {
        Some(Ending::Failed(rejection)) => Some(rejection),
        Some(Ending::Over | Ending::Deleted | Ending::Gone | Ending::Completed) | None => None,
    };
    status.reason = failure.map(|failure| failure.reason.clone());
    status.message = failure.map(|failure: &Rejection| failure.message.clone());
    if failure.is_some() && !anything_known(plan) {
        // Of containers that never were there is nothing to tell.
        status.phase = Some("Failed".to_owned());
        return status;
    }
    set_addresses(&mut status, plan, host);
    let stopped = ending.is_some() && !anything_alive(plan);
    set_containers(&mut status, plan, host, stopped);
    status.phase = Some(phase::of(plan, &status, ending, stopped).to_owned());
    status.conditions = Some(conditions::of(plan, &status));
    status
}

/// The API knows how the pod ended, by whoever's word: the phase stays. What becomes of containers that it did not know to
/// have ended is told while the sandbox is there.
fn over(plan: &Plan<'_>, host: Host) -> PodStatus {
    let mut status = plan.observed.acknowledged.clone();
    if plan.observed.attempts.values().any(|attempts| !attempts.is_empty()) {
        set_containers(&mut status, plan, host, !anything_alive(plan));
        status.conditions = Some(conditions::of(plan, &status));
    }
    status
}

fn set_containers(status: &mut PodStatus, plan: &Plan<'_>, host: Host, stopped: bool) {
    let states = States { plan, host, stopped };
    let ephemeral: Vec<Container> = pod::ephemeral_containers(plan.spec).collect();
    status.init_container_statuses = states.list(plan.spec.init_containers.as_deref().unwrap_or_default(), Role::Init);
    status.container_statuses = states.list(&plan.spec.containers, Role::Main);
    status.ephemeral_container_statuses = states.list(&ephemeral, Role::Ephemeral);
}

/// A container of the pod was made, or begins to be, or the API was told of one.
fn anything_known(plan: &Plan<'_>) -> bool {
    let told = &plan.observed.acknowledged;
    let told = told.container_statuses.is_some() || told.init_container_statuses.is_some();
    told || anything_alive(plan) || plan.observed.attempts.values().any(|attempts| !attempts.is_empty())
}

/// A container's process exists, or its start is under way.
fn anything_alive(plan: &Plan<'_>) -> bool {
    let starting = plan.observed.busy.iter().any(|job| matches!(job, super::Job::Start(_)));
    let dead_sandbox = matches!(plan.observed.sandbox, Sandbox::Absent | Sandbox::Lost);
    starting || (!dead_sandbox && plan.observed.attempts.values().flatten().any(|attempt| attempt.is_running()))
}

fn set_addresses(status: &mut PodStatus, plan: &Plan<'_>, host: Host) {
    let host_ip = host.address.to_string();
    status.host_ips = Some(vec![HostIP { ip: host_ip.clone() }]);
    let address: Option<IpAddr> = match &plan.observed.sandbox {
        Sandbox::Ready { address: Some(address), .. } => Some(*address),
        Sandbox::Ready { address: None, .. } if pod::on_host_network(plan.spec) => Some(host.pods_address),
        Sandbox::Ready { address: None, .. } | Sandbox::Absent | Sandbox::Lost => None,
    };
    // An address that is being taken down stays in the status of a pod that has ended, as it does in Kubernetes.
    if let Some(address) = address {
        status.pod_ip = Some(address.to_string());
        status.pod_ips = Some(vec![PodIP { ip: address.to_string() }]);
    }
    status.host_ip = Some(host_ip);
}
