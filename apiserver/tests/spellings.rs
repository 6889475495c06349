//! Kinds with several spellings share one storage: what one writes, all read, list, watch, select, change and delete.
#![allow(clippy::unwrap_used)]

mod client;

use client::Server;
use kontiki_kinds::{Kind, by_gvk};
use serde_json::{Value, json};

fn kind(group: &str, version: &str, kind: &str) -> &'static Kind {
    by_gvk(group, version, kind).unwrap()
}

fn autoscaler(metrics: Value) -> Value {
    json!({
        "metadata": {"name": "h", "annotations": {"mine": "1"}},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "metrics": metrics},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_the_same_in_both_groups() {
    let server = Server::start().await;
    let old = || server.about(kind("", "v1", "Event"), "default");
    let new = || server.about(kind("events.k8s.io", "v1", "Event"), "default");
    let event = json!({
        "metadata": {"name": "e", "labels": {"l": "1"}}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        "reason": "R", "message": "m", "type": "Normal", "source": {"component": "c"}, "count": 2,
    });
    let created = old().create(&event).await;
    assert_eq!(created.code, 201, "{created:?}");
    let spelled = new().name("e").get().await;
    let expected = json!({
        "kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": created.at("/metadata"), "eventTime": null, "reason": "R",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}, "note": "m", "type": "Normal",
        "deprecatedSource": {"component": "c"}, "deprecatedFirstTimestamp": null, "deprecatedLastTimestamp": null,
        "deprecatedCount": 2,
    });
    assert_eq!(spelled.body, expected);
    for (call, selector, count) in [
        (new(), "regarding.name=p", 1),
        (new(), "regarding.name=q", 0),
        (new(), "reportingController=", 1),
        (old(), "involvedObject.name=p", 1),
    ] {
        let listed = call.query("fieldSelector", selector).list().await;
        assert_eq!(listed.at("/items").as_array().unwrap().len(), count, "{selector}");
    }
    assert_eq!(new().query("fieldSelector", "involvedObject.name=p").list().await.code, 400);
    // The shared cache of frames keeps the spellings apart.
    let from = (created.revision() - 1).to_string();
    let events = new().query("resourceVersion", &from).watch(1).await;
    assert_eq!(events, [json!({"type": "ADDED", "object": expected})]);
    let events = old().query("resourceVersion", &from).watch(1).await;
    assert_eq!(events, [json!({"type": "ADDED", "object": created.body})]);
    let patched = new().name("e").merge(&json!({"metadata": {"labels": {"l": "2"}}})).await;
    assert_eq!((patched.code, patched.at("/metadata/labels/l")), (200, &json!("2")));
    assert_eq!(old().name("e").get().await.at("/metadata/labels/l"), "2");
    let refused = new().name("e").merge(&json!({"note": "other"})).await;
    assert_eq!((refused.code, refused.at("/details/causes/0/field")), (422, &json!("message")));
    let deleted = new().name("e").delete(&Value::Null).await;
    assert_eq!(deleted.at("/details/group"), "events.k8s.io");
    assert_eq!(old().name("e").get().await.code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_the_new_group_must_be_complete() {
    let server = Server::start().await;
    let new = server.about(kind("events.k8s.io", "v1", "Event"), "default");
    let event = json!({"metadata": {"name": "e"}, "regarding": {"namespace": "default"}, "deprecatedCount": 1});
    let refused = new.create(&event).await;
    let fields: Vec<_> =
        refused.at("/details/causes").as_array().unwrap().iter().map(|one| one["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["eventTime", "type", "count"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_v1_of_an_autoscaler_cannot_say_is_annotated() {
    let server = Server::start().await;
    let v1 = || server.about(kind("autoscaling", "v1", "HorizontalPodAutoscaler"), "default");
    let v2 = || server.about(kind("autoscaling", "v2", "HorizontalPodAutoscaler"), "default");
    let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 50}}});
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}});
    let created = v2().create(&autoscaler(json!([memory, cpu]))).await;
    assert_eq!(created.code, 201, "{created:?}");
    let spelled = v1().name("h").get().await;
    let annotations = json!({
        "autoscaling.alpha.kubernetes.io/metrics": "[{\"type\":\"Resource\",\"resource\":{\"name\":\"memory\",\"targetAverageUtilization\":50}}]",
        "mine": "1",
    });
    assert_eq!(spelled.at("/metadata/annotations"), &annotations);
    assert_eq!(spelled.at("/spec/targetCPUUtilizationPercentage"), 70);
    assert_eq!(spelled.at("/status"), &json!({"currentReplicas": 0, "desiredReplicas": 0}));
    let metadata = v1().name("h").accept("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").get().await;
    assert_eq!(metadata.at("/metadata/annotations"), &annotations);
    let table = v1().accept("application/json;as=Table;v=v1;g=meta.k8s.io").list().await;
    assert_eq!(table.at("/rows/0/cells/2"), "memory: <unknown>/50%, cpu: <unknown>/70%");
    // A change in the old form leaves the rest alone, and its faults are told in the words of the new one.
    let changed = v1().name("h").merge(&json!({"spec": {"targetCPUUtilizationPercentage": 60}})).await;
    assert_eq!(changed.at("/spec/targetCPUUtilizationPercentage"), 60);
    let metrics = v2().name("h").get().await.at("/spec/metrics").clone();
    assert_eq!(metrics[0], memory);
    assert_eq!(metrics[1]["resource"]["target"]["averageUtilization"], 60);
    let refused = v1().name("h").merge(&json!({"spec": {"targetCPUUtilizationPercentage": 0}})).await;
    assert_eq!(refused.at("/details/causes/0/field"), "spec.metrics[1].resource.target.averageUtilization");
    // What the annotations said goes when they go.
    let plain = json!({"metadata": {"annotations": null}});
    v1().name("h").merge(&plain).await;
    assert_eq!(v2().name("h").get().await.at("/spec/metrics").as_array().unwrap().len(), 1);
    assert_eq!(v1().name("h").delete(&Value::Null).await.code, 200);
    assert_eq!(v2().name("h").get().await.code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_said_it_in_one_spelling_loses_it_in_another() {
    let server = Server::start().await;
    let one = |version: &str, manager: &str| {
        let kind = kind("autoscaling", version, "HorizontalPodAutoscaler");
        server.about(kind, "default").name("h").query("fieldManager", manager)
    };
    let config = |version: &str, spec: Value| {
        json!({
        "apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": spec})
    };
    const APPLY: &str = "application/apply-patch+yaml";
    let target = json!({"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"});
    let old = json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 50, "scaleTargetRef": target});
    one("v1", "m1").patch(APPLY, &config("v1", old)).await.expect(201);
    let cpu = |percent: i64| {
        json!({"metrics": [{"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}]})
    };
    let refused = one("v2", "m2").patch(APPLY, &config("v2", cpu(70))).await.expect(409);
    assert_eq!(refused["details"]["causes"][0]["field"], ".spec.targetCPUUtilizationPercentage");
    let forced = one("v2", "m2").query("force", "true").patch(APPLY, &config("v2", cpu(70))).await.expect(200);
    let says = |name: &str| {
        let entries = forced["metadata"]["managedFields"].as_array().unwrap();
        entries.iter().find(|entry| entry["manager"] == name).cloned().unwrap()
    };
    let theirs = json!({"f:spec": {"f:maxReplicas": {}, "f:scaleTargetRef": {}}});
    assert_eq!((&says("m1")["apiVersion"], &says("m1")["fieldsV1"]), (&json!("autoscaling/v1"), &theirs));
    assert_eq!(says("m2")["fieldsV1"], json!({"f:spec": {"f:metrics": {}}}));
}
