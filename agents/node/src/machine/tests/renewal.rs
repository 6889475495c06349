//! A container whose end restarts all of its pod.

use serde_json::{Value, json};

use super::world::{World, condition, show};
use crate::machine::{Job, Sandbox};

fn rules() -> Value {
    json!([
        {"action": "Restart", "exitCodes": {"operator": "In", "values": [7]}},
        {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [7, 88]}},
    ])
}

/// An init container, a sidecar whose end with 88 restarts all, and two containers; none runs again by itself.
fn world() -> World {
    let mut world = World::new(json!({"restartPolicy": "Never",
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always", "restartPolicyRules": rules()}],
        "containers": [{"name": "a"}, {"name": "b"}]}));
    world.settle();
    world.exit("i", 0);
    world.settle();
    assert_eq!(world.take(), "volumes, sandbox, start i-0, start s-0, start a-0, start b-0");
    world
}

#[test]
fn all_containers_run_again_in_their_order() {
    let mut world = world();
    world.exit("b", 0);
    world.settle();
    assert_eq!(condition(&world.decide().status, "AllContainersRestarting"), "False");
    world.exit("s", 88);
    let leaving = world.decide().status;
    let told = "True RestartAllContainersStarted container exited with restart policy rule";
    assert_eq!(condition(&leaving, "AllContainersRestarting"), told);
    assert_eq!(condition(&leaving, "Ready").split(' ').next(), Some("False"));
    let status = world.settle();
    assert_eq!(world.take(), "kill a-0 AllRestart +0s, start i-1");
    let waiting =
        "s PodInitializing after Error(88) | a PodInitializing after Error(143), b PodInitializing after Completed(0)";
    assert_eq!(show(&status), format!("Pending | i running after Completed(0) r1, {waiting}"));
    assert_eq!(condition(&status, "AllContainersRestarting"), "False");
    world.exit("i", 0);
    let status = world.settle();
    assert_eq!(world.take(), "start s-1, start a-1, start b-1");
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let counts = status.container_statuses.unwrap().into_iter().map(|container| container.restart_count);
    assert_eq!(counts.collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn after_that_their_policies_count_again() {
    let mut world = world();
    world.exit("s", 88);
    world.settle();
    world.exit("i", 1);
    let status = world.settle();
    assert_eq!(status.phase.as_deref(), Some("Failed"), "{}", show(&status));
    assert_eq!(condition(&status, "AllContainersRestarting"), "False PodFailed");
}

#[test]
fn the_first_rule_that_knows_the_code_decides() {
    let mut world = world();
    world.exit("s", 7);
    world.settle();
    assert_eq!(world.take(), "start s-1");
}

#[test]
fn what_was_about_to_start_starts_again_in_its_turn() {
    let mut world = world();
    world.exit("a", 0);
    world.settle();
    world.take();
    world.observed.busy.insert(Job::Start("b".into()));
    world.exit("s", 88);
    world.settle();
    assert_eq!(world.take(), "kill b-0 AllRestart +0s, start i-1");
    world.observed.busy.clear();
    world.exit("i", 0);
    world.settle();
    assert_eq!(world.take(), "start s-1, start a-1, start b-1");
}

#[test]
fn again_and_again_it_backs_off() {
    let mut world = world();
    world.exit("s", 88);
    world.settle();
    world.exit("i", 0);
    world.settle();
    world.take();
    world.exit("s", 88);
    world.settle();
    assert_eq!(world.take(), "kill a-1 AllRestart +0s, kill b-1 AllRestart +0s, back-off i");
    world.pass(10);
    assert_eq!(world.take(), "start i-2, remove i-0");
    world.exit("i", 0);
    let status = world.settle();
    assert_eq!(world.take(), "start s-2, remove s-0, start a-2, remove a-0, start b-2, remove b-0");
    assert_eq!(status.phase.as_deref(), Some("Running"));
}

#[test]
fn a_lost_sandbox_meanwhile_ends_a_pod_that_never_restarts() {
    let mut world = world();
    for name in ["s", "a", "b"] {
        world.exit(name, 137);
    }
    world.observed.sandbox = Sandbox::Lost;
    assert_eq!(world.settle().phase.as_deref(), Some("Failed"));
}
