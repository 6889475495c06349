//! Nodes whose agent went silent: told as such, tainted, and emptied as pods' tolerations allow.

mod decide;
mod heartbeats;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, NodeCondition, Pod, Taint},
    },
    jiff::Timestamp,
};
use kontiki_informer::{Informer, Note, ObjectKey, Queue, Recorder};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    runtime::watcher,
};
use serde_json::json;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    ControllerError,
    context::{Context, each, gone_is_fine, reference, settled},
    pods,
    time::whole_seconds,
};
use decide::{Disruption, Verdict};
use heartbeats::{Beat, Heartbeats};

/// How often every node is looked at.
const ROUND: Duration = Duration::from_secs(1);
/// A longer pause between two rounds counts as this much silence.
const ROUND_MAX: Duration = Duration::from_secs(5);
/// Nodes that are written about at once. Rounds wait for none of it.
const WORKERS: usize = 8;
const LEASES: &str = "kube-node-lease";
/// On a Lease: when it was last written only to see whether Leases are taken.
const TRIED: &str = "kontiki.dev/tried";

struct Controller {
    context: Context,
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Informer<Pod>,
    recorder: Recorder,
    queue: Queue<ObjectKey>,
    seen: Mutex<Seen>,
}

/// What rounds have seen of the nodes.
struct Seen {
    heartbeats: Heartbeats,
    /// When each taint that drives pods out was first seen; those that users set carry no time.
    tainted: BTreeMap<TaintKey, Duration>,
    disruption: Disruption,
}

/// Node, key and effect.
type TaintKey = (String, String, String);

pub async fn run(context: Context) {
    let cancel = context.cancel.clone();
    let controller = Arc::new(Controller::new(context));
    if !controller.synced().await {
        return;
    }
    let worker = controller.clone();
    let work = controller.queue.drain(WORKERS, cancel.clone(), move |key| {
        let controller = worker.clone();
        async move { settled("node", &key, controller.attend(&key).await) }
    });
    tokio::join!(
        cancel.run_until_cancelled(controller.watch()),
        cancel.run_until_cancelled(controller.try_leases()),
        work
    );
}

impl Controller {
    fn new(context: Context) -> Self {
        let leases = Api::namespaced(context.clients.plain(), LEASES);
        let leases = Informer::start(leases, watcher::Config::default(), Vec::new(), context.cancel.clone());
        let heartbeats = Heartbeats::new(ROUND_MAX);
        Controller {
            nodes: context.informer::<Node>(Vec::new()),
            leases,
            pods: context.informer::<Pod>(Vec::new()),
            recorder: context.recorder("node-controller"),
            queue: Queue::default(),
            seen: Mutex::new(Seen { heartbeats, tainted: BTreeMap::new(), disruption: Disruption::None }),
            context,
        }
    }

    async fn synced(&self) -> bool {
        self.nodes.synced().await && self.leases.synced().await && self.pods.synced().await
    }

    async fn watch(&self) {
        loop {
            self.round(Instant::now(), Timestamp::now());
            tokio::time::sleep(ROUND).await;
        }
    }

    /// Looks at every node, and leaves what is to be done about it to the workers.
    fn round(&self, now: Instant, wall: Timestamp) {
        let nodes = self.nodes.list(None);
        let mut seen = self.seen();
        seen.heartbeats.advance(now);
        seen.heartbeats.retain(&nodes.iter().map(|node| node.name_any()).collect());
        for node in &nodes {
            let lease = self.leases.get(&ObjectKey::new(LEASES, node.name_any()));
            let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
            seen.heartbeats.hear(&node.name_any(), Beat { renewed, told: decide::told(node) });
        }
        seen.disrupted(&nodes);
        seen.note_taints(&nodes);
        for node in nodes {
            if seen.verdict(&node, wall) != Verdict::default() || decide::driving_out(&node).next().is_some() {
                self.queue.add(ObjectKey::of(&*node));
            }
        }
    }

    /// While nobody is heard, and a node is not yet taken for silent: writes a Lease now and then. Only while that is
    /// taken does silence count.
    async fn try_leases(&self) {
        let mut refused = false;
        loop {
            if self.is_in_doubt() {
                match self.try_lease().await {
                    Ok(()) => self.seen().heartbeats.taken(),
                    Err(error) if !refused => {
                        refused = true;
                        warn!(%error, "no Lease is taken: that nodes are not heard says nothing about them");
                    }
                    Err(_) => {}
                }
            } else if std::mem::take(&mut refused) {
                info!("Leases are taken again");
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    fn is_in_doubt(&self) -> bool {
        let seen = self.seen();
        let undecided = |node: &Arc<Node>| !decide::is_silent(seen.heartbeats.silent_s(&node.name_any()));
        seen.heartbeats.in_doubt() && self.nodes.list(None).iter().any(undecided)
    }

    async fn try_lease(&self) -> Result<(), ControllerError> {
        // Where there is no Lease, there was never an agent that could be heard.
        let Some(lease) = self.leases.list(None).into_iter().next() else { return Ok(()) };
        let api: Api<Lease> = Api::namespaced(self.context.clients.plain(), LEASES);
        let patch = json!({"metadata": {"annotations": {TRIED: Timestamp::now().to_string()}}});
        gone_is_fine(api.patch(&lease.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await)?;
        Ok(())
    }

    /// Does what follows from a node's silence. What is refused about one thing keeps nothing else.
    async fn attend(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        let Some(node) = self.nodes.get(key) else { return Ok(()) };
        let now = Timestamp::now();
        let (verdict, taints) = {
            let seen = self.seen();
            let verdict = seen.verdict(&node, now);
            let mut taints = seen.ages(&node);
            taints.retain(|(taint, _)| verdict.keeps(taint));
            (verdict, taints)
        };
        let marked = self.mark(&node, &verdict).await;
        let told = if verdict.pods_not_ready { self.pods_not_ready(&node, now).await } else { Ok(()) };
        marked.and(told).and(self.evict(&node, &taints).await)
    }

    /// Writes a node's conditions and taints.
    async fn mark(&self, node: &Node, verdict: &Verdict) -> Result<(), ControllerError> {
        let told = match &verdict.conditions {
            Some(conditions) => self.tell_unknown(node, conditions).await.map(Some),
            None => Ok(None),
        };
        let Some(taints) = &verdict.taints else { return told.map(drop) };
        let current = told.as_ref().ok().and_then(Option::as_ref).unwrap_or(node);
        let api: Api<Node> = Api::all(self.context.clients.caused_by(node.resource_version().as_deref()));
        let patch = json!({
            "metadata": {"resourceVersion": current.resource_version()}, "spec": {"taints": taints},
        });
        let tainted = api.patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        told.and(tainted.map(drop).map_err(ControllerError::from))
    }

    async fn tell_unknown(&self, node: &Node, conditions: &[NodeCondition]) -> Result<Node, ControllerError> {
        let name = node.name_any();
        let api: Api<Node> = Api::all(self.context.clients.caused_by(node.resource_version().as_deref()));
        let patch = json!({"status": {"conditions": conditions}});
        let told = api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        info!(node = name, "node went silent");
        let message = format!("Node {name} status is now: NodeNotReady");
        let note = Note { warning: false, reason: "NodeNotReady", message: &message };
        self.recorder.record(&reference(node), note).await;
        Ok(told)
    }

    /// Pods of a silent node leave their Services: nobody knows whether they still answer.
    async fn pods_not_ready(&self, node: &Node, now: Timestamp) -> Result<(), ControllerError> {
        let ready = self.pods_of(node).into_iter();
        let ready = ready.filter_map(|pod| decide::not_ready(&pod, now).map(|conditions| (pod, conditions)));
        each(ready.map(|(pod, conditions)| async move {
            let api = self.context.api::<Pod, _>(&pod.namespace().unwrap_or_default(), node);
            let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": conditions}});
            let patched = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await;
            gone_is_fine(patched)?;
            Ok(())
        }))
        .await
    }

    /// Deletes the pods that these taints, each with the seconds it has been there, drive out by now.
    async fn evict(&self, node: &Node, taints: &[(Taint, i64)]) -> Result<(), ControllerError> {
        if taints.is_empty() {
            return Ok(());
        }
        let leaving = self.pods_of(node).into_iter();
        let leaving =
            leaving.filter(|pod| pod.metadata.deletion_timestamp.is_none() && decide::must_leave(pod, taints));
        each(leaving.map(|pod| async move {
            let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
            let message = format!("Marking for deletion Pod {namespace}/{name}");
            let note = Note { warning: false, reason: "TaintManagerEviction", message: &message };
            self.recorder.record(&reference(&*pod), note).await;
            let api = self.context.api::<Pod, _>(&namespace, node);
            let why = "Taint manager: deleting due to NoExecute taint";
            let conditions = [pods::disrupted(&pod, "DeletionByTaintManager", why, Timestamp::now())];
            let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": conditions}});
            let told = gone_is_fine(api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await);
            let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            // Whether that could be told or not.
            gone_is_fine(api.delete(&name, &parameters).await)?;
            Ok(told.map(drop)?)
        }))
        .await
    }

    fn pods_of(&self, node: &Node) -> Vec<Arc<Pod>> {
        let name = node.name_any();
        let here = |pod: &Arc<Pod>| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(name.as_str());
        self.pods.list(None).into_iter().filter(here).collect()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nobody panics while holding this lock")
    }
}

impl Seen {
    fn verdict(&self, node: &Node, now: Timestamp) -> Verdict {
        decide::verdict(node, self.heartbeats.silent_s(&node.name_any()), self.disruption, now)
    }

    fn disrupted(&mut self, nodes: &[Arc<Node>]) {
        let ready = nodes.iter().map(|node| decide::is_ready(node, self.heartbeats.silent_s(&node.name_any())));
        let now = decide::disruption(ready);
        if now != self.disruption {
            info!(before = ?self.disruption, ?now, "how many nodes are out changed");
        }
        // The others were out of reach for the same reason, and are given time to be heard again.
        if self.disruption == Disruption::Full && now != Disruption::Full {
            self.heartbeats.restart();
        }
        self.disruption = now;
    }

    fn note_taints(&mut self, nodes: &[Arc<Node>]) {
        let keys = |node: &Arc<Node>| -> Vec<TaintKey> {
            decide::driving_out(node).map(|taint| taint_key(node, taint)).collect()
        };
        let present: BTreeSet<TaintKey> = nodes.iter().flat_map(keys).collect();
        self.tainted.retain(|taint, _| present.contains(taint));
        let now = self.heartbeats.now();
        for taint in present {
            self.tainted.entry(taint).or_insert(now);
        }
    }

    /// The taints of a node that drive pods out, each with the seconds it has been there.
    fn ages(&self, node: &Node) -> Vec<(Taint, i64)> {
        let now = self.heartbeats.now();
        let age_s = |taint: &Taint| {
            let since = self.tainted.get(&taint_key(node, taint)).copied().unwrap_or(now);
            whole_seconds(now.saturating_sub(since))
        };
        decide::driving_out(node).map(|taint| (taint.clone(), age_s(taint))).collect()
    }
}

fn taint_key(node: &Node, taint: &Taint) -> TaintKey {
    (node.name_any(), taint.key.clone(), taint.effect.clone())
}

#[cfg(test)]
mod tests;
