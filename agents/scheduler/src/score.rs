//! Score plugins: which of the possible nodes is best? One function each with its weight, in one list. Pure.

use crate::{
    cluster::NodeState,
    filter::{Candidate, term_matches, tolerated},
};

/// The best a plugin can say.
const SCORE_MAX: i64 = 100;

/// A score from 0 to [`SCORE_MAX`].
type Score = fn(&Candidate<'_>, &NodeState) -> i64;

const SCORES: &[(Score, i64)] = &[(balanced, 1), (least_allocated, 1), (preferred_affinity, 2), (soft_taints, 3)];

/// A pod that asks for nothing is counted as asking for this, so that such pods are spread too.
const CPU_DEFAULT_M: i64 = 100;
const MEMORY_DEFAULT: i64 = 200 << 20;

pub fn score(candidate: &Candidate<'_>, node: &NodeState) -> i64 {
    SCORES.iter().map(|(score, weight)| score(candidate, node).clamp(0, SCORE_MAX) * weight).sum()
}

/// A whole node.
const SHARE_MAX: i128 = 1000;

/// Cpu and memory in use if the pod came, as a share of a thousand each.
fn shares(candidate: &Candidate<'_>, node: &NodeState) -> [i64; 2] {
    [("cpu", CPU_DEFAULT_M), ("memory", MEMORY_DEFAULT)].map(|(name, default)| {
        let all = i128::from(*node.allocatable.get(name).unwrap_or(&0));
        let asked = i128::from(*candidate.requests.get(name).unwrap_or(&default));
        // Pods that ask for nothing still count: by number, at the default.
        let by_number = i128::from(node.pods) * i128::from(default);
        let used = node.used.get(name).copied().unwrap_or(0).max(by_number).saturating_add(asked);
        let share = if all <= 0 { SHARE_MAX } else { (used.saturating_mul(SHARE_MAX) / all).clamp(0, SHARE_MAX) };
        share as i64
    })
}

fn least_allocated(candidate: &Candidate<'_>, node: &NodeState) -> i64 {
    let [cpu, memory] = shares(candidate, node);
    (2000 - cpu - memory) / 20
}

fn balanced(candidate: &Candidate<'_>, node: &NodeState) -> i64 {
    let [cpu, memory] = shares(candidate, node);
    SCORE_MAX - (cpu - memory).abs() / 10
}

fn preferred_affinity(candidate: &Candidate<'_>, node: &NodeState) -> i64 {
    let preferred = candidate.pod.spec.as_ref().and_then(|spec| {
        spec.affinity.as_ref()?.node_affinity.as_ref()?.preferred_during_scheduling_ignored_during_execution.as_ref()
    });
    let Some(preferred) = preferred else { return 0 };
    let all: i64 = preferred.iter().map(|term| i64::from(term.weight)).sum();
    let matched: i64 =
        preferred.iter().filter(|term| term_matches(&term.preference, node)).map(|term| i64::from(term.weight)).sum();
    if all <= 0 { 0 } else { matched * SCORE_MAX / all }
}

fn soft_taints(candidate: &Candidate<'_>, node: &NodeState) -> i64 {
    let tolerations = candidate.pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or(&[]);
    let soft = node.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
    let untolerated = soft.filter(|taint| !tolerated(tolerations, taint)).count();
    SCORE_MAX / i64::try_from(untolerated + 1).unwrap_or(SCORE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cluster, tests};
    use crate::storage::PodClaims;

    #[test]
    fn the_emptier_node_wins() {
        let mut cluster = Cluster::default();
        cluster.put_node(&tests::node("busy", "4"));
        cluster.put_node(&tests::node("idle", "4"));
        cluster.put_pod(&tests::pod("one", "busy", "1"));
        let pod = tests::pod("two", "", "1");
        let scores: Vec<i64> =
            cluster.nodes().map(|node| score(&Candidate::new(&pod, PodClaims::default()), node)).collect();
        assert!(scores[0] < scores[1], "{scores:?}");
    }

    #[test]
    fn a_softly_tainted_node_loses() {
        let mut cluster = Cluster::default();
        let mut tainted = tests::node("a", "4");
        tainted.spec =
            serde_json::from_value(serde_json::json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}))
                .unwrap();
        cluster.put_node(&tainted);
        cluster.put_node(&tests::node("b", "4"));
        let pod = tests::pod("two", "", "1");
        let scores: Vec<i64> =
            cluster.nodes().map(|node| score(&Candidate::new(&pod, PodClaims::default()), node)).collect();
        assert!(scores[0] < scores[1], "{scores:?}");
    }
}
