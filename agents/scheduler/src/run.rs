//! The loop around the pure cycle: follow, decide, bind.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard},
};

use k8s_openapi::{
    api::{
        core::v1::{Binding, Node, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod},
        storage::v1::StorageClass,
    },
    jiff::Timestamp,
};
use kontiki_informer::{Change, Clients, Informer, Note, ObjectKey, Queue, Recorder, reference};
use kube::{
    Api, Resource, ResourceExt,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    runtime::watcher,
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    cluster::{Cluster, NodeState, is_waiting},
    filter::{Candidate, explain, explain_wait, may_help, objections},
    score::score,
    storage::{self, Storage},
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
    storage: Storage,
    /// Pods that found no place; tried again when something makes room.
    parked: BTreeSet<ObjectKey>,
}

struct Scheduler {
    clients: Clients,
    name: &'static str,
    pods: Informer<Pod>,
    view: Arc<Mutex<View>>,
    queue: Queue<ObjectKey>,
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
    let claims = follow_storage::<PersistentVolumeClaim>(&clients, &view, &queue, &cancel, Storage::follow_claim);
    let volumes = follow_storage::<PersistentVolume>(&clients, &view, &queue, &cancel, Storage::follow_volume);
    let classes = follow_storage::<StorageClass>(&clients, &view, &queue, &cancel, Storage::follow_class);
    let synced = async {
        let storage = claims.synced().await && volumes.synced().await && classes.synced().await;
        storage && pods.synced().await && nodes.synced().await
    };
    if !synced.await {
        return;
    }
    let recorder = Recorder::new(clients.plain(), config.name, None);
    let scheduler = Arc::new(Scheduler { clients, name, pods, view, queue: queue.clone(), recorder });
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
            if old.as_ref().is_none_or(|old| old.spec != pod.spec || old.metadata.uid != pod.metadata.uid) {
                queue.add(ObjectKey::of(&**pod));
            }
        }
        (_, Some(pod)) => {
            view.parked.remove(&ObjectKey::of(&**pod));
            if view.cluster.put_pod(pod) {
                unpark(&mut view, queue);
            }
        }
        (Some(pod), None) => {
            let key = ObjectKey::of(&**pod);
            view.parked.remove(&key);
            // A pod that held no place leaves none: else each of many waiting ones that go would wake all the others.
            if view.cluster.remove_pod(&key) {
                unpark(&mut view, queue);
            }
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

/// Follows a kind that decides where pods with volumes may be put.
fn follow_storage<K>(
    clients: &Clients,
    view: &Arc<Mutex<View>>,
    queue: &Queue<ObjectKey>,
    cancel: &CancellationToken,
    note: fn(&mut Storage, &Change<K>),
) -> Informer<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (view, queue) = (view.clone(), queue.clone());
    let follow = move |change: &Change<K>| {
        let mut view = lock(&view);
        note(&mut view.storage, change);
        unpark(&mut view, &queue);
    };
    Informer::start(Api::all(clients.plain()), watcher::Config::default(), vec![Box::new(follow)], cancel.clone())
}

/// Something made room: pods that found none are tried again.
fn unpark(view: &mut View, queue: &Queue<ObjectKey>) {
    std::mem::take(&mut view.parked).into_iter().for_each(|key| queue.add(key));
}

/// Where a pod is put.
#[derive(Debug)]
struct Choice {
    node: String,
    /// What its claims lack there: until they have it, the pod waits.
    bindings: Vec<storage::Binding>,
}

/// `(pod, cluster, storage) → node, or why there is none`. Ties go to the node with fewest pods, then by name.
fn choose(pod: &Pod, cluster: &Cluster, storage: &Storage) -> Result<Choice, String> {
    let claims = storage.of_pod(pod).map_err(|why| explain_wait(cluster.nodes().len(), &why))?;
    let candidate = Candidate::new(pod, claims);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut best: Option<((i64, i64), &NodeState)> = None;
    for node in cluster.nodes() {
        let objections = objections(&candidate, node);
        if objections.is_empty() {
            let rank = (score(&candidate, node), -node.pods);
            if best.is_none_or(|(best, _)| rank > best) {
                best = Some((rank, node));
            }
        }
        for objection in objections {
            *reasons.entry(objection).or_insert(0) += 1;
        }
    }
    let Some((_, node)) = best else { return Err(explain(cluster.nodes().len(), &reasons)) };
    let bindings = candidate.claims.bindings(node).unwrap_or_default();
    Ok(Choice { node: node.name.clone(), bindings })
}

impl Scheduler {
    /// One pod; `false` brings it back later.
    async fn schedule(&self, key: &ObjectKey) -> bool {
        let Some(pod) = self.pods.get(key).filter(|pod| is_waiting(pod, self.name)) else { return true };
        let choice = {
            let mut view = lock(&self.view);
            let choice = choose(&pod, &view.cluster, &view.storage);
            match &choice {
                Ok(Choice { node, bindings }) if bindings.is_empty() => view.cluster.assume(&pod, node),
                Ok(_) | Err(_) => drop(view.parked.insert(key.clone())),
            }
            choice
        };
        match choice {
            Ok(Choice { node, bindings }) if bindings.is_empty() => self.bind(key, &pod, &node).await,
            // It is parked until its claims are bound.
            Ok(Choice { node, bindings }) => self.ask_for_volumes(&node, bindings).await,
            // It is parked: whatever makes room brings it back, time alone does not.
            Err(reason) => {
                self.refuse(key, &pod, &reason).await;
                true
            }
        }
    }

    /// Says where the volumes of claims are wanted; `false` if that has to be said again.
    async fn ask_for_volumes(&self, node: &str, bindings: Vec<storage::Binding>) -> bool {
        let mut said = true;
        for binding in bindings.iter().filter(|binding| !binding.is_asked_for(node)) {
            let written = match binding {
                storage::Binding::Provision(claim) => {
                    let api: Api<PersistentVolumeClaim> =
                        Api::namespaced(self.clients.plain(), &claim.namespace().unwrap_or_default());
                    let patch = json!({"metadata": {
                        "resourceVersion": claim.resource_version(), "annotations": {storage::SELECTED_NODE: node}}});
                    api.patch(&claim.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
                }
                storage::Binding::Volume(claim, volume) => {
                    let api: Api<PersistentVolume> = Api::all(self.clients.plain());
                    let patch = json!({
                        "metadata": {
                            "resourceVersion": volume.resource_version(),
                            "annotations": {storage::BOUND_BY_CONTROLLER: "yes"},
                        },
                        "spec": {"claimRef": reference(&**claim)},
                    });
                    api.patch(&volume.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
                }
            };
            if let Err(error) = written {
                debug!(node, %error, "a volume was not asked for");
                said = false;
            }
        }
        said
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
                self.recorder.record(&reference(pod), note).await;
                true
            }
            Err(error) => {
                self.forget(key);
                if matches!(&error, kube::Error::Api(status) if matches!(status.code, 404 | 409)) {
                    debug!(?key, node, %error, "not bound");
                } else {
                    warn!(?key, node, %error, "not bound");
                }
                // A refusal says nothing about a pod that still waits; one that is gone or bound is not tried again.
                false
            }
        }
    }

    /// Assumed in vain: the pod is gone, bound by another, or the write did not go through. What it held is free again.
    fn forget(&self, key: &ObjectKey) {
        let mut view = lock(&self.view);
        // Read under the lock: what the stream says later is also noted later.
        let made_room = match self.pods.get(key) {
            Some(current) => view.cluster.put_pod(&current),
            None => view.cluster.remove_pod(key),
        };
        if made_room {
            unpark(&mut view, &self.queue);
        }
    }

    /// Tells users why the pod waits: a condition and an event.
    async fn refuse(&self, key: &ObjectKey, pod: &Pod, reason: &str) {
        let note = Note { warning: true, reason: "FailedScheduling", message: reason };
        self.recorder.record(&reference(pod), note).await;
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

    /// A pod's change as the stream tells it, and who is tried again because of it.
    fn woken(view: &Mutex<View>, old: Option<Pod>, new: Option<Pod>) -> Vec<String> {
        let queue = Queue::default();
        let change = Change { old: old.map(Arc::new), new: new.map(Arc::new) };
        follow_pod(view, &queue, "default-scheduler", &change);
        let cancel = CancellationToken::new();
        cancel.cancel();
        let mut names = Vec::new();
        while let Some(Some(key)) = futures::FutureExt::now_or_never(queue.next(&cancel)) {
            names.push(key.name);
        }
        names
    }

    #[test]
    fn only_what_makes_room_wakes_the_parked() {
        let view = Mutex::new(View::default());
        let bound = |cpu: &str| tests::pod("bound", "n", cpu);
        let park = || lock(&view).parked.insert(ObjectKey::new("a", "parked"));
        lock(&view).cluster.put_node(&tests::node("n", "1"));
        park();
        assert_eq!(woken(&view, None, Some(bound("500m"))), [""; 0]);
        assert_eq!(woken(&view, Some(tests::pod("waiting", "", "1")), None), [""; 0]);
        assert_eq!(woken(&view, Some(bound("500m")), Some(bound("500m"))), [""; 0]);
        assert_eq!(woken(&view, Some(bound("500m")), Some(bound("200m"))), ["parked"]);
        park();
        let mut finished = bound("200m");
        finished.status = serde_json::from_value(json!({"phase": "Succeeded"})).unwrap();
        assert_eq!(woken(&view, Some(bound("200m")), Some(finished.clone())), ["parked"]);
        park();
        assert_eq!(woken(&view, Some(finished), None), [""; 0]);
    }

    #[test]
    fn a_pod_that_replaces_another_of_its_name_is_tried() {
        let view = Mutex::new(View::default());
        let pod = |uid: &str| {
            let mut pod = tests::pod("waiting", "", "1");
            pod.metadata.uid = Some(uid.to_owned());
            Some(pod)
        };
        assert_eq!(woken(&view, pod("one"), pod("one")), [""; 0]);
        assert_eq!(woken(&view, pod("one"), pod("two")), ["waiting"]);
    }

    #[test]
    fn pods_are_spread_and_refused_with_reasons() {
        let mut cluster = Cluster::default();
        cluster.put_node(&tests::node("a", "1"));
        cluster.put_node(&tests::node("b", "1"));
        let mut chosen = Vec::new();
        for name in ["one", "two", "three"] {
            let mut pod = tests::pod(name, "", "600m");
            pod.spec.as_mut().unwrap().containers[0].ports = None;
            match choose(&pod, &cluster, &Storage::default()) {
                Ok(Choice { node, .. }) => {
                    cluster.assume(&pod, &node);
                    chosen.push(node);
                }
                Err(reason) => chosen.push(reason),
            }
        }
        assert_eq!(chosen, ["a", "b", "0/2 nodes are available: 2 Insufficient cpu."]);
    }
}
