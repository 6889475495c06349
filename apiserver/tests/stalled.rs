//! Watches that share one HTTP/2 connection: those that are not read cost the others nothing, and the server no memory.
#![allow(clippy::unwrap_used)]
mod wire;

use std::{collections::BTreeMap, fs, time::Duration};

use bytes::{Buf as _, Bytes};
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use wire::{Running, read};

const STALLED: usize = 60;
const WRITES: usize = 400;
const BODY_BYTES: usize = 64 * 1024;
/// What a client lets a server send on one stream, and on all of them, before it has read anything.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;
/// What all watches may cost while nobody reads them: their windows on both sides, and what the log itself keeps of the writes.
/// Whoever queued the events instead would need sixty times what was written, 1.5 GiB.
const GROWTH_BYTES_MAX: u64 = 512 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than an answer may lie there, and than a connection may be idle.
const ENDING_PATIENCE: Duration = Duration::from_secs(150);

/// Lines of a watch, one after the other.
struct Watch {
    body: Incoming,
    read: bytes::BytesMut,
}

impl Watch {
    async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(end);
                self.read.advance(1);
                return serde_json::from_slice(&line).unwrap();
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("an event in time");
            self.read.extend_from_slice(&frame.unwrap().unwrap().into_data().unwrap());
        }
    }
}

async fn connect(server: &Running) -> SendRequest<Full<Bytes>> {
    connect_with(server, STREAM_WINDOW).await.0
}

/// Also what becomes of the connection.
async fn connect_with(
    server: &Running,
    stream_window: u32,
) -> (SendRequest<Full<Bytes>>, JoinHandle<Result<(), hyper::Error>>) {
    let stream = server.connect(Some(&server.api.core().pki.admin().unwrap()), "h2").await;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(stream_window).initial_connection_window_size(CONNECTION_WINDOW);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(connection))
}

async fn get(sender: &mut SendRequest<Full<Bytes>>, server: &Running, path: &str) -> Response<Incoming> {
    let uri = format!("https://{}{path}", server.api.local_address());
    sender.ready().await.unwrap();
    sender.send_request(Request::get(uri).body(Full::new(Bytes::new())).unwrap()).await.unwrap()
}

async fn watch(sender: &mut SendRequest<Full<Bytes>>, server: &Running, since: &str) -> Watch {
    let query = format!("watch=true&resourceVersion={since}&allowWatchBookmarks=false");
    let response = get(sender, server, &format!("/api/v1/namespaces/default/configmaps?{query}")).await;
    assert_eq!(response.status(), 200);
    Watch { body: response.into_body(), read: bytes::BytesMut::new() }
}

/// Memory of this process that no file backs.
fn anonymous_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_read_stalls_nobody_else_on_the_connection() {
    let server = Running::start().await;
    let mut sender = connect(&server).await;
    let list = server.admin().await.get("/api/v1/namespaces/default/configmaps").await.json();
    let since = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(watch(&mut sender, &server, &since).await);
    }
    let mut reader = watch(&mut sender, &server, &since).await;
    let before = anonymous_bytes();

    let mut revisions = BTreeMap::new();
    for number in 0..WRITES {
        let name = format!("map-{number}");
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                         "data": {"k": "x".repeat(BODY_BYTES)}});
        let uri = format!("https://{}/api/v1/namespaces/default/configmaps", server.api.local_address());
        let request = Request::post(uri).header(header::CONTENT_TYPE, "application/json");
        sender.ready().await.unwrap();
        let made = sender.send_request(request.body(Full::new(map.to_string().into())).unwrap()).await.unwrap();
        let made = read(made).await;
        assert_eq!(made.status, 201, "on the connection of the watches");
        let told = reader.next().await;
        assert_eq!((&told["type"], &told["object"]["metadata"]["name"]), (&json!("ADDED"), &json!(name)));
        assert_eq!(told["object"]["metadata"]["resourceVersion"], made.json()["metadata"]["resourceVersion"]);
        revisions.insert(number, told["object"]["metadata"]["resourceVersion"].clone());
    }
    let grown = anonymous_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "{STALLED} watches that nobody reads cost {} MiB", grown >> 20);

    // Whoever reads again has missed nothing.
    let mut late = stalled.swap_remove(0);
    drop(stalled);
    for (number, revision) in revisions {
        let told = late.next().await;
        assert_eq!(told["type"], "ADDED", "{number}: {}", told["object"]["message"]);
        assert_eq!(told["object"]["metadata"]["resourceVersion"], revision);
    }
    server.stop().await;
}

/// Takes as long as what it is about: nobody can wait for less.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_end_whose_clients_take_no_answers_or_ask_for_nothing() {
    const ANSWER: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let server = Running::start().await;
    let (mut sender, watching) = connect_with(&server, STREAM_WINDOW).await;
    let _watch = watch(&mut sender, &server, "0").await;
    let (mut greedy, untaken) = connect_with(&server, 1024).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(get(&mut greedy, &server, ANSWER).await);
    }
    let (mut content, idle) = connect_with(&server, STREAM_WINDOW).await;
    assert_eq!(read(get(&mut content, &server, ANSWER).await).await.status, 200);
    let ended = async { tokio::join!(untaken, idle) };
    let (untaken, idle) = tokio::time::timeout(ENDING_PATIENCE, ended).await.expect("both end");
    // Told to go, or cut off: either is an end.
    _ = untaken.unwrap();
    idle.unwrap().expect("in order");
    let broken = held.pop().unwrap().into_body().collect().await;
    assert!(broken.is_err(), "an answer that was cut off is not taken for whole");
    let mut again = connect(&server).await;
    assert_eq!(read(get(&mut again, &server, ANSWER).await).await.status, 200);
    assert!(!watching.is_finished(), "a watch is not idle");
    server.stop().await;
}
