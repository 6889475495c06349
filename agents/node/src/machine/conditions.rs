//! The pod conditions a node owns. Conditions of others pass through untouched.

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};

use super::{observed::Sandbox, plan::Plan, renewal};
use crate::{clock::api_time, pod};

/// The conditions that are the node's once it has the pod.
pub const OWN: [&str; 8] = [
    RESIZE_PENDING,
    RESIZE_IN_PROGRESS,
    ALL_RESTARTING,
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    SCHEDULED,
];
/// The binding says so first.
const SCHEDULED: &str = "PodScheduled";
const ALL_RESTARTING: &str = "AllContainersRestarting";
const RESIZE_PENDING: &str = "PodResizePending";
const RESIZE_IN_PROGRESS: &str = "PodResizeInProgress";

/// Containers of the pod do not use yet what is set aside for them.
pub fn is_resizing(status: &PodStatus) -> bool {
    status.conditions.iter().flatten().any(|condition| condition.type_ == RESIZE_IN_PROGRESS)
}

/// Verdict of one condition.
struct Verdict {
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    const TRUE: Verdict = Verdict { holds: true, reason: None, message: None };

    fn refuse(reason: &'static str, message: impl Into<Option<String>>) -> Verdict {
        Verdict { holds: false, reason: Some(reason), message: message.into() }
    }
}

/// The conditions of `status`, whose phase and containers are set already.
pub fn of(plan: &Plan<'_>, status: &PodStatus) -> Vec<PodCondition> {
    let old = plan.observed.acknowledged.conditions.clone().unwrap_or_default();
    let containers_ready = containers_ready(plan, status);
    let ready = ready(plan, &containers_ready, &old);
    let sandbox_ready = match (&plan.observed.sandbox, pod::is_terminal(status.phase.as_deref())) {
        (Sandbox::Ready { .. }, false) => Verdict::TRUE,
        (Sandbox::Ready { .. } | Sandbox::Absent | Sandbox::Lost, _) => Verdict { holds: false, ..Verdict::TRUE },
    };
    let own = [
        ("PodReadyToStartContainers", sandbox_ready),
        ("Initialized", initialized(plan, status)),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        (SCHEDULED, Verdict::TRUE),
    ];
    let own = resizes(plan, status).into_iter().chain(own).chain(all_restarting(plan, status));
    let mut conditions: Vec<PodCondition> = own.map(|(type_, verdict)| condition(plan, &old, type_, verdict)).collect();
    let known: Vec<String> = conditions.iter().map(|condition| condition.type_.clone()).collect();
    let foreign = |type_: &String| !known.contains(type_) && !OWN.contains(&type_.as_str());
    conditions.extend(old.into_iter().filter(|condition| foreign(&condition.type_)));
    conditions
}

fn condition(plan: &Plan<'_>, old: &[PodCondition], type_: &str, verdict: Verdict) -> PodCondition {
    let status = if verdict.holds { "True" } else { "False" };
    let before = old.iter().find(|condition| condition.type_ == type_ && condition.status == status);
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        last_transition_time: before
            .and_then(|condition| condition.last_transition_time.clone())
            .or_else(|| Some(api_time(plan.now_ms))),
        last_probe_time: None,
        observed_generation: plan.pod.metadata.generation,
    }
}

/// Conditions that are there only while they hold: what a pod asks for waits, or is being given to its containers.
fn resizes(plan: &Plan<'_>, status: &PodStatus) -> Vec<(&'static str, Verdict)> {
    if pod::is_terminal(status.phase.as_deref()) {
        return Vec::new();
    }
    let pending = plan.observed.resize.as_ref().map(|pending| Verdict {
        holds: true,
        reason: Some(pending.reason.name()),
        message: Some(pending.message.clone()),
    });
    let mut resizing = plan.resizing().peekable();
    let in_progress = resizing.peek().is_some().then(|| {
        let failed = resizing.find_map(|container| plan.observed.memory(&container.name).resize_failed);
        match failed {
            Some(failed) => Verdict { holds: true, reason: Some("Error"), message: Some(failed.message) },
            None => Verdict::TRUE,
        }
    });
    let pending = pending.map(|verdict| (RESIZE_PENDING, verdict));
    pending.into_iter().chain(in_progress.map(|verdict| (RESIZE_IN_PROGRESS, verdict))).collect()
}

/// Told of pods whose rules may restart all containers.
fn all_restarting(plan: &Plan<'_>, status: &PodStatus) -> Option<(&'static str, Verdict)> {
    let told = match status.phase.as_deref() {
        _ if !renewal::may_happen(plan.spec) => return None,
        Some("Succeeded") => Verdict::refuse("PodCompleted", None),
        Some("Failed") => Verdict::refuse("PodFailed", None),
        _ if plan.renewal.leaving.is_empty() => Verdict { holds: false, ..Verdict::TRUE },
        _ => Verdict {
            holds: true,
            reason: Some("RestartAllContainersStarted"),
            message: Some("container exited with restart policy rule".to_owned()),
        },
    };
    Some((ALL_RESTARTING, told))
}

fn initialized(plan: &Plan<'_>, status: &PodStatus) -> Verdict {
    if plan.initialised() {
        return match status.phase.as_deref() {
            Some("Succeeded") => Verdict { reason: Some("PodCompleted"), ..Verdict::TRUE },
            _ => Verdict::TRUE,
        };
    }
    if status.phase.as_deref() == Some("Succeeded") {
        return Verdict { reason: Some("PodCompleted"), ..Verdict::TRUE };
    }
    let incomplete = status.init_container_statuses.iter().flatten().filter(|container| !container.ready);
    Verdict::refuse("ContainersNotInitialized", format!("containers with incomplete status: {}", names(incomplete)))
}

fn containers_ready(plan: &Plan<'_>, status: &PodStatus) -> Verdict {
    match status.phase.as_deref() {
        Some("Succeeded") => return Verdict::refuse("PodCompleted", None),
        Some("Failed") => return Verdict::refuse("PodFailed", None),
        _ => {}
    }
    let sidecars = status.init_container_statuses.iter().flatten().filter(|container| {
        plan.spec.init_containers.iter().flatten().any(|c| c.name == container.name && pod::is_sidecar(c))
    });
    let unready = sidecars.chain(status.container_statuses.iter().flatten()).filter(|container| !container.ready);
    let unready = unready.collect::<Vec<_>>();
    if unready.is_empty() {
        return Verdict::TRUE;
    }
    Verdict::refuse("ContainersNotReady", format!("containers with unready status: {}", names(unready.into_iter())))
}

/// Ready containers, and every readiness gate that the pod names.
fn ready(plan: &Plan<'_>, containers_ready: &Verdict, conditions: &[PodCondition]) -> Verdict {
    if !containers_ready.holds {
        let Verdict { reason, message, .. } = containers_ready;
        return Verdict { holds: false, reason: *reason, message: message.clone() };
    }
    let closed: Vec<String> = plan
        .spec
        .readiness_gates
        .iter()
        .flatten()
        .filter_map(|gate| {
            let gate = &gate.condition_type;
            match conditions.iter().find(|condition| condition.type_ == *gate) {
                None => Some(format!("corresponding condition of pod readiness gate {gate:?} does not exist.")),
                Some(condition) if condition.status == "True" => None,
                Some(condition) => {
                    Some(format!("the status of pod readiness gate {gate:?} is not \"True\", but {}", condition.status))
                }
            }
        })
        .collect();
    match closed.is_empty() {
        true => Verdict::TRUE,
        false => Verdict::refuse("ReadinessGatesNotReady", closed.join(", ")),
    }
}

fn names<'a>(containers: impl Iterator<Item = &'a ContainerStatus>) -> String {
    let names: Vec<&str> = containers.map(|container| container.name.as_str()).collect();
    format!("[{}]", names.join(" "))
}
