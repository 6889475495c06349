//! What happens to containers that end, or never get to run.

use serde_json::json;

use super::world::{World, show};
use crate::machine::{Action, Exit, Job, Sandbox, Stop};

#[test]
fn a_crash_loop_backs_off_and_is_forgiven_after_ten_minutes() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    world.settle();
    world.take();
    world.exit("a", 1);
    assert_eq!(show(&world.settle()), "Running | a running after Error(1) r1 ready", "the first restart is at once");
    world.exit("a", 2);
    let status = world.settle();
    assert_eq!(show(&status), "Running | a CrashLoopBackOff after Error(2) r1");
    let waiting = status.container_statuses.unwrap()[0].state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.message.as_deref(), Some("back-off 10s restarting failed container=a pod=p_n(u)"));
    assert_eq!(world.take(), "start a-1, back-off a");
    assert_eq!(world.decide().wake_at_ms, Some(world.now_ms + 10_000));
    world.pass(9);
    assert_eq!(world.take(), "");
    world.pass(1);
    assert_eq!(world.take(), "start a-2, remove a-0");
    world.exit("a", 1);
    world.settle();
    assert_eq!(world.decide().wake_at_ms, Some(world.now_ms + 20_000));
    world.pass(20);
    world.now_ms += 601_000;
    world.take();
    world.exit("a", 1);
    world.settle();
    assert_eq!(world.take(), "start a-4, remove a-2");
    world.exit("a", 1);
    world.settle();
    assert_eq!(world.decide().wake_at_ms, Some(world.now_ms + 10_000), "it begins anew");
}

#[test]
fn who_is_being_started_again_is_in_no_back_off() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    world.settle();
    world.exit("a", 1);
    let backoff = world.decide().actions.into_iter().find_map(|action| match action {
        Action::Start { backoff, .. } => backoff,
        _ => None,
    });
    world.observed.memory.get_mut("a").unwrap().backoff = backoff;
    world.observed.busy.insert(Job::Start("a".into()));
    assert_eq!(show(&world.decide().status), "Running | a Error(1)");
    world.observed.busy.clear();
    assert_eq!(show(&world.decide().status), "Running | a CrashLoopBackOff after Error(1)");
}

#[test]
fn restart_policies_decide_by_exit_code() {
    for (policy, rules, code, expected) in [
        ("Always", json!(null), 0, "Running | a running after Completed(0) r1 ready"),
        ("OnFailure", json!(null), 1, "Running | a running after Error(1) r1 ready"),
        ("OnFailure", json!(null), 0, "Succeeded | a Completed(0)"),
        ("Never", json!(null), 1, "Failed | a Error(1)"),
        (
            "Never",
            json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]),
            1,
            "Running | a running after Error(1) r1 ready",
        ),
    ] {
        let mut world = World::new(json!({"restartPolicy": policy,
            "containers": [{"name": "a", "restartPolicy": "Never", "restartPolicyRules": rules}]}));
        if rules.is_null() {
            world.pod.spec.as_mut().unwrap().containers[0].restart_policy = None;
        }
        world.settle();
        world.exit("a", code);
        assert_eq!(show(&world.settle()), expected, "{policy} {rules} {code}");
    }
}

#[test]
fn one_container_may_end_while_another_runs() {
    let mut world = World::new(json!({"restartPolicy": "Never", "containers": [{"name": "a"}, {"name": "b"}]}));
    world.settle();
    world.exit("a", 1);
    assert_eq!(show(&world.settle()), "Running | a Error(1), b running ready");
    world.exit("b", 0);
    assert_eq!(show(&world.settle()), "Failed | a Error(1), b Completed(0)");
}

#[test]
fn a_failed_probe_restarts_the_container() {
    let mut world = World::new(json!({"terminationGracePeriodSeconds": 7,
        "containers": [{"name": "a", "livenessProbe": {"terminationGracePeriodSeconds": 3}}]}));
    world.settle();
    world.take();
    world.observed.memory.get_mut("a").unwrap().stop = Some((0, Stop::LivenessProbe));
    world.settle();
    assert_eq!(world.take(), "kill a-0 LivenessProbe +3s, start a-1");
}

#[test]
fn an_image_that_cannot_be_pulled_is_shown_then_backed_off() {
    let mut world = World::new(json!({"containers": [{"name": "a", "image": "nope:1"}]}));
    world.observed.volumes = crate::machine::Step::Done;
    world.observed.sandbox = Sandbox::Ready { address: None, created_ms: 0 };
    world.waits("a", "ErrImagePull", "not found", 10_000);
    assert_eq!(show(&world.settle()), "Pending | a ErrImagePull");
    assert_eq!(world.decide().wake_at_ms, Some(world.now_ms + 5_000));
    let status = world.pass(5);
    assert_eq!(show(&status), "Pending | a ImagePullBackOff");
    let waiting = status.container_statuses.unwrap()[0].state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.message.as_deref(), Some("Back-off pulling image \"nope:1\": ErrImagePull: not found"));
    assert_eq!(world.take(), "pull back-off a");
    world.pass(5);
    assert_eq!(world.take(), "start a-0");
}

#[test]
fn a_corrected_image_waits_for_nothing() {
    let mut world = World::new(json!({"containers": [{"name": "a", "image": "nope:1"}]}));
    world.observed.volumes = crate::machine::Step::Done;
    world.observed.sandbox = Sandbox::Ready { address: None, created_ms: 0 };
    world.waits("a", "ErrImagePull", "not found", 300_000);
    world.settle();
    assert_eq!(world.take(), "");
    world.set_image("a", "web:1");
    world.settle();
    assert_eq!(world.take(), "start a-0");
    world.exit("a", 1);
    world.settle();
    world.exit("a", 1);
    world.settle();
    assert_eq!(world.take(), "start a-1, back-off a");
    world.set_image("a", "web:2");
    assert_eq!(show(&world.settle()), "Running | a running after Error(1) r2 ready");
    world.exit("a", 1);
    world.settle();
    assert_eq!(world.decide().wake_at_ms, Some(world.now_ms + 10_000), "it begins anew");
}

#[test]
fn a_missing_config_map_is_shown_until_it_is_there() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    world.observed.volumes = crate::machine::Step::Done;
    world.observed.sandbox = Sandbox::Ready { address: None, created_ms: 0 };
    world.waits("a", "CreateContainerConfigError", "configmap \"x\" not found", 10_000);
    assert_eq!(show(&world.settle()), "Pending | a CreateContainerConfigError");
    world.observed.memory.get_mut("a").unwrap().waiting.as_mut().unwrap().retry_at_ms = 0;
    assert_eq!(show(&world.settle()), "Running | a running ready");
}

#[test]
fn a_command_that_is_not_there_counts_as_a_run() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    world.settle();
    world.exit("a", 128);
    world.settle();
    world.exit("a", 128);
    world.waits("a", "RunContainerError", "not found", 0);
    world.observed.memory.get_mut("a").unwrap().waiting.as_mut().unwrap().announced = true;
    assert_eq!(show(&world.settle()), "Running | a RunContainerError after Error(128) r1");
    assert_eq!(show(&world.pass(5)), "Running | a CrashLoopBackOff after Error(128) r1");
}

#[test]
fn a_lost_sandbox_is_replaced_and_counts_as_a_restart() {
    let mut world = World::new(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}));
    world.settle();
    world.exit("i", 0);
    world.settle();
    world.take();
    world.exit("a", 137);
    world.observed.sandbox = Sandbox::Lost;
    let status = world.settle();
    assert_eq!(world.take(), "remove-sandbox, sandbox, start i-1");
    assert_eq!(show(&status), "Pending | i running after Completed(0) r1 | a PodInitializing after Error(137)");
    world.exit("i", 0);
    assert_eq!(
        show(&world.settle()),
        "Running | i Completed(0) after Completed(0) r1 ready | a running after Error(137) r1 ready"
    );
}

#[test]
fn a_lost_sandbox_ends_a_pod_that_never_restarts() {
    let mut world = World::new(json!({"restartPolicy": "Never", "containers": [{"name": "a"}]}));
    world.settle();
    world.exit("a", 137);
    world.observed.sandbox = Sandbox::Lost;
    assert_eq!(show(&world.settle()), "Failed | a Error(137)");
}

#[test]
fn history_continues_the_count_of_restarts() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    let exit = Exit { exit_code: 137, reason: "ContainerStatusUnknown".into(), ..Exit::default() };
    let attempt = crate::machine::Attempt {
        number: 4,
        state: crate::machine::AttemptState::Exited(exit),
        image: "sha256:a".into(),
        image_asked: None,
        resources: None,
        user: None,
        round: 0,
    };
    world.observed.history.insert("a".into(), attempt);
    let status = world.settle();
    assert_eq!(world.take(), "volumes, sandbox, start a-5");
    assert_eq!(show(&status), "Running | a running after ContainerStatusUnknown(137) r5 ready");
}
