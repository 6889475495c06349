//! What containers see of volumes that others than the API fill.

use serde_json::{Value, json};

use super::{Cluster, running};

fn spec(volume: Value, container: Value) -> Value {
    let mut whole = json!({"name": "c", "image": "web:1"});
    container.as_object().unwrap().iter().for_each(|(key, value)| whole[key] = value.clone());
    json!({"containers": [whole], "volumes": [volume]})
}

fn waiting(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]["waiting"]
}

#[tokio::test]
async fn a_variable_comes_from_the_file_that_an_init_container_has_written() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    let key = json!({"volumeName": "e", "path": "vars", "key": "KEY"});
    let mut spec =
        spec(json!({"name": "e", "emptyDir": {}}), json!({"env": [{"name": "X", "valueFrom": {"fileKeyRef": key}}]}));
    spec["initContainers"] = json!([{"name": "i", "image": "web:1"}]);
    cluster.pod("p", spec);
    let pod = cluster.until("p", |pod| !pod["status"]["initContainerStatuses"][0]["state"]["running"].is_null()).await;
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let folder = cluster.state_dir.path().join("pods").join(uid).join("volumes/kubernetes.io~empty-dir/e");
    std::fs::write(folder.join("vars"), "# written by i\nKEY='a value'\n").unwrap();
    cluster.runtime.exit("i-0", 0);
    cluster.until("p", running).await;
    assert!(cluster.runtime.spec("c-0").env.contains(&("X".into(), "a value".into())));
}

#[tokio::test]
async fn an_image_is_a_volume_of_those_that_mount_it() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    let mount = json!({"volumeMounts": [{"name": "v", "mountPath": "/data"}]});
    let mut both = spec(json!({"name": "v", "image": {"reference": "web:1", "pullPolicy": "Never"}}), mount);
    both["containers"].as_array_mut().unwrap().push(json!({"name": "d", "image": "web:1"}));
    cluster.pod("p", both);
    cluster.until("p", running).await;
    let found = |container: &str| {
        let mounts = cluster.runtime.spec(container).mounts;
        mounts
            .into_iter()
            .find(|mount| mount.destination.ends_with("data"))
            .map(|mount| (mount.source, mount.read_only))
    };
    assert_eq!((found("c-0"), found("d-0")), (Some(("/images/v".into(), true)), None));
    cluster.runtime.exit("c-0", 1);
    cluster.until("p", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1).await;
    let done = cluster.runtime.done();
    let mounts = done.iter().filter(|done| done.starts_with("mount")).count();
    assert_eq!(mounts, 1, "it stays the same: {done:?}");
}

#[tokio::test]
async fn an_image_that_cannot_be_had_holds_up_those_that_mount_it() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    let mount = json!({"volumeMounts": [{"name": "v", "mountPath": "/data"}]});
    let mut both = spec(json!({"name": "v", "image": {"reference": "data:1"}}), mount);
    both["containers"].as_array_mut().unwrap().push(json!({"name": "d", "image": "web:1"}));
    cluster.pod("p", both);
    let pod = cluster.until("p", |pod| waiting(pod)["reason"] == "ErrImagePull").await;
    let message = "failed to pull image \"data:1\": data:1 is not in its registry";
    assert_eq!(waiting(&pod)["message"], message);
    cluster.api.event("Failed: Failed to pull image \"data:1\": data:1 is not in its registry").await;
    let pod = cluster.until("p", |pod| waiting(pod)["reason"] == "ImagePullBackOff").await;
    let message = format!("Back-off pulling image \"data:1\": ErrImagePull: {message}");
    assert_eq!(waiting(&pod)["message"], message);
    assert!(!pod["status"]["containerStatuses"][1]["state"]["running"].is_null(), "the other one runs");
}
