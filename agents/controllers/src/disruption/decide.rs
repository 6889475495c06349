//! What a budget's status is. Pure.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::Pod,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::{
        apis::meta::v1::{Condition, Time},
        util::intstr::IntOrString,
    },
    jiff::Timestamp,
};
use kube::ResourceExt;

use crate::{
    pods,
    share::{Rounding, resolve},
};

/// So long after its eviction a pod counts as gone although it is not being deleted.
const DELETED_WITHIN_S: i64 = 120;

/// What one reconcile decided.
#[derive(Debug, PartialEq)]
pub struct Decision {
    pub status: PodDisruptionBudgetStatus,
    /// Pods that were let go and stayed.
    pub stayed: Vec<Arc<Pod>>,
    /// When the status will change by time alone.
    pub again_in_s: Option<i64>,
}

/// Pods that are to be there, and how many of them healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wanted {
    pub expected: i32,
    pub healthy: i32,
}

/// Whether the budget is a share of what controllers want, not a number of the pods that there are.
pub fn counts_scale(spec: &PodDisruptionBudgetSpec) -> bool {
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// `count` is the scale of the controllers where the budget [`counts_scale`], and of pods otherwise.
pub fn wanted(spec: &PodDisruptionBudgetSpec, count: i32) -> Wanted {
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(unavailable), _) => {
            let healthy = count.saturating_sub(resolve(unavailable, count, Rounding::Up)).max(0);
            Wanted { expected: count, healthy }
        }
        (None, Some(available)) => Wanted { expected: count, healthy: resolve(available, count, Rounding::Up) },
        // Says nothing, and lets nothing go.
        (None, None) => Wanted::default(),
    }
}

/// `(budget, its pods, what it wants of them, now) → status`.
pub fn decide(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], wanted: Wanted, now: Timestamp) -> Decision {
    let old = budget.status.clone().unwrap_or_default();
    let (mut leaving, mut stayed, mut again_in_s, mut healthy) = (BTreeMap::new(), Vec::new(), None, 0);
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let name = pod.name_any();
        let evicted = old.disrupted_pods.as_ref().and_then(|disrupted| disrupted.get(&name));
        let left_s = evicted.map(|time| DELETED_WITHIN_S - (now.as_second() - time.0.as_second()));
        match (evicted, left_s) {
            (Some(time), Some(left_s)) if left_s > 0 => {
                leaving.insert(name, time.clone());
                again_in_s = Some(again_in_s.map_or(left_s, |known: i64| known.min(left_s)));
                continue;
            }
            (Some(_), _) => stayed.push(pod.clone()),
            (None, _) => {}
        }
        healthy += i32::from(pods::is_ready(pod));
    }
    // Of a budget without pods nothing is allowed: its first ones may be there before they are counted.
    let allowed = if wanted.expected > 0 { (healthy - wanted.healthy).max(0) } else { 0 };
    let mut status = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(wanted.healthy),
        expected_pods: Some(wanted.expected),
        disruptions_allowed: Some(allowed),
        disrupted_pods: Some(leaving).filter(|leaving| !leaving.is_empty()),
        observed_generation: budget.metadata.generation,
        conditions: old.conditions,
    };
    let reason = if allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
    set_allowed(&mut status, allowed > 0, reason, "", now);
    Decision { status, stayed, again_in_s }
}

/// The status of a budget whose pods cannot be counted: as it was, but nothing is let go.
pub fn failed(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let mut status = budget.status.clone().unwrap_or_default();
    status.disruptions_allowed = Some(0);
    set_allowed(&mut status, false, "SyncFailed", why, now);
    status
}

fn set_allowed(status: &mut PodDisruptionBudgetStatus, allowed: bool, reason: &str, message: &str, now: Timestamp) {
    let mut condition = Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: if allowed { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: status.observed_generation,
        last_transition_time: Time(now),
    };
    let conditions = status.conditions.get_or_insert_default();
    match conditions.iter_mut().find(|known| known.type_ == condition.type_) {
        Some(known) => {
            if known.status == condition.status {
                condition.last_transition_time = known.last_transition_time.clone();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests;
