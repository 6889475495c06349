//! Server-side apply and who says what, as clients see them.
#![allow(clippy::unwrap_used)]

mod client;

use client::{Answer, Call, Server};
use serde_json::{Value, json};

const APPLY: &str = "application/apply-patch+yaml";

fn call<'a>(server: &'a Server, kind: &str, name: &str, manager: &str) -> Call<'a> {
    let call = server.on(kind, "default").name(name);
    if manager.is_empty() { call } else { call.query("fieldManager", manager) }
}

async fn apply(server: &Server, manager: &str, config: Value) -> Answer {
    let (kind, name) = (config["kind"].as_str().unwrap(), config["metadata"]["name"].as_str().unwrap());
    call(server, kind, name, manager).patch(APPLY, &config).await
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

/// `manager operation/subresource fieldsV1` of every entry.
fn says(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let told = |entry: &Value| {
        let text = |member: &str| entry[member].as_str().unwrap_or_default();
        let below = if text("subresource").is_empty() { String::new() } else { format!("/{}", text("subresource")) };
        format!("{} {}{below} {}", text("manager"), text("operation"), entry["fieldsV1"])
    };
    entries.iter().map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_that_are_none_are_refused() {
    let server = Server::start().await;
    apply(&server, "m1", map(json!({"x": "1"}))).await.expect(201);
    let refused = |manager: &'static str, body: &'static str| {
        let call = call(&server, "ConfigMap", "a", manager).header(http::header::CONTENT_TYPE, APPLY).text(body);
        async move {
            let answer = call.send("patch").await;
            (answer.code, answer.at("/message").as_str().unwrap_or_default().to_owned())
        }
    };
    let table: Vec<(&'static str, &'static str, u16, &str)> = vec![
        (
            "",
            "{}",
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ),
        ("m", "{", 400, "error decoding YAML: error converting YAML to JSON: yaml: "),
        ("m", "data: {}", 400, "invalid object type: /, Kind="),
        ("m", "{apiVersion: v1, kind: Secret}", 400, "invalid object type: /v1, Kind=Secret"),
        ("m", "{apiVersion: apps/v1, kind: ConfigMap}", 400, "invalid object type: apps/v1, Kind=ConfigMap"),
        (
            "m",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}",
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            "m",
            "{apiVersion: v1, kind: ConfigMap, metadata: {managedFields: []}}",
            400,
            "metadata.managedFields must be nil",
        ),
        (
            "m",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: 1}}",
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .data.x: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (
            "m",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, nonsense: 1}",
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .nonsense: field not declared in schema",
        ),
    ];
    for (manager, body, code, message) in table {
        let (told, text) = refused(manager, body).await;
        assert_eq!((told, text.get(..message.len())), (code, Some(message)), "{body}: {text}");
    }
    let forced = call(&server, "ConfigMap", "a", "").query("force", "true").merge(&json!({})).await;
    assert_eq!(forced.at("/details/causes/0/field"), "force");
    let cbor = call(&server, "ConfigMap", "a", "m").patch("application/apply-patch+cbor", &json!({})).await;
    assert_eq!(cbor.code, 415);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_given_twice_are_warned_of_or_refused() {
    let server = Server::start().await;
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: \"1\"\n  x: \"2\"\n";
    let send = |validation: &'static str| {
        let call = call(&server, "ConfigMap", "a", "m").query("fieldValidation", validation);
        call.header(http::header::CONTENT_TYPE, APPLY).text(body).send("patch")
    };
    let strict = send("Strict").await;
    assert_eq!(strict.code, 400);
    let warned = send("Warn").await;
    assert_eq!(warned.warnings, ["299 - \"line 7: key \\\"x\\\" already set in map\""]);
    assert_eq!(warned.expect(201)["data"], json!({"x": "2"}));
    assert!(send("Ignore").await.warnings.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_not_there_is_created_by_who_may_create() {
    let server = Server::start().await;
    let dry = call(&server, "ConfigMap", "a", "m").query("dryRun", "All").patch(APPLY, &map(json!({"x": "1"}))).await;
    let dry = dry.expect(201);
    assert_eq!((says(&dry).len(), &dry["metadata"]["resourceVersion"]), (1, &Value::Null));
    call(&server, "ConfigMap", "a", "").get().await.expect(404);
    let mut with_uid = map(json!({}));
    with_uid["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555".into();
    let refused = apply(&server, "m", with_uid).await.expect(409);
    assert_eq!(
        refused["message"],
        "Operation cannot be fulfilled on configmaps \"a\": uid mismatch: the provided object specified uid \
         11111111-2222-3333-4444-555555555555, and no existing object was found"
    );
    let stranger = call(&server, "ConfigMap", "a", "m").stranger().patch(APPLY, &map(json!({"x": "1"}))).await;
    assert_eq!(stranger.expect(403)["reason"], "Forbidden");
    apply(&server, "m", map(json!({"x": "1"}))).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sort_of_write_says_what_it_changes() {
    let server = Server::start().await;
    let object = map(json!({"x": "1", "y": "1"}));
    let created = server.on("ConfigMap", "default").query("fieldManager", "creator").create(&object).await.expect(201);
    assert_eq!(says(&created), [r#"creator Update {"f:data":{".":{},"f:x":{},"f:y":{}}}"#]);
    let put = call(&server, "ConfigMap", "a", "putter").update(&map(json!({"x": "2", "y": "1"}))).await.expect(200);
    let expected = [r#"creator Update {"f:data":{".":{},"f:y":{}}}"#, r#"putter Update {"f:data":{"f:x":{}}}"#];
    assert_eq!(says(&put), expected);
    // Nothing changes, so nothing is written, and the times stay.
    let same = call(&server, "ConfigMap", "a", "other").update(&put).await.expect(200);
    assert_eq!(same, put);
    let same = call(&server, "ConfigMap", "a", "putter").merge(&json!({"data": {"x": "2"}})).await.expect(200);
    assert_eq!(same, put);
    let got = call(&server, "ConfigMap", "a", "").get().await.expect(200);
    assert_eq!(got, put);
    // Clients that do not know the member keep it, and clients that know it may edit it.
    let renamed = json!([{"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "renamed"}]);
    let renamed = call(&server, "ConfigMap", "a", "").patch("application/json-patch+json", &renamed).await.expect(200);
    assert_eq!(says(&renamed), [expected[1], r#"renamed Update {"f:data":{".":{},"f:y":{}}}"#]);
    let emptied = json!([{"op": "replace", "path": "/metadata/managedFields", "value": []}]);
    let emptied = call(&server, "ConfigMap", "a", "").patch("application/json-patch+json", &emptied).await.expect(200);
    assert_eq!(emptied, renamed);
    let broken = json!({"metadata": {"managedFields": [{"manager": "x", "operation": "Nonsense"}]}});
    assert_eq!(call(&server, "ConfigMap", "a", "").merge(&broken).await.expect(200), renamed);
    let reset = json!({"metadata": {"managedFields": [{}]}});
    let reset = call(&server, "ConfigMap", "a", "").merge(&reset).await.expect(200);
    assert!(says(&reset).is_empty());
    let later = call(&server, "ConfigMap", "a", "late").merge(&json!({"data": {"z": "1"}})).await.expect(200);
    assert!(says(&later).is_empty());
    let applied = apply(&server, "m", map(json!({"z": "1"}))).await.expect(200);
    let before = r#"before-first-apply Update {"f:data":{".":{},"f:x":{},"f:y":{},"f:z":{}}}"#;
    assert_eq!(says(&applied), [r#"m Apply {"f:data":{"f:z":{}}}"#, before]);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_scale_are_said_for_themselves() {
    let server = Server::start().await;
    let template = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let config = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "1"}}, "template": template}, "status": {"replicas": 7},
    });
    let one = |manager: &str| call(&server, "apps/Deployment", "d", manager);
    let created = one("m1").patch(APPLY, &config).await.expect(201);
    assert_eq!(created["status"], json!({}));
    assert!(!says(&created)[0].contains("f:status"));
    let status =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "status": {"replicas": 1}});
    let applied = one("m2").sub("status").patch(APPLY, &status).await.expect(200);
    assert_eq!(applied["status"]["replicas"], 1);
    assert_eq!(says(&applied)[1], r#"m2 Apply/status {"f:status":{"f:replicas":{}}}"#);
    one("m2").sub("status").name("absent").patch(APPLY, &status).await.expect(404);
    let conflict = one("m3")
        .sub("status")
        .patch(
            APPLY,
            &json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "status": {"replicas": 2}}),
        )
        .await;
    let message = "Apply failed with 1 conflict: conflict with \"m2\" with subresource \"status\": .status.replicas";
    assert_eq!(conflict.expect(409)["message"], message);
    let scaled = one("scaler").sub("scale").merge(&json!({"spec": {"replicas": 2}})).await.expect(200);
    assert_eq!(scaled["metadata"]["managedFields"], Value::Null);
    let now = one("").get().await.expect(200);
    assert_eq!(says(&now)[2], r#"scaler Update/scale {"f:spec":{"f:replicas":{}}}"#);
    assert!(!says(&now)[0].contains("f:replicas"));
    let scale =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 3}});
    let refused = one("m4").sub("scale").patch(APPLY, &scale).await.expect(409);
    assert_eq!(
        refused["message"],
        "Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using autoscaling/v1: .spec.replicas"
    );
    let forced = one("m4").query("force", "true").sub("scale").patch(APPLY, &scale).await.expect(200);
    assert_eq!(forced["spec"]["replicas"], 3);
    let now = one("").get().await.expect(200);
    assert!(says(&now).contains(&r#"m4 Apply/scale {"f:spec":{"f:replicas":{}}}"#.to_owned()), "{:?}", says(&now));
    assert!(!says(&now).iter().any(|entry| entry.starts_with("scaler")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_edits_are_nobodys() {
    let server = Server::start().await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}]}});
    let created = server.on("Pod", "default").query("fieldManager", "m").create(&pod).await.expect(201);
    let before = says(&created);
    assert!(!before[0].contains("f:tolerations") && !before[0].contains("f:status"), "{before:?}");
    assert!(before[0].contains(r#""f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{}"#), "{before:?}");
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    server.on("Pod", "default").name("p").sub("binding").create(&binding).await.expect(201);
    let bound = call(&server, "Pod", "p", "").get().await.expect(200);
    assert_eq!((bound["spec"]["nodeName"].as_str(), says(&bound)), (Some("n"), before.clone()));
    let deleted = call(&server, "Pod", "p", "").delete(&json!({})).await.expect(200);
    assert_eq!(says(&deleted), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uid_is_no_precondition_of_a_configuration() {
    let server = Server::start().await;
    apply(&server, "m", map(json!({"x": "1"}))).await.expect(201);
    let mut other = map(json!({"x": "2"}));
    other["metadata"]["uid"] = "zzz".into();
    let refused = apply(&server, "m", other).await;
    assert_eq!((refused.code, refused.at("/details/causes/0/field")), (422, &json!("metadata.uid")));
}
