//! Pods that end by somebody's word, or because they take more than they may.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{Cluster, NODE, running};
use crate::{disk::Measure, pod::PodId, volumes::Place};

fn spec(container: Value) -> Value {
    let mut container = container;
    container["name"] = "c".into();
    container["image"] = "web:1".into();
    json!({"containers": [container]})
}

fn terminated(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]["terminated"]
}

#[tokio::test]
async fn a_pod_that_was_failed_by_somebody_is_ended_here() {
    let cluster = Cluster::new();
    let agent = cluster.start();
    cluster.pod("p", spec(json!({})));
    cluster.until("p", running).await;
    cluster.api.change("pods", "n", "p", json!({"status": {"phase": "Failed", "reason": "Preempted"}}));
    let pod = cluster.until("p", |pod| !terminated(pod).is_null()).await;
    assert_eq!((&pod["status"]["phase"], &pod["status"]["reason"]), (&json!("Failed"), &json!("Preempted")));
    assert_eq!(terminated(&pod)["exitCode"], 143);
    agent.until("the sandbox is gone", || cluster.runtime.is_empty()).await;
    assert_eq!(terminated(&cluster.api.get("pods", "n", "p"))["exitCode"], 143);
}

#[tokio::test]
async fn a_pod_that_ran_for_too_long_says_so() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    let mut spec = spec(json!({}));
    spec["activeDeadlineSeconds"] = 1.into();
    cluster.pod("p", spec);
    let pod = cluster.until("p", |pod| pod["status"]["phase"] == "Failed").await;
    let message = "Pod was active on the node longer than the specified deadline";
    assert_eq!((&pod["status"]["reason"], &pod["status"]["message"]), (&json!("DeadlineExceeded"), &json!(message)));
    cluster.api.event(&format!("DeadlineExceeded: {message}")).await;
}

#[tokio::test]
async fn a_container_that_writes_too_much_is_evicted_with_its_pod() {
    let cluster = Cluster::new();
    let agent = cluster.start();
    cluster.runtime.write("c-0", (1 << 20) + 1);
    cluster.pod("p", spec(json!({"resources": {"limits": {"ephemeral-storage": "1Mi"}}})));
    let pod = cluster.until("p", |pod| pod["status"]["phase"] == "Failed").await;
    let message = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ";
    assert_eq!((&pod["status"]["reason"], &pod["status"]["message"]), (&json!("Evicted"), &json!(message)));
    assert_eq!(terminated(&pod)["exitCode"], 143);
    cluster.api.event(&format!("Evicted: {message}")).await;
    agent.until("the sandbox is gone", || cluster.runtime.is_empty()).await;
}

#[tokio::test]
async fn a_pod_that_has_ended_well_before_it_is_judged_is_not_evicted() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    cluster.runtime.write("c-0", (1 << 20) + 1);
    cluster.runtime.exit_when_measured("c-0");
    let mut spec = spec(json!({"resources": {"limits": {"ephemeral-storage": "1Mi"}}}));
    spec["restartPolicy"] = "Never".into();
    cluster.pod("p", spec);
    let ended = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
    let pod = cluster.until("p", ended).await;
    assert_eq!((&pod["status"]["phase"], &pod["status"]["reason"]), (&json!("Succeeded"), &Value::Null));
}

#[tokio::test]
async fn a_node_short_of_disk_takes_no_new_pod() {
    let cluster = Cluster::new();
    let condition = json!({"type": "DiskPressure", "status": "True"});
    cluster.api.create("nodes", json!({"metadata": {"name": NODE}, "status": {"conditions": [condition]}}));
    let agent = cluster.start();
    agent.node.nodes.synced().await;
    cluster.pod("p", spec(json!({})));
    let pod = cluster.until("p", |pod| pod["status"]["phase"] == "Failed").await;
    let message = "Pod was rejected: The node had condition: [DiskPressure]. ";
    assert_eq!((&pod["status"]["reason"], &pod["status"]["message"]), (&json!("Evicted"), &json!(message)));
    let mut critical = spec(json!({}));
    critical["priority"] = 2_000_000_000.into();
    cluster.pod("q", critical);
    cluster.until("q", running).await;
}

#[tokio::test]
async fn a_pod_of_a_runtime_that_is_not_here_waits() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    for (class, handler) in [("ordinary", "runc"), ("strange", "vm")] {
        let class = json!({"metadata": {"name": class, "namespace": ""}, "handler": handler});
        cluster.api.create("runtimeclasses", class);
    }
    for (pod, class, why) in [
        ("p", "strange", "failed to get sandbox runtime: no runtime for \"vm\" is configured"),
        ("q", "missing", "NotFound"),
    ] {
        let mut spec = spec(json!({}));
        spec["runtimeClassName"] = class.into();
        cluster.pod(pod, spec);
        cluster.api.event(&format!("FailedCreatePodSandBox: Failed to create pod sandbox: {why}")).await;
        assert_eq!(cluster.until(pod, |pod| !pod["status"]["phase"].is_null()).await["status"]["phase"], "Pending");
    }
    let mut spec = spec(json!({}));
    spec["runtimeClassName"] = "ordinary".into();
    cluster.pod("r", spec);
    cluster.until("r", running).await;
}

#[tokio::test]
async fn what_a_container_writes_to_the_files_it_is_given_is_measured() {
    let cluster = Cluster::new();
    let agent = cluster.start();
    cluster.pod("p", spec(json!({})));
    let pod: Pod = serde_json::from_value(cluster.until("p", running).await).unwrap();
    let id = PodId::of(&pod);
    let place = Place::new(cluster.state_dir.path(), &id);
    let measured = async || {
        let measure = Measure::new(&pod, &place, &id.uid, [("c", 0)]);
        let written = measure.run(&agent.node.containers).await.unwrap();
        (written.host_files, written.containers["c"].root, written.sum())
    };
    let before = measured().await;
    let bytes = vec![1; 2 << 20];
    std::fs::write(place.pod().join("etc-hosts"), &bytes).unwrap();
    std::fs::write(place.termination_message("c", 0), &bytes).unwrap();
    let after = measured().await;
    let grown = |now: u64, before: u64| now.saturating_sub(before) >> 20;
    assert_eq!((grown(after.0, before.0), grown(after.1, before.1)), (1, 2), "{before:?} {after:?}");
    assert_eq!(grown(after.2, before.2), 3, "{before:?} {after:?}");
}
