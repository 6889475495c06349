//! `kubectl patch --subresource resize`, from the node's side.

use serde_json::{Value, json};

use super::{Cluster, running};
use crate::quantity;

fn using(cpu: i64, memory: &str) -> Value {
    let resources = json!({"requests": {"cpu": format!("{cpu}m")}, "limits": {"memory": memory}});
    json!([{"name": "c", "image": "web:1", "resources": resources}])
}

fn status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

fn condition<'a>(pod: &'a Value, type_: &str) -> &'a Value {
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == type_).unwrap_or(&Value::Null)
}

fn cpu(pod: &Value) -> Option<&str> {
    status(pod)["allocatedResources"]["cpu"].as_str()
}

async fn runs(cluster: &Cluster, name: &str, cpu: i64) {
    cluster.pod(name, json!({"containers": using(cpu, "64Mi")}));
    cluster.until(name, running).await;
}

fn resize(cluster: &Cluster, name: &str, cpu: i64, memory: &str, generation: i64) {
    let patch = json!({"metadata": {"generation": generation}, "spec": {"containers": using(cpu, memory)}});
    cluster.api.change("pods", "n", name, patch);
}

#[tokio::test]
async fn a_resize_that_does_not_fit_waits_for_room() {
    let cluster = Cluster::new();
    let first = cluster.start();
    let whole = quantity::milli(&first.node.allocatable["cpu"]);
    runs(&cluster, "a", whole / 4).await;
    runs(&cluster, "b", whole / 2).await;
    resize(&cluster, "a", whole * 3 / 4, "64Mi", 2);
    let deferred = |pod: &Value| condition(pod, "PodResizePending")["reason"] == "Deferred";
    let pod = cluster.until("a", deferred).await;
    let told = condition(&pod, "PodResizePending");
    let why = format!(
        "Node didn't have enough resource: cpu, requested: {}, used: {}, capacity: {whole}",
        whole * 3 / 4,
        whole / 2
    );
    assert_eq!((&told["status"], &told["message"]), (&json!("True"), &json!(why)));
    assert_eq!((&told["observedGeneration"], &pod["status"]["observedGeneration"]), (&json!(2), &json!(2)));
    assert_eq!(cpu(&pod), Some(format!("{}m", whole / 4).as_str()));
    cluster.api.event("ResizeDeferred: Pod resize Deferred: {").await;
    // It is still known what the pod has, and what it asks for.
    drop(first);
    let _second = cluster.start();
    resize(&cluster, "a", whole * 3 / 4, "64Mi", 3);
    let pod = cluster.until("a", |pod| condition(pod, "PodResizePending")["observedGeneration"] == 3).await;
    assert_eq!(cpu(&pod), Some(format!("{}m", whole / 4).as_str()));
    cluster.api.change("pods", "n", "b", json!({"metadata": {"deletionTimestamp": "2026-11-21T08:00:30Z"}}));
    let given = format!("{}m", whole * 3 / 4);
    let pod = cluster.until("a", |pod| status(pod)["resources"]["requests"]["cpu"] == given.as_str()).await;
    assert_eq!(cpu(&pod), Some(given.as_str()));
    let calm =
        |pod: &Value| condition(pod, "PodResizePending").is_null() && condition(pod, "PodResizeInProgress").is_null();
    cluster.until("a", calm).await;
    cluster.api.event("ResizeStarted: Pod resize started: {").await;
    cluster.api.event("ResizeCompleted: Pod resize completed: {").await;
}

#[tokio::test]
async fn what_the_node_never_has_is_infeasible_and_can_be_taken_back() {
    let cluster = Cluster::new();
    let agent = cluster.start();
    let whole = quantity::milli(&agent.node.allocatable["cpu"]);
    runs(&cluster, "a", 100).await;
    resize(&cluster, "a", whole + 1, "64Mi", 2);
    let infeasible = |pod: &Value| condition(pod, "PodResizePending")["reason"] == "Infeasible";
    let pod = cluster.until("a", infeasible).await;
    let why = format!("Node didn't have enough capacity: cpu, requested: {}, capacity: {whole}", whole + 1);
    assert_eq!(condition(&pod, "PodResizePending")["message"], why);
    cluster.api.event("ResizeInfeasible: Pod resize Infeasible: {").await;
    resize(&cluster, "a", 100, "64Mi", 3);
    cluster.until("a", |pod| condition(pod, "PodResizePending").is_null()).await;
    assert_eq!(cluster.runtime.done(), ["create c-0"]);
}

#[tokio::test]
async fn memory_in_use_is_not_taken_away() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    runs(&cluster, "a", 100).await;
    cluster.runtime.use_memory(48 << 20);
    resize(&cluster, "a", 100, "32Mi", 2);
    let failed = |pod: &Value| condition(pod, "PodResizeInProgress")["reason"] == "Error";
    let pod = cluster.until("a", failed).await;
    let why = r#"attempting to set container "c" memory limit (33554432) below current usage (50331648)"#;
    assert_eq!(condition(&pod, "PodResizeInProgress")["message"], why);
    assert_eq!(status(&pod)["resources"]["limits"]["memory"], "64Mi");
    cluster.api.event("ResizeError: Pod resize error: {").await;
    resize(&cluster, "a", 100, "56Mi", 3);
    let pod = cluster.until("a", |pod| condition(pod, "PodResizeInProgress").is_null()).await;
    assert_eq!(status(&pod)["resources"]["limits"]["memory"], "56Mi");
}

#[tokio::test]
async fn a_volume_of_the_downward_api_follows_a_resize() {
    let cluster = Cluster::new();
    let agent = cluster.start();
    let reference = json!({"containerName": "c", "resource": "limits.memory"});
    let volume = json!({"name": "d", "downwardAPI": {"items": [{"path": "limit", "resourceFieldRef": reference}]}});
    cluster.pod("p", json!({"containers": using(10, "64Mi"), "volumes": [volume]}));
    let pod = cluster.until("p", running).await;
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let folder = cluster.state_dir.path().join("pods").join(uid).join("volumes/kubernetes.io~downward-api/d");
    let limit = || std::fs::read_to_string(folder.join("limit")).unwrap_or_default();
    assert_eq!(limit(), (64 << 20).to_string());
    resize(&cluster, "p", 10, "80Mi", 2);
    agent.until("the file tells the new limit", || limit() == (80 << 20).to_string()).await;
}

#[tokio::test]
async fn more_of_everything_with_a_restart_is_had_by_the_pod_before_its_container() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    let spec = |cpu: &str, memory: &str| {
        let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
        let resources = json!({"limits": {"cpu": cpu, "memory": memory}});
        json!({"containers": [{"name": "c", "image": "web:1", "resources": resources, "resizePolicy": policy}]})
    };
    cluster.pod("p", spec("200m", "100Mi"));
    cluster.until("p", running).await;
    let patch = json!({"metadata": {"generation": 2}, "spec": spec("250m", "150Mi")});
    cluster.api.change("pods", "n", "p", patch);
    let pod = cluster.until("p", |pod| running(pod) && status(pod)["restartCount"] == 1).await;
    assert_eq!(status(&pod)["resources"]["limits"], json!({"cpu": "250m", "memory": "150Mi"}));
    assert_eq!(cluster.runtime.spec("c-1").resources.cpu_quota_us, Some(25_000));
}
