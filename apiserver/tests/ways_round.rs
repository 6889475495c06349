//! Ways round admission and access that were open once: each is tried again.
#![allow(clippy::unwrap_used)]

mod client;
mod hook;
mod wire;

use client::Server;
use hook::{Hook, yes};
use http::Method;
use kontiki_apiserver::{Identity, pki::SERVERS};
use kontiki_model::{Head, Key};
use kontiki_raft::{Command, Mutation};
use serde_json::{Value, json};
use wire::Running;

const MUTATING: &str = "admissionregistration.k8s.io/MutatingWebhookConfiguration";
const VALIDATING: &str = "admissionregistration.k8s.io/ValidatingWebhookConfiguration";

/// A webhook that is asked about some resource of a group.
async fn configure(server: &Server, kind: &str, hook: &Hook, rules: Value) {
    let webhook = json!({
        "name": "a.b.c", "clientConfig": hook.client("/"), "rules": rules, "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    });
    server.on(kind, "").create(&json!({"metadata": {"name": "c"}, "webhooks": [webhook]})).await.expect(201);
}

fn about(group: &str, resource: &str) -> Value {
    json!([{"operations": ["*"], "apiGroups": [group], "apiVersions": ["*"], "resources": [resource]}])
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_enters_a_namespace_that_began_to_end_while_a_webhook_was_asked() {
    let server: &'static Server = Box::leak(Box::new(Server::start().await));
    server.on("Namespace", "").create(&map("n")).await.expect(201);
    let hook = Hook::start_async(move |_, request| {
        Box::pin(async move {
            server.on("Namespace", "").name("n").delete(&Value::Null).await.expect(200);
            yes(&request)
        })
    })
    .await;
    configure(server, MUTATING, &hook, about("", "configmaps")).await;
    let refused = server.on("ConfigMap", "n").create(&map("late")).await.expect(403);
    let why =
        "configmaps \"late\" is forbidden: unable to create new content in namespace n because it is being terminated";
    assert_eq!(refused["message"], why);
    assert_eq!(hook.asked().len(), 1);
    assert_eq!(server.on("ConfigMap", "n").name("late").get().await.code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_without_rules_is_asked_about_nothing() {
    let server = Server::start().await;
    let hook = Hook::agreeable().await;
    configure(&server, VALIDATING, &hook, json!([])).await;
    server.on("ConfigMap", "default").create(&map("a")).await.expect(201);
    assert_eq!(hook.asked(), Vec::<Value>::new());
}

/// Whoever is called as this server is, and no more.
fn namesake() -> Identity {
    Identity { user: Identity::THIS_SERVER.to_owned(), ..Identity::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_exempts_nobody_from_policies_and_webhooks() {
    let server = Server::start().await;
    let rules = json!({"resourceRules": about("", "configmaps")});
    let spec = json!({"matchConstraints": rules, "validations": [{"expression": "false", "message": "no"}]});
    let policies = "admissionregistration.k8s.io/ValidatingAdmissionPolicy";
    server.on(policies, "").create(&json!({"metadata": {"name": "p"}, "spec": spec})).await.expect(201);
    let spec = json!({"policyName": "p", "validationActions": ["Deny"]});
    let bindings = "admissionregistration.k8s.io/ValidatingAdmissionPolicyBinding";
    server.on(bindings, "").create(&json!({"metadata": {"name": "p"}, "spec": spec})).await.expect(201);
    let refused = server.on("ConfigMap", "default").identity(namesake()).create(&map("a")).await.expect(422);
    assert!(refused["message"].as_str().unwrap().ends_with("denied request: no"), "{refused}");

    let hook = Hook::agreeable().await;
    configure(&server, VALIDATING, &hook, about("", "secrets")).await;
    server.on("Secret", "default").identity(namesake()).create(&map("a")).await.expect(201);
    assert_eq!(hook.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_server_becomes_no_member() {
    let server = Running::start().await;
    let mut admin = server.admin().await;
    let wanted = json!({"id": 7, "name": "b", "address": "127.0.0.1:1"});
    let refused = admin.post("/apis/kontiki.dev/v1/members", &wanted).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.message().starts_with("\"b\" is no server that could be a member: "), "{}", refused.message());
    assert_eq!(server.log.members().len(), 1);
    let alone = admin.post("/apis/kontiki.dev/v1/leadership", &json!({})).await;
    assert_eq!(
        (alone.status.as_u16(), alone.message()),
        (409, "this is the only server: no other one could lead".into())
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_server_does_not_add_itself_again() {
    let server = Running::start().await;
    // What `kontiki members remove` leaves behind.
    let key = Key::new("formerservers.kontiki.dev", "", "7");
    let put = Mutation::Put { key, head: Head::default(), body: b"{}".to_vec() };
    server.log.propose(Command { mutations: vec![put], ..Command::default() }).await.unwrap();
    let wanted = json!({"id": 7, "name": "b", "address": "127.0.0.1:1"});
    let mut admin = server.admin().await;
    let request = http::Request::post("/apis/kontiki.dev/v1/members")
        .header("content-type", "application/json")
        .header("impersonate-user", "kontiki:server:b")
        .header("impersonate-group", SERVERS)
        .body(http_body_util::Full::from(wanted.to_string()))
        .unwrap();
    let refused = wire::read(admin.send(request).await).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.message().contains("this server was removed"), "{}", refused.message());
    let members = admin.call(Method::GET, "/apis/kontiki.dev/v1/members?states=false", "").await.json();
    assert_eq!(members["items"].as_array().unwrap().len(), 1);
    server.stop().await;
}
