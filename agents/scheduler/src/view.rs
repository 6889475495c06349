//! What the subscriptions keep and the cycle reads: the cluster, its storage, and the pods that wait, each with what may help it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::{Node, Pod};
use kontiki_informer::{Change, ObjectKey, Queue};
use kube::ResourceExt;
use tokio::time::Instant;

use crate::{
    choose::{Choice, choose},
    cluster::{Cluster, is_waiting},
    filter::may_help,
    storage::{Helps, Storage, claims_of},
};

/// How long a place is kept for a pod that waits for its volumes there.
pub const RESERVED_MAX: Duration = Duration::from_secs(600);

#[derive(Default)]
pub struct View {
    pub cluster: Cluster,
    pub storage: Storage,
    /// Pods that found no place, or wait for their volumes, each with its claims; tried again when something may help.
    parked: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// Since when a place is kept for pods that wait for their volumes.
    reserved: BTreeMap<ObjectKey, Instant>,
}

/// What has come of one try to place a pod.
#[derive(Debug)]
pub enum Tried {
    /// It counts there from now on. With bindings to be made it waits for them, and its place is kept until then.
    Chosen { choice: Choice, until: Option<Instant> },
    /// It is parked: whatever makes room brings it back, time alone does not.
    Refused(String),
    /// Its volumes have not come in time: its place is free for others.
    GivenUp,
}

/// One that was left by a panic too: a pod is judged before anything is noted of it, and whoever panicked over one tries it
/// again.
pub fn lock(view: &Mutex<View>) -> MutexGuard<'_, View> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

impl View {
    /// Chooses a place for the pod. Whoever may have got room by that is put into the queue.
    pub fn place(&mut self, key: &ObjectKey, pod: &Pod, now: Instant, queue: &Queue<ObjectKey>) -> Tried {
        self.parked.remove(key);
        // What it holds itself is no obstacle to it.
        let held = self.cluster.give_up(key);
        let since = self.reserved.remove(key);
        if since.is_some_and(|since| since + RESERVED_MAX <= now) {
            self.unpark(queue);
            return Tried::GivenUp;
        }
        let choice = choose(pod, &self.cluster, &self.storage);
        let node = choice.as_ref().ok().map(|choice| choice.node.as_str());
        if let Some(node) = node {
            self.cluster.assume(pod, node);
        }
        if held.is_some() && held.as_deref() != node {
            self.unpark(queue);
        }
        match choice {
            Ok(choice) if choice.bindings.is_empty() => Tried::Chosen { choice, until: None },
            Ok(choice) => {
                let since = since.filter(|_| held.as_deref() == Some(choice.node.as_str())).unwrap_or(now);
                self.reserved.insert(key.clone(), since);
                self.park(key, pod);
                Tried::Chosen { choice, until: Some(since + RESERVED_MAX) }
            }
            Err(reason) => {
                self.park(key, pod);
                Tried::Refused(reason)
            }
        }
    }

    fn park(&mut self, key: &ObjectKey, pod: &Pod) {
        self.parked.insert(key.clone(), claims_of(pod).map(|(_, claim)| claim).collect());
    }

    /// Nothing is to be done for the pod any more.
    fn forget(&mut self, key: &ObjectKey) {
        self.parked.remove(key);
        self.reserved.remove(key);
    }

    /// Something made room: pods that found none are tried again.
    pub fn unpark(&mut self, queue: &Queue<ObjectKey>) {
        std::mem::take(&mut self.parked).into_keys().for_each(|key| queue.add(key));
    }

    /// Pods with claims that a change of claims, volumes or classes may help are tried again.
    pub fn wake(&mut self, helps: &Helps, queue: &Queue<ObjectKey>) {
        let concerned = |claims: &BTreeSet<ObjectKey>| match helps {
            Helps::Nobody => false,
            Helps::UsersOf(claim) => claims.contains(claim),
            Helps::Everybody => !claims.is_empty(),
        };
        let woken: Vec<ObjectKey> =
            self.parked.iter().filter(|(_, claims)| concerned(claims)).map(|(key, _)| key.clone()).collect();
        for key in woken {
            self.parked.remove(&key);
            queue.add(key);
        }
    }
}

pub fn follow_pod(view: &Mutex<View>, queue: &Queue<ObjectKey>, name: &str, change: &Change<Pod>) {
    let mut view = lock(view);
    match (&change.old, &change.new) {
        (old, Some(pod)) if is_waiting(pod, name) => {
            // Its own refused attempt changes only its status: that is no reason to try again.
            if old.as_ref().is_none_or(|old| old.spec != pod.spec || old.metadata.uid != pod.metadata.uid) {
                queue.add(ObjectKey::of(&**pod));
            }
        }
        (_, Some(pod)) => {
            view.forget(&ObjectKey::of(&**pod));
            if view.cluster.put_pod(pod) {
                view.unpark(queue);
            }
        }
        (Some(pod), None) => {
            let key = ObjectKey::of(&**pod);
            view.forget(&key);
            // A pod that held no place leaves none: else each of many waiting ones that go would wake all the others.
            if view.cluster.remove_pod(&key) {
                view.unpark(queue);
            }
        }
        (None, None) => {}
    }
}

pub fn follow_node(view: &Mutex<View>, queue: &Queue<ObjectKey>, change: &Change<Node>) {
    let mut view = lock(view);
    match (&change.old, &change.new) {
        (old, Some(node)) => {
            view.cluster.put_node(node);
            if may_help(old.as_deref(), node) {
                view.unpark(queue);
            }
        }
        (Some(node), None) => view.cluster.remove_node(&node.name_any()),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests;
