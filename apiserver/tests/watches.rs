//! The watch protocol: where a stream begins, what it tells of a selection, and how it ends.
#![allow(clippy::unwrap_used)]

mod client;

use client::Server;
use serde_json::{Value, json};

fn told(events: &[Value]) -> Vec<(&str, &str)> {
    events
        .iter()
        .map(|event| {
            let name = event.pointer("/object/metadata/name").and_then(Value::as_str).unwrap_or("");
            (event["type"].as_str().unwrap(), name)
        })
        .collect()
}

async fn with_label(server: &Server, name: &str, color: &str) -> u64 {
    let object = json!({"metadata": {"name": name, "labels": {"color": color}}});
    let answer = server.on("ConfigMap", "default").create(&object).await;
    assert_eq!(answer.code, 201);
    answer.revision()
}

#[tokio::test]
async fn a_selection_is_entered_and_left() {
    let server = Server::start().await;
    let start = with_label(&server, "a", "red").await;
    let maps = || server.on("ConfigMap", "default");
    let paint = |color: &str| json!({"metadata": {"labels": {"color": color}}});
    maps().name("a").merge(&paint("blue")).await.expect(200);
    let left = maps().name("a").get().await.revision();
    maps().name("a").merge(&json!({"data": {"k": "v"}})).await.expect(200);
    maps().name("a").merge(&paint("red")).await.expect(200);
    maps().name("a").merge(&json!({"data": {"k": "w"}})).await.expect(200);
    maps().name("a").delete(&Value::Null).await.expect(200);
    let red = maps().query("labelSelector", "color=red").query("resourceVersion", &start.to_string());
    let events = red.watch(4).await;
    assert_eq!(told(&events), [("DELETED", "a"), ("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]);
    // What leaves is shown as it was inside, under the revision of the change.
    assert_eq!(events[0].pointer("/object/metadata/labels/color").unwrap(), "red");
    assert_eq!(events[0].pointer("/object/metadata/resourceVersion").unwrap(), &json!(left.to_string()));
}

#[tokio::test]
async fn the_present_state_comes_first_and_its_end_is_marked() {
    let server = Server::start().await;
    with_label(&server, "a", "red").await;
    with_label(&server, "b", "red").await;
    let maps = || server.on("ConfigMap", "default");
    let stream = maps()
        .query("sendInitialEvents", "true")
        .query("resourceVersionMatch", "NotOlderThan")
        .query("allowWatchBookmarks", "true");
    let events = stream.watch(3).await;
    assert_eq!(told(&events), [("ADDED", "a"), ("ADDED", "b"), ("BOOKMARK", "")]);
    let mark = &events[2]["object"];
    assert_eq!(mark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let at: u64 = mark["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    assert_eq!(at, server.core.log.revision());
    // The old way: no parameter says so, and nothing marks the end.
    with_label(&server, "c", "blue").await;
    assert_eq!(told(&maps().watch(3).await), [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]);
    let resumed = maps().query("resourceVersion", &at.to_string()).watch(1).await;
    assert_eq!(told(&resumed), [("ADDED", "c")]);
}

#[tokio::test]
async fn one_object_is_watched_by_its_path() {
    let server = Server::start().await;
    let start = with_label(&server, "a", "red").await;
    with_label(&server, "b", "red").await;
    server.on("ConfigMap", "default").name("a").delete(&Value::Null).await.expect(200);
    let one = server.on("ConfigMap", "default").name("a").query("resourceVersion", &(start - 1).to_string());
    assert_eq!(told(&one.watch(2).await), [("ADDED", "a"), ("DELETED", "a")]);
}

#[tokio::test]
async fn a_watch_from_a_forgotten_revision_is_told_so_in_the_stream() {
    let server = Server::start().await;
    let start = with_label(&server, "a", "red").await;
    with_label(&server, "b", "red").await;
    server.forget_history().await;
    let events = server.on("ConfigMap", "default").query("resourceVersion", &start.to_string()).watch(2).await;
    assert_eq!(events.len(), 1, "the stream ends after the error: {events:?}");
    assert_eq!((&events[0]["type"], &events[0]["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(events[0]["object"]["reason"], "Expired");
}

#[tokio::test]
async fn a_stream_ends_in_time_with_a_bookmark_to_go_on_from() {
    let server = Server::start().await;
    let start = with_label(&server, "a", "red").await;
    let stream = server
        .on("ConfigMap", "default")
        .query("resourceVersion", &start.to_string())
        .query("allowWatchBookmarks", "true")
        .query("timeoutSeconds", "1");
    let events = stream.watch(2).await;
    assert_eq!(told(&events), [("BOOKMARK", "")]);
    assert_eq!(events[0]["object"]["metadata"]["resourceVersion"], json!(start.to_string()));
}

#[tokio::test]
async fn tables_describe_their_columns_once() {
    let server = Server::start().await;
    let start = with_label(&server, "a", "red").await - 1;
    with_label(&server, "b", "red").await;
    let stream = server.on("ConfigMap", "default").query("resourceVersion", &start.to_string());
    let events = stream.accept("application/json;as=Table;v=v1;g=meta.k8s.io").watch(2).await;
    assert_eq!(events[0]["object"]["columnDefinitions"][0]["name"], "Name");
    assert_eq!(events[1]["object"]["columnDefinitions"], Value::Null);
    assert_eq!(events[1]["object"]["rows"][0]["cells"][0], "b");
}
