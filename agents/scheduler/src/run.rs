//! The loop around the pure cycle: follow, decide, bind.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
};

use k8s_openapi::{
    api::{
        core::v1::{Binding, Node, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod, PodCondition},
        storage::v1::StorageClass,
    },
    apimachinery::pkg::apis::meta::v1::Time,
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
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    cluster::is_waiting,
    storage::{self, Helps, Storage},
    view::{Tried, View, follow_node, follow_pod, lock},
};

/// Binds in flight at a time: the cycle itself is one at a time, so that each sees the last one's choice.
const BINDERS: usize = 16;

/// In Kubernetes' words.
const VOLUMES_LATE: &str = "running PreBind plugin \"VolumeBinding\": binding volumes: context deadline exceeded";

/// What the scheduler needs to be told.
#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    /// The server it runs in.
    pub server: String,
}

/// The `spec.schedulerName` it serves.
const NAME: &str = "default-scheduler";

struct Scheduler {
    clients: Clients,
    pods: Informer<Pod>,
    view: Arc<Mutex<View>>,
    queue: Queue<ObjectKey>,
    recorder: Recorder,
}

/// Places pods until `cancel`.
pub async fn run(clients: Clients, config: SchedulerConfig, cancel: CancellationToken) {
    let view = Arc::new(Mutex::new(View::default()));
    let queue: Queue<ObjectKey> = Queue::default();
    let (shared, waiting) = (view.clone(), queue.clone());
    let of_pod = move |change: &Change<Pod>| follow_pod(&shared, &waiting, NAME, change);
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
    let recorder = Recorder::new(clients.plain(), NAME, Some(format!("{NAME}-{}", config.server)));
    let scheduler = Arc::new(Scheduler { clients, pods, view, queue: queue.clone(), recorder });
    queue
        .drain(BINDERS, cancel, move |key| {
            let scheduler = scheduler.clone();
            async move { scheduler.schedule(&key).await }
        })
        .await;
}

/// Follows a kind that decides where pods with volumes may be put.
fn follow_storage<K>(
    clients: &Clients,
    view: &Arc<Mutex<View>>,
    queue: &Queue<ObjectKey>,
    cancel: &CancellationToken,
    note: fn(&mut Storage, &Change<K>) -> Helps,
) -> Informer<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (view, queue) = (view.clone(), queue.clone());
    let follow = move |change: &Change<K>| {
        let mut view = lock(&view);
        let helps = note(&mut view.storage, change);
        view.wake(&helps, &queue);
    };
    Informer::start(Api::all(clients.plain()), watcher::Config::default(), vec![Box::new(follow)], cancel.clone())
}

impl Scheduler {
    /// One pod; `false` brings it back later.
    async fn schedule(&self, key: &ObjectKey) -> bool {
        let now = Instant::now();
        let (pod, tried) = {
            // Read under the lock: one that goes meanwhile is forgotten after it has been placed, not before.
            let mut view = lock(&self.view);
            let Some(pod) = self.pods.get(key).filter(|pod| is_waiting(pod, NAME)) else { return true };
            let tried = view.place(key, &pod, now, &self.queue);
            (pod, tried)
        };
        match tried {
            Tried::Chosen { choice, until: None } => self.bind(key, &pod, &choice.node).await,
            Tried::Chosen { choice, until: Some(until) } => {
                self.queue.add_after(key.clone(), until.saturating_duration_since(now));
                self.ask_for_volumes(&choice.node, choice.bindings).await
            }
            Tried::GivenUp => {
                self.refuse(key, &pod, VOLUMES_LATE).await;
                // Whoever wants the place is before it in the queue.
                false
            }
            Tried::Refused(reason) => {
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
                self.recorder.record_action(&reference(pod), "Binding", note).await;
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
            view.unpark(&self.queue);
        }
    }

    /// Tells users why the pod waits: a condition and an event.
    async fn refuse(&self, key: &ObjectKey, pod: &Pod, reason: &str) {
        let note = Note { warning: true, reason: "FailedScheduling", message: reason };
        self.recorder.record_action(&reference(pod), "Scheduling", note).await;
        let Some(condition) = unscheduled(pod, reason, Timestamp::now()) else { return };
        let client = self.clients.caused_by(pod.resource_version().as_deref());
        let api: Api<Pod> = Api::namespaced(client, &key.namespace);
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
        let patched = api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        if let Err(error) = patched {
            debug!(?key, %error, "condition not written; the event says it");
        }
    }
}

/// The condition that says why a pod waits, unless it says so already. It is as old as the wait, whatever the reasons were.
fn unscheduled(pod: &Pod, reason: &str, now: Timestamp) -> Option<PodCondition> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let before = conditions.and_then(|all| all.iter().find(|condition| condition.type_ == "PodScheduled"));
    let since = before.filter(|condition| condition.status == "False");
    let condition = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        message: Some(reason.to_owned()),
        last_transition_time: since.and_then(|one| one.last_transition_time.clone()).or(Some(Time(now))),
        last_probe_time: None,
        observed_generation: pod.metadata.generation,
    };
    (before != Some(&condition)).then_some(condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_once_for_each_generation_why_it_waits() {
        let time = |seconds| Timestamp::from_second(seconds).expect("a time");
        let mut pod = Pod { metadata: ObjectMeta { generation: Some(1), ..ObjectMeta::default() }, ..Pod::default() };
        let mut told = Vec::new();
        for (generation, reason, now) in [(1, "no room", 1), (1, "no room", 2), (2, "no room", 3), (2, "no node", 4)] {
            pod.metadata.generation = Some(generation);
            let condition = unscheduled(&pod, reason, time(now));
            told.push(condition.as_ref().map(|one| (one.observed_generation, one.last_transition_time.clone())));
            if let Some(condition) = condition {
                pod.status.get_or_insert_default().conditions = Some(vec![condition]);
            }
        }
        let since = Some(Time(time(1)));
        assert_eq!(
            told,
            [Some((Some(1), since.clone())), None, Some((Some(2), since.clone())), Some((Some(2), since))]
        );
    }
}
