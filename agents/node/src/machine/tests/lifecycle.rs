//! From nothing to running, and from running to nothing.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::json;

use super::world::{World, condition, show};
use crate::{
    clock::api_time,
    machine::{Attempt, AttemptState, Job, Pending, PendingReason, Rejection, ResizeFailed, Sandbox, Step, Stop},
};

#[test]
fn a_pod_starts_in_order_and_is_ready() {
    let mut world = World::new(json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    let first = world.decide().status;
    assert_eq!(show(&first), "Pending | a ContainerCreating, b ContainerCreating");
    assert_eq!(condition(&first, "PodReadyToStartContainers"), "False");
    assert_eq!(condition(&first, "Initialized"), "True");
    let status = world.settle();
    assert_eq!(world.take(), "volumes, sandbox, start a-0, start b-0");
    assert_eq!(show(&status), "Running | a running ready, b running ready");
    assert_eq!(status.pod_ip.as_deref(), Some("10.0.0.5"));
    assert_eq!(status.host_ip.as_deref(), Some("192.0.2.1"));
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(condition(&status, "Ready"), "True");
    let container = &status.container_statuses.unwrap()[0];
    assert_eq!(container.container_id.as_deref(), Some("kontiki://u.a-0"));
    assert_eq!(container.image_id, "sha256:a");
}

#[test]
fn a_container_waits_for_the_hook_of_the_one_before_it_and_for_no_back_off() {
    let mut world = World::new(json!({"containers": [{"name": "proxy"}, {"name": "a"}, {"name": "b"}]}));
    world.observed.busy.insert(Job::Start("proxy".into()));
    world.settle();
    assert_eq!(world.take(), "volumes, sandbox");
    world.observed.busy.clear();
    world.waits("a", "ErrImagePull", "no such image", 10_000);
    world.settle();
    assert_eq!(world.take(), "start proxy-0, start b-0");
    world.pass(10);
    assert_eq!(world.take(), "pull back-off a, start a-0");
}

#[test]
fn init_containers_run_one_after_the_other() {
    let mut world =
        World::new(json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]}));
    let status = world.settle();
    assert_eq!(world.take(), "volumes, sandbox, start i-0");
    assert_eq!(show(&status), "Pending | i running, j PodInitializing | a PodInitializing");
    assert_eq!(
        condition(&status, "Initialized"),
        "False ContainersNotInitialized containers with incomplete status: [i j]"
    );
    world.exit("i", 0);
    world.settle();
    world.exit("j", 0);
    let status = world.settle();
    assert_eq!(world.take(), "start j-0, start a-0");
    assert_eq!(show(&status), "Running | i Completed(0) ready, j Completed(0) ready | a running ready");
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let mut world =
        World::new(json!({"restartPolicy": "Never", "initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}));
    world.settle();
    world.exit("i", 1);
    let status = world.settle();
    assert_eq!(show(&status), "Failed | i Error(1) | a PodInitializing");
    assert!(world.take().ends_with("start i-0, clean"));
}

#[test]
fn a_sidecar_starts_before_and_ends_after_the_others() {
    let mut world = World::new(json!({"restartPolicy": "Never",
        "initContainers": [{"name": "s", "restartPolicy": "Always", "startupProbe": {}}, {"name": "i"}],
        "containers": [{"name": "a"}]}));
    world.settle();
    assert_eq!(world.take(), "volumes, sandbox, start s-0");
    world.health("s", true, true);
    world.settle();
    world.exit("i", 0);
    assert_eq!(show(&world.settle()), "Running | s running ready, i Completed(0) ready | a running ready");
    world.exit("a", 0);
    let status = world.settle();
    assert_eq!(world.take(), "start i-0, start a-0, kill s-0 PodEnds +30s, clean");
    assert_eq!(show(&status), "Succeeded | s Error(143), i Completed(0) ready | a Completed(0)");
    assert_eq!(condition(&status, "Ready"), "False PodCompleted");
}

#[test]
fn all_are_told_of_the_end_at_once_and_sidecars_end_in_turn() {
    let mut world = World::new(json!({
        "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "t", "restartPolicy": "Always"}],
        "containers": [{"name": "a"}]}));
    world.settle();
    world.take();
    world.stubborn = vec!["a".into()];
    world.delete(20);
    world.settle();
    let told = "kill a-0 PodEnds +20s, kill t-0 PodEnds +20s after others, kill s-0 PodEnds +20s after others";
    assert_eq!(world.take(), told);
    world.now_ms += 5_000;
    world.exit("a", 0);
    world.settle();
    let told = "kill t-0 PodEnds +15s, kill s-0 PodEnds +15s after others, kill s-0 PodEnds +15s, clean, delete";
    assert!(world.take().starts_with(told));
}

#[test]
fn readiness_and_startup_probes_and_gates_hold_back_readiness() {
    let mut world = World::new(json!({"readinessGates": [{"conditionType": "x/y"}],
        "containers": [{"name": "a", "readinessProbe": {}, "startupProbe": {}}]}));
    let status = world.settle();
    assert_eq!(show(&status), "Running | a running");
    assert_eq!(status.container_statuses.as_ref().unwrap()[0].started, Some(false));
    world.health("a", true, true);
    let status = world.settle();
    assert_eq!(condition(&status, "ContainersReady"), "True");
    let refused = "False ReadinessGatesNotReady corresponding condition of pod readiness gate \"x/y\" does not exist.";
    assert_eq!(condition(&status, "Ready"), refused);
    let mut gate = status.conditions.unwrap()[0].clone();
    (gate.type_, gate.status) = ("x/y".into(), "True".into());
    world.observed.acknowledged.conditions.as_mut().unwrap().push(gate);
    let status = world.settle();
    assert_eq!(condition(&status, "Ready"), "True");
    assert_eq!(condition(&status, "x/y"), "True", "somebody else's condition stays");
}

#[test]
fn deletion_stops_tells_cleans_and_only_then_deletes() {
    let mut world = World::new(json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    world.settle();
    world.take();
    world.delete(20);
    world.stubborn = vec!["b".into()];
    assert_eq!(show(&world.settle()), "Running | a Error(143), b running ready");
    assert_eq!(world.take(), "kill a-0 PodEnds +20s, kill b-0 PodEnds +20s");
    world.pass(20);
    assert_eq!(world.take(), "kill b-0 PodEnds +0s, clean, delete, clean with logs");
    assert_eq!(show(&world.observed.acknowledged), "Failed | a Error(143), b Error(137)");
    assert!(world.deleted && world.decide().finished);
}

#[test]
fn a_shorter_grace_hastens_the_stop() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    world.settle();
    world.stubborn = vec!["a".into()];
    world.delete(30);
    world.settle();
    world.take();
    world.now_ms += 5_000;
    world.delete(0);
    world.settle();
    assert_eq!(world.take(), "kill a-0 PodEnds +-4s, clean, delete, clean with logs");
}

#[test]
fn a_pod_deleted_before_it_ran_says_so() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    world.waits("a", "ErrImagePull", "no such image", 10_000);
    world.observed.volumes = Step::Done;
    world.observed.sandbox = Sandbox::Ready { address: None, created_ms: 0 };
    world.settle();
    world.take();
    world.delete(30);
    world.settle();
    assert_eq!(world.take(), "clean, delete");
    assert_eq!(show(&world.observed.acknowledged), "Failed | a ContainerStatusUnknown(137)");
}

#[test]
fn what_is_gone_from_the_api_is_ended_without_a_word() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    world.settle();
    world.take();
    world.observed.gone = true;
    world.settle();
    assert_eq!(world.take(), "kill a-0 PodEnds +30s, clean with logs");
    assert!(world.decide().finished && !world.deleted);
}

#[test]
fn a_start_in_flight_delays_the_end() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    world.observed.volumes = Step::Done;
    world.observed.sandbox = Sandbox::Ready { address: None, created_ms: 0 };
    world.observed.busy.insert(Job::Start("a".into()));
    world.delete(30);
    let decision = world.decide();
    assert!(decision.ending && decision.actions.is_empty());
    assert_eq!(decision.status.phase.as_deref(), Some("Pending"));
}

#[test]
fn a_rejected_pod_fails_without_being_tried() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    world.observed.rejection = Some(Rejection::new("OutOfcpu", "no"));
    let status = world.settle();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("OutOfcpu")));
    assert_eq!(status.container_statuses, None, "of what never was there is nothing to tell");
    assert_eq!(status.message.as_deref(), Some("no"));
    assert_eq!(world.take(), "");
}

#[test]
fn a_deadline_ends_a_pod() {
    let mut world = World::new(json!({"activeDeadlineSeconds": 60, "containers": [{"name": "a"}]}));
    world.settle();
    assert_eq!(world.decide().wake_at_ms, Some(world.now_ms + 60_000));
    world.take();
    let status = world.pass(60);
    assert_eq!(world.take(), "kill a-0 PodEnds +30s, clean");
    assert_eq!(show(&status), "Failed | DeadlineExceeded | a Error(143)");
}

#[test]
fn a_pod_that_somebody_else_has_failed_is_ended_and_tells_how() {
    let mut world = World::new(json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    world.settle();
    world.take();
    let told = &mut world.observed.acknowledged;
    (told.phase, told.reason) = (Some("Failed".into()), Some("Preempted".into()));
    world.stubborn = vec!["b".into()];
    assert_eq!(show(&world.settle()), "Failed | Preempted | a Error(143), b running ready");
    let status = world.pass(30);
    assert_eq!(show(&status), "Failed | Preempted | a Error(143), b Error(137)");
    assert_eq!(condition(&status, "Ready"), "False PodFailed");
    assert_eq!(world.take(), "kill a-0 PodEnds +30s, kill b-0 PodEnds +30s, kill b-0 PodEnds +0s, clean");
    assert_eq!(world.settle(), status, "and stays so");
}

#[test]
fn the_sandbox_of_a_failed_pod_waits_for_its_exit_codes_to_be_told() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    world.settle();
    world.observed.acknowledged.phase = Some("Failed".into());
    world.exit("a", 3);
    let decision = world.decide();
    assert_eq!((show(&decision.status), decision.actions), ("Failed | a Error(3)".into(), vec![]));
}

#[test]
fn an_eviction_does_not_wait_for_the_pods_own_grace() {
    let mut world = World::new(json!({"terminationGracePeriodSeconds": 600, "containers": [{"name": "a"}]}));
    world.settle();
    world.take();
    let evicted = Rejection { grace_ms: Some(1_000), ..Rejection::new("Evicted", "too much") };
    world.observed.rejection = Some(evicted);
    assert_eq!(show(&world.settle()), "Failed | Evicted | a Error(143)");
    assert_eq!(world.take(), "kill a-0 PodEnds +1s, clean");
}

#[test]
fn a_job_that_completes_keeps_its_status_after_everything_is_gone() {
    let mut world = World::new(json!({"restartPolicy": "OnFailure", "containers": [{"name": "a"}]}));
    world.settle();
    world.exit("a", 0);
    let status = world.settle();
    assert_eq!(show(&status), "Succeeded | a Completed(0)");
    assert_eq!(world.observed.sandbox, Sandbox::Absent);
    assert!(!world.observed.leftovers && world.observed.logs_left, "its log can still be read");
    world.take();
    assert_eq!(world.pass(1000), status);
    world.delete(0);
    world.settle();
    assert_eq!(world.take(), "delete, clean with logs");
}

#[test]
fn the_exit_code_is_kept_until_the_api_has_it() {
    let mut world = World::new(json!({"restartPolicy": "Never", "containers": [{"name": "a"}]}));
    world.settle();
    world.exit("a", 3);
    let decision = world.decide();
    assert_eq!((show(&decision.status), decision.actions), ("Failed | a Error(3)".into(), vec![]));
}

#[test]
fn an_adopted_pod_goes_on_as_it_was() {
    let mut world = World::new(json!({"containers": [{"name": "a", "readinessProbe": {}}]}));
    world.settle();
    world.health("a", true, true);
    let before = world.settle();
    world.take();
    // The agent was killed: volumes are looked at again, containers are not touched.
    world.observed.volumes = Step::Todo;
    world.observed.sandbox_step = Step::Todo;
    assert_eq!(world.settle(), before);
    assert_eq!(world.take(), "volumes");
}

#[test]
fn a_container_that_was_made_but_not_started_is_made_again() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    world.observed.volumes = Step::Done;
    world.observed.sandbox = Sandbox::Ready { address: None, created_ms: 0 };
    let made = Attempt {
        number: 0,
        state: AttemptState::Created,
        image: String::new(),
        image_asked: None,
        resources: None,
        user: None,
        round: 0,
    };
    world.observed.attempts.insert("a".into(), vec![made]);
    world.settle();
    assert_eq!(world.take(), "remove a-0, start a-0");
}

#[test]
fn a_new_image_replaces_the_container() {
    let mut world = World::new(json!({"containers": [{"name": "a", "image": "new"}]}));
    world.settle();
    world.take();
    world.observed.attempts.get_mut("a").unwrap()[0].image_asked = Some("old".into());
    let status = world.settle();
    assert_eq!(world.take(), format!("kill a-0 {:?} +30s, start a-1", Stop::DefinitionChanged));
    assert_eq!(show(&status), "Running | a running after Error(143) r1 ready");
}

#[test]
fn a_container_uses_what_its_pod_now_says() {
    let uses = |cpu: &str| json!({"requests": {"cpu": cpu}});
    let container = |policy: &str| {
        let policy = json!([{"resourceName": "cpu", "restartPolicy": policy}]);
        json!({"containers": [{"name": "a", "resources": uses("2"), "resizePolicy": policy}]})
    };
    for (policy, expected) in [
        ("NotRequired", "resize a-0".to_owned()),
        ("RestartContainer", format!("kill a-0 {:?} +30s, start a-1", Stop::Resized)),
    ] {
        let mut world = World::new(container(policy));
        world.settle();
        world.take();
        world.observed.attempts.get_mut("a").unwrap()[0].resources = serde_json::from_value(uses("1")).unwrap();
        let status = world.settle();
        assert_eq!(world.take(), expected);
        if policy == "NotRequired" {
            let told = &status.container_statuses.unwrap()[0];
            assert_eq!(told.resources, serde_json::from_value(uses("2")).unwrap());
            assert_eq!(told.allocated_resources, told.resources.clone().unwrap().requests);
        }
    }
}

#[test]
fn a_resize_is_told_while_it_waits_and_while_it_is_under_way() {
    let container = json!({"name": "a", "resources": {"limits": {"memory": "64Mi"}}});
    let mut world = World::new(json!({"containers": [container]}));
    world.settle();
    world.take();
    let message = "no room".to_owned();
    world.observed.resize = Some(Pending { reason: PendingReason::Deferred, message });
    let status = world.settle();
    assert_eq!(condition(&status, "PodResizePending"), "True Deferred no room");
    world.observed.resize = None;
    let before = serde_json::from_value(json!({"limits": {"memory": "128Mi"}})).unwrap();
    world.observed.attempts.get_mut("a").unwrap()[0].resources = Some(before);
    assert_eq!(condition(&world.decide().status, "PodResizeInProgress"), "True");
    let retry_at_ms = world.now_ms + 10_000;
    world.observed.memory.get_mut("a").unwrap().resize_failed =
        Some(ResizeFailed { message: "in use".to_owned(), retry_at_ms });
    let decision = world.decide();
    assert_eq!(condition(&decision.status, "PodResizeInProgress"), "True Error in use");
    assert_eq!((decision.actions.as_slice(), decision.wake_at_ms), (&[][..], Some(retry_at_ms)));
    let status = world.pass(10);
    assert_eq!(world.take(), "resize a-0");
    let of_resizes = |status: &PodStatus| {
        status.conditions.iter().flatten().filter(|condition| condition.type_.starts_with("PodResize")).count()
    };
    assert_eq!(of_resizes(&status), 0);
}

#[test]
fn what_is_set_aside_is_told_of_containers_that_have_ended_too() {
    let resources = json!({"requests": {"cpu": "1"}});
    let mut world = World::new(
        json!({"restartPolicy": "Never", "containers": [{"name": "a", "resources": resources}, {"name": "b"}]}),
    );
    assert_eq!(world.decide().status.container_statuses.unwrap()[0].resources, None, "nothing was begun");
    world.settle();
    world.exit("a", 0);
    let told = world.settle().container_statuses.unwrap().swap_remove(0);
    assert_eq!(told.resources, serde_json::from_value(resources.clone()).unwrap());
    assert_eq!(told.allocated_resources, serde_json::from_value(resources["requests"].clone()).unwrap());
}

#[test]
fn a_failed_step_is_tried_again_in_time() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    let retry_at_ms = world.now_ms + 10_000;
    world.observed.volumes = Step::Failed { reason: "FailedMount".into(), message: "x".into(), retry_at_ms };
    let decision = world.decide();
    assert_eq!((decision.actions.as_slice(), decision.wake_at_ms), (&[][..], Some(retry_at_ms)));
    world.pass(10);
    assert_eq!(world.take(), "volumes, sandbox, start a-0");
}

#[test]
fn a_start_time_is_kept() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    world.observed.acknowledged.start_time = Some(api_time(5_000));
    assert_eq!(world.settle().start_time, Some(api_time(5_000)));
}
