//! A Deployment's status: counts, and how its rollout is doing. Pure.

use std::sync::Arc;

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kube::ResourceExt;

use super::{
    plan::{Limits, View, available},
    replicas_of,
};

/// The `progressDeadlineSeconds` that stands for none, as Kubernetes has it.
const NO_DEADLINE: i32 = i32::MAX;
/// Why a Deployment without its new ReplicaSet does not get on.
pub const NOT_CREATED: &str = "ReplicaSetCreateError";

/// The status, and in how many seconds it may change by time alone.
pub fn status(
    view: &View<'_>,
    spec: &DeploymentSpec,
    limits: Limits,
    new: Option<&ReplicaSet>,
    created: Option<&str>,
) -> (DeploymentStatus, Option<i64>) {
    let old = view.deployment.status.clone().unwrap_or_default();
    let sum = |of: &dyn Fn(&ReplicaSet) -> i32| view.sets.iter().map(|set| of(set)).sum::<i32>();
    let told = |set: &ReplicaSet| set.status.clone().unwrap_or_default();
    let available_now = sum(&available);
    let mut status = DeploymentStatus {
        replicas: Some(sum(&|set| told(set).replicas)),
        updated_replicas: Some(new.map_or(0, |set| told(set).replicas)),
        ready_replicas: Some(sum(&|set| told(set).ready_replicas.unwrap_or(0))),
        available_replicas: Some(available_now),
        unavailable_replicas: Some((sum(&replicas_of) - available_now).max(0)),
        observed_generation: view.deployment.metadata.generation,
        collision_count: old.collision_count,
        conditions: old.conditions.clone(),
        terminating_replicas: terminating(view.sets),
    };
    let mut conditions = Conditions { list: old.conditions.clone().unwrap_or_default(), now: view.now };
    if available_now >= limits.replicas - limits.max_unavailable {
        conditions.set("Available", true, "MinimumReplicasAvailable", "Deployment has minimum availability.", false);
    } else {
        let message = "Deployment does not have minimum availability.";
        conditions.set("Available", false, "MinimumReplicasUnavailable", message, false);
    }
    let failure = view
        .sets
        .iter()
        .find_map(|set| told(set).conditions?.into_iter().find(|condition| condition.type_ == "ReplicaFailure"));
    match failure {
        Some(failure) => conditions.set(
            "ReplicaFailure",
            true,
            &failure.reason.unwrap_or_default(),
            &failure.message.unwrap_or_default(),
            false,
        ),
        None => conditions.list.retain(|condition| condition.type_ != "ReplicaFailure"),
    }
    let again_in_s = progress(view.deployment, spec, limits, &old, &status, new, created, &mut conditions);
    status.conditions = Some(conditions.list);
    (status, again_in_s)
}

/// The conditions once the new set could not be made; `None` where nobody waits for it, or they say so already.
pub fn not_created(deployment: &Deployment, message: &str, now: Timestamp) -> Option<Vec<DeploymentCondition>> {
    deployment.spec.as_ref()?.progress_deadline_seconds.filter(|seconds| *seconds != NO_DEADLINE)?;
    let old = deployment.status.clone().unwrap_or_default().conditions.unwrap_or_default();
    let mut conditions = Conditions { list: old.clone(), now };
    conditions.set("Progressing", false, NOT_CREATED, message, false);
    (conditions.list != old).then_some(conditions.list)
}

#[allow(clippy::too_many_arguments)]
fn progress(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    limits: Limits,
    old: &DeploymentStatus,
    status: &DeploymentStatus,
    new: Option<&ReplicaSet>,
    created: Option<&str>,
    conditions: &mut Conditions,
) -> Option<i64> {
    let Some(deadline) = spec.progress_deadline_seconds.filter(|seconds| *seconds != NO_DEADLINE).map(i64::from) else {
        conditions.list.retain(|condition| condition.type_ != "Progressing");
        return None;
    };
    let before = conditions.get("Progressing").cloned();
    if let Some(created) = created {
        conditions.set(
            "Progressing",
            true,
            "NewReplicaSetCreated",
            &format!("Created new replica set {created:?}"),
            true,
        );
        return Some(deadline);
    }
    let name = new.map_or_else(|| deployment.name_any(), ResourceExt::name_any);
    let reason_before = before.as_ref().and_then(|condition| condition.reason.as_deref()).unwrap_or("");
    if spec.paused == Some(true) {
        // That it got stuck is worth more than that it was paused then.
        if !matches!(reason_before, "DeploymentPaused" | "ProgressDeadlineExceeded") {
            conditions.set("Progressing", false, "DeploymentPaused", "Deployment is paused", true);
            conditions.unknown("Progressing");
        }
        return None;
    }
    if reason_before == "DeploymentPaused" {
        conditions.set("Progressing", false, "DeploymentResumed", "Deployment is resumed", true);
        conditions.unknown("Progressing");
        return Some(deadline);
    }
    let complete = status.updated_replicas == Some(limits.replicas)
        && status.replicas == Some(limits.replicas)
        && status.available_replicas == Some(limits.replicas);
    if complete && new.is_some() {
        let message = format!("ReplicaSet {name:?} has successfully progressed.");
        conditions.set("Progressing", true, "NewReplicaSetAvailable", &message, false);
        return None;
    }
    let moved = status.updated_replicas.unwrap_or(0) > old.updated_replicas.unwrap_or(0)
        || status.ready_replicas.unwrap_or(0) > old.ready_replicas.unwrap_or(0)
        || status.available_replicas.unwrap_or(0) > old.available_replicas.unwrap_or(0)
        || old_replicas(status) < old_replicas(old);
    // A finished rollout that loses a pod or is given another size is not a rollout again: only another template, whose
    // set has not all the pods, starts one.
    if reason_before == "NewReplicaSetAvailable" && status.replicas == status.updated_replicas {
        return None;
    }
    if moved || before.is_none() || reason_before == "NewReplicaSetAvailable" {
        let message = format!("ReplicaSet {name:?} is progressing.");
        conditions.set("Progressing", true, "ReplicaSetUpdated", &message, true);
        return Some(deadline);
    }
    let since = before.as_ref().and_then(|condition| condition.last_update_time.as_ref()).map(|time| time.0);
    let waited = since.map_or(0, |since| conditions.now.as_second() - since.as_second());
    if waited >= deadline {
        let message = format!("ReplicaSet {name:?} has timed out progressing.");
        conditions.set("Progressing", false, "ProgressDeadlineExceeded", &message, false);
        return None;
    }
    Some(deadline - waited)
}

/// `None` if one of the sets does not tell. One that was never looked at has no pods.
fn terminating(sets: &[Arc<ReplicaSet>]) -> Option<i32> {
    let told = sets.iter().filter_map(|set| set.status.as_ref()).filter(|status| status.observed_generation.is_some());
    told.map(|status| status.terminating_replicas).sum()
}

fn old_replicas(status: &DeploymentStatus) -> i32 {
    status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0)
}

struct Conditions {
    list: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    fn get(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.list.iter().find(|condition| condition.type_ == kind)
    }

    /// Sets a condition; unless `renew`, one that already says this keeps its times.
    fn set(&mut self, kind: &str, holds: bool, reason: &str, message: &str, renew: bool) {
        let status = if holds { "True" } else { "False" };
        let now = Time(self.now);
        let old = self.get(kind).cloned();
        if let Some(old) = &old
            && !renew
            && old.status == status
            && old.reason.as_deref() == Some(reason)
        {
            return;
        }
        let transition =
            old.as_ref().filter(|old| old.status == status).and_then(|old| old.last_transition_time.clone());
        let condition = DeploymentCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_update_time: Some(now.clone()),
            last_transition_time: transition.or(Some(now)),
        };
        match self.list.iter_mut().find(|condition| condition.type_ == kind) {
            Some(place) => *place = condition,
            None => self.list.push(condition),
        }
    }

    fn unknown(&mut self, kind: &str) {
        for condition in self.list.iter_mut().filter(|condition| condition.type_ == kind) {
            condition.status = "Unknown".to_owned();
        }
    }
}
