//! Debugging containers, as `kubectl debug` brings them to a pod that runs.

use serde_json::{Value, json};

use super::{Cluster, running};

fn ephemeral(pod: &Value) -> &Value {
    &pod["status"]["ephemeralContainerStatuses"][0]
}

fn runs(pod: &Value) -> bool {
    ephemeral(pod)["state"]["running"].is_object()
}

/// A pod that runs, with a debugging container that asks for `target`'s processes.
async fn debugged(cluster: &Cluster, target: &str) {
    cluster.pod("p", json!({"containers": [{"name": "c", "image": "web:1"}]}));
    cluster.until("p", running).await;
    let debugger = json!({"name": "d", "image": "web:1", "targetContainerName": target,
        "envFrom": [{"configMapRef": {"name": "m"}}]});
    cluster.api.change("pods", "n", "p", json!({"spec": {"ephemeralContainers": [debugger]}}));
}

#[tokio::test]
async fn it_joins_its_target_and_outlives_the_agent() {
    let cluster = Cluster::new();
    let first = cluster.start();
    debugged(&cluster, "c").await;
    cluster.api.event("Failed: Error: configmap \"m\" not found").await;
    cluster.api.create("configmaps", json!({"metadata": {"name": "m", "namespace": "n"}, "data": {"A": "1"}}));
    let before = cluster.until("p", runs).await;
    let spec = cluster.runtime.spec("d-0");
    assert_eq!(spec.process_namespace_of.as_deref(), Some("c-0"));
    assert!(spec.env.contains(&("A".into(), "1".into())));
    assert_eq!(ephemeral(&before)["ready"], false);
    drop(first);
    let _second = cluster.start();
    cluster.api.change("pods", "n", "p", json!({"metadata": {"generation": 7}}));
    let after = cluster.until("p", |pod| pod["status"]["observedGeneration"] == 7).await;
    assert_eq!(ephemeral(&after), ephemeral(&before));
    cluster.runtime.exit("d-0", 3);
    let ended = cluster.until("p", |pod| ephemeral(pod)["state"]["terminated"]["exitCode"] == 3).await;
    assert!(running(&ended), "the pod does not care");
    assert_eq!(cluster.runtime.done(), ["create c-0", "create d-0"]);
}

#[tokio::test]
async fn a_target_that_does_not_run_is_told() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    cluster.api.create("configmaps", json!({"metadata": {"name": "m", "namespace": "n"}, "data": {}}));
    debugged(&cluster, "other").await;
    let waits = |pod: &Value| ephemeral(pod)["state"]["waiting"]["reason"] == "CreateContainerConfigError";
    let pod = cluster.until("p", waits).await;
    assert_eq!(ephemeral(&pod)["state"]["waiting"]["message"], "unable to find target container other");
}

#[tokio::test]
async fn it_ends_with_its_pod() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    cluster.api.create("configmaps", json!({"metadata": {"name": "m", "namespace": "n"}, "data": {}}));
    debugged(&cluster, "c").await;
    cluster.until("p", runs).await;
    cluster.api.change("pods", "n", "p", json!({"metadata": {"deletionTimestamp": "2026-11-21T08:00:30Z"}}));
    cluster.until("p", Value::is_null).await;
    assert!(cluster.runtime.done().contains(&"signal d-0 15".to_owned()));
}
