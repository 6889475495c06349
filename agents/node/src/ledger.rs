//! The pods of a node, what is set aside for each, and the resizes that wait for room. Pure.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Pod;

use crate::{
    admission,
    allocation::Allocation,
    clock::Millis,
    machine::{Pending, PendingReason},
    pod,
};

pub struct Ledger {
    allocatable: BTreeMap<String, String>,
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    /// As its worker last saw it.
    shown: Arc<Pod>,
    allocation: Allocation,
    waiting: Option<Waiting>,
}

/// A pod that asks for something else than it has.
struct Waiting {
    asked: Arc<Pod>,
    since_ms: Millis,
    /// `None` until it was judged.
    pending: Option<Pending>,
}

/// What a pod has got, and why not what it asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    pub allocation: Allocation,
    pub pending: Option<Pending>,
}

impl Ledger {
    pub fn new(allocatable: BTreeMap<String, String>) -> Ledger {
        Ledger { allocatable, entries: BTreeMap::new() }
    }

    /// A pod that was let in with this.
    pub fn admit(&mut self, uid: &str, pod: Arc<Pod>, allocation: Allocation) {
        self.entries.insert(uid.to_owned(), Entry { shown: pod, allocation, waiting: None });
    }

    /// Takes in how a pod is now; `false` where that is no news.
    pub fn show(&mut self, uid: &str, pod: Arc<Pod>) -> bool {
        let Some(entry) = self.entries.get_mut(uid).filter(|entry| entry.shown != pod) else { return false };
        let ended = is_over(&pod) && !is_over(&entry.shown);
        entry.shown = pod;
        if ended {
            entry.waiting = None;
            self.settle();
        }
        true
    }

    pub fn remove(&mut self, uid: &str) {
        self.entries.remove(uid);
        self.settle();
    }

    /// What the pod asks for from now on, judged together with all that wait.
    pub fn ask(&mut self, uid: &str, asked: &Arc<Pod>, now_ms: Millis) -> Standing {
        if let Some(entry) = self.entries.get_mut(uid) {
            let since_ms = entry.waiting.take().map_or(now_ms, |waiting| waiting.since_ms);
            if !entry.allocation.suffices(&pod::spec(asked)) {
                entry.waiting = Some(Waiting { asked: asked.clone(), since_ms, pending: None });
                self.settle();
            }
        }
        self.standing(uid)
    }

    pub fn standing(&self, uid: &str) -> Standing {
        let Some(entry) = self.entries.get(uid) else { return Standing::default() };
        let pending = entry.waiting.as_ref().and_then(|waiting| waiting.pending.clone());
        Standing { allocation: entry.allocation.clone(), pending }
    }

    pub fn pods(&self) -> impl Iterator<Item = (&String, &Arc<Pod>)> {
        self.entries.iter().map(|(uid, entry)| (uid, &entry.shown))
    }

    /// Pods that have not ended, each with what is set aside for it.
    pub fn allocated(&self) -> Vec<Arc<Pod>> {
        self.others("")
    }

    fn others(&self, uid: &str) -> Vec<Arc<Pod>> {
        let living = self.entries.iter().filter(|(own, entry)| own.as_str() != uid && !is_over(&entry.shown));
        living.map(|(_, entry)| Arc::new(entry.allocation.given_to(&entry.shown))).collect()
    }

    /// Gives what fits to those that wait, one after the other in Kubernetes' order: first who asks for no more than it
    /// has, then by priority, by class of service, and by how long they have waited.
    fn settle(&mut self) {
        let mut waiting: Vec<_> = self.entries.iter().filter_map(|(uid, entry)| Some((rank(entry)?, uid))).collect();
        waiting.sort();
        for uid in waiting.into_iter().map(|(_, uid)| uid.clone()).collect::<Vec<_>>() {
            let others = self.others(&uid);
            let Some(entry) = self.entries.get_mut(&uid) else { continue };
            let Some(waiting) = &mut entry.waiting else { continue };
            let spec = pod::spec(&waiting.asked);
            waiting.pending = admission::over_capacity(&spec, &self.allocatable)
                .map(|message| Pending { reason: PendingReason::Infeasible, message })
                .or_else(|| {
                    let message = admission::over_room(&spec, &self.allocatable, &others)?;
                    Some(Pending { reason: PendingReason::Deferred, message })
                });
            if waiting.pending.is_none() {
                entry.allocation = Allocation::of(&spec);
                entry.waiting = None;
            }
        }
    }
}

fn is_over(pod: &Pod) -> bool {
    pod::is_terminal(Some(pod::phase(pod)))
}

/// The place of a pod among those that wait; lower is earlier.
fn rank(entry: &Entry) -> Option<(bool, Reverse<i32>, bool, Millis)> {
    let waiting = entry.waiting.as_ref()?;
    let (has, asks) = (pod::spec(&entry.allocation.given_to(&waiting.asked)), pod::spec(&waiting.asked));
    let grows = ["cpu", "memory"].iter().any(|name| admission::request(&asks, name) > admission::request(&has, name));
    let below_guaranteed = pod::qos_class(&waiting.asked) != "Guaranteed";
    Some((grows, Reverse(asks.priority.unwrap_or(0)), below_guaranteed, waiting.since_ms))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(cpu: &str, priority: i32, phase: &str) -> Arc<Pod> {
        let container = json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        let pod = json!({"spec": {"containers": [container], "priority": priority}, "status": {"phase": phase}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    /// Two cpus, and pods of the names and sizes given.
    fn ledger(pods: &[(&str, &str)]) -> Ledger {
        let mut ledger =
            Ledger::new([("cpu".to_owned(), "2".to_owned()), ("memory".to_owned(), "1Gi".to_owned())].into());
        for (uid, cpu) in pods {
            let pod = pod(cpu, 0, "Running");
            ledger.admit(uid, pod.clone(), Allocation::of(&pod::spec(&pod)));
        }
        ledger
    }

    fn has(ledger: &Ledger, uid: &str) -> (i64, Option<String>) {
        let standing = ledger.standing(uid);
        let pod = standing.allocation.given_to(&pod("0", 0, ""));
        let told = standing.pending.map(|pending| format!("{}: {}", pending.reason.name(), pending.message));
        (admission::request(&pod::spec(&pod), "cpu"), told)
    }

    #[test]
    fn what_fits_is_given_at_once_and_what_never_can_is_infeasible() {
        let mut ledger = ledger(&[("a", "500m"), ("b", "1")]);
        ledger.ask("a", &pod("1000m", 0, "Running"), 0);
        assert_eq!(has(&ledger, "a"), (1000, None));
        ledger.ask("a", &pod("3", 0, "Running"), 0);
        let why = "Infeasible: Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000";
        assert_eq!(has(&ledger, "a"), (1000, Some(why.to_owned())));
        ledger.ask("a", &pod("1", 0, "Running"), 0);
        assert_eq!(has(&ledger, "a"), (1000, None), "asking for what it has ends the waiting");
    }

    #[test]
    fn a_deferred_resize_gets_the_room_that_another_pod_leaves() {
        for leaves in [
            |ledger: &mut Ledger| ledger.remove("b"),
            |ledger: &mut Ledger| assert!(ledger.show("b", pod("1", 0, "Succeeded"))),
            |ledger: &mut Ledger| drop(ledger.ask("b", &pod("100m", 0, "Running"), 0)),
        ] {
            let mut ledger = ledger(&[("a", "500m"), ("b", "1")]);
            ledger.ask("a", &pod("1500m", 0, "Running"), 0);
            let why = "Deferred: Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000"
                .to_owned();
            assert_eq!(has(&ledger, "a"), (500, Some(why)));
            leaves(&mut ledger);
            assert_eq!(has(&ledger, "a"), (1500, None));
        }
    }

    #[test]
    fn who_waits_is_served_by_priority_then_by_patience() {
        let mut ledger = ledger(&[("first", "100m"), ("second", "100m"), ("high", "100m"), ("big", "1700m")]);
        for (uid, priority, now_ms) in [("first", 0, 1), ("second", 0, 2), ("high", 7, 3)] {
            ledger.ask(uid, &pod("600m", priority, "Running"), now_ms);
        }
        ledger.ask("big", &pod("700m", 0, "Running"), 4);
        let cpu = |uid: &str| has(&ledger, uid).0;
        assert_eq!((cpu("high"), cpu("first"), cpu("second")), (600, 600, 100));
    }
}
