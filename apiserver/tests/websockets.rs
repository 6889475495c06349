//! Watches and logs by real WebSocket frames over real TLS.
#![allow(clippy::unwrap_used)]
mod agent;
mod wire;

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _, stream};
use http::{HeaderMap, Method, Request, Response, header};
use http_body::{Body, Frame};
use http_body_util::{Full, StreamBody};
use hyper::{body::Incoming, service::service_fn};
use kontiki_apiserver::audit::{Policy, Rotation, Settings, Target};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::Notify};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, protocol::frame::coding::CloseCode},
};

use wire::{Client, Running};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEADLINE: Duration = Duration::from_secs(20);
const POLICY: &str = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}";

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

struct Socket {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    headers: HeaderMap,
}

impl Socket {
    async fn open(server: &Running, path: &str, headers: &[(header::HeaderName, &str)]) -> Result<Socket, Error> {
        let stream = server.connect(Some(&server.api.core().pki.admin().unwrap()), "http/1.1").await;
        let mut request = format!("wss://kubernetes{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let (socket, response) = client_async(request, stream).await?;
        Ok(Socket { socket, headers: response.headers().clone() })
    }

    async fn next(&mut self) -> Option<Message> {
        tokio::time::timeout(DEADLINE, self.socket.next()).await.expect("neither a message nor the end")?.ok()
    }

    async fn event(&mut self) -> (String, String) {
        let Some(Message::Text(text)) = self.next().await else { panic!("no event") };
        let event: Value = serde_json::from_str(&text).unwrap();
        let name = event.pointer("/object/metadata/name").and_then(Value::as_str).unwrap_or_default();
        (event["type"].as_str().unwrap().to_owned(), name.to_owned())
    }

    /// Everything up to the server's goodbye, and how it says it.
    async fn rest(mut self) -> (Vec<Message>, CloseCode) {
        let mut all = Vec::new();
        while let Some(message) = self.next().await {
            match message {
                Message::Close(frame) => return (all, frame.unwrap().code),
                message => all.push(message),
            }
        }
        panic!("it ended without goodbye: {all:?}");
    }
}

fn refusal(opened: Result<Socket, Error>) -> (u16, String) {
    let Err(Error::Http(response)) = opened else { panic!("not refused") };
    let status: Value = serde_json::from_slice(response.body().as_deref().unwrap_or_default()).unwrap_or_default();
    (response.status().as_u16(), status["message"].as_str().unwrap_or_default().to_owned())
}

async fn map(admin: &mut Client, name: &str) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    assert_eq!(admin.post(MAPS, &object).await.status, 201);
}

/// Waits until this many watches, tunnels and streams are open, as the server counts them.
async fn long_requests(client: &mut Client, expected: u64) {
    let counted = async {
        loop {
            let text = client.get("/metrics").await.text();
            let values = text.lines().filter(|line| line.starts_with("apiserver_longrunning_requests{"));
            if values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>() == expected {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, counted).await.expect("it counts for as long as it is open");
}

#[test]
fn each_event_of_a_watch_is_a_message() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::File(dir.path().join("audit.log"), Rotation::default());
        let settings = Settings { policy: Policy::read(POLICY).unwrap(), target, reads_every: 1 };
        let server = Running::start_with(dir, "192.0.2.7", |config| config.audit = Some(settings)).await;
        let mut admin = server.admin().await;
        map(&mut admin, "a").await;
        map(&mut admin, "b").await;
        let protocol = [(header::SEC_WEBSOCKET_PROTOCOL, "any.example")];
        let mut socket = Socket::open(&server, &format!("{MAPS}?watch=1"), &protocol).await.unwrap();
        assert_eq!(socket.headers[header::SEC_WEBSOCKET_PROTOCOL], "any.example");
        for name in ["a", "b"] {
            assert_eq!(socket.event().await, ("ADDED".to_owned(), name.to_owned()));
        }
        // What the client says is ignored, but it is told that the server lives.
        socket.socket.send(Message::text("{}")).await.unwrap();
        socket.socket.send(Message::Ping("now".into())).await.unwrap();
        assert_eq!(socket.next().await, Some(Message::Pong("now".into())));
        map(&mut admin, "c").await;
        assert_eq!(socket.event().await, ("ADDED".to_owned(), "c".to_owned()));
        long_requests(&mut admin, 1).await;
        let id = socket.headers["audit-id"].to_str().unwrap().to_owned();
        socket.socket.close(None).await.unwrap();
        long_requests(&mut admin, 0).await;
        assert!(matches!(socket.next().await, Some(Message::Close(_))));
        assert_eq!(socket.next().await, None);
        let dir = server.stop().await;
        let events = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
        let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of_watch: Vec<_> = events.filter(|event| event["auditID"] == *id).collect();
        let told: Vec<_> = of_watch.iter().map(|event| event["stage"].as_str().unwrap()).collect();
        assert_eq!(told, ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
        assert_eq!(of_watch[1]["responseStatus"]["code"], 101);
    });
}

#[test]
fn a_watch_over_a_websocket_ends_as_any_other() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        map(&mut admin, "a").await;
        let path = format!("{MAPS}?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Da");
        let protobuf = [(header::ACCEPT, "application/vnd.kubernetes.protobuf")];
        let (told, code) = Socket::open(&server, &path, &protobuf).await.unwrap().rest().await;
        let [Message::Binary(event)] = &told[..] else { panic!("{told:?}") };
        // The event itself, without a length in front: its first field is the type.
        assert_eq!((&event[..7], code), (b"\x0a\x05ADDED".as_slice(), CloseCode::Normal));

        let unknown = Socket::open(&server, "/api/v1/namespaces/default/chairs?watch=1", &[]).await;
        assert_eq!(refusal(unknown), (404, "the server could not find the requested resource".to_owned()));
        let old = Socket::open(&server, &format!("{MAPS}?watch=1"), &[(header::SEC_WEBSOCKET_VERSION, "8")]).await;
        assert_eq!(refusal(old), (400, "unable to upgrade: Sec-WebSocket-Version must be 13".to_owned()));

        let mut open = Socket::open(&server, &format!("{MAPS}?watch=1"), &[]).await.unwrap();
        assert!(!open.headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL));
        assert_eq!(open.event().await, ("ADDED".to_owned(), "a".to_owned()));
        let (ended, _) = tokio::join!(open.rest(), server.stop());
        assert_eq!(ended, (Vec::new(), CloseCode::Normal));
    });
}

/// An agent's answer: a line, and, once that may be, another and the end.
fn log(
    request: &Request<Incoming>,
    go_on: Arc<Notify>,
) -> Response<impl Body<Data = Bytes, Error = Infallible> + use<>> {
    assert_eq!(request.uri(), "/containerLogs/default/p/c?follow=true");
    assert!(!request.headers().contains_key(header::UPGRADE), "it is asked as ever");
    let second = stream::once(async move {
        go_on.notified().await;
        "two\n"
    });
    let lines = stream::once(async { "one\n" }).chain(second);
    Response::new(StreamBody::new(lines.map(|line| Ok(Frame::data(Bytes::from_static(line.as_bytes()))))))
}

#[test]
fn a_log_is_told_in_the_protocol_that_is_asked_for() {
    run(async {
        let server = Running::start().await;
        let go_on = Arc::new(Notify::new());
        let gate = go_on.clone();
        let answer = service_fn(move |request| std::future::ready(Ok(log(&request, gate.clone()))));
        let port = agent::serve(&server.api.core().pki, "n1", answer).await;
        let mut admin = server.admin().await;
        agent::register(&mut admin, "n1", port).await;
        admin.service_account("default").await;
        let containers = json!([{"name": "c", "image": "i"}]);
        for (name, spec) in [
            ("p", json!({"nodeName": "n1", "containers": containers})),
            ("unscheduled", json!({"containers": containers})),
        ] {
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
            let made = admin.post(PODS, &pod).await;
            assert_eq!(made.status, 201, "{}", made.text());
        }
        let path = format!("{PODS}/p/log?follow=true");
        for (protocol, expected) in [
            (None, [Message::binary(b"one\n".as_slice()), Message::binary(b"two\n".as_slice())]),
            (Some("binary.k8s.io"), [Message::binary(b"one\n".as_slice()), Message::binary(b"two\n".as_slice())]),
            (Some("base64.binary.k8s.io"), [Message::text("b25lCg=="), Message::text("dHdvCg==")]),
        ] {
            let headers: Vec<_> = protocol.iter().map(|protocol| (header::SEC_WEBSOCKET_PROTOCOL, *protocol)).collect();
            let mut socket = Socket::open(&server, &path, &headers).await.unwrap();
            let agreed = socket.headers.get(header::SEC_WEBSOCKET_PROTOCOL).map(|value| value.to_str().unwrap());
            assert_eq!(agreed, protocol);
            assert_eq!(socket.next().await.unwrap(), expected[0], "it comes as it is written");
            go_on.notify_one();
            assert_eq!(socket.rest().await, (vec![expected[1].clone()], CloseCode::Normal));
        }
        let unknown = Socket::open(&server, &path, &[(header::SEC_WEBSOCKET_PROTOCOL, "v4.channel.k8s.io")]).await;
        assert_eq!(refusal(unknown).0, 400);
        let none = Socket::open(&server, &format!("{PODS}/none/log"), &[]).await;
        assert_eq!(refusal(none).0, 404);
        let nothing = Socket::open(&server, &format!("{PODS}/unscheduled/log"), &[]).await;
        assert_eq!(refusal(nothing).0, 204);
        server.stop().await;
    });
}

#[test]
fn whoever_gets_no_streams_is_told_why_as_a_kubelet_would() {
    run(async {
        let server = Running::start().await;
        let answer = service_fn(|request: Request<Incoming>| async move {
            assert_eq!(request.uri().path(), "/exec/default/p/c");
            let status = json!({"kind": "Status", "message": "container not found (\"c\")"}).to_string();
            Ok(Response::builder().status(500).body(Full::new(Bytes::from(status))).unwrap())
        });
        let port = agent::serve(&server.api.core().pki, "n1", answer).await;
        let mut admin = server.admin().await;
        agent::register(&mut admin, "n1", port).await;
        admin.service_account("default").await;
        let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
        assert_eq!(admin.post(PODS, &pod).await.status, 201);
        let path = format!("{PODS}/p/exec?command=sh&stdout=true");

        // In the protocol of today, as Kubernetes' server says it that has agreed already.
        let protocol = [(header::SEC_WEBSOCKET_PROTOCOL, "v5.channel.k8s.io, v4.channel.k8s.io")];
        let socket = Socket::open(&server, &path, &protocol).await.unwrap();
        assert_eq!(socket.headers[header::SEC_WEBSOCKET_PROTOCOL], "v5.channel.k8s.io");
        let (told, _) = socket.rest().await;
        let [Message::Binary(told)] = &told[..] else { panic!("{told:?}") };
        let status: Value = serde_json::from_slice(&told[1..]).unwrap();
        let message = "Internal error occurred: unable to upgrade connection: container not found (\"c\")";
        assert_eq!((told[0], &status["message"], &status["reason"]), (3, &json!(message), &json!("InternalError")));

        let plain = (500, "container not found (\"c\")".to_owned());
        let protocol = [(header::SEC_WEBSOCKET_PROTOCOL, "v4.channel.k8s.io")];
        let Err(Error::Http(older)) = Socket::open(&server, &path, &protocol).await else { panic!("not refused") };
        let said = String::from_utf8(older.body().clone().unwrap_or_default()).unwrap();
        assert_eq!((older.status().as_u16(), said), plain);
        let request = Request::post(&path).header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "SPDY/3.1");
        let spdy = wire::read(admin.send(request.body(Full::default()).unwrap()).await).await;
        assert_eq!((spdy.status.as_u16(), spdy.text()), plain);
        let status = admin.call(Method::POST, &path, "").await.json();
        assert_eq!(status["kind"], "Status", "nobody who asks for no streams expects less: {status}");
        server.stop().await;
    });
}
