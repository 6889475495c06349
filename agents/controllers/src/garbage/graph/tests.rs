use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};

use super::*;

fn identity(name: &str) -> Identity {
    let kind = kube::core::GroupVersionKind::gvk("", "v1", "ConfigMap");
    Identity { resource: Arc::new(ApiResource::from_gvk(&kind)), namespace: Some("a".into()), name: name.into() }
}

fn metadata(uid: &str, owners: &[&str], finalizers: &[&str], deleting: bool) -> ObjectMeta {
    let owner = |uid: &&str| OwnerReference {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: (*uid).into(),
        uid: (*uid).into(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    ObjectMeta {
        uid: Some(uid.into()),
        name: Some(uid.into()),
        owner_references: Some(owners.iter().map(owner).collect()),
        finalizers: Some(finalizers.iter().map(|one| (*one).to_owned()).collect()),
        deletion_timestamp: deleting.then_some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)),
        resource_version: Some("7".into()),
        ..ObjectMeta::default()
    }
}

fn put(graph: &mut Graph, uid: &str, owners: &[&str], finalizers: &[&str], deleting: bool) -> Vec<String> {
    graph.put(identity(uid), &metadata(uid, owners, finalizers, deleting))
}

#[test]
fn dependents_of_what_is_gone_are_checked() {
    let mut graph = Graph::default();
    put(&mut graph, "owner", &[], &[], false);
    assert!(put(&mut graph, "child", &["owner"], &[], false).is_empty());
    assert_eq!(graph.remove("owner", Some("9".to_owned())), ["child"]);
    assert_eq!(graph.cause_of("child").as_deref(), Some("9"), "who deleted the owner, not who wrote it last");
    assert!(matches!(graph.decide("child"), Decision::CheckOwners { .. }));
}

#[test]
fn an_owner_never_seen_is_asked_for() {
    let mut graph = Graph::default();
    assert_eq!(put(&mut graph, "child", &["ghost"], &[], false), ["child"]);
}

#[test]
fn an_owner_of_a_kind_that_is_not_served_is_nowhere() {
    let mut graph = Graph::default();
    put(&mut graph, "child", &["ghost"], &[], false);
    let Decision::CheckOwners { object, .. } = graph.decide("child") else { panic!("owner is missing") };
    let owners = owners_of(&metadata("child", &["ghost"], &[], false));
    assert_eq!(graph.place_of(&owners[0], &object), Err(Unplaced::UnknownKind));
    graph.learn([(identity("any").resource, true)]);
    assert_eq!(graph.place_of(&owners[0], &object), Ok(identity("ghost")));
    graph.learn([(identity("any").resource, false)]);
    assert_eq!(graph.place_of(&owners[0], &object), Ok(Identity { namespace: None, ..identity("ghost") }));
    graph.learn([]);
    assert_eq!(graph.place_of(&owners[0], &object), Err(Unplaced::UnknownKind), "served no more");
}

/// An object outside of namespaces.
fn put_global(graph: &mut Graph, uid: &str, owners: &[&str]) {
    let identity = Identity { namespace: None, ..identity(uid) };
    graph.put(identity, &metadata(uid, owners, &[], false));
}

#[test]
fn a_global_object_cannot_be_told_to_have_lost_an_owner_in_a_namespace() {
    let mut graph = Graph::default();
    graph.learn([(identity("any").resource, true)]);
    put_global(&mut graph, "child", &["owner"]);
    let Decision::CheckOwners { object, .. } = graph.decide("child") else { panic!("owner is missing") };
    let owners = owners_of(&metadata("child", &["owner"], &[], false));
    let unplaced = |graph: &Graph| (graph.place_of(&owners[0], &object), graph.is_elsewhere(&owners[0], &object));
    assert_eq!(unplaced(&graph), (Err(Unplaced::NoNamespace), true), "an owner that is not there");
    put(&mut graph, "owner", &[], &[FOREGROUND], true);
    assert_eq!(unplaced(&graph), (Err(Unplaced::NoNamespace), true), "an owner that is");
    assert_eq!(graph.decide("owner"), Decision::DropFinalizer { object: identity("owner"), finalizer: FOREGROUND });
}

#[test]
fn an_owner_in_another_namespace_is_looked_for_in_the_dependents_own() {
    let mut graph = Graph::default();
    graph.learn([(identity("any").resource, true)]);
    put(&mut graph, "owner", &[], &[], false);
    let there = Identity { namespace: Some("b".into()), ..identity("child") };
    graph.put(there.clone(), &metadata("child", &["owner"], &[], false));
    let Decision::CheckOwners { object, .. } = graph.decide("child") else { panic!("no owner of its own") };
    let owners = owners_of(&metadata("child", &["owner"], &[], false));
    let place = Identity { namespace: Some("b".into()), ..identity("owner") };
    assert_eq!((graph.place_of(&owners[0], &object), graph.is_elsewhere(&owners[0], &object)), (Ok(place), true));
}

#[test]
fn a_global_owner_has_dependents_in_every_namespace() {
    let mut graph = Graph::default();
    put_global(&mut graph, "owner", &[]);
    put(&mut graph, "child", &["owner"], &[], false);
    assert_eq!(graph.decide("child"), Decision::Nothing);
}

#[test]
fn foreground_deletion_waits_for_dependents() {
    let mut graph = Graph::default();
    put(&mut graph, "owner", &[], &[FOREGROUND], true);
    put(&mut graph, "child", &["owner"], &[], false);
    let Decision::DeleteDependents(doomed) = graph.decide("owner") else { panic!("dependents go first") };
    assert_eq!(doomed.len(), 1);
    put(&mut graph, "child", &["owner"], &["x/hold"], true);
    assert_eq!(graph.decide("owner"), Decision::Nothing);
    assert_eq!(graph.remove("child", None), ["owner"]);
    assert_eq!(graph.decide("owner"), Decision::DropFinalizer { object: identity("owner"), finalizer: FOREGROUND });
}

#[test]
fn orphans_are_released_before_the_owner_goes() {
    let mut graph = Graph::default();
    put(&mut graph, "owner", &[], &[ORPHAN], true);
    put(&mut graph, "child", &["owner"], &[], false);
    let Decision::ReleaseDependents { dependents, .. } = graph.decide("owner") else { panic!("released first") };
    assert_eq!(dependents, [("child".to_owned(), identity("child"))]);
}

#[test]
fn what_a_list_does_not_name_is_gone() {
    let mut graph = Graph::default();
    put(&mut graph, "owner", &[], &[], false);
    put(&mut graph, "child", &["owner"], &[], false);
    let woken = graph.retain("", "configmaps", &BTreeSet::from(["child".to_owned()]));
    assert_eq!(woken, ["child"]);
}

#[test]
fn a_list_makes_up_for_an_owner_that_came_and_went_unseen() {
    let mut graph = Graph::default();
    graph.learn([(identity("any").resource, true)]);
    // It lived when it was asked for; nobody will tell of its end.
    put(&mut graph, "child", &["unseen"], &[], false);
    put(&mut graph, "owner", &[], &[], false);
    put(&mut graph, "other", &["owner"], &[], false);
    let kept = ["child", "owner", "other"].map(str::to_owned);
    assert_eq!(graph.retain("", "configmaps", &BTreeSet::from(kept.clone())), ["child"]);
    assert_eq!(graph.retain("apps", "deployments", &BTreeSet::new()), [""; 0]);
    put(&mut graph, "unseen", &[], &[], false);
    let kept = kept.into_iter().chain(["unseen".to_owned()]).collect();
    assert_eq!(graph.retain("", "configmaps", &kept), [""; 0]);
}

#[test]
fn a_circle_of_owners_goes_when_all_of_it_waits() {
    let mut graph = Graph::default();
    let owners = [("one", "three"), ("two", "one"), ("three", "two")];
    for (uid, owner) in owners {
        put(&mut graph, uid, &[owner], &[], false);
    }
    for (uid, owner) in &owners[..2] {
        put(&mut graph, uid, &[owner], &[FOREGROUND], true);
        assert!(matches!(graph.decide(uid), Decision::DeleteDependents(_)), "{uid}");
    }
    assert_eq!(put(&mut graph, "four", &["three"], &[], true), [""; 0]);
    put(&mut graph, "three", &["two"], &[FOREGROUND], true);
    assert_eq!(graph.decide("three"), Decision::Nothing, "it waits for what is not in the circle");
    graph.remove("four", None);
    for uid in ["three", "two", "one"] {
        let expected = Decision::DropFinalizer { object: identity(uid), finalizer: FOREGROUND };
        assert_eq!(graph.decide(uid), expected, "{uid}");
        graph.remove(uid, None);
    }
}

#[test]
fn what_a_circle_owns_waits_for_its_own() {
    let mut graph = Graph::default();
    for (uid, owner) in [("one", "two"), ("two", "one"), ("tail", "one"), ("end", "tail")] {
        put(&mut graph, uid, &[owner], &[FOREGROUND], true);
    }
    assert_eq!(graph.decide("tail"), Decision::Nothing);
    assert_eq!(graph.decide("one"), Decision::Nothing);
    assert!(matches!(graph.decide("two"), Decision::DropFinalizer { .. }));
}
