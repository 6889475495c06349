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
use kontiki_informer::ObjectKey;
use kube::{
    ResourceExt,
    api::{DeleteParams, Preconditions},
};
use tracing::warn;

use crate::{
    context::{Context, gone_is_fine},
    pods,
};

const ROUND: Duration = Duration::from_secs(20);
/// A node is missing for this long before its pods are removed: it may only be registering anew.
const NODE_MISSING_MIN_S: i64 = 40;
/// Finished pods that are kept for their logs and status.
const FINISHED_MAX: usize = 12_500;

pub async fn run(context: Context) {
    let pods = context.informer::<Pod>(Vec::new());
    let nodes = context.informer::<Node>(Vec::new());
    if !pods.synced().await || !nodes.synced().await {
        return;
    }
    let mut missing = BTreeMap::new();
    loop {
        let alive: BTreeSet<String> = nodes.list(None).iter().map(|node| node.name_any()).collect();
        let all = pods.list(None);
        for key in garbage(&all, &alive, &mut missing, Timestamp::now().as_second()) {
            let Some(pod) = pods.get(&key) else { continue };
            let api = context.api::<Pod, _>(&key.namespace, &*pod);
            let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
            let parameters = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(preconditions),
                ..DeleteParams::default()
            };
            if let Err(error) = gone_is_fine(api.delete(&key.name, &parameters).await) {
                warn!(?key, %error, "a pod left behind was not removed; next round");
            }
        }
        tokio::select! {
            () = context.cancel.cancelled() => return,
            () = tokio::time::sleep(ROUND) => {}
        }
    }
}

/// What to remove now. `missing` remembers since when a node is not there.
fn garbage(
    all: &[Arc<Pod>],
    alive: &BTreeSet<String>,
    missing: &mut BTreeMap<String, i64>,
    now_s: i64,
) -> Vec<ObjectKey> {
    let node_of = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).filter(|name| !name.is_empty());
    let wanted: BTreeSet<String> =
        all.iter().filter_map(|pod| node_of(pod)).filter(|name| !alive.contains(name)).collect();
    missing.retain(|name, _| wanted.contains(name));
    for name in wanted {
        missing.entry(name).or_insert(now_s);
    }
    let mut finished: Vec<&Arc<Pod>> = all.iter().filter(|pod| pods::is_finished(pod)).collect();
    finished.sort_by_key(|pod| (pod.creation_timestamp().map(|time| time.0), pod.name_any()));
    let excess = finished.len().saturating_sub(FINISHED_MAX);
    let mut doomed: BTreeSet<ObjectKey> = finished.iter().take(excess).map(|pod| ObjectKey::of(&***pod)).collect();
    for pod in all {
        let orphaned =
            node_of(pod).and_then(|name| missing.get(&name)).is_some_and(|since| now_s - since >= NODE_MISSING_MIN_S);
        let never_ran = node_of(pod).is_none() && pod.metadata.deletion_timestamp.is_some();
        if orphaned || never_ran {
            doomed.insert(ObjectKey::of(&**pod));
        }
    }
    doomed.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, node: &str) -> Arc<Pod> {
        let value = serde_json::json!({
            "metadata": {"name": name, "namespace": "a"}, "spec": {"nodeName": node, "containers": []},
        });
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn pods_of_a_node_that_stays_away_are_removed() {
        let (all, mut missing) = ([pod("here", "one"), pod("there", "two")], BTreeMap::new());
        let alive = BTreeSet::from(["one".to_owned()]);
        assert_eq!(garbage(&all, &alive, &mut missing, 100), []);
        assert_eq!(garbage(&all, &alive, &mut missing, 139), []);
        assert_eq!(garbage(&all, &alive, &mut missing, 140), [ObjectKey::new("a", "there")]);
        let both = BTreeSet::from(["one".to_owned(), "two".to_owned()]);
        assert_eq!(garbage(&all, &both, &mut missing, 141), []);
        assert_eq!(garbage(&all, &alive, &mut missing, 142), []);
    }
}
