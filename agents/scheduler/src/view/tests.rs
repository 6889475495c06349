//! Who is tried again because of what, and what is kept for whom.

use std::sync::Arc;

use k8s_openapi::api::{core::v1::PersistentVolumeClaim, storage::v1::StorageClass};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{cluster::tests, storage::SELECTED_NODE};

fn taken(queue: &Queue<ObjectKey>) -> Vec<String> {
    let cancel = CancellationToken::new();
    cancel.cancel();
    let mut names = Vec::new();
    while let Some(Some(key)) = futures::FutureExt::now_or_never(queue.next(&cancel)) {
        names.push(key.name);
    }
    names
}

/// A pod's change as the stream tells it, and who is tried again because of it.
fn woken(view: &Mutex<View>, old: Option<Pod>, new: Option<Pod>) -> Vec<String> {
    let queue = Queue::default();
    let change = Change { old: old.map(Arc::new), new: new.map(Arc::new) };
    follow_pod(view, &queue, "default-scheduler", &change);
    taken(&queue)
}

#[test]
fn only_what_makes_room_wakes_the_parked() {
    let view = Mutex::new(View::default());
    let bound = |cpu: &str| tests::pod("bound", "n", cpu);
    let park = || lock(&view).parked.insert(ObjectKey::new("a", "parked"), BTreeSet::new());
    lock(&view).cluster.put_node(&tests::node("n", "1"));
    park();
    assert_eq!(woken(&view, None, Some(bound("500m"))), [""; 0]);
    assert_eq!(woken(&view, Some(tests::pod("waiting", "", "1")), None), [""; 0]);
    assert_eq!(woken(&view, Some(bound("500m")), Some(bound("500m"))), [""; 0]);
    assert_eq!(woken(&view, Some(bound("500m")), Some(bound("200m"))), ["parked"]);
    park();
    let mut finished = bound("200m");
    finished.status = serde_json::from_value(json!({"phase": "Succeeded"})).unwrap();
    assert_eq!(woken(&view, Some(bound("200m")), Some(finished.clone())), ["parked"]);
    park();
    assert_eq!(woken(&view, Some(finished), None), [""; 0]);
}

#[test]
fn a_panic_over_one_pod_costs_no_other_its_place() {
    let view = Mutex::new(View::default());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _held = lock(&view);
        panic!("a filter fails");
    }));
    assert!(panicked.is_err() && view.is_poisoned());
    follow_node(&view, &Queue::default(), &Change { old: None, new: Some(Arc::new(tests::node("n", "1"))) });
    assert_eq!(tried(&mut lock(&view), &pod("other", None), Instant::now(), &Queue::default()), "n");
}

#[test]
fn a_pod_that_replaces_another_of_its_name_is_tried() {
    let view = Mutex::new(View::default());
    let pod = |uid: &str| {
        let mut pod = tests::pod("waiting", "", "1");
        pod.metadata.uid = Some(uid.to_owned());
        Some(pod)
    };
    assert_eq!(woken(&view, pod("one"), pod("one")), [""; 0]);
    assert_eq!(woken(&view, pod("one"), pod("two")), ["waiting"]);
}

#[test]
fn a_claim_wakes_the_pods_that_use_it_and_a_class_all_with_claims() {
    let pods = [("one", Some("c")), ("two", Some("d")), ("plain", None)];
    for (helps, expected) in [
        (Helps::Nobody, vec![]),
        (Helps::UsersOf(ObjectKey::new("a", "d")), vec!["two"]),
        (Helps::UsersOf(ObjectKey::new("b", "d")), vec![]),
        (Helps::Everybody, vec!["one", "two"]),
    ] {
        let (mut view, queue) = (View::default(), Queue::default());
        for (name, claim) in pods {
            view.park(&ObjectKey::new("a", name), &pod(name, claim));
        }
        view.wake(&helps, &queue);
        assert_eq!(taken(&queue), expected, "{helps:?}");
        view.unpark(&queue);
        assert_eq!(taken(&queue).len(), pods.len() - expected.len(), "the others wait on");
    }
}

/// Asks for more than half of a node.
fn pod(name: &str, claim: Option<&str>) -> Pod {
    let mut pod = tests::pod(name, "", "600m");
    let spec = pod.spec.as_mut().unwrap();
    spec.containers[0].ports = None;
    let volume = |claim| serde_json::from_value(json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]));
    spec.volumes = claim.map(|claim| volume(claim).unwrap());
    pod
}

/// Nodes `a` and `b`, and claim `c`, whose volume is made where its pod is.
fn view() -> View {
    let mut view = View::default();
    ["a", "b"].iter().for_each(|name| view.cluster.put_node(&tests::node(name, "1")));
    let class = json!({"metadata": {"name": "late"}, "provisioner": "example.com/disks",
        "volumeBindingMode": "WaitForFirstConsumer"});
    let class: Arc<StorageClass> = Arc::new(serde_json::from_value(class).unwrap());
    view.storage.follow_class(&Change { old: None, new: Some(class) });
    put_claim(&mut view, json!({}));
    view
}

fn put_claim(view: &mut View, annotations: Value) {
    let claim = json!({"metadata": {"name": "c", "namespace": "a", "annotations": annotations},
        "spec": {"storageClassName": "late"}, "status": {"phase": "Pending"}});
    let claim: Arc<PersistentVolumeClaim> = Arc::new(serde_json::from_value(claim).unwrap());
    view.storage.follow_claim(&Change { old: None, new: Some(claim) });
}

/// The node it is put on, with `…` while it waits there; or what else came of it.
fn tried(view: &mut View, pod: &Pod, now: Instant, queue: &Queue<ObjectKey>) -> String {
    match view.place(&ObjectKey::of(pod), pod, now, queue) {
        Tried::Chosen { choice, until: None } => choice.node,
        Tried::Chosen { choice, until: Some(_) } => choice.node + "…",
        Tried::Refused(reason) => reason,
        Tried::GivenUp => "given up".to_owned(),
    }
}

const FULL: &str = "0/2 nodes are available: 2 Insufficient cpu.";

#[test]
fn a_place_is_kept_for_a_pod_that_waits_for_its_volume() {
    let (mut view, queue, now) = (view(), Queue::default(), Instant::now());
    let (waits, other, late) = (pod("waits", Some("c")), pod("other", None), pod("late", None));
    assert_eq!(tried(&mut view, &waits, now, &queue), "a…");
    assert_eq!(tried(&mut view, &other, now, &queue), "b");
    assert_eq!(tried(&mut view, &late, now, &queue), FULL);
    put_claim(&mut view, json!({SELECTED_NODE: "a"}));
    assert_eq!(tried(&mut view, &waits, now, &queue), "a…", "its own place is no obstacle");
    assert_eq!(taken(&queue), [""; 0], "nobody got room");
}

#[test]
fn a_place_is_free_when_the_volume_is_elsewhere() {
    let (mut view, queue, now) = (view(), Queue::default(), Instant::now());
    let (waits, other, late) = (pod("waits", Some("c")), pod("other", None), pod("late", None));
    assert_eq!(tried(&mut view, &waits, now, &queue), "a…");
    assert_eq!(tried(&mut view, &other, now, &queue), "b");
    assert_eq!(tried(&mut view, &late, now, &queue), FULL);
    put_claim(&mut view, json!({SELECTED_NODE: "b"}));
    let nowhere =
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't find available persistent volumes to bind.";
    assert_eq!(tried(&mut view, &waits, now, &queue), nowhere);
    assert_eq!(taken(&queue), ["late"]);
    assert_eq!(tried(&mut view, &late, now, &queue), "a");
}

#[test]
fn a_place_is_not_kept_for_ever() {
    let (mut view, queue, start) = (view(), Queue::default(), Instant::now());
    let (waits, other, late) = (pod("waits", Some("c")), pod("other", None), pod("late", None));
    assert_eq!(tried(&mut view, &waits, start, &queue), "a…");
    assert_eq!(tried(&mut view, &other, start, &queue), "b");
    assert_eq!(tried(&mut view, &late, start, &queue), FULL);
    assert_eq!(tried(&mut view, &waits, start + RESERVED_MAX / 2, &queue), "a…");
    let now = start + RESERVED_MAX;
    assert_eq!(tried(&mut view, &waits, now, &queue), "given up", "counted from the first try");
    let woken = taken(&queue);
    assert!(woken.contains(&"late".to_owned()), "{woken:?}");
    assert_eq!(tried(&mut view, &late, now, &queue), "a");
    let nowhere = "0/2 nodes are available: 2 Insufficient cpu.";
    assert_eq!(tried(&mut view, &waits, now, &queue), nowhere);
}
