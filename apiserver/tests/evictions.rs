//! Evictions ask the disruption budgets, and what they cost is written with them.
#![allow(clippy::unwrap_used)]

mod client;

use client::Server;
use serde_json::{Value, json};

async fn running(server: &Server, name: &str) {
    let pod = json!({
        "metadata": {"name": name, "labels": {"app": "a"}},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "example.local/app:1"}]},
    });
    server.on("Pod", "default").create(&pod).await.expect(201);
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    server.on("Pod", "default").name(name).sub("status").merge(&status).await.expect(200);
}

async fn evict(server: &Server, name: &str) -> client::Answer {
    let eviction = json!({"metadata": {"name": name}});
    server.on("Pod", "default").name(name).sub("eviction").create(&eviction).await
}

#[tokio::test]
async fn a_budget_is_charged_once_for_each_eviction() {
    let server = Server::start().await;
    let budget = || server.on("policy/PodDisruptionBudget", "default").name("b");
    for name in ["p1", "p2"] {
        running(&server, name).await;
    }
    let object =
        json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}});
    server.on("policy/PodDisruptionBudget", "default").create(&object).await.expect(201);
    let unobserved = evict(&server, "p1").await;
    assert_eq!((unobserved.code, unobserved.at("/details/retryAfterSeconds")), (429, &json!(10)));
    let status = json!({"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2});
    budget().sub("status").merge(&json!({"status": status})).await.expect(200);
    let dry = json!({"metadata": {"name": "p1"}, "deleteOptions": {"dryRun": ["All"]}});
    server.on("Pod", "default").name("p1").sub("eviction").create(&dry).await.expect(201);
    assert_eq!(budget().get().await.at("/status/disruptionsAllowed"), 1);

    assert_eq!(evict(&server, "p1").await.code, 201);
    let pod = server.on("Pod", "default").name("p1").get().await;
    let condition =
        pod.at("/status/conditions").as_array().unwrap().iter().find(|one| one["type"] == "DisruptionTarget");
    assert_eq!(condition.unwrap()["reason"], "EvictionByEvictionAPI");
    let charged = budget().get().await;
    assert_eq!(charged.at("/status/disruptionsAllowed"), 0);
    assert_ne!(charged.at("/status/disruptedPods/p1"), &Value::Null);
    assert_eq!(charged.at("/metadata/generation"), 1);

    let refused = evict(&server, "p2").await;
    assert_eq!((refused.code, refused.at("/reason")), (429, &json!("TooManyRequests")));
    let cause = json!({"reason": "DisruptionBudget", "message": "The disruption budget b needs 1 healthy pods and has 2 currently"});
    assert_eq!(refused.at("/details/causes/0"), &cause);
    assert_eq!(server.on("Pod", "default").name("p2").get().await.at("/metadata/deletionTimestamp"), &Value::Null);
    // What is going already costs nothing more.
    assert_eq!(evict(&server, "p1").await.code, 201);
}

#[tokio::test]
async fn two_budgets_are_one_too_many() {
    let server = Server::start().await;
    running(&server, "p").await;
    for name in ["b", "c"] {
        let object = json!({"metadata": {"name": name}, "spec": {"minAvailable": 0, "selector": {}}});
        server.on("policy/PodDisruptionBudget", "default").create(&object).await.expect(201);
    }
    assert_eq!(evict(&server, "p").await.code, 500);
}

#[tokio::test]
async fn dependents_of_old_workloads_stay_by_default() {
    let server = Server::start().await;
    let jobs = || server.on("batch/Job", "default");
    let template =
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "example.local/app:1"}]}});
    let job = json!({"metadata": {"name": "j"}, "spec": {"template": template}});
    jobs().create(&job).await.expect(201);
    let deleted = jobs().name("j").delete(&Value::Null).await;
    assert_eq!(deleted.at("/metadata/finalizers"), &json!(["orphan"]));
    assert!(deleted.warnings[0].contains("child pods are preserved by default"), "{:?}", deleted.warnings);
    jobs().name("j").merge(&json!({"metadata": {"finalizers": null}})).await.expect(200);
    jobs().create(&job).await.expect(201);
    let deleted = jobs().name("j").delete(&json!({"propagationPolicy": "Background"})).await;
    assert_eq!((deleted.at("/status"), deleted.warnings.len()), (&json!("Success"), 0));
}

#[tokio::test]
async fn a_phase_is_stamped_with_the_time_of_its_change() {
    let server = Server::start().await;
    let volume = json!({"metadata": {"name": "v"}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/d"},
    }});
    let created = server.on("PersistentVolume", "").create(&volume).await.expect(201);
    assert_eq!(created["status"]["lastPhaseTransitionTime"], created["metadata"]["creationTimestamp"]);
    let status = || server.on("PersistentVolume", "").name("v").sub("status");
    let old = json!({"status": {"lastPhaseTransitionTime": "2020-01-01T00:00:00Z"}});
    let told = status().merge(&old).await.expect(200);
    assert_eq!(told["status"]["lastPhaseTransitionTime"], "2020-01-01T00:00:00Z");
    let bound = status().merge(&json!({"status": {"phase": "Bound"}})).await.expect(200);
    assert_ne!(bound["status"]["lastPhaseTransitionTime"], "2020-01-01T00:00:00Z");
}
