//! Addresses of Services: what tells of them, and where they come from.
#![allow(clippy::unwrap_used)]
mod client;

use serde_json::{Value, json};

use client::{Answer, Server};

const ADDRESSES: &str = "networking.k8s.io/IPAddress";
const RANGES: &str = "networking.k8s.io/ServiceCIDR";

async fn create(server: &Server, name: &str, spec: Value) -> Answer {
    let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    service["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    server.on("Service", "default").create(&service).await
}

/// A range that its controller has taken into use.
async fn range(server: &Server, name: &str, block: &str) {
    let object = json!({"metadata": {"name": name}, "spec": {"cidrs": [block]}});
    server.on(RANGES, "").create(&object).await.expect(201);
    let ready = json!({"type": "Ready", "status": "True", "reason": "", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    server.on(RANGES, "").name(name).sub("status").merge(&json!({"status": {"conditions": [ready]}})).await.expect(200);
}

async fn told(server: &Server) -> Vec<String> {
    let list = server.on(ADDRESSES, "").list().await.expect(200);
    list["items"].as_array().unwrap().iter().map(|one| one["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn address(service: &Value) -> String {
    service["spec"]["clusterIP"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_address_is_told_for_as_long_as_it_is_held() {
    let server = Server::start().await;
    let made = create(&server, "web", json!({})).await.expect(201);
    let held = server.on(ADDRESSES, "").name(&address(&made)).get().await.expect(200);
    let parent = json!({"namespace": "default", "name": "web", "resource": "services"});
    assert_eq!(held["spec"]["parentRef"], parent);
    let labels = json!({"ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
    assert_eq!(held["metadata"]["labels"], labels);
    assert!(!held["metadata"]["uid"].as_str().unwrap().is_empty());
    create(&server, "headless", json!({"clusterIP": "None"})).await.expect(201);
    create(&server, "fixed", json!({"clusterIP": "10.96.0.77"})).await.expect(201);
    assert_eq!(told(&server).await.len(), 2);

    let external =
        json!({"spec": {"type": "ExternalName", "externalName": "a.b", "clusterIP": null, "clusterIPs": null}});
    server.on("Service", "default").name("web").merge(&external).await.expect(200);
    assert_eq!(told(&server).await, ["10.96.0.77"]);
    server.on("Service", "default").name("fixed").query("dryRun", "All").delete(&Value::Null).await.expect(200);
    assert_eq!(told(&server).await, ["10.96.0.77"]);
    server.on("Service", "default").name("fixed").delete(&Value::Null).await.expect(200);
    assert_eq!(told(&server).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_others_say_they_hold_is_not_given_out() {
    let server = Server::start_with(|config| config.service_cidr = "10.9.0.0/30".parse().unwrap()).await;
    let parent =
        json!({"group": "gateway.networking.k8s.io", "resource": "gateways", "namespace": "default", "name": "g"});
    let reserved = json!({"metadata": {"name": "10.9.0.1"}, "spec": {"parentRef": parent}});
    server.on(ADDRESSES, "").create(&reserved).await.expect(201);
    let refused = create(&server, "a", json!({"clusterIP": "10.9.0.1"})).await.expect(422);
    let why = "failed to allocate IP 10.9.0.1: provided IP is already allocated";
    assert!(refused["message"].as_str().unwrap().ends_with(why), "{refused}");
    assert_eq!(address(&create(&server, "a", json!({})).await.expect(201)), "10.9.0.2");
    assert_eq!(create(&server, "b", json!({})).await.code, 500, "the range is full");
    server.on(ADDRESSES, "").name("10.9.0.1").delete(&Value::Null).await.expect(200);
    assert_eq!(address(&create(&server, "b", json!({})).await.expect(201)), "10.9.0.1");

    // A record that somebody removed: the address is held all the same.
    server.on(ADDRESSES, "").name("10.9.0.2").delete(&Value::Null).await.expect(200);
    assert_eq!(create(&server, "c", json!({"clusterIP": "10.9.0.2"})).await.code, 422);
    server.on("Service", "default").name("a").delete(&Value::Null).await.expect(200);
    assert_eq!(address(&create(&server, "c", json!({"clusterIP": "10.9.0.2"})).await.expect(201)), "10.9.0.2");
}

#[tokio::test]
async fn further_ranges_are_used_once_they_are_ready_and_until_they_go() {
    let server = Server::start().await;
    range(&server, "kubernetes", "10.9.0.0/30").await;
    for name in ["a", "b"] {
        assert!(address(&create(&server, name, json!({})).await.expect(201)).starts_with("10.9.0."));
    }
    let more =
        json!({"metadata": {"name": "more", "finalizers": ["example.com/in-use"]}, "spec": {"cidrs": ["10.9.1.0/29"]}});
    server.on(RANGES, "").create(&more).await.expect(201);
    assert_eq!(create(&server, "c", json!({})).await.code, 500, "it is not ready yet");
    assert_eq!(create(&server, "c", json!({"clusterIP": "10.9.1.3"})).await.code, 422);
    let ready = json!({"type": "Ready", "status": "True", "reason": "", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    server
        .on(RANGES, "")
        .name("more")
        .sub("status")
        .merge(&json!({"status": {"conditions": [ready]}}))
        .await
        .expect(200);
    assert_eq!(address(&create(&server, "c", json!({"clusterIP": "10.9.1.3"})).await.expect(201)), "10.9.1.3");
    assert!(address(&create(&server, "d", json!({})).await.expect(201)).starts_with("10.9.1."));
    server.on(RANGES, "").name("more").delete(&Value::Null).await.expect(200);
    assert_eq!(create(&server, "e", json!({})).await.code, 500, "it is about to go");
}
