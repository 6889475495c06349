//! ReplicaSets: as many pods of one template as asked for.

mod status;

use std::{cmp::Reverse, sync::Arc, time::Duration};

use futures::future::join_all;
use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetStatus},
        core::v1::Pod,
    },
    jiff::Timestamp,
};
use kontiki_informer::{Change, Informer, Note, ObjectKey, Queue, Recorder, message};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::{ObjectMeta, Selector},
};
use serde_json::json;

use crate::{
    ControllerError,
    adoption::{adoption, controlled_by, controller_of, may_adopt, release, wake},
    context::{Context, OwnWrites, gone_is_fine, queued, reference, settled},
    pods,
};

const WORKERS: usize = 8;
/// Pods created or deleted in one reconcile at the most; the rest follows in the next.
const BURST_MAX: usize = 500;
/// First batch of creates, doubled while all succeed, so that a refused template is not tried a hundred times.
const BATCH_FIRST: usize = 1;

/// A pod by name, and the uid that tells it from a later one of that name.
#[derive(Debug, PartialEq)]
struct Named {
    name: String,
    uid: Option<String>,
}

impl Named {
    fn of(pod: &Pod) -> Self {
        Named { name: pod.name_any(), uid: pod.uid() }
    }
}

/// What one reconcile decided. Pure result of [`decide`].
#[derive(Debug, Default, PartialEq)]
struct Plan {
    /// Pods that match and have no controller.
    adopt: Vec<Named>,
    /// Owned pods that match no more.
    release: Vec<Named>,
    create: usize,
    /// The newest revision of an owned pod that has ended, or is about to: what a replacement reacts to.
    ended: Option<u64>,
    delete: Vec<String>,
    status: ReplicaSetStatus,
    /// When the status will change by time alone.
    again_in_s: Option<i64>,
}

struct Controller {
    context: Context,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    writes: OwnWrites,
    queue: Queue<ObjectKey>,
    recorder: Recorder,
}

pub async fn run(context: Context) {
    let queue: Queue<ObjectKey> = Queue::default();
    let sets = context.informer::<ReplicaSet>(vec![queued(&queue)]);
    let (of_pod, all_sets) = (queue.clone(), sets.clone());
    let pods = context.informer::<Pod>(vec![Box::new(move |change: &Change<Pod>| {
        for pod in [&change.old, &change.new].into_iter().flatten() {
            wake(&of_pod, &all_sets, |set: &ReplicaSet| Some(&set.spec.as_ref()?.selector), &**pod);
        }
    })]);
    if !sets.synced().await || !pods.synced().await {
        return;
    }
    let recorder = context.recorder("replicaset-controller");
    let controller =
        Arc::new(Controller { sets, pods, writes: OwnWrites::default(), queue: queue.clone(), recorder, context });
    let cancel = controller.context.cancel.clone();
    queue
        .drain(WORKERS, cancel, move |key| {
            let controller = controller.clone();
            async move { settled("replicaset", &key, controller.reconcile(&key).await) }
        })
        .await;
}

impl Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        self.writes.seen(key, &self.pods).await;
        let Some(set) = self.sets.get(key) else { return Ok(()) };
        let Some(spec) = &set.spec else { return Ok(()) };
        let selector = pods::selector(&spec.selector)?;
        let uid = set.uid().ok_or_else(|| ControllerError::NoUid(key.name.clone()))?;
        let mut candidates = self.pods.owned_by(&uid);
        let mut orphans = self.pods.list(Some(&key.namespace));
        orphans.retain(|pod| controller_of(&**pod).is_none() && pods::matches(&selector, pod.metadata.labels.as_ref()));
        candidates.extend(orphans);
        let mut plan = decide(&set, &selector, &candidates, Timestamp::now());
        self.claim(key, &set, &plan).await?;
        let failure = self.resize(key, &set, &plan).await;
        let told = failure.as_ref().err().map(|error| {
            let reason = if plan.create > 0 { "FailedCreate" } else { "FailedDelete" };
            (reason, error.to_string())
        });
        plan.status.conditions = status::conditions(set.status.as_ref(), told, Timestamp::now());
        self.report(key, &set, plan.status).await?;
        if let Some(seconds) = plan.again_in_s {
            self.queue.add_after(key.clone(), Duration::from_secs(seconds.unsigned_abs()));
        }
        failure
    }

    /// Adopts and releases.
    async fn claim(&self, key: &ObjectKey, set: &ReplicaSet, plan: &Plan) -> Result<(), ControllerError> {
        let api = self.context.api::<Pod, _>(&key.namespace, set);
        let sets = self.context.api::<ReplicaSet, _>(&key.namespace, set);
        if !plan.adopt.is_empty() && !may_adopt(&sets, set).await? {
            return Err(ControllerError::OwnerGoes(key.name.clone()));
        }
        let owner = controlled_by(set);
        let adopted = plan.adopt.iter().map(|pod| (pod, adoption(pod.uid.as_deref(), &owner)));
        let released = plan.release.iter().map(|pod| (pod, release(pod.uid.as_deref(), &owner.uid)));
        for (pod, patch) in adopted.chain(released) {
            let patched = api.patch(&pod.name, &PatchParams::default(), &patch).await;
            if let Some(pod) = gone_is_fine(patched)? {
                self.writes.note(key, &pod);
            }
        }
        Ok(())
    }

    async fn resize(&self, key: &ObjectKey, set: &ReplicaSet, plan: &Plan) -> Result<(), ControllerError> {
        self.create(key, set, plan).await?;
        let api = &self.context.api::<Pod, _>(&key.namespace, set);
        let deletes = plan.delete.iter().map(|name| async move {
            let pod = self.pods.get(&ObjectKey::new(&key.namespace, name));
            let preconditions = Preconditions { uid: pod.and_then(|pod| pod.uid()), resource_version: None };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            let deleted = gone_is_fine(api.delete(name, &parameters).await)?;
            if let Some(pod) = deleted.and_then(|answer| answer.left()) {
                self.writes.note(key, &pod);
            }
            self.tell(set, false, "SuccessfulDelete", &format!("Deleted pod: {name}")).await;
            Ok::<(), ControllerError>(())
        });
        join_all(deletes).await.into_iter().collect()
    }

    /// Creates in batches that double while all goes well.
    async fn create(&self, key: &ObjectKey, set: &ReplicaSet, plan: &Plan) -> Result<(), ControllerError> {
        let told: Option<u64> = set.resource_version().and_then(|revision| revision.parse().ok());
        let cause = told.max(plan.ended).map(|revision| revision.to_string());
        let api: Api<Pod> = Api::namespaced(self.context.clients.caused_by(cause.as_deref()), &key.namespace);
        let pod = pod_from_template(set);
        let (mut left, mut batch) = (plan.create, BATCH_FIRST);
        while left > 0 {
            let now = batch.min(left);
            let (api, pod, parameters) = (&api, &pod, &PostParams::default());
            let created = join_all((0..now).map(|_| api.create(parameters, pod))).await;
            let mut failed = None;
            for outcome in created {
                match outcome {
                    Ok(pod) => {
                        self.writes.note(key, &pod);
                        let message = format!("Created pod: {}", pod.name_any());
                        self.tell(set, false, "SuccessfulCreate", &message).await;
                    }
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                self.tell(set, true, "FailedCreate", &format!("Error creating: {}", message(&error))).await;
                return Err(error.into());
            }
            left -= now;
            batch *= 2;
        }
        Ok(())
    }

    async fn tell(&self, set: &ReplicaSet, warning: bool, reason: &str, message: &str) {
        self.recorder.record(&reference(set), Note { warning, reason, message }).await;
    }

    async fn report(&self, key: &ObjectKey, set: &ReplicaSet, status: ReplicaSetStatus) -> Result<(), ControllerError> {
        if set.status.as_ref().is_some_and(|old| status::same(old, &status)) {
            return Ok(());
        }
        let api = self.context.api::<ReplicaSet, _>(&key.namespace, set);
        let mut patch = json!({"metadata": {"uid": set.uid()}, "status": status});
        if status.conditions.is_none() {
            patch["status"]["conditions"] = serde_json::Value::Null;
        }
        gone_is_fine(api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await)?;
        Ok(())
    }
}

/// `(set, its candidates, now) → what to do`.
fn decide(set: &ReplicaSet, selector: &Selector, candidates: &[Arc<Pod>], now: Timestamp) -> Plan {
    let spec = set.spec.as_ref();
    let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1).max(0);
    let min_ready = spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let deleting = set.metadata.deletion_timestamp.is_some();
    let mut plan = Plan::default();
    let mut mine: Vec<&Arc<Pod>> = Vec::new();
    for pod in candidates {
        let owned = controller_of(&**pod).is_some();
        let matching = pods::matches(selector, pod.metadata.labels.as_ref());
        match (owned, matching) {
            (true, true) => mine.push(pod),
            (true, false) if !deleting => plan.release.push(Named::of(pod)),
            (false, true) if !deleting && pods::is_active(pod) => {
                plan.adopt.push(Named::of(pod));
                mine.push(pod);
            }
            _ => {}
        }
    }
    let ended = mine.iter().filter(|pod| !pods::is_active(pod)).filter_map(|pod| pod.resource_version()?.parse().ok());
    plan.ended = ended.max();
    plan.status = status::counts(set, &mine, min_ready, now);
    mine.retain(|pod| pods::is_active(pod));
    plan.again_in_s = mine.iter().filter_map(|pod| pods::available_in(pod, min_ready, now)).filter(|s| *s > 0).min();
    let have = mine.len();
    let wanted = usize::try_from(wanted).expect("clamped to zero above");
    if deleting {
        return plan;
    }
    if have < wanted {
        plan.create = (wanted - have).min(BURST_MAX);
    } else if have > wanted {
        mine.sort_by_cached_key(|pod| victim_rank(pod));
        plan.delete = mine.iter().take((have - wanted).min(BURST_MAX)).map(|pod| pod.name_any()).collect();
    }
    plan
}

/// Sorts those first that are missed least: unassigned, pending, not ready, cheap to delete, ready for a short time,
/// often restarted, young.
fn victim_rank(pod: &Pod) -> impl Ord + use<> {
    let phase = match pods::phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let cost: i64 = pod
        .annotations()
        .get("controller.kubernetes.io/pod-deletion-cost")
        .and_then(|cost| cost.parse().ok())
        .unwrap_or(0);
    let ready_since = pods::ready_since(pod);
    let created = pod.creation_timestamp().map(|time| time.0);
    (
        pods::is_assigned(pod),
        phase,
        ready_since.is_some(),
        cost,
        Reverse(ready_since),
        Reverse(pods::restarts(pod)),
        Reverse(created),
        pod.name_any(),
    )
}

fn pod_from_template(set: &ReplicaSet) -> Pod {
    let template = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    let from = template.metadata.unwrap_or_default();
    let metadata = ObjectMeta {
        generate_name: Some(format!("{}-", set.name_any())),
        namespace: set.namespace(),
        labels: from.labels,
        annotations: from.annotations,
        finalizers: from.finalizers,
        owner_references: Some(vec![controlled_by(set)]),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: template.spec, status: None }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn set(replicas: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "a", "uid": "u1", "generation": 3},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                     "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}},
        }))
        .unwrap()
    }

    fn pod(name: &str, label: &str, owned: bool, node: bool, ready: bool) -> Arc<Pod> {
        let owners = if owned {
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u1", "controller": true}])
        } else {
            json!([])
        };
        let conditions = json!([{"type": "Ready", "status": if ready { "True" } else { "False" },
                                 "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let value = json!({
            "metadata": {"name": name, "namespace": "a", "uid": format!("{name}-uid"), "labels": {"app": label}, "ownerReferences": owners},
            "spec": {"containers": [], "nodeName": if node { Some("n") } else { None }},
            "status": {"phase": if ready { "Running" } else { "Pending" }, "conditions": conditions},
        });
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn plan(set: &ReplicaSet, candidates: &[Arc<Pod>]) -> Plan {
        let selector = pods::selector(&set.spec.as_ref().unwrap().selector).unwrap();
        decide(set, &selector, candidates, "2026-01-01T00:01:00Z".parse().unwrap())
    }

    #[test]
    fn missing_pods_are_created_and_orphans_adopted() {
        let plan = plan(&set(3), &[pod("mine", "web", true, true, true), pod("orphan", "web", false, true, true)]);
        let orphan = Named { name: "orphan".to_owned(), uid: Some("orphan-uid".to_owned()) };
        assert_eq!((plan.create, plan.adopt, plan.release), (1, vec![orphan], vec![]));
        assert_eq!((plan.status.replicas, plan.status.available_replicas), (2, Some(2)));
    }

    #[test]
    fn pods_on_their_way_out_are_counted_apart() {
        let going = |phase: &str| {
            let mut pod = Pod::clone(&pod(phase, "web", true, true, true));
            pod.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
            pod.status.as_mut().unwrap().phase = Some(phase.to_owned());
            Arc::new(pod)
        };
        let plan = plan(&set(1), &[pod("stays", "web", true, true, true), going("Running"), going("Failed")]);
        let told = (plan.status.replicas, plan.status.ready_replicas, plan.status.terminating_replicas);
        assert_eq!((plan.create, told), (0, (1, Some(1), Some(1))));
    }

    #[test]
    fn relabelled_pods_are_released_and_replaced() {
        let plan = plan(&set(1), &[pod("mine", "other", true, true, true)]);
        let mine = Named { name: "mine".to_owned(), uid: Some("mine-uid".to_owned()) };
        assert_eq!((plan.create, plan.release), (1, vec![mine]));
    }

    #[test]
    fn the_least_missed_are_deleted_first() {
        let candidates = [
            pod("ready", "web", true, true, true),
            pod("assigned", "web", true, true, false),
            pod("waiting", "web", true, false, false),
        ];
        assert_eq!(plan(&set(2), &candidates).delete, ["waiting"]);
        assert_eq!(plan(&set(1), &candidates).delete, ["waiting", "assigned"]);
    }

    #[test]
    fn a_set_being_deleted_makes_nothing() {
        let mut set = set(3);
        set.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        let plan = plan(&set, &[pod("orphan", "web", false, true, true)]);
        assert_eq!((plan.create, plan.adopt.len(), plan.delete.len()), (0, 0, 0));
    }
}
