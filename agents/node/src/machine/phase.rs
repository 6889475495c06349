//! The phase of a pod, as Kubernetes derives it from the states of its containers.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

use super::{ending::Ending, plan::Plan};

/// `stopped`: the pod has to end and nothing of it runs any more.
pub fn of(plan: &Plan<'_>, status: &PodStatus, ending: Option<&Ending>, stopped: bool) -> &'static str {
    match ending {
        Some(Ending::Failed(_)) if stopped => return "Failed",
        Some(Ending::Deleted | Ending::Gone | Ending::Completed) if stopped => {
            return if plan.init_failed() || !all_succeeded(status) { "Failed" } else { "Succeeded" };
        }
        Some(Ending::Failed(_) | Ending::Deleted | Ending::Gone | Ending::Completed | Ending::Over) | None => {}
    }
    let running = living(plan, status);
    match plan.observed.acknowledged.phase.as_deref() {
        // What ends never goes back: stopping containers do not make a running pod pending again.
        Some("Running") if ending.is_some() => "Running",
        _ => running,
    }
}

fn all_succeeded(status: &PodStatus) -> bool {
    let containers = status.container_statuses.iter().flatten();
    containers.clone().next().is_some() && containers.clone().all(|container| exit_code(container) == Some(0))
}

fn exit_code(container: &ContainerStatus) -> Option<i32> {
    container.state.as_ref()?.terminated.as_ref().map(|terminated| terminated.exit_code)
}

fn living(plan: &Plan<'_>, status: &PodStatus) -> &'static str {
    if !plan.initialised() {
        return "Pending";
    }
    let (mut waiting, mut running, mut ended) = (0, 0, 0);
    for container in status.container_statuses.iter().flatten() {
        let state = container.state.clone().unwrap_or_default();
        let ended_before = container.last_state.as_ref().is_some_and(|last| last.terminated.is_some());
        match (state.running.is_some(), state.terminated.is_some()) {
            (true, _) => running += 1,
            (false, true) => ended += 1,
            (false, false) if ended_before => ended += 1,
            (false, false) => waiting += 1,
        }
    }
    // Ended containers that run again, or whose sidecars still run, are part of a running pod.
    if waiting > 0 || running + ended == 0 { "Pending" } else { "Running" }
}
