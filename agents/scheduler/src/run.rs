//! The loop around the pure cycle: follow, decide, bind.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use k8s_openapi::{
    api::core::v1::{Binding, Node, ObjectReference, Pod},
    jiff::Timestamp,
};
use kontiki_informer::{Change, Clients, Informer, Note, ObjectKey, Queue, Recorder};
use kube::{
    Api, Resource, ResourceExt,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    runtime::watcher,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    cluster::{Cluster, is_finished, is_waiting},
    filter::{Candidate, explain, may_help, objections},
    score::score,
};

/// Binds in flight at a time: the cycle itself is one at a time, so that each sees the last one's choice.
const BINDERS: usize = 16;

/// What the scheduler needs to be told.
#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    /// The `spec.schedulerName` it serves.
    pub name: &'static str,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        SchedulerConfig { name: "default-scheduler" }
    }
}

/// What the subscriptions keep and the cycle reads.
#[derive(Default)]
struct View {
    cluster: Cluster,
    /// Pods that found no place; tried again when something makes room.
    parked: BTreeSet<ObjectKey>,
}

struct Scheduler {
    clients: Clients,
    name: &'static str,
    pods: Informer<Pod>,
    view: Arc<Mutex<View>>,
    recorder: Recorder,
}

/// Places pods until `cancel`.
pub async fn run(clients: Clients, config: SchedulerConfig, cancel: CancellationToken) {
    let view = Arc::new(Mutex::new(View::default()));
    let queue: Queue<ObjectKey> = Queue::default();
    let (shared, waiting, name) = (view.clone(), queue.clone(), config.name);
    let of_pod = move |change: &Change<Pod>| follow_pod(&shared, &waiting, name, change);
    let all = Api::all(clients.plain());
    let pods = Informer::start(all, watcher::Config::default(), vec![Box::new(of_pod)], cancel.clone());
    let (shared, waiting) = (view.clone(), queue.clone());
    let of_node = move |change: &Change<Node>| follow_node(&shared, &waiting, change);
    let all = Api::<Node>::all(clients.plain());
    let nodes = Informer::start(all, watcher::Config::default(), vec![Box::new(of_node)], cancel.clone());
    if !pods.synced().await || !nodes.synced().await {
        return;
    }
    let recorder = Recorder::new(clients.plain(), config.name, None);
    let scheduler = Arc::new(Scheduler { clients, name, pods, view, recorder });
    queue
        .drain(BINDERS, cancel, move |key| {
            let scheduler = scheduler.clone();
            async move { scheduler.schedule(&key).await }
        })
        .await;
}

fn lock(view: &Mutex<View>) -> MutexGuard<'_, View> {
    view.lock().expect("nobody panics while holding the view's lock")
}

fn follow_pod(view: &Mutex<View>, queue: &Queue<ObjectKey>, name: &str, change: &Change<Pod>) {
    let mut view = lock(view);
    match (&change.old, &change.new) {
        (old, Some(pod)) if is_waiting(pod, name) => {
            // Its own refused attempt changes only its status: that is no reason to try again.
            if old.as_ref().is_none_or(|old| old.spec != pod.spec) {
                queue.add(ObjectKey::of(&**pod));
            }
        }
        (_, Some(pod)) => {
            view.cluster.put_pod(pod);
            view.parked.remove(&ObjectKey::of(&**pod));
            if is_finished(pod) {
                unpark(&mut view, queue);
            }
        }
        (Some(pod), None) => {
            view.cluster.remove_pod(&ObjectKey::of(&**pod));
            view.parked.remove(&ObjectKey::of(&**pod));
            unpark(&mut view, queue);
        }
        (None, None) => {}
    }
}

fn follow_node(view: &Mutex<View>, queue: &Queue<ObjectKey>, change: &Change<Node>) {
    let mut view = lock(view);
    match (&change.old, &change.new) {
        (old, Some(node)) => {
            view.cluster.put_node(node);
            if may_help(old.as_deref(), node) {
                unpark(&mut view, queue);
            }
        }
        (Some(node), None) => view.cluster.remove_node(&node.name_any()),
        (None, None) => {}
    }
}

/// Something made room: pods that found none are tried again.
fn unpark(view: &mut View, queue: &Queue<ObjectKey>) {
    std::mem::take(&mut view.parked).into_iter().for_each(|key| queue.add(key));
}

/// `(pod, cluster) → node, or why there is none`. Ties go to the node with fewest pods, then by name.
fn choose(pod: &Pod, cluster: &Cluster) -> Result<String, String> {
    let candidate = Candidate::new(pod);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut best: Option<(i64, i64, &str)> = None;
    for node in cluster.nodes() {
        let objections = objections(&candidate, node);
        if objections.is_empty() {
            let rank = (score(&candidate, node), -node.pods, node.name.as_str());
            if best.is_none_or(|best| (rank.0, rank.1) > (best.0, best.1)) {
                best = Some(rank);
            }
        }
        for objection in objections {
            *reasons.entry(objection).or_insert(0) += 1;
        }
    }
    best.map(|(_, _, name)| name.to_owned()).ok_or_else(|| explain(cluster.nodes().len(), &reasons))
}

impl Scheduler {
    /// One pod; `false` brings it back later.
    async fn schedule(&self, key: &ObjectKey) -> bool {
        let Some(pod) = self.pods.get(key).filter(|pod| is_waiting(pod, self.name)) else { return true };
        let choice = {
            let mut view = lock(&self.view);
            let choice = choose(&pod, &view.cluster);
            match &choice {
                Ok(node) => view.cluster.assume(&pod, node),
                Err(_) => drop(view.parked.insert(key.clone())),
            }
            choice
        };
        match choice {
            Ok(node) => self.bind(key, &pod, &node).await,
            Err(reason) => {
                self.refuse(key, &pod, &reason).await;
                false
            }
        }
    }

    async fn bind(&self, key: &ObjectKey, pod: &Pod, node: &str) -> bool {
        let client = self.clients.caused_by(pod.resource_version().as_deref());
        let api: Api<Pod> = Api::namespaced(client, &key.namespace);
        let binding = Binding {
            metadata: ObjectMeta { name: Some(key.name.clone()), uid: pod.uid(), ..ObjectMeta::default() },
            target: ObjectReference {
                api_version: Some("v1".into()),
                kind: Some(Node::kind(&()).into_owned()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let bound: Result<serde_json::Value, kube::Error> =
            api.create_subresource("binding", &key.name, &PostParams::default(), &binding).await;
        match bound {
            Ok(_) => {
                let message = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
                let note = Note { warning: false, reason: "Scheduled", message: &message };
                self.recorder.record(&pod.object_ref(&()), note).await;
                true
            }
            Err(error) => {
                // Assumed in vain: the pod is gone, bound by another, or the write did not go through.
                let current = self.pods.get(key);
                let mut view = lock(&self.view);
                match current {
                    Some(current) => view.cluster.put_pod(&current),
                    None => view.cluster.remove_pod(key),
                }
                drop(view);
                let settled = matches!(&error, kube::Error::Api(status) if matches!(status.code, 404 | 409));
                if settled {
                    debug!(?key, node, %error, "not bound");
                } else {
                    warn!(?key, node, %error, "not bound; will be tried again");
                }
                settled
            }
        }
    }

    /// Tells users why the pod waits: a condition and an event.
    async fn refuse(&self, key: &ObjectKey, pod: &Pod, reason: &str) {
        let note = Note { warning: true, reason: "FailedScheduling", message: reason };
        self.recorder.record(&pod.object_ref(&()), note).await;
        let told = pod.status.as_ref().and_then(|status| status.conditions.as_ref()).is_some_and(|conditions| {
            let scheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled");
            scheduled.is_some_and(|condition| condition.message.as_deref() == Some(reason))
        });
        if told {
            return;
        }
        let client = self.clients.caused_by(pod.resource_version().as_deref());
        let api: Api<Pod> = Api::namespaced(client, &key.namespace);
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": reason,
            "lastTransitionTime": k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now()),
        });
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
        let patched = api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        if let Err(error) = patched {
            debug!(?key, %error, "condition not written; the event says it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests;

    #[test]
    fn pods_are_spread_and_refused_with_reasons() {
        let mut cluster = Cluster::default();
        cluster.put_node(&tests::node("a", "1"));
        cluster.put_node(&tests::node("b", "1"));
        let mut chosen = Vec::new();
        for name in ["one", "two", "three"] {
            let mut pod = tests::pod(name, "", "600m");
            pod.spec.as_mut().unwrap().containers[0].ports = None;
            match choose(&pod, &cluster) {
                Ok(node) => {
                    cluster.assume(&pod, &node);
                    chosen.push(node);
                }
                Err(reason) => chosen.push(reason),
            }
        }
        assert_eq!(chosen, ["a", "b", "0/2 nodes are available: 2 Insufficient cpu."]);
    }
}
