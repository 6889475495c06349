//! The pod state machine: `(pod, observed, now) → actions and status`. Pure and level-based: it is asked after every
//! change, keeps nothing between two questions, and says again what is still to be done. Does no IO, reads no clock.

mod action;
mod backoff;
mod conditions;
mod container_state;
mod ending;
mod observed;
mod phase;
mod plan;
mod renewal;
mod resize;
mod status;
mod stop;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, PodStatus};

pub use self::{
    action::Action,
    backoff::Backoff,
    conditions::{OWN as OWN_CONDITIONS, is_resizing},
    ending::DEADLINE_EXCEEDED,
    observed::{
        Attempt, AttemptState, Exit, Health, Job, Memory, Observed, Pending, PendingReason, Rejection, ResizeFailed,
        Sandbox, Step, Waiting,
    },
    stop::Stop,
};
use crate::clock::Millis;

/// What a question is answered with.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub actions: Vec<Action>,
    pub status: PodStatus,
    /// When to ask again if nothing happens before.
    pub wake_at_ms: Option<Millis>,
    /// The pod has to end: starts in flight are given up.
    pub ending: bool,
    /// Gone from the API and from this machine.
    pub finished: bool,
}

/// The node's side of a pod's status.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    pub address: IpAddr,
    /// Of pods on the machine's own network.
    pub pods_address: IpAddr,
    /// It can make a mount read-only with all that is mounted below it.
    pub recursive_read_only: bool,
}

/// What is to be done now, and what the pod's status is.
pub fn decide(pod: &Pod, host: Host, observed: &Observed, now_ms: Millis) -> Decision {
    let spec = pod.spec.clone().unwrap_or_default();
    let renewal = renewal::Renewal::of(&spec, observed);
    let view = renewal.view(&spec, observed);
    let mut plan = plan::Plan::new(pod, &spec, &view, renewal, now_ms);
    let ending = plan.ending();
    let status = status::compute(&plan, host, ending.as_ref());
    let finished = match &ending {
        Some(ending) => plan.end(ending, status == observed.acknowledged),
        None => {
            plan.forget_old_attempts(observed);
            plan.run();
            false
        }
    };
    Decision { actions: plan.actions, status, wake_at_ms: plan.wake_at_ms, ending: ending.is_some(), finished }
}
