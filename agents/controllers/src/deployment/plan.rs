//! `(deployment, its sets and pods, now) → what to do`. Pure.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet},
        core::v1::Pod,
    },
    apimachinery::pkg::util::intstr::IntOrString,
    jiff::Timestamp,
};
use kube::ResourceExt;

use super::{REVISION, conditions, replicas_of, template};
use crate::{
    pods,
    share::{Rounding, resolve},
};

const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";

pub struct View<'a> {
    pub deployment: &'a Deployment,
    pub sets: &'a [Arc<ReplicaSet>],
    pub pods: &'a [Arc<Pod>],
    pub now: Timestamp,
}

#[derive(Debug, PartialEq)]
pub enum Action {
    Create(Box<ReplicaSet>),
    Scale { name: String, from: i32, to: i32, annotations: BTreeMap<String, String> },
    AnnotateSet { name: String, annotations: BTreeMap<String, String>, min_ready_seconds: i32 },
    AnnotateDeployment { revision: i64 },
    Delete { name: String },
}

#[derive(Debug)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub status: DeploymentStatus,
    pub again_in_s: Option<i64>,
}

/// The numbers of a rolling update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub replicas: i32,
    pub max_surge: i32,
    pub max_unavailable: i32,
}

impl Limits {
    pub fn of(spec: &DeploymentSpec) -> Self {
        let replicas = spec.replicas.unwrap_or(1);
        // Recreate empties the old sets by its own rule; a Deployment that is recreated is available once all pods are.
        if is_recreate(spec) {
            return Limits { replicas, max_surge: 0, max_unavailable: 0 };
        }
        let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let quarter = IntOrString::String("25%".into());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
        let max_surge = resolve(surge, replicas, Rounding::Up);
        let mut max_unavailable = resolve(unavailable, replicas, Rounding::Down);
        // Both rounded to zero would never move.
        if max_surge == 0 && max_unavailable == 0 {
            max_unavailable = 1;
        }
        Limits { replicas, max_surge, max_unavailable: max_unavailable.min(replicas) }
    }

    fn total_max(self) -> i32 {
        if self.replicas == 0 { 0 } else { self.replicas.saturating_add(self.max_surge) }
    }
}

pub fn is_recreate(spec: &DeploymentSpec) -> bool {
    spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

pub fn decide(view: &View<'_>) -> Plan {
    let spec = view.deployment.spec.clone().unwrap_or_default();
    let limits = Limits::of(&spec);
    let mut sets: Vec<Arc<ReplicaSet>> = view.sets.to_vec();
    sets.sort_by_key(|set| (set.creation_timestamp().map(|time| time.0), set.name_any()));
    let new = sets.iter().find(|set| template::same(&spec.template, set)).cloned();
    let old: Vec<Arc<ReplicaSet>> =
        sets.iter().filter(|set| new.as_ref().is_none_or(|new| new.uid() != set.uid())).cloned().collect();
    let mut actions = Vec::new();
    if view.deployment.metadata.deletion_timestamp.is_none() {
        let planner = Planner { view, spec: &spec, limits, new: new.as_ref(), old: &old };
        actions = planner.actions();
    }
    let created = actions.iter().find_map(|action| match action {
        Action::Create(set) => Some(set.name_any()),
        _ => None,
    });
    let (status, again_in_s) = conditions::status(view, &spec, limits, new.as_deref(), created.as_deref());
    Plan { actions, status, again_in_s }
}

struct Planner<'a> {
    view: &'a View<'a>,
    spec: &'a DeploymentSpec,
    limits: Limits,
    new: Option<&'a Arc<ReplicaSet>>,
    old: &'a [Arc<ReplicaSet>],
}

impl Planner<'_> {
    fn actions(&self) -> Vec<Action> {
        // A new set is made only once the others have their new sizes: together they would exceed the limits.
        if self.is_rescaled() || self.spec.paused == Some(true) {
            let mut actions = self.proportional();
            if let Some(new) = self.new {
                actions.extend(self.number(new));
            }
            if self.spec.paused == Some(true) {
                actions.extend(self.cleanup());
            }
            return actions;
        }
        let mut actions = match self.new {
            Some(new) => self.number(new),
            None => self.make(),
        };
        if is_recreate(self.spec) {
            actions.extend(self.recreate());
        } else {
            actions.extend(self.rolling());
        }
        if self.is_complete() {
            actions.extend(self.cleanup());
        }
        actions
    }

    fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().chain(self.new)
    }

    fn total(&self) -> i32 {
        self.all().map(|set| replicas_of(set)).sum()
    }

    /// Whether `spec.replicas` changed since the sets were last sized.
    fn is_rescaled(&self) -> bool {
        let desired = |set: &ReplicaSet| set.annotations().get(DESIRED).and_then(|text| text.parse::<i32>().ok());
        self.all()
            .filter(|set| replicas_of(set) > 0)
            .any(|set| desired(set).is_some_and(|desired| desired != self.limits.replicas))
    }

    fn sizes(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (DESIRED.to_owned(), self.limits.replicas.to_string()),
            (MAX.to_owned(), self.limits.replicas.saturating_add(self.limits.max_surge).to_string()),
        ])
    }

    fn scale(&self, set: &ReplicaSet, to: i32) -> Option<Action> {
        let from = replicas_of(set);
        let annotations = self.sizes();
        let current = annotations.iter().all(|(key, value)| set.annotations().get(key) == Some(value));
        (from != to || !current).then(|| Action::Scale { name: set.name_any(), from, to, annotations })
    }

    /// The revision after those of the old sets.
    fn next_revision(&self) -> i64 {
        self.old.iter().map(|set| revision(set)).max().unwrap_or(0).saturating_add(1)
    }

    /// Gives the present set its revision number and the annotations copied from the Deployment.
    fn number(&self, new: &ReplicaSet) -> Vec<Action> {
        let number = revision(new).max(self.next_revision());
        let mut wanted = template::copied_annotations(self.view.deployment);
        wanted.insert(REVISION.into(), number.to_string());
        let min_ready = self.spec.min_ready_seconds.unwrap_or(0);
        let told = wanted.iter().all(|(key, value)| new.annotations().get(key) == Some(value));
        let of_set = new.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        let mut actions = Vec::new();
        if !told || of_set != min_ready {
            let name = new.name_any();
            actions.push(Action::AnnotateSet { name, annotations: wanted, min_ready_seconds: min_ready });
        }
        actions.extend(self.tell_number(number));
        actions
    }

    /// Makes the set of a new template, when it may exist.
    fn make(&self) -> Vec<Action> {
        let recreate = is_recreate(self.spec);
        if recreate && (self.old_replicas() > 0 || self.old_pods_run()) {
            return Vec::new();
        }
        let room = if recreate { self.limits.replicas } else { self.limits.total_max() - self.total() };
        let number = self.next_revision();
        let mut annotations = template::copied_annotations(self.view.deployment);
        annotations.extend(self.sizes());
        annotations.insert(REVISION.into(), number.to_string());
        let set = template::new_set(self.view.deployment, room.clamp(0, self.limits.replicas), annotations);
        let mut actions = vec![Action::Create(Box::new(set))];
        actions.extend(self.tell_number(number));
        actions
    }

    fn tell_number(&self, number: i64) -> Option<Action> {
        let told = self.view.deployment.annotations().get(REVISION) == Some(&number.to_string());
        (!told).then_some(Action::AnnotateDeployment { revision: number })
    }

    fn old_replicas(&self) -> i32 {
        self.old.iter().map(|set| replicas_of(set)).sum()
    }

    fn old_pods_run(&self) -> bool {
        let old: Vec<String> = self.old.iter().filter_map(|set| set.uid()).collect();
        self.view.pods.iter().any(|pod| {
            let of_old = pod.owner_references().iter().any(|owner| old.contains(&owner.uid));
            of_old && !pods::is_finished(pod)
        })
    }

    fn recreate(&self) -> Vec<Action> {
        let down = self.old.iter().filter(|set| replicas_of(set) > 0).filter_map(|set| self.scale(set, 0));
        let mut actions: Vec<Action> = down.collect();
        if actions.is_empty()
            && !self.old_pods_run()
            && let Some(new) = self.new
        {
            actions.extend(self.scale(new, self.limits.replicas));
        }
        actions
    }

    fn rolling(&self) -> Vec<Action> {
        let Some(new) = self.new else { return Vec::new() };
        let have = replicas_of(new);
        if have > self.limits.replicas {
            return self.scale(new, self.limits.replicas).into_iter().collect();
        }
        let room = self.limits.total_max() - self.total();
        if have < self.limits.replicas && room > 0 {
            let to = have + room.min(self.limits.replicas - have);
            return self.scale(new, to).into_iter().collect();
        }
        let mut actions = self.shrink_old(new);
        if actions.is_empty() {
            actions.extend(self.scale(new, have));
        }
        actions
    }

    /// Takes from the old sets what availability allows: first pods that do not work, then the oldest sets.
    fn shrink_old(&self, new: &ReplicaSet) -> Vec<Action> {
        let min_available = self.limits.replicas - self.limits.max_unavailable;
        let new_unavailable = replicas_of(new) - available(new);
        let mut may_go = self.total() - min_available - new_unavailable;
        let mut sizes: Vec<(&Arc<ReplicaSet>, i32)> = self.old.iter().map(|set| (set, replicas_of(set))).collect();
        if may_go <= 0 || sizes.iter().all(|(_, size)| *size == 0) {
            return Vec::new();
        }
        for (set, size) in &mut sizes {
            let broken = (*size - available(set)).clamp(0, may_go);
            *size -= broken;
            may_go -= broken;
        }
        let available_now: i32 = self.all().map(|set| available(set)).sum();
        let mut spare = (available_now - min_available).max(0).min(may_go);
        for (_, size) in &mut sizes {
            let taken = (*size).min(spare);
            *size -= taken;
            spare -= taken;
        }
        sizes
            .iter()
            .filter(|(set, size)| replicas_of(set) != *size)
            .filter_map(|(set, size)| self.scale(set, *size))
            .collect()
    }

    /// A new size in the middle of a rollout is shared out in proportion, so that it neither stops nor rushes it.
    fn proportional(&self) -> Vec<Action> {
        let active: Vec<&Arc<ReplicaSet>> = self.all().filter(|set| replicas_of(set) > 0).collect();
        let latest = match active.as_slice() {
            [] => self.new.or(self.old.last()),
            [only] => Some(*only),
            _ => None,
        };
        if let Some(only) = latest {
            return self.scale(only, self.limits.replicas).into_iter().collect();
        }
        let saturated = self
            .new
            .is_some_and(|new| replicas_of(new) == self.limits.replicas && available(new) == self.limits.replicas);
        if saturated {
            return active
                .iter()
                .filter(|set| self.new.is_none_or(|new| new.uid() != set.uid()))
                .filter_map(|set| self.scale(set, 0))
                .collect();
        }
        if is_recreate(self.spec) {
            return Vec::new();
        }
        self.share_out(active)
    }

    fn share_out(&self, mut active: Vec<&Arc<ReplicaSet>>) -> Vec<Action> {
        let total: i32 = active.iter().map(|set| replicas_of(set)).sum();
        let to_add = self.limits.total_max() - total;
        // Growing favours the newest set, shrinking takes from the oldest; larger ones first.
        active.sort_by_key(|set| {
            let created = set.creation_timestamp().map(|time| time.0);
            (Reverse(replicas_of(set)), if to_add > 0 { (None, Some(Reverse(created))) } else { (Some(created), None) })
        });
        let mut added = 0;
        let mut sizes: Vec<i32> = Vec::new();
        for set in &active {
            let share = proportion(set, self.limits, to_add, added);
            sizes.push(replicas_of(set) + share);
            added += share;
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        active.iter().zip(sizes).filter_map(|(set, size)| self.scale(set, size)).collect()
    }

    fn is_complete(&self) -> bool {
        let status = self.view.deployment.status.clone().unwrap_or_default();
        let wanted = Some(self.limits.replicas).filter(|number| *number > 0);
        let told = |number: Option<i32>| number.filter(|number| *number > 0) == wanted;
        told(status.updated_replicas)
            && told(status.replicas)
            && told(status.available_replicas)
            && status.observed_generation >= self.view.deployment.metadata.generation
    }

    /// Old sets beyond the history limit go, oldest revision first.
    fn cleanup(&self) -> Vec<Action> {
        let limit = self.spec.revision_history_limit.unwrap_or(10);
        let mut idle: Vec<&Arc<ReplicaSet>> = self
            .old
            .iter()
            .filter(|set| {
                let status = set.status.as_ref().map_or(0, |status| status.replicas);
                let settled =
                    set.status.as_ref().and_then(|status| status.observed_generation) >= set.metadata.generation;
                status == 0 && replicas_of(set) == 0 && settled && set.metadata.deletion_timestamp.is_none()
            })
            .collect();
        idle.sort_by_key(|set| revision(set));
        let excess = idle.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        idle.iter().take(excess).map(|set| Action::Delete { name: set.name_any() }).collect()
    }
}

/// How much of `to_add` falls to one set, by its share of what the Deployment last had in all.
fn proportion(set: &ReplicaSet, limits: Limits, to_add: i32, added: i32) -> i32 {
    let size = replicas_of(set);
    let left = to_add - added;
    if size == 0 || to_add == 0 || left == 0 {
        return 0;
    }
    let before = set.annotations().get(MAX).and_then(|text| text.parse::<i32>().ok()).filter(|max| *max > 0);
    let before = f64::from(before.unwrap_or(limits.replicas));
    let exact = f64::from(size) * f64::from(limits.total_max()) / before;
    // The product of two i32 by a positive one fits an i32 for any replica count the API accepts.
    #[allow(clippy::cast_possible_truncation)]
    let share = exact.round() as i32 - size;
    if to_add > 0 { share.min(left).max(0) } else { share.max(left).min(0) }
}

pub fn revision(set: &ReplicaSet) -> i64 {
    set.annotations().get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

#[cfg(test)]
mod tests;
