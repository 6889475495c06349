//! Nodes whose agent went silent: told as such, tainted, and emptied as pods' tolerations allow.

mod decide;
mod time;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, Pod, Taint},
    },
    jiff::Timestamp,
};
use kontiki_informer::{Informer, Note, ObjectKey, Recorder};
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
    context::{Context, gone_is_fine, reference},
};
use time::Watched;

/// How often every node is looked at.
const ROUND: Duration = Duration::from_secs(1);
/// A longer pause between two rounds counts as this much silence.
const ROUND_MAX: Duration = Duration::from_secs(5);
const LEASES: &str = "kube-node-lease";

struct Controller {
    context: Context,
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Informer<Pod>,
    recorder: Recorder,
    time: Watched,
    /// Each node's last heartbeat and when it came, by this process's own time: clocks of nodes are not trusted.
    heard: BTreeMap<String, (Option<Timestamp>, Duration)>,
    /// When each taint that drives pods out was first seen; those that users set carry no time.
    tainted: BTreeMap<TaintKey, Duration>,
}

/// Node, key and effect.
type TaintKey = (String, String, String);

pub async fn run(context: Context) {
    let nodes = context.informer::<Node>(Vec::new());
    let pods = context.informer::<Pod>(Vec::new());
    let leases = Informer::start(
        Api::namespaced(context.clients.plain(), LEASES),
        watcher::Config::default(),
        Vec::new(),
        context.cancel.clone(),
    );
    if !nodes.synced().await || !leases.synced().await || !pods.synced().await {
        return;
    }
    let recorder = context.recorder("node-controller");
    let time = Watched::new(ROUND_MAX);
    let (heard, tainted) = (BTreeMap::new(), BTreeMap::new());
    let mut controller = Controller { context, nodes, leases, pods, recorder, time, heard, tainted };
    loop {
        controller.time.advance(Instant::now());
        controller.round(Timestamp::now()).await;
        tokio::select! {
            () = controller.context.cancel.cancelled() => return,
            () = tokio::time::sleep(ROUND) => {}
        }
    }
}

impl Controller {
    async fn round(&mut self, now: Timestamp) {
        let nodes = self.nodes.list(None);
        let names: BTreeSet<String> = nodes.iter().map(|node| node.name_any()).collect();
        self.heard.retain(|name, _| names.contains(name));
        let taint_keys = |node: &Arc<Node>| -> Vec<TaintKey> {
            decide::driving_out(node).map(|taint| taint_key(node, taint)).collect()
        };
        let present: BTreeSet<TaintKey> = nodes.iter().flat_map(taint_keys).collect();
        self.tainted.retain(|taint, _| present.contains(taint));
        for taint in present {
            self.tainted.entry(taint).or_insert(self.time.now());
        }
        for node in nodes {
            if let Err(error) = self.attend(&node, now).await {
                warn!(node = node.name_any(), %error, "node not attended to; next round");
            }
        }
    }

    async fn attend(&mut self, node: &Arc<Node>, now: Timestamp) -> Result<(), ControllerError> {
        let name = node.name_any();
        let lease = self.leases.get(&ObjectKey::new(LEASES, &name));
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
        let present = self.time.now();
        let (last, since) = self.heard.entry(name.clone()).or_insert((renewed, present));
        if *last != renewed {
            (*last, *since) = (renewed, present);
        }
        let silent_s = time::whole_seconds(present.saturating_sub(*since));
        let verdict = decide::verdict(node, silent_s, now);
        if let Some(conditions) = &verdict.conditions {
            info!(node = name, silent_s, "node went silent");
            let api: Api<Node> = Api::all(self.context.clients.caused_by(node.resource_version().as_deref()));
            let patch = json!({"status": {"conditions": conditions}});
            api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
            let message = format!("Node {name} status is now: NodeNotReady");
            let note = Note { warning: false, reason: "NodeNotReady", message: &message };
            self.recorder.record(&reference(&**node), note).await;
        }
        if let Some(taints) = &verdict.taints {
            let api: Api<Node> = Api::all(self.context.clients.caused_by(node.resource_version().as_deref()));
            let patch = json!({
                "metadata": {"resourceVersion": node.resource_version()}, "spec": {"taints": taints},
            });
            api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        if verdict.pods_not_ready {
            self.pods_not_ready(node, now).await?;
        }
        self.evict(node).await
    }

    /// Pods of a silent node leave their Services: nobody knows whether they still answer.
    async fn pods_not_ready(&self, node: &Node, now: Timestamp) -> Result<(), ControllerError> {
        for pod in self.pods_of(node) {
            let Some(conditions) = decide::not_ready(&pod, now) else { continue };
            let api = self.context.api::<Pod, _>(&pod.namespace().unwrap_or_default(), node);
            let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": conditions}});
            let patched = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await;
            gone_is_fine(patched)?;
        }
        Ok(())
    }

    async fn evict(&self, node: &Node) -> Result<(), ControllerError> {
        let age_s = |taint: &Taint| {
            let since = self.tainted.get(&taint_key(node, taint)).copied();
            time::whole_seconds(self.time.now().saturating_sub(since.unwrap_or(self.time.now())))
        };
        let taints: Vec<(&Taint, i64)> = decide::driving_out(node).map(|taint| (taint, age_s(taint))).collect();
        if taints.is_empty() {
            return Ok(());
        }
        for pod in self.pods_of(node) {
            if pod.metadata.deletion_timestamp.is_some() || !decide::must_leave(&pod, &taints) {
                continue;
            }
            let message =
                format!("Marking for deletion Pod {}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
            let note = Note { warning: false, reason: "TaintManagerEviction", message: &message };
            self.recorder.record(&reference(&*pod), note).await;
            let api = self.context.api::<Pod, _>(&pod.namespace().unwrap_or_default(), node);
            let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            gone_is_fine(api.delete(&pod.name_any(), &parameters).await)?;
        }
        Ok(())
    }

    fn pods_of(&self, node: &Node) -> Vec<Arc<Pod>> {
        let name = node.name_any();
        let here = |pod: &Arc<Pod>| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(name.as_str());
        self.pods.list(None).into_iter().filter(here).collect()
    }
}

fn taint_key(node: &Node, taint: &Taint) -> TaintKey {
    (node.name_any(), taint.key.clone(), taint.effect.clone())
}
