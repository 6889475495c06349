//! `(node, how long it was silent, how many others are out, now) → conditions, taints, who must leave`. Pure.

use k8s_openapi::{
    api::core::v1::{Node, NodeCondition, Pod, PodCondition, Taint, Toleration},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

use crate::pods;

/// A node is silent this long before its status is Unknown; its lease lasts 40 s and is renewed every 10 s.
const SILENT_MAX_S: i64 = 40;
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const NO_EXECUTE: &str = "NoExecute";
/// Conditions that keep new pods away while they are True, and the taint that does.
const KEEPING_AWAY: &[(&str, &str)] = &[
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
];

/// Of so many nodes that are not ready, and such a part of all, Kubernetes takes the network or the control plane for the
/// cause, not the nodes.
const PARTIAL_MIN: usize = 3;
const PARTIAL_PERCENT_MIN: usize = 55;

/// How much of the cluster is out. Nodes are emptied only while others are there to take the pods.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Disruption {
    None,
    /// Most nodes are out: no further one is emptied.
    Partial,
    /// No node is ready: none is emptied, also those that were to be.
    Full,
}

/// `(whether each node is ready) → how much is out`.
pub fn disruption(nodes: impl Iterator<Item = bool>) -> Disruption {
    let (ready, out): (Vec<bool>, Vec<bool>) = nodes.partition(|ready| *ready);
    let (ready, out) = (ready.len(), out.len());
    if ready == 0 && out > 0 {
        Disruption::Full
    } else if out >= PARTIAL_MIN && out * 100 >= PARTIAL_PERCENT_MIN * (ready + out) {
        Disruption::Partial
    } else {
        Disruption::None
    }
}

#[derive(Debug, Default, PartialEq)]
pub struct Verdict {
    /// Conditions to set because the node no longer says them itself.
    pub conditions: Option<Vec<NodeCondition>>,
    /// All taints the node should have, if they differ.
    pub taints: Option<Vec<Taint>>,
    pub pods_not_ready: bool,
}

impl Verdict {
    /// Whether the node goes on having this taint.
    pub fn keeps(&self, taint: &Taint) -> bool {
        self.taints.as_ref().is_none_or(|taints| taints.iter().any(|one| alike(one, taint)))
    }
}

pub fn is_silent(silent_s: i64) -> bool {
    silent_s >= SILENT_MAX_S
}

pub fn is_ready(node: &Node, silent_s: i64) -> bool {
    !is_silent(silent_s) && ready_status(node) == "True"
}

pub fn verdict(node: &Node, silent_s: i64, disruption: Disruption, now: Timestamp) -> Verdict {
    let silent = is_silent(silent_s);
    let ready = if silent { "Unknown" } else { ready_status(node) };
    let conditions = (silent && ready_status(node) != "Unknown").then(|| unknown(node, now));
    // A node that somebody else left as Unknown, the leader before this one, is heard out before it is emptied.
    let emptied = match disruption {
        Disruption::None if ready != "Unknown" || silent => Emptied::Begun,
        Disruption::None | Disruption::Partial => Emptied::AsBefore,
        Disruption::Full => Emptied::Never,
    };
    let taints = wanted_taints(node, ready, emptied, now);
    let current = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let same = taints.len() == current.len() && taints.iter().all(|taint| current.iter().any(|one| alike(one, taint)));
    Verdict { conditions, taints: (!same).then_some(taints), pods_not_ready: ready == "Unknown" }
}

fn ready_status(node: &Node) -> &str {
    ready(node).map_or("Missing", |condition| condition.status.as_str())
}

/// When the node's agent last told its conditions.
pub fn told(node: &Node) -> Option<Timestamp> {
    ready(node)?.last_heartbeat_time.as_ref().map(|time| time.0)
}

fn ready(node: &Node) -> Option<&NodeCondition> {
    condition(node, "Ready")
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().find(|condition| condition.type_ == kind)
}

/// Taints this controller sets and removes; all others are somebody else's.
fn is_ours(taint: &Taint) -> bool {
    let lasting = [NOT_READY, UNREACHABLE, UNSCHEDULABLE].into_iter();
    lasting.chain(KEEPING_AWAY.iter().map(|(_, key)| *key)).any(|key| key == taint.key)
}

fn unknown(node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    let old = node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let kinds = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
    let condition = |kind: &str| {
        let old = old.iter().find(|condition| condition.type_ == kind);
        let never = old.is_none();
        NodeCondition {
            type_: kind.to_owned(),
            status: "Unknown".into(),
            reason: Some(if never { "NodeStatusNeverUpdated" } else { "NodeStatusUnknown" }.into()),
            message: Some(
                if never { "Kubelet never posted node status." } else { "Kubelet stopped posting node status." }.into(),
            ),
            last_heartbeat_time: old.and_then(|old| old.last_heartbeat_time.clone()),
            last_transition_time: Some(Time(now)),
        }
    };
    kinds.map(condition).to_vec()
}

/// Whether a node that is not ready has the taint that drives pods out.
#[derive(Clone, Copy)]
enum Emptied {
    Begun,
    AsBefore,
    Never,
}

fn wanted_taints(node: &Node, ready: &str, emptied: Emptied, now: Timestamp) -> Vec<Taint> {
    let current = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let mut wanted: Vec<Taint> = current.iter().filter(|taint| !is_ours(taint)).cloned().collect();
    let mut add = |key: &str, effect: &str| {
        let taint = Taint { key: key.into(), effect: effect.into(), value: None, time_added: None };
        let old = current.iter().find(|one| alike(one, &taint)).cloned();
        let drives_out = effect == NO_EXECUTE;
        let has_it = match emptied {
            Emptied::Begun => true,
            Emptied::AsBefore => !drives_out || old.is_some(),
            Emptied::Never => !drives_out,
        };
        if has_it {
            let time_added = drives_out.then_some(Time(now));
            wanted.push(old.unwrap_or(Taint { time_added, ..taint }));
        }
    };
    match ready {
        "True" => {}
        "Unknown" => {
            add(UNREACHABLE, "NoSchedule");
            add(UNREACHABLE, NO_EXECUTE);
        }
        _ => {
            add(NOT_READY, "NoSchedule");
            add(NOT_READY, NO_EXECUTE);
        }
    }
    for (kind, key) in KEEPING_AWAY {
        // A silent node's conditions are Unknown: it has the taint of being unreachable instead.
        if condition(node, kind).is_some_and(|condition| condition.status == "True") {
            add(key, "NoSchedule");
        }
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        add(UNSCHEDULABLE, "NoSchedule");
    }
    wanted
}

fn alike(a: &Taint, b: &Taint) -> bool {
    a.key == b.key && a.effect == b.effect
}

/// The conditions of a ready pod on a silent node, turned to not ready; `None` if it says so already.
pub fn not_ready(pod: &Pod, now: Timestamp) -> Option<Vec<PodCondition>> {
    if !pods::is_ready(pod) {
        return None;
    }
    Some(vec![PodCondition {
        type_: "Ready".into(),
        status: "False".into(),
        reason: Some("NodeNotReady".into()),
        last_transition_time: Some(Time(now)),
        ..PodCondition::default()
    }])
}

/// The taints that drive pods out.
pub fn driving_out(node: &Node) -> impl Iterator<Item = &Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| taint.effect == NO_EXECUTE)
}

/// Whether one of these taints drives the pod out by now; each with the seconds it has been there.
pub fn must_leave(pod: &Pod, taints: &[(Taint, i64)]) -> bool {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or(&[]);
    taints.iter().any(|(taint, age_s)| {
        let tolerated: Vec<&Toleration> = tolerations.iter().filter(|one| tolerates(one, taint)).collect();
        if tolerated.is_empty() {
            return true;
        }
        // The shortest of the limits counts; a toleration without one is for ever.
        let Some(limit) = tolerated.iter().filter_map(|one| one.toleration_seconds).min() else { return false };
        *age_s >= limit.max(0)
    })
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or("");
    let key = toleration.key.as_deref().unwrap_or("");
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        _ => !key.is_empty() && toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or(""),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(ready: &str, taints: serde_json::Value, unschedulable: bool) -> Node {
        let value = json!({
            "metadata": {"name": "n"}, "spec": {"taints": taints, "unschedulable": unschedulable},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        });
        serde_json::from_value(value).unwrap()
    }

    fn keys(verdict: &Verdict) -> Option<Vec<(String, String)>> {
        let pairs = |taints: &Vec<Taint>| taints.iter().map(|one| (one.key.clone(), one.effect.clone())).collect();
        verdict.taints.as_ref().map(pairs)
    }

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_silent_node_is_unknown_and_unreachable() {
        let verdict = verdict(&node("True", json!([]), false), SILENT_MAX_S, Disruption::None, now());
        assert_eq!(verdict.conditions.as_ref().unwrap()[0].status, "Unknown");
        let wanted = ["NoSchedule", "NoExecute"].map(|effect| (UNREACHABLE.to_owned(), effect.to_owned()));
        assert_eq!(keys(&verdict), Some(wanted.to_vec()));
        assert!(verdict.pods_not_ready);
    }

    #[test]
    fn how_much_is_out_depends_on_the_others() {
        let table = [
            (0, 0, Disruption::None),
            (1, 0, Disruption::None),
            (0, 1, Disruption::Full),
            (0, 5, Disruption::Full),
            (1, 2, Disruption::None),
            (1, 3, Disruption::Partial),
            (5, 5, Disruption::None),
            (9, 11, Disruption::Partial),
        ];
        for (ready, out, told) in table {
            let nodes = [vec![true; ready], vec![false; out]].concat();
            assert_eq!(disruption(nodes.into_iter()), told, "{ready} ready, {out} not");
        }
    }

    #[test]
    fn nodes_are_emptied_only_while_others_are_there() {
        let [schedule, execute] =
            ["NoSchedule", "NoExecute"].map(|effect| json!({"key": UNREACHABLE, "effect": effect}));
        let (none, both) = (json!([]), json!([schedule, execute]));
        let emptied = |taints: &serde_json::Value, silent_s: i64, disruption: Disruption| {
            let node = node("Unknown", taints.clone(), false);
            let verdict = verdict(&node, silent_s, disruption, now());
            let taints = verdict.taints.or(node.spec.and_then(|spec| spec.taints)).unwrap_or_default();
            assert!(taints.iter().any(|taint| taint.effect == "NoSchedule"), "nothing new is placed there");
            taints.iter().any(|taint| taint.effect == NO_EXECUTE)
        };
        let table = [
            (&none, SILENT_MAX_S, Disruption::None, true),
            (&none, 1, Disruption::None, false),
            (&both, 1, Disruption::None, true),
            (&none, SILENT_MAX_S, Disruption::Partial, false),
            (&both, SILENT_MAX_S, Disruption::Partial, true),
            (&none, SILENT_MAX_S, Disruption::Full, false),
            (&both, SILENT_MAX_S, Disruption::Full, false),
        ];
        for (taints, silent_s, disruption, told) in table {
            assert_eq!(emptied(taints, silent_s, disruption), told, "{taints} {silent_s} {disruption:?}");
        }
    }

    #[test]
    fn a_healthy_node_loses_our_taints_and_keeps_others() {
        let taints = json!([{"key": NOT_READY, "effect": "NoSchedule"}, {"key": "mine", "effect": "NoSchedule"}]);
        let verdict = verdict(&node("True", taints, false), 1, Disruption::None, now());
        assert_eq!(keys(&verdict), Some(vec![("mine".to_owned(), "NoSchedule".to_owned())]));
        assert_eq!((verdict.conditions, verdict.pods_not_ready), (None, false));
    }

    #[test]
    fn a_cordoned_node_says_so() {
        let first = verdict(&node("True", json!([]), true), 1, Disruption::None, now());
        assert_eq!(keys(&first), Some(vec![(UNSCHEDULABLE.to_owned(), "NoSchedule".to_owned())]));
        let settled = json!([{"key": UNSCHEDULABLE, "effect": "NoSchedule"}]);
        assert_eq!(verdict(&node("True", settled, true), 1, Disruption::None, now()), Verdict::default());
    }

    #[test]
    fn a_node_under_pressure_gets_no_new_pods_until_it_is_over() {
        for (kind, key) in KEEPING_AWAY {
            let under = |status: &str, taints: serde_json::Value| -> Node {
                let condition = json!({"type": kind, "status": status});
                let mut node = node("True", taints, false);
                let status = node.status.as_mut().unwrap();
                status.conditions.as_mut().unwrap().push(serde_json::from_value(condition).unwrap());
                node
            };
            let taint = json!([{"key": key, "effect": "NoSchedule"}]);
            let told = |node: Node| keys(&verdict(&node, 1, Disruption::None, now()));
            let wanted = vec![((*key).to_owned(), "NoSchedule".to_owned())];
            assert_eq!(told(under("True", json!([]))), Some(wanted), "{kind}");
            assert_eq!(told(under("True", taint.clone())), None, "{kind}");
            for status in ["False", "Unknown"] {
                assert_eq!(told(under(status, taint.clone())), Some(Vec::new()), "{kind} {status}");
            }
        }
    }

    #[test]
    fn pods_leave_when_their_toleration_ends() {
        let taint = json!([{"key": UNREACHABLE, "effect": "NoExecute"}, {"key": "mine", "effect": "NoSchedule"}]);
        let node = node("Unknown", taint, false);
        let pod = |tolerations: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"spec": {"containers": [], "tolerations": tolerations}})).unwrap()
        };
        let table = [
            (json!([]), true),
            (json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute"}]), false),
            (json!([{"key": UNREACHABLE, "operator": "Exists", "tolerationSeconds": 60}]), true),
            (json!([{"key": UNREACHABLE, "operator": "Exists", "tolerationSeconds": 61}]), false),
            (json!([{"operator": "Exists"}]), false),
            (json!([{"key": "other", "operator": "Exists"}]), true),
        ];
        for (tolerations, leaves) in table {
            let taints: Vec<(Taint, i64)> = driving_out(&node).map(|taint| (taint.clone(), 60)).collect();
            assert_eq!(must_leave(&pod(tolerations.clone()), &taints), leaves, "{tolerations}");
        }
    }
}
