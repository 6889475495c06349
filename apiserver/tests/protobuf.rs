//! Protobuf in both directions: bodies, answers of every verb, lists, streams; and who has none.
#![allow(clippy::unwrap_used)]
mod client;

use std::time::Duration;

use http::header;
use http_body_util::BodyExt as _;
use kontiki_kinds::KINDS;
use kontiki_schema::{Source, builtin};
use serde_json::{Value, json};

use client::{Call, Server};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const METADATA: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";
const DEADLINE: Duration = Duration::from_secs(20);

/// An answer in protobuf, and what it says.
async fn told(call: Call<'_>, verb: &'static str) -> (u16, Value) {
    let response = call.respond(verb).await;
    let code = response.status().as_u16();
    assert_eq!(response.headers()[header::CONTENT_TYPE], PROTOBUF);
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, builtin().decode_protobuf(&bytes).unwrap().value)
}

fn written(object: &Value) -> Vec<u8> {
    builtin().encode_protobuf(&Source::of(object)).unwrap()
}

/// As the JSON of the object is, whatever order its members came in.
fn canonical(mut object: Value) -> Value {
    let text = |name: &str| object[name].as_str().unwrap().to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let id = builtin().lookup_gvk(group, version, &kind).or_else(|| builtin().lookup(&format!("meta.v1.{kind}")));
    builtin().canonical(id.unwrap(), &mut object);
    object
}

#[tokio::test]
async fn every_verb_answers_in_protobuf_what_it_answers_in_json() {
    let server = Server::start().await;
    let on = || server.on("Pod", "default");
    let pod = json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {"containers": [{
            "name": "c", "image": "i", "resources": {"limits": {"cpu": "100m"}},
            "livenessProbe": {"httpGet": {"port": "http"}},
        }]},
    });
    let call = on().accept(PROTOBUF).header(header::CONTENT_TYPE, PROTOBUF).bytes(written(&pod));
    let (code, made) = told(call, "create").await;
    assert_eq!((code, &made["metadata"]["name"]), (201, &json!("p")));
    let plain = on().name("p").get().await.expect(200);
    assert_eq!(canonical(made.clone()), plain);

    let (code, got) = told(on().name("p").accept(PROTOBUF), "get").await;
    assert_eq!((code, canonical(got)), (200, plain));
    let mut changed = made;
    changed["metadata"]["labels"]["a"] = "c".into();
    let call = on().name("p").accept(PROTOBUF).header(header::CONTENT_TYPE, PROTOBUF).bytes(written(&changed));
    let (code, updated) = told(call, "update").await;
    assert_eq!((code, &updated["metadata"]["labels"]["a"]), (200, &json!("c")));
    let call = on().name("p").accept(PROTOBUF).text(r#"{"metadata":{"labels":{"a":null}}}"#);
    let call = call.header(header::CONTENT_TYPE, "application/strategic-merge-patch+json");
    let (_, patched) = told(call, "patch").await;
    assert_eq!(patched["metadata"].get("labels"), None);

    let call = on().name("p").sub("status").accept(PROTOBUF).text(r#"{"status":{"phase":"Running"}}"#);
    let (_, patched) = told(call.header(header::CONTENT_TYPE, "application/merge-patch+json"), "patch").await;
    assert_eq!(patched["status"]["phase"], "Running");
    let eviction = json!({"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "p"}});
    let call = on().name("p").sub("eviction").accept(PROTOBUF).header(header::CONTENT_TYPE, PROTOBUF);
    let (code, evicted) = told(call.bytes(written(&eviction)), "create").await;
    assert_eq!((code, &evicted["status"]), (201, &json!("Success")));

    let (code, status) = told(on().name("none").accept(PROTOBUF), "get").await;
    assert_eq!((code, &status["reason"], &status["code"]), (404, &json!("NotFound"), &json!(404)));
    assert_eq!(status["details"], json!({"name": "none", "kind": "pods"}));
}

#[tokio::test]
async fn options_of_a_delete_are_read() {
    let server = Server::start().await;
    let on = || server.on("ConfigMap", "default").name("c");
    server.on("ConfigMap", "default").create(&json!({"metadata": {"name": "c"}})).await.expect(201);
    let options =
        |uid: &str| written(&json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}));
    let call = on().accept(PROTOBUF).header(header::CONTENT_TYPE, PROTOBUF).bytes(options("other"));
    assert_eq!(told(call, "delete").await.0, 409);
    let uid = on().get().await.expect(200)["metadata"]["uid"].as_str().unwrap().to_owned();
    let call = on().accept(PROTOBUF).header(header::CONTENT_TYPE, PROTOBUF).bytes(options(&uid));
    let (code, status) = told(call, "delete").await;
    assert_eq!((code, &status["kind"], &status["details"]["uid"]), (200, &json!("Status"), &json!(uid)));
}

#[tokio::test]
async fn lists_of_every_kind() {
    let server = Server::start().await;
    for kind in KINDS.iter().filter(|kind| kind.verbs.contains(&"list")) {
        let namespace = if kind.namespaced { "default" } else { "" };
        let on = || server.about(*kind, namespace);
        let plain = on().list().await.expect(200);
        let (code, list) = told(on().accept(PROTOBUF), "list").await;
        assert_eq!((code, canonical(list)), (200, canonical(plain)), "{}", kind.resource);
        let plain = on().accept("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").list().await;
        let (_, list) = told(on().accept(METADATA_LIST), "list").await;
        assert_eq!(list["kind"], "PartialObjectMetadataList");
        let bare = |mut list: Value| {
            list["items"].as_array_mut().into_iter().flatten().for_each(|item| {
                item.as_object_mut().unwrap().retain(|name, _| name == "metadata");
            });
            canonical(list)
        };
        assert_eq!(bare(list), bare(plain.expect(200)), "{}", kind.resource);
    }
}

#[tokio::test]
async fn pages_of_a_list_in_protobuf() {
    let server = Server::start().await;
    let on = || server.on("ConfigMap", "default");
    for name in ["a", "b", "c"] {
        on().create(&json!({"metadata": {"name": name}})).await.expect(201);
    }
    let (_, first) = told(on().accept(PROTOBUF).query("limit", "2"), "list").await;
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (_, rest) = told(on().accept(PROTOBUF).query("continue", token), "list").await;
    assert_eq!(rest["items"][0]["metadata"]["name"], "c");
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
}

/// Frames of a stream, each an event and its object.
async fn frames(call: Call<'_>, count: usize) -> Vec<(String, Value)> {
    let response = call.respond("watch").await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], STREAM);
    let (mut body, mut bytes, mut out) = (response.into_body(), Vec::new(), Vec::new());
    while out.len() < count {
        let frame = tokio::time::timeout(DEADLINE, body.frame()).await.expect("an event in time");
        let Some(frame) = frame else { break };
        bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
        while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some((event, rest)) = rest.split_at_checked(length) else { break };
            // The event is no object of its own; in an envelope it is read as one.
            let meta = b"\x0a\x10\x0a\x02v1\x12\x0aWatchEvent";
            let mut envelope = [b"k8s\0", &meta[..], &[0x12]].concat();
            let mut left = event.len();
            while left >= 0x80 {
                envelope.push(left as u8 | 0x80);
                left >>= 7;
            }
            envelope.push(left as u8);
            envelope.extend_from_slice(event);
            let event = builtin().decode_protobuf(&envelope).unwrap().value;
            out.push((event["type"].as_str().unwrap().to_owned(), event["object"].clone()));
            bytes = rest.to_vec();
        }
    }
    out
}

#[tokio::test]
async fn streams() {
    let server = Server::start().await;
    let on = || server.on("ConfigMap", "default");
    let made = on().create(&json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await.expect(201);
    let call = on().accept(STREAM).query("sendInitialEvents", "true").query("resourceVersionMatch", "NotOlderThan");
    let told = frames(call.query("allowWatchBookmarks", "true"), 2).await;
    assert_eq!((told[0].0.as_str(), &canonical(told[0].1.clone())), ("ADDED", &made));
    assert_eq!(told[1].0, "BOOKMARK");
    assert_eq!(told[1].1["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");

    let told = frames(on().accept(METADATA), 1).await;
    assert_eq!(told[0].1["kind"], "PartialObjectMetadata");
    assert_eq!(told[0].1["metadata"]["uid"], made["metadata"]["uid"]);

    let told = frames(on().accept(PROTOBUF).query("resourceVersion", "999999"), 0).await;
    assert_eq!(told, []);
    server.forget_history().await;
    let told = frames(on().accept(PROTOBUF).query("resourceVersion", "1"), 1).await;
    assert_eq!((told[0].0.as_str(), &told[0].1["code"]), ("ERROR", &json!(410)));
}

/// Custom objects have no protobuf form, but what is told of all objects alike has.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_custom_objects() {
    let server = Server::start().await;
    let definition = json!({
        "metadata": {"name": "foos.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
                    "properties": {"replicas": {"type": "integer"}}}, "status": {"type": "object",
                    "properties": {"replicas": {"type": "integer"}}}}}},
                "subresources": {"scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
            }],
        },
    });
    server.on("apiextensions.k8s.io/CustomResourceDefinition", "").create(&definition).await.expect(201);
    let kind = server.core.kinds().by_resource("example.com", "v1", "foos").unwrap();
    let on = || server.about(kind.clone(), "default");
    let foo = json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a", "labels": {"a": "b"}}, "spec": {"replicas": 1}});
    let made = on().create(&foo).await.expect(201);
    let metadata = |told: &Value| (told["metadata"]["uid"].clone(), told["metadata"]["labels"].clone());

    let (code, one) = told(on().name("a").accept(METADATA), "get").await;
    assert_eq!((code, &one["kind"], metadata(&one)), (200, &json!("PartialObjectMetadata"), metadata(&made)));
    let (code, list) = told(on().accept(METADATA_LIST), "list").await;
    assert_eq!(
        (code, &list["kind"], metadata(&list["items"][0])),
        (200, &json!("PartialObjectMetadataList"), metadata(&made))
    );
    let watch = on().accept(METADATA).query("sendInitialEvents", "true").query("resourceVersionMatch", "NotOlderThan");
    let events = frames(watch.query("allowWatchBookmarks", "true"), 2).await;
    assert_eq!((events[0].0.as_str(), metadata(&events[0].1)), ("ADDED", metadata(&made)));
    assert_eq!((events[1].0.as_str(), &events[1].1["kind"]), ("BOOKMARK", &json!("PartialObjectMetadata")));

    // As client-go asks that prefers protobuf: what has no such form comes in JSON.
    let either = "application/vnd.kubernetes.protobuf,application/json";
    assert_eq!(on().name("a").accept(either).get().await.expect(200)["kind"], "Foo");
    assert_eq!(on().name("a").sub("scale").accept(either).get().await.expect(200)["kind"], "Scale");
    let scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "a", "namespace": "default"}, "spec": {"replicas": 3}});
    let call = on().name("a").sub("scale").header(header::CONTENT_TYPE, PROTOBUF).bytes(written(&scale));
    assert_eq!(call.send("update").await.expect(200)["spec"]["replicas"], 3);
    for call in [on().name("a"), on().name("a").sub("scale")] {
        let (code, refused) = told(call.accept(PROTOBUF), "get").await;
        let message = "only the following media types are accepted: application/json, application/yaml, \
                       application/vnd.kubernetes.protobuf";
        assert_eq!((code, &refused["message"]), (406, &json!(message)));
    }
}

#[tokio::test]
async fn what_has_no_protobuf_form_is_refused() {
    let server = Server::start().await;
    let on = || server.on("ConfigMap", "default");
    let table = on().accept("application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1").list().await;
    let message = "only the following media types are accepted: application/json, application/yaml, \
                   application/vnd.kubernetes.protobuf";
    assert_eq!((table.code, table.at("/message")), (406, &json!(message)));
    let streamed = on().accept("application/yaml").send("watch").await;
    let message = "only the following media types are accepted: application/json;stream=watch, \
                   application/vnd.kubernetes.protobuf;stream=watch";
    assert_eq!(streamed.code, 406);
    assert!(streamed.body.to_string().contains(message), "{streamed:?}");
}

#[tokio::test]
async fn bodies_that_are_no_protobuf_are_refused_in_kubernetes_words() {
    let server = Server::start().await;
    let send = |bytes: &[u8]| {
        server.on("ConfigMap", "default").header(header::CONTENT_TYPE, PROTOBUF).bytes(bytes.to_vec()).send("create")
    };
    let unrecognized = "the object provided is unrecognized (must be of type ConfigMap): ";
    let cases: [(&[u8], &str); 3] = [
        (b"k8s\0\xff\xff", "unexpected EOF (6b387300ffff)"),
        (b"{}", "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({})"),
        (b"", "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] (<empty>)"),
    ];
    for (bytes, expected) in cases {
        let refused = send(bytes).await;
        assert_eq!((refused.code, refused.at("/message")), (400, &json!(format!("{unrecognized}{expected}"))));
    }
    let other = send(&written(&json!({"kind": "Secret", "apiVersion": "v1"}))).await;
    let message = "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion";
    assert_eq!((other.code, other.at("/message")), (400, &json!(message)));
}
