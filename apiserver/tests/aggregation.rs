//! APIs that other servers have: an extension server of the test's own on loopback, and what passes between the two.
#![allow(clippy::unwrap_used)]

mod extension;
mod wire;

use std::time::Duration;

use bytes::Bytes;
use extension::{Extension, GROUP};
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::Instant,
};
use wire::{Answer, Client, Running};

const DEADLINE: Duration = Duration::from_secs(20);
const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const NAME: &str = "v1beta1.metrics.example.com";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Asks until the answer is as it should be.
async fn until(client: &mut Client, path: &str, accept: &str, right: impl Fn(&Answer) -> bool) -> Answer {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let answer = client.get_with(path, "accept", accept).await;
        if right(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{path}: {}", answer.text());
        tokio::task::yield_now().await;
    }
}

fn condition(service: &Value) -> (String, String) {
    let condition = &service["status"]["conditions"][0];
    let text = |member: &str| condition[member].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

async fn available(client: &mut Client, status: &str, reason: &str) -> Value {
    let wanted = (status.to_owned(), reason.to_owned());
    let path = format!("{SERVICES}/{NAME}");
    until(client, &path, "application/json", |answer| condition(&answer.json()) == wanted).await.json()
}

/// Gives the group to a Service that is another name for this machine's loopback.
async fn register(client: &mut Client, extension: &Extension) {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "metrics"},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": extension.port}]},
    });
    assert_eq!(client.post("/api/v1/namespaces/default/services", &service).await.status, 201);
    let api = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": NAME},
        "spec": {
            "group": GROUP, "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 10,
            "caBundle": extension.bundle(),
            "service": {"namespace": "default", "name": "metrics", "port": extension.port},
        },
    });
    let made = client.post(SERVICES, &api).await;
    assert_eq!(made.status, 201, "{}", made.text());
}

async fn start() -> (Running, Extension, Client) {
    start_with(Extension::start().await).await
}

async fn start_with(extension: Extension) -> (Running, Extension, Client) {
    let server = Running::start().await;
    let mut admin = server.admin().await;
    register(&mut admin, &extension).await;
    available(&mut admin, "True", "Passed").await;
    let path = format!("/apis/{GROUP}/v1beta1/nodes");
    until(&mut admin, &path, "application/json", |answer| answer.status == 200).await;
    (server, extension, admin)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_passed_on_in_the_name_of_who_asks() {
    let (server, _extension, mut admin) = start().await;
    let token = admin.service_account("robot").await;
    let path = format!("/apis/{GROUP}/v1beta1/namespaces/default/echoes/x%20y?a=b%2Fc");
    let mut robot = server.bearer(&token).await;
    assert_eq!(robot.get(&path).await.status, 403, "who may not is not passed on");
    let rule = json!({"apiGroups": [GROUP], "resources": ["*"], "verbs": ["*"]});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "all"}, "rules": [rule]});
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "all"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "robot"}],
    });
    for (resource, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        let made = admin.post(&format!("/apis/rbac.authorization.k8s.io/v1/{resource}"), &object).await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    let told = robot.get_with(&path, "x-remote-group", "system:masters").await.json();
    assert_eq!(told["target"], path);
    assert_eq!(told["certificate"], "front-proxy-client");
    assert_eq!(told["headers"]["x-remote-user"], json!(["system:serviceaccount:default:robot"]));
    let groups = json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]);
    assert_eq!(told["headers"]["x-remote-group"], groups);
    assert_eq!(told["headers"]["authorization"], Value::Null);
    assert!(told["headers"]["x-remote-uid"][0].is_string());
    let told = robot.get_with(&path, "x-forwarded-for", "192.0.2.9").await.json();
    assert_eq!(told["headers"]["x-forwarded-for"], json!(["192.0.2.9, 127.0.0.1"]));
    assert_eq!(told["headers"]["x-forwarded-proto"], json!(["https"]));
    assert_eq!(told["headers"]["x-forwarded-host"], told["headers"]["host"]);
    assert_eq!(told["headers"]["x-forwarded-uri"], json!([path.split('?').next().unwrap()]));
    let sent = robot.call(Method::POST, &path, "{\"n\":1}").await.json();
    assert_eq!((&sent["method"], &sent["body"]), (&json!("POST"), &json!("{\"n\":1}")));
    let away = admin.get(&format!("/apis/{GROUP}/v1beta1/away")).await;
    assert_eq!(away.status, 502, "the other server does not send clients elsewhere");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_used_again_and_their_end_is_noticed() {
    let (server, extension, mut admin) = start().await;
    let path = format!("/apis/{GROUP}/v1beta1/echoes/a");
    let mut seen = std::collections::HashSet::new();
    let deadline = Instant::now() + DEADLINE;
    loop {
        let told = admin.call(Method::POST, &path, "{}").await.json();
        if !seen.insert(told["peer"].as_str().unwrap().to_owned()) {
            break;
        }
        assert!(Instant::now() < deadline, "each request has a connection of its own: {seen:?}");
    }
    extension.cut();
    for _ in 0..20 {
        assert_eq!(admin.get(&path).await.status, 200, "a request meets the end of a connection");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_and_openapi_tell_of_the_other_server() {
    let (server, extension, mut admin) = start().await;
    let group = |list: &Value| {
        let groups = list["items"].as_array().cloned().unwrap_or_default();
        groups
            .iter()
            .position(|one| one["metadata"]["name"] == GROUP)
            .map(|index| (index, groups[index].clone(), groups.len()))
    };
    let current =
        |answer: &Answer| group(&answer.json()).is_some_and(|(_, one, _)| one["versions"][0]["freshness"] == "Current");
    let told = until(&mut admin, "/apis", AGGREGATED, current).await;
    let (index, found, count) = group(&told.json()).unwrap();
    assert_eq!(index, count - 1, "its priority is the lowest");
    assert_eq!(found["versions"][0]["resources"][0]["resource"], "nodes");
    let tag = told.headers[header::ETAG].clone();
    let groups = admin.get("/apis").await.json();
    let last = groups["groups"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["preferredVersion"]["groupVersion"], format!("{GROUP}/v1beta1"));
    assert_eq!(admin.get(&format!("/apis/{GROUP}")).await.json()["name"], GROUP);
    assert_eq!(admin.get(&format!("/apis/{GROUP}/v1beta1")).await.json()["resources"][0]["name"], "nodes");

    let name = format!("apis/{GROUP}/v1beta1");
    let has = |answer: &Answer| answer.json()["paths"].get(&name).is_some();
    let index = until(&mut admin, "/openapi/v3", "application/json", has).await.json();
    let place = index["paths"][&name]["serverRelativeURL"].as_str().unwrap().to_owned();
    assert_eq!(admin.get(&place).await.json()["info"]["title"], "metrics");
    let path = format!("/apis/{GROUP}/v1beta1/nodes");
    let v2 = until(&mut admin, "/openapi/v2", "application/json", |answer| answer.json()["paths"].get(&path).is_some())
        .await;
    assert!(v2.json()["definitions"].get("com.example.NodeMetrics").is_some());
    assert_eq!(
        admin
            .get_with("/openapi/v2", "accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
            .await
            .status,
        200
    );

    extension.stop();
    let (status, reason) = condition(&available(&mut admin, "False", "FailedDiscoveryCheck").await);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "FailedDiscoveryCheck"));
    let gone = until(&mut admin, &path, "application/json", |answer| answer.status == 503).await;
    assert_eq!(gone.text(), "service unavailable\n");
    let stale =
        |answer: &Answer| group(&answer.json()).is_some_and(|(_, one, _)| one["versions"][0]["freshness"] == "Stale");
    let told = until(&mut admin, "/apis", AGGREGATED, stale).await;
    assert_ne!(told.headers[header::ETAG], tag);
    assert_eq!(admin.call(Method::DELETE, &format!("{SERVICES}/{NAME}"), "").await.status, 200);
    until(&mut admin, &format!("/apis/{GROUP}"), "application/json", |answer| answer.status == 404).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_knows_only_openapi_v2_is_explained_in_v3_all_the_same() {
    let (server, _extension, mut admin) = start_with(Extension::start_without_v3().await).await;
    let name = format!("apis/{GROUP}/v1beta1");
    let has = |answer: &Answer| answer.json()["paths"].get(&name).is_some();
    let index = until(&mut admin, "/openapi/v3", "application/json", has).await.json();
    let place = index["paths"][&name]["serverRelativeURL"].as_str().unwrap().to_owned();
    assert!(place.starts_with(&format!("/openapi/v3/{name}?hash=")), "{place}");
    let document = admin.get(&place).await.json();
    let schema = json!({"$ref": "#/components/schemas/com.example.NodeMetrics"});
    let answer = &document["paths"][format!("/{name}/nodes")]["get"]["responses"]["200"];
    assert_eq!(answer["content"]["application/json"]["schema"], schema);
    let usage = &document["components"]["schemas"]["com.example.NodeMetrics"]["properties"]["usage"];
    assert_eq!(usage, &json!({"type": "string"}));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_stream_and_upgrades_pass() {
    let (server, _extension, mut admin) = start().await;
    let request =
        Request::get(format!("/apis/{GROUP}/v1beta1/nodes?watch=true")).body(Full::new(Bytes::new())).unwrap();
    let mut watch = admin.send(request).await.into_body();
    let mut bytes = Vec::new();
    // The stream has no end: what has happened comes all the same.
    while serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>().filter_map(Result::ok).count() < 3 {
        let frame = tokio::time::timeout(DEADLINE, watch.frame()).await.unwrap().unwrap().unwrap();
        bytes.extend_from_slice(frame.data_ref().unwrap());
    }
    let mut other = server.admin().await;
    let upgrade = |path: &str| {
        let request = Request::get(format!("/apis/{GROUP}/v1beta1/{path}"));
        let request = request.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "echo");
        request.body(Full::new(Bytes::new())).unwrap()
    };
    let mut response = other.send(upgrade("tunnel")).await;
    assert_eq!(response.status(), 101);
    let mut tunnel = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    tunnel.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    tunnel.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"ping");
    // Whoever is refused a switch stays with this server: the next request on the connection is judged here.
    let mut refused = server.client(None).await;
    assert_eq!(refused.send(upgrade("tunnel")).await.status(), 403);
    let mut third = server.admin().await;
    let response = wire::read(third.send(upgrade("nodes")).await).await;
    assert_eq!(response.status, 200);
    assert_eq!(third.get("/version").await.json()["minor"], "36");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_group_version_has_its_api_service() {
    let server = Running::start().await;
    let mut admin = server.admin().await;
    let local = admin.get(&format!("{SERVICES}/v1.apps")).await.json();
    assert_eq!(condition(&local), ("True".to_owned(), "Local".to_owned()));
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"}, "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]},
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(admin.post(definitions, &definition).await.status, 201);
    let path = format!("{SERVICES}/v1.example.com");
    let made = until(&mut admin, &path, "application/json", |answer| answer.status == 200).await.json();
    assert_eq!(made["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "true");
    assert_eq!((&made["spec"]["groupPriorityMinimum"], &made["spec"]["versionPriority"]), (&json!(1000), &json!(100)));
    assert_eq!(condition(&made), ("True".to_owned(), "Local".to_owned()));
    assert_eq!(admin.call(Method::DELETE, &format!("{definitions}/widgets.example.com"), "").await.status, 200);
    until(&mut admin, &path, "application/json", |answer| answer.status == 404).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_server_is_told_whom_to_believe_and_asks_here_who_may() {
    let server = Running::start().await;
    let mut admin = server.admin().await;
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let told = until(&mut admin, path, "application/json", |answer| answer.status == 200).await.json();
    let pki = &server.api.core().pki;
    assert!(told["data"]["client-ca-file"].as_str().unwrap().contains(pki.ca_pem().trim()));
    assert!(told["data"]["requestheader-client-ca-file"].as_str().unwrap().contains(pki.front_proxy_ca_pem().trim()));
    assert_ne!(pki.ca_pem(), pki.front_proxy_ca_pem());
    assert_eq!(told["data"]["requestheader-allowed-names"], "[\"front-proxy-client\"]");

    let token = admin.service_account("metrics").await;
    let mut metrics = server.bearer(&token).await;
    assert_eq!(metrics.get(path).await.status, 403);
    let subjects = json!([{"kind": "ServiceAccount", "namespace": "default", "name": "metrics"}]);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    for (place, kind, role) in [
        ("/namespaces/kube-system/rolebindings", "Role", "extension-apiserver-authentication-reader"),
        ("/clusterrolebindings", "ClusterRole", "system:auth-delegator"),
    ] {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{}Binding", if kind == "Role" { "Role" } else { "ClusterRole" }),
            "metadata": {"name": "metrics"}, "subjects": subjects,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        });
        let made = admin.post(&format!("{rbac}{place}"), &binding).await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    assert_eq!(metrics.get(path).await.status, 200);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let review = metrics.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.json();
    assert_eq!(review["status"]["user"]["username"], "system:serviceaccount:default:metrics");
    let attributes = json!({"group": GROUP, "resource": "nodes", "verb": "list"});
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": "jane", "resourceAttributes": attributes}});
    let review = metrics.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await.json();
    assert_eq!(review["status"]["allowed"], false);
    server.stop().await;
}
