//! Debugging containers: they come to a running pod, run once, and nothing of the pod hangs on them.

use serde_json::{Value, json};

use super::world::{World, condition, show};

fn debug(world: &mut World, containers: Value) {
    world.pod.spec.as_mut().unwrap().ephemeral_containers = serde_json::from_value(containers).unwrap();
}

#[test]
fn it_runs_once_and_counts_for_nothing() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    let before = world.settle();
    world.take();
    debug(&mut world, json!([{"name": "d", "targetContainerName": "a"}]));
    let status = world.settle();
    assert_eq!(world.take(), "start d-0");
    assert_eq!(show(&status), "Running | a running ready | d running");
    let told = &status.ephemeral_container_statuses.as_ref().unwrap()[0];
    assert_eq!((told.ready, told.started, told.restart_count), (false, None, 0));
    assert_eq!(status.conditions, before.conditions);
    world.exit("d", 1);
    assert_eq!(show(&world.settle()), "Running | a running ready | d Error(1)");
    assert_eq!(show(&world.pass(600)), "Running | a running ready | d Error(1)");
    assert_eq!(world.take(), "", "it is not restarted");
    debug(&mut world, json!([{"name": "d"}, {"name": "e"}]));
    assert_eq!(show(&world.settle()), "Running | a running ready | d Error(1), e running");
}

#[test]
fn it_runs_beside_init_containers_that_do_not_get_on() {
    let mut world = World::new(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}));
    world.settle();
    debug(&mut world, json!([{"name": "d"}]));
    assert_eq!(show(&world.settle()), "Pending | i running | a PodInitializing | d running");
}

#[test]
fn it_ends_with_its_pod() {
    let mut world = World::new(json!({"restartPolicy": "Never", "containers": [{"name": "a"}]}));
    world.settle();
    debug(&mut world, json!([{"name": "d"}]));
    world.settle();
    world.take();
    world.exit("a", 0);
    let status = world.settle();
    assert_eq!(world.take(), "kill d-0 PodEnds +30s, clean");
    assert_eq!(show(&status), "Succeeded | a Completed(0) | d Error(143)");
    assert_eq!(condition(&status, "Ready"), "False PodCompleted");
}

#[test]
fn it_does_not_come_back_with_a_new_sandbox() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    world.settle();
    debug(&mut world, json!([{"name": "d"}]));
    world.settle();
    world.exit("a", 137);
    world.exit("d", 137);
    world.observed.sandbox = crate::machine::Sandbox::Lost;
    world.take();
    let status = world.settle();
    assert_eq!(world.take(), "remove-sandbox, sandbox, start a-1");
    assert_eq!(show(&status), "Running | a running after Error(137) r1 ready | d Error(137)");
}

#[test]
fn an_image_that_cannot_be_pulled_is_tried_again() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    world.settle();
    world.take();
    debug(&mut world, json!([{"name": "d", "image": "nope:1"}]));
    world.waits("d", "ErrImagePull", "not found", 10_000);
    assert_eq!(show(&world.settle()), "Running | a running ready | d ErrImagePull");
    assert_eq!(show(&world.pass(5)), "Running | a running ready | d ImagePullBackOff");
    world.pass(5);
    assert_eq!(world.take(), "pull back-off d, start d-0");
}
