//! Pods nobody else removes: of nodes that are gone, and finished ones beyond a bound.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{Node, Pod},
    jiff::Timestamp,
};
use kontiki_informer::{Informer, ObjectKey};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;
use tokio::time::Instant;
use tracing::warn;

use crate::{
    ControllerError,
    context::{Context, each, gone_is_fine},
    pods,
    time::Watched,
};

const ROUND: Duration = Duration::from_secs(20);
/// A longer pause between two rounds counts as this much.
const ROUND_MAX: Duration = Duration::from_secs(30);
/// A node is missing for this long before its pods are removed: it may only be registering anew.
const NODE_MISSING_MIN: Duration = Duration::from_secs(40);
/// Finished pods that are kept for their logs and status.
const FINISHED_MAX: usize = 12_500;

struct Controller {
    context: Context,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
}

/// A pod to remove, and why.
#[derive(Debug, PartialEq)]
struct Doomed {
    key: ObjectKey,
    /// The node that is gone, if that is why.
    node: Option<String>,
}

pub async fn run(context: Context) {
    let (pods, nodes) = (context.informer::<Pod>(Vec::new()), context.informer::<Node>(Vec::new()));
    let controller = Controller { context, pods, nodes };
    if !controller.pods.synced().await || !controller.nodes.synced().await {
        return;
    }
    let (mut missing, mut time) = (BTreeMap::new(), Watched::new(ROUND_MAX));
    loop {
        time.advance(Instant::now());
        controller.round(&mut missing, time.now()).await;
        tokio::select! {
            () = controller.context.cancel.cancelled() => return,
            () = tokio::time::sleep(ROUND) => {}
        }
    }
}

impl Controller {
    async fn round(&self, missing: &mut BTreeMap<String, Duration>, now: Duration) {
        let alive: BTreeSet<String> = self.nodes.list(None).iter().map(|node| node.name_any()).collect();
        let doomed = garbage(&self.pods.list(None), &alive, missing, now);
        let mut gone = BTreeMap::new();
        for node in doomed.iter().filter_map(|doomed| doomed.node.as_ref()) {
            if !gone.contains_key(node) {
                gone.insert(node.clone(), self.is_gone(node).await);
            }
        }
        let removed = doomed.into_iter().filter(|doomed| doomed.node.as_ref().is_none_or(|node| gone[node]));
        let removed = each(removed.map(|doomed| async move {
            let removed = self.remove(&doomed).await;
            if let Err(error) = &removed {
                warn!(key = ?doomed.key, %error, "a pod left behind was not removed; next round");
            }
            removed
        }));
        // Each failure is told above.
        drop(removed.await);
    }

    /// Asks the API itself: the copy may not know of a node that joined.
    async fn is_gone(&self, node: &str) -> bool {
        let api: Api<Node> = Api::all(self.context.clients.plain());
        match gone_is_fine(api.get_metadata(node).await) {
            Ok(found) => found.is_none(),
            Err(error) => {
                warn!(node, %error, "whether a node is gone is not known; next round");
                false
            }
        }
    }

    /// Deletes a pod that no agent will end. Nobody will tell how it ended either, so that is told first.
    async fn remove(&self, doomed: &Doomed) -> Result<(), ControllerError> {
        let Some(pod) = self.pods.get(&doomed.key) else { return Ok(()) };
        let api = self.context.api::<Pod, _>(&doomed.key.namespace, &*pod);
        if !pods::is_finished(&pod) {
            let mut status = json!({"phase": "Failed"});
            if doomed.node.is_some() {
                let gone = "PodGC: node no longer exists";
                status["conditions"] = json!([pods::disrupted(&pod, "DeletionByPodGC", gone, Timestamp::now())]);
            }
            let patch = json!({"metadata": {"uid": pod.uid()}, "status": status});
            let told = api.patch_status(&doomed.key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
            gone_is_fine(told)?;
        }
        let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        gone_is_fine(api.delete(&doomed.key.name, &parameters).await)?;
        Ok(())
    }
}

/// What to remove now. `missing` remembers since when a node is not there.
fn garbage(
    all: &[Arc<Pod>],
    alive: &BTreeSet<String>,
    missing: &mut BTreeMap<String, Duration>,
    now: Duration,
) -> Vec<Doomed> {
    let node_of = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).filter(|name| !name.is_empty());
    let wanted: BTreeSet<String> =
        all.iter().filter_map(|pod| node_of(pod)).filter(|name| !alive.contains(name)).collect();
    missing.retain(|name, _| wanted.contains(name));
    for name in wanted {
        missing.entry(name).or_insert(now);
    }
    let mut finished: Vec<&Arc<Pod>> = all.iter().filter(|pod| pods::is_finished(pod)).collect();
    finished.sort_by_key(|pod| (pod.creation_timestamp().map(|time| time.0), pod.name_any()));
    let excess = finished.len().saturating_sub(FINISHED_MAX);
    let mut doomed: BTreeMap<ObjectKey, Option<String>> =
        finished.iter().take(excess).map(|pod| (ObjectKey::of(&***pod), None)).collect();
    for pod in all {
        let node = node_of(pod);
        let since = node.as_ref().and_then(|name| missing.get(name));
        let orphaned = since.is_some_and(|since| now.saturating_sub(*since) >= NODE_MISSING_MIN);
        let never_ran = node.is_none() && pod.metadata.deletion_timestamp.is_some();
        if orphaned || never_ran {
            doomed.entry(ObjectKey::of(&**pod)).or_insert(node);
        }
    }
    doomed.into_iter().map(|(key, node)| Doomed { key, node }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::scripted;

    fn pod(name: &str, node: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "a", "uid": name},
            "spec": {"nodeName": node, "containers": []},
        })
    }

    fn node(name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name}})
    }

    #[test]
    fn pods_of_a_node_that_stays_away_are_removed() {
        let parsed = |value: Value| -> Arc<Pod> { Arc::new(serde_json::from_value(value).unwrap()) };
        let (all, mut missing) = ([pod("here", "one"), pod("there", "two")].map(parsed), BTreeMap::new());
        let alive = BTreeSet::from(["one".to_owned()]);
        let both = BTreeSet::from(["one".to_owned(), "two".to_owned()]);
        let mut at =
            |alive: &BTreeSet<String>, second: u64| garbage(&all, alive, &mut missing, Duration::from_secs(second));
        assert_eq!(at(&alive, 100), []);
        assert_eq!(at(&alive, 139), []);
        let there = Doomed { key: ObjectKey::new("a", "there"), node: Some("two".to_owned()) };
        assert_eq!(at(&alive, 140), [there]);
        assert_eq!(at(&both, 141), []);
        assert_eq!(at(&alive, 142), []);
    }

    /// What is deleted of pods on nodes `joined` and `gone`, which the copy has missed for long.
    #[tokio::test]
    async fn a_node_that_the_copy_does_not_know_is_asked_for() {
        let list = |kind: &str, items: Vec<Value>| {
            (200, json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": items}))
        };
        let (context, asked) = scripted::context(move |method, path| match (method, path) {
            ("GET", "/api/v1/pods") => list("PodList", vec![pod("one", "joined"), pod("two", "gone")]),
            ("GET", "/api/v1/nodes") => list("NodeList", Vec::new()),
            ("GET", "/api/v1/nodes/joined") => (200, node("joined")),
            ("GET", _) => scripted::failure(404, "NotFound", "gone"),
            _ => (200, pod("two", "gone")),
        });
        let (pods, nodes) = (context.informer::<Pod>(Vec::new()), context.informer::<Node>(Vec::new()));
        let controller = Controller { context, pods, nodes };
        assert!(controller.pods.synced().await && controller.nodes.synced().await);
        let mut missing = BTreeMap::new();
        controller.round(&mut missing, Duration::ZERO).await;
        assert_eq!(asked.with("DELETE"), Vec::<String>::new());
        controller.round(&mut missing, NODE_MISSING_MIN).await;
        assert_eq!(asked.with("PATCH"), ["/api/v1/namespaces/a/pods/two/status"]);
        assert_eq!(asked.with("DELETE"), ["/api/v1/namespaces/a/pods/two"]);
    }
}
