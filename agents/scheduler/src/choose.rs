//! The cycle itself: which node a pod is put on, or why on none. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use crate::{
    cluster::{Cluster, NodeState},
    filter::{Candidate, explain, explain_wait, objections},
    score::score,
    storage::{Binding, Storage},
};

/// Where a pod is put.
#[derive(Debug)]
pub struct Choice {
    pub node: String,
    /// What its claims lack there: until they have it, the pod waits.
    pub bindings: Vec<Binding>,
}

/// `(pod, cluster, storage) → node, or why there is none`. Ties go to the node with fewest pods, then by name.
pub fn choose(pod: &Pod, cluster: &Cluster, storage: &Storage) -> Result<Choice, String> {
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
