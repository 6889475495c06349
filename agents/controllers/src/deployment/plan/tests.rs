use serde_json::json;

use super::*;

fn deployment(replicas: i32, strategy: serde_json::Value, image: &str) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "a", "uid": "d1", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy,
                 "progressDeadlineSeconds": 600,
                 "template": {"metadata": {"labels": {"app": "web"}},
                              "spec": {"containers": [{"name": "c", "image": image}]}}},
    }))
    .unwrap()
}

fn set(name: &str, image: &str, size: i32, available: i32, revision: i64, desired: i32) -> Arc<ReplicaSet> {
    let value = json!({
        "metadata": {"name": name, "namespace": "a", "uid": name, "generation": 1,
                     "creationTimestamp": format!("2026-01-01T00:00:0{revision}Z"),
                     "annotations": {(REVISION): revision.to_string(), (DESIRED): desired.to_string(),
                                     (MAX): (desired + (desired + 3) / 4).to_string()}},
        "spec": {"replicas": size, "selector": {"matchLabels": {"app": "web"}},
                 "template": {"metadata": {"labels": {"app": "web", "pod-template-hash": name}},
                              "spec": {"containers": [{"name": "c", "image": image}]}}},
        "status": {"replicas": size, "readyReplicas": available, "availableReplicas": available,
                   "observedGeneration": 1},
    });
    Arc::new(serde_json::from_value(value).unwrap())
}

fn scales(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Vec<(String, i32)> {
    let view = View { deployment, sets, pods: &[], now: "2026-01-01T00:01:00Z".parse().unwrap() };
    let scaled = decide(&view).actions.into_iter().filter_map(|action| match action {
        Action::Scale { name, to, .. } => Some((name, to)),
        Action::Create(set) => Some(("new".to_owned(), replicas_of(&set))),
        _ => None,
    });
    scaled.collect()
}

fn rolling() -> serde_json::Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
}

#[test]
fn limits_round_surge_up_and_unavailable_down() {
    let table = [(1, 1, 0), (2, 1, 0), (4, 1, 1), (5, 2, 1), (10, 3, 2)];
    for (replicas, max_surge, max_unavailable) in table {
        let limits = Limits::of(&deployment(replicas, rolling(), "v1").spec.unwrap());
        assert_eq!(limits, Limits { replicas, max_surge, max_unavailable });
    }
}

#[test]
fn a_new_deployment_gets_all_its_replicas_at_once() {
    assert_eq!(scales(&deployment(3, rolling(), "v1"), &[]), [("new".to_owned(), 3)]);
    assert_eq!(scales(&deployment(i32::MAX, rolling(), "v1"), &[]), [("new".to_owned(), i32::MAX)]);
}

#[test]
fn a_new_template_surges_within_the_limit() {
    assert_eq!(scales(&deployment(4, rolling(), "v2"), &[set("one", "v1", 4, 4, 1, 4)]), [("new".to_owned(), 1)]);
}

#[test]
fn old_pods_go_only_as_new_ones_become_available() {
    let sets = [set("one", "v1", 4, 4, 1, 4), set("two", "v2", 1, 0, 2, 4)];
    assert_eq!(scales(&deployment(4, rolling(), "v2"), &sets), [("one".to_owned(), 3)]);
    let sets = [set("one", "v1", 3, 3, 1, 4), set("two", "v2", 2, 0, 2, 4)];
    assert_eq!(scales(&deployment(4, rolling(), "v2"), &sets), []);
    let sets = [set("one", "v1", 3, 3, 1, 4), set("two", "v2", 2, 2, 2, 4)];
    assert_eq!(scales(&deployment(4, rolling(), "v2"), &sets), [("one".to_owned(), 1)]);
}

#[test]
fn broken_old_pods_go_first() {
    let sets = [set("one", "v1", 4, 1, 1, 4), set("two", "v2", 1, 1, 2, 4)];
    assert_eq!(scales(&deployment(4, rolling(), "v2"), &sets), [("one".to_owned(), 2)]);
}

#[test]
fn a_new_size_of_a_settled_deployment_goes_to_its_one_set() {
    assert_eq!(scales(&deployment(5, rolling(), "v1"), &[set("one", "v1", 1, 1, 1, 1)]), [("one".to_owned(), 5)]);
    assert_eq!(scales(&deployment(0, rolling(), "v1"), &[set("one", "v1", 3, 3, 1, 3)]), [("one".to_owned(), 0)]);
}

#[test]
fn a_new_size_in_mid_rollout_is_shared_out() {
    let sets = [set("one", "v1", 8, 8, 1, 10), set("two", "v2", 5, 2, 2, 10)];
    let scaled = scales(&deployment(20, rolling(), "v2"), &sets);
    assert_eq!(scaled.iter().map(|(_, size)| size).sum::<i32>(), 25);
    assert!(scaled.iter().all(|(_, size)| *size > 5), "{scaled:?}");
}

#[test]
fn recreate_waits_for_the_old_ones() {
    let recreate = json!({"type": "Recreate"});
    let old = [set("one", "v1", 2, 2, 1, 2)];
    assert_eq!(scales(&deployment(2, recreate.clone(), "v2"), &old), [("one".to_owned(), 0)]);
    let gone = [set("one", "v1", 0, 0, 1, 2)];
    assert_eq!(scales(&deployment(2, recreate, "v2"), &gone), [("new".to_owned(), 2)]);
}

#[test]
fn a_rollback_reuses_the_old_set_with_a_new_revision() {
    let deployment = deployment(2, rolling(), "v1");
    let sets = [set("one", "v1", 0, 0, 1, 2), set("two", "v2", 2, 2, 2, 2)];
    let view = View { deployment: &deployment, sets: &sets, pods: &[], now: Timestamp::UNIX_EPOCH };
    let actions = decide(&view).actions;
    let revisions: Vec<&str> = actions
        .iter()
        .filter_map(|action| match action {
            Action::AnnotateSet { name, annotations, .. } if name == "one" => Some(annotations[REVISION].as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(revisions, ["3"]);
    assert!(actions.contains(&Action::AnnotateDeployment { revision: 3 }));
}

#[test]
fn history_beyond_the_limit_is_removed_once_complete() {
    let mut deployment = deployment(1, rolling(), "v3");
    deployment.spec.as_mut().unwrap().revision_history_limit = Some(1);
    deployment.status = serde_json::from_value(json!({
        "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "observedGeneration": 1,
    }))
    .unwrap();
    let sets = [set("one", "v1", 0, 0, 1, 1), set("two", "v2", 0, 0, 2, 1), set("three", "v3", 1, 1, 3, 1)];
    let view = View { deployment: &deployment, sets: &sets, pods: &[], now: Timestamp::UNIX_EPOCH };
    assert!(decide(&view).actions.contains(&Action::Delete { name: "one".into() }));
}

#[test]
fn history_beyond_the_limit_is_removed_while_paused() {
    let mut deployment = deployment(2, rolling(), "v3");
    let spec = deployment.spec.as_mut().unwrap();
    (spec.revision_history_limit, spec.paused) = (Some(0), Some(true));
    let sets = [set("one", "v1", 0, 0, 1, 2), set("two", "v2", 2, 2, 2, 2)];
    let view = View { deployment: &deployment, sets: &sets, pods: &[], now: Timestamp::UNIX_EPOCH };
    assert_eq!(decide(&view).actions, [Action::Delete { name: "one".into() }]);
}

#[test]
fn a_new_size_together_with_a_new_template_stays_within_the_surge() {
    let deployment = deployment(20, rolling(), "v2");
    assert_eq!(scales(&deployment, &[set("one", "v1", 10, 10, 1, 10)]), [("one".to_owned(), 20)]);
    assert_eq!(scales(&deployment, &[set("one", "v1", 20, 10, 1, 20)]), [("new".to_owned(), 5)]);
}

/// The Progressing condition that follows `reason`, said a day ago, and when it is looked at again.
fn progress(mut deployment: Deployment, reason: &str, sets: &[Arc<ReplicaSet>]) -> (Option<String>, Option<i64>) {
    let status = if reason == "ProgressDeadlineExceeded" { "False" } else { "True" };
    let updated = sets.last().map_or(0, |set| replicas_of(set));
    deployment.status = serde_json::from_value(json!({
        "replicas": sets.iter().map(|set| replicas_of(set)).sum::<i32>(), "updatedReplicas": updated,
        "readyReplicas": sets.iter().map(|set| available(set)).sum::<i32>(),
        "availableReplicas": sets.iter().map(|set| available(set)).sum::<i32>(),
        "conditions": [{"type": "Progressing", "status": status, "reason": reason,
                        "lastUpdateTime": "2025-12-31T00:00:00Z"}],
    }))
    .unwrap();
    let view = View { deployment: &deployment, sets, pods: &[], now: "2026-01-01T00:00:00Z".parse().unwrap() };
    let plan = decide(&view);
    let conditions = plan.status.conditions.unwrap();
    let reason = conditions.into_iter().find(|condition| condition.type_ == "Progressing").and_then(|one| one.reason);
    (reason, plan.again_in_s)
}

#[test]
fn only_a_rollout_has_a_deadline() {
    let scaled_up = || [set("one", "v1", 3, 1, 1, 3)];
    let stuck = || [set("one", "v1", 2, 2, 1, 2), set("two", "v2", 1, 0, 2, 2)];
    let with = |image: &str, edit: &dyn Fn(&mut DeploymentSpec)| {
        let mut deployment = deployment(if image == "v1" { 3 } else { 2 }, rolling(), image);
        edit(deployment.spec.as_mut().unwrap());
        deployment
    };
    let some = |reason: &str| Some(reason.to_owned());
    let finished = "NewReplicaSetAvailable";
    assert_eq!(progress(with("v1", &|_| ()), finished, &scaled_up()), (some(finished), None));
    let (running, failed) = ("ReplicaSetUpdated", "ProgressDeadlineExceeded");
    assert_eq!(progress(with("v2", &|_| ()), finished, &stuck()), (some(running), Some(600)));
    assert_eq!(progress(with("v2", &|_| ()), running, &stuck()), (some(failed), None));
    let endless = |spec: &mut DeploymentSpec| spec.progress_deadline_seconds = Some(i32::MAX);
    assert_eq!(progress(with("v2", &endless), running, &stuck()), (None, None));
    let paused = |spec: &mut DeploymentSpec| spec.paused = Some(true);
    assert_eq!(progress(with("v2", &paused), running, &stuck()), (some("DeploymentPaused"), None));
    assert_eq!(progress(with("v2", &paused), failed, &stuck()), (some(failed), None));
}

#[test]
fn a_recreated_deployment_is_available_once_all_its_pods_are() {
    for (available, told) in [(0, "False"), (2, "False"), (3, "True")] {
        let deployment = deployment(3, json!({"type": "Recreate"}), "v1");
        let sets = [set("one", "v1", 3, available, 1, 3)];
        let view = View { deployment: &deployment, sets: &sets, pods: &[], now: Timestamp::UNIX_EPOCH };
        let conditions = decide(&view).status.conditions.unwrap();
        let condition = conditions.into_iter().find(|condition| condition.type_ == "Available").unwrap();
        assert_eq!(condition.status, told, "{available} of 3");
    }
}

#[test]
fn pods_on_their_way_out_are_counted_over_all_sets_that_tell() {
    let told = |terminating: &[Option<i32>]| {
        let telling = |(number, terminating): (usize, &Option<i32>)| {
            let mut set = ReplicaSet::clone(&set(&format!("s{number}"), "v1", 1, 1, 1, 1));
            set.status.as_mut().unwrap().terminating_replicas = *terminating;
            Arc::new(set)
        };
        let sets: Vec<Arc<ReplicaSet>> = terminating.iter().enumerate().map(telling).collect();
        let deployment = deployment(1, rolling(), "v1");
        let view = View { deployment: &deployment, sets: &sets, pods: &[], now: Timestamp::UNIX_EPOCH };
        decide(&view).status.terminating_replicas
    };
    assert_eq!(told(&[Some(1), Some(2)]), Some(3));
    assert_eq!(told(&[Some(1), None]), None);
}
