//! What a status says of containers, volumes and addresses.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::json;

use super::world::{World, condition};
use crate::machine::{Action, Step};

#[test]
fn containers_share_the_room_for_their_last_words() {
    for (containers, expected) in [(1, 4_096), (4, 3_072), (10, 1_228)] {
        let names: Vec<_> = (0..containers).map(|number| json!({"name": format!("c{number}")})).collect();
        let mut world = World::new(json!({"restartPolicy": "Never", "containers": names}));
        world.settle();
        world.exit("c0", 1);
        world.last_words("c0", &"x".repeat(4_096));
        let status = world.settle().container_statuses.unwrap().remove(0);
        let message = status.state.unwrap().terminated.unwrap().message.unwrap();
        assert_eq!(message.len(), expected, "{containers}");
    }
}

#[test]
fn a_pod_without_its_volumes_has_no_address() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    let first = world.decide();
    assert_eq!(first.actions, [Action::PrepareVolumes]);
    let failed = Step::Failed { reason: "FailedMount".into(), message: "no".into(), retry_at_ms: world.now_ms + 1 };
    world.observed.volumes = failed;
    assert_eq!(condition(&world.settle(), "PodReadyToStartContainers"), "False");
    assert_eq!((world.take().as_str(), world.decide().status.pod_ip), ("", None));
}

#[test]
fn conditions_say_which_generation_of_the_pod_they_are_of() {
    let mut world = World::new(json!({"containers": [{"name": "a"}]}));
    let bound = json!([{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-31T12:00:00Z"}]);
    world.observed.acknowledged.conditions = serde_json::from_value(bound.clone()).unwrap();
    let conditions = world.settle().conditions.unwrap();
    assert!(conditions.iter().all(|condition| condition.observed_generation == Some(1)), "{conditions:?}");
    let scheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled").unwrap();
    assert_eq!(json!(scheduled.last_transition_time), bound[0]["lastTransitionTime"], "it was bound before");
}

#[test]
fn a_status_tells_whose_a_container_s_process_is() {
    let mut world = World::new(json!({"restartPolicy": "Never", "containers": [{"name": "a"}]}));
    let user = |status: &PodStatus| json!(status.container_statuses.as_ref().unwrap()[0].user);
    assert_eq!(user(&world.decide().status), json!(null), "it has not begun");
    let expected = json!({"linux": {"uid": 1000, "gid": 3000, "supplementalGroups": [3000]}});
    assert_eq!(user(&world.settle()), expected);
    world.exit("a", 0);
    assert_eq!(user(&world.settle()), expected);
}

#[test]
fn a_status_tells_how_volumes_are_mounted() {
    let mount = |read_only: bool, recursive: Option<&str>| json!({"name": "v", "mountPath": "/v", "readOnly": read_only, "recursiveReadOnly": recursive});
    for (given, expected) in [
        (mount(false, None), None),
        (mount(true, None), Some("Disabled")),
        (mount(true, Some("Disabled")), Some("Disabled")),
        (mount(true, Some("IfPossible")), Some("Enabled")),
    ] {
        let mut world = World::new(json!({"containers": [{"name": "a", "volumeMounts": [given]}]}));
        let told = world.settle().container_statuses.unwrap().remove(0).volume_mounts.unwrap().remove(0);
        assert_eq!((told.name.as_str(), told.mount_path.as_str()), ("v", "/v"));
        assert_eq!(told.recursive_read_only.as_deref(), expected, "{given}");
    }
}
