//! Exec, attach and port-forward by real WebSocket frames over real TLS.

use futures::{SinkExt, StreamExt};
use http::{HeaderValue, header};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

use super::client::Node;

struct Client(WebSocketStream<TlsStream<TcpStream>>);

impl Client {
    async fn open(node: &Node, path: &str, protocol: &'static str) -> Result<Client, Error> {
        let stream = node.connect(Some(&node.api_server())).await.unwrap();
        let mut request = format!("wss://localhost{path}").into_client_request().unwrap();
        if !protocol.is_empty() {
            request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        let (socket, response) = client_async(request, stream).await?;
        let agreed = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
        let agreed = agreed.map_or("", |agreed| agreed.to_str().unwrap());
        assert!(protocol.split(", ").any(|offered| offered == agreed), "{agreed}");
        Ok(Client(socket))
    }

    async fn send(&mut self, channel: u8, text: &str) {
        let message = [&[channel], text.as_bytes()].concat();
        self.0.send(Message::binary(message)).await.unwrap();
    }

    /// Everything up to the server's goodbye: what came on each channel, joined.
    async fn rest(mut self) -> Vec<(u8, String)> {
        let mut channels: Vec<(u8, String)> = Vec::new();
        while let Some(message) = self.0.next().await {
            let Message::Binary(message) = message.unwrap() else { continue };
            let (channel, text) = (message[0], std::str::from_utf8(&message[1..]).unwrap());
            match channels.iter_mut().find(|(known, _)| *known == channel) {
                Some((_, known)) => known.push_str(text),
                None => channels.push((channel, text.to_owned())),
            }
        }
        channels.sort();
        channels
    }

    async fn next(&mut self) -> (u8, Vec<u8>) {
        let message = self.0.next().await.unwrap().unwrap().into_data();
        (message[0], message[1..].to_vec())
    }
}

fn success() -> (u8, String) {
    (3, json!({ "metadata": {}, "status": "Success" }).to_string())
}

const EXEC: &str = "/exec/default/web/app";
const V5: &str = "v5.channel.k8s.io";

#[tokio::test]
async fn a_command_s_streams_are_kept_apart() {
    let node = Node::start().await;
    let client = Client::open(&node, &format!("{EXEC}?command=both&stdout=true&stderr=true"), V5).await.unwrap();
    assert_eq!(client.rest().await, [(1, "to stdout".into()), (2, "to stderr".into()), success()]);
    let client = Client::open(&node, &format!("{EXEC}?command=both&error=1"), "v4.channel.k8s.io").await.unwrap();
    assert_eq!(client.rest().await, [(2, "to stderr".into()), success()], "the kubelet's own name of the parameter");
}

#[tokio::test]
async fn of_the_oldest_protocol_only_failures_are_told() {
    let node = Node::start().await;
    for protocol in ["", "channel.k8s.io"] {
        let client =
            Client::open(&node, &format!("{EXEC}?command=both&stdout=true&stderr=true"), protocol).await.unwrap();
        assert_eq!(client.rest().await, [(1, "to stdout".into()), (2, "to stderr".into())], "{protocol:?}");
        let client = Client::open(&node, &format!("{EXEC}?command=exit&command=3&stdout=1"), protocol).await.unwrap();
        let why = "command terminated with non-zero exit code: error executing command [exit 3], exit code 3";
        assert_eq!(client.rest().await, [(1, String::new()), (3, why.to_owned())], "{protocol:?}");
    }
    let mut client =
        Client::open(&node, &format!("{EXEC}?command=both&stdout=1"), "base64.channel.k8s.io").await.unwrap();
    let mut told = Vec::new();
    while let Some(Ok(message)) = client.0.next().await {
        told.extend(message.is_text().then(|| message.into_text().unwrap().to_string()));
    }
    assert_eq!(told, ["1", "1dG8gc3Rkb3V0"]);
}

#[tokio::test]
async fn input_ends_when_the_client_says_so() {
    let node = Node::start().await;
    let path = format!("{EXEC}?command=cat&stdin=true&stdout=true");
    let mut client = Client::open(&node, &path, "v9.channel.k8s.io, v5.channel.k8s.io").await.unwrap();
    let text = "0123456789".repeat(1_000);
    client.send(0, &text).await;
    client.send(255, "\0").await;
    assert_eq!(client.rest().await, [(1, text), success()]);
}

#[tokio::test]
async fn the_exit_code_is_told() {
    let node = Node::start().await;
    let client = Client::open(&node, &format!("{EXEC}?command=exit&command=3&stdout=1"), V5).await.unwrap();
    let channels = client.rest().await;
    let status: Value = serde_json::from_str(&channels[1].1).unwrap();
    assert_eq!((channels[0].clone(), channels[1].0), ((1, String::new()), 3));
    assert_eq!(status["reason"], "NonZeroExitCode");
    assert_eq!(status["details"]["causes"][0], json!({ "reason": "ExitCode", "message": "3" }));

    let client = Client::open(&node, &format!("{EXEC}?command=nothing&stdout=1"), V5).await.unwrap();
    let status: Value = serde_json::from_str(&client.rest().await[1].1).unwrap();
    let message = r#"Internal error occurred: error executing command in container: exec: "nothing": executable file not found in $PATH"#;
    assert_eq!(status["message"], message);
}

#[tokio::test]
async fn a_terminal_has_a_size() {
    let node = Node::start().await;
    let path = format!("{EXEC}?command=size&stdin=1&stdout=1&tty=1");
    let mut client = Client::open(&node, &path, V5).await.unwrap();
    client.send(4, r#"{"Width":80,"Height":24}"#).await;
    assert_eq!(client.rest().await, [(1, "24x80".into()), success()]);
}

#[tokio::test]
async fn a_container_is_attached_to() {
    let node = Node::start().await;
    let mut client = Client::open(&node, "/attach/default/web/app?stdin=1&stdout=1", V5).await.unwrap();
    client.send(0, "hello").await;
    client.send(255, "\0").await;
    assert_eq!(client.rest().await, [(1, "hello".into()), success()], "its output has ended");
}

#[tokio::test]
async fn ports_are_forwarded() {
    let node = Node::start().await;
    let path = "/portForward/default/web?ports=80,81";
    let mut client = Client::open(&node, path, "v4.channel.k8s.io").await.unwrap();
    client.send(0, "hello").await;
    let mut seen: Vec<(u8, Vec<u8>)> = Vec::new();
    while seen.len() < 6 {
        seen.push(client.next().await);
    }
    seen.sort();
    let refused = b"error forwarding port 81 to pod web: connection refused".to_vec();
    let expected = [
        (0, b"P\0".to_vec()),
        (0, b"hello".to_vec()),
        (1, b"P\0".to_vec()),
        (2, b"Q\0".to_vec()),
        (3, b"Q\0".to_vec()),
        (3, refused),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn streams_are_refused_before_the_protocol_is_switched() {
    let node = Node::start().await;
    let running = "v5.channel.k8s.io";
    let table = [
        (format!("{EXEC}?stdout=1"), running, 400),
        (format!("{EXEC}?command=cat"), running, 400),
        (format!("{EXEC}?command=cat&stdout=1"), "v9.channel.k8s.io", 400),
        ("/exec/default/web/slow?command=cat&stdout=1".to_owned(), running, 500),
        ("/exec/default/web/none?command=cat&stdout=1".to_owned(), running, 404),
        ("/exec/default/none/app?command=cat&stdout=1".to_owned(), running, 404),
        ("/portForward/default/web".to_owned(), "v4.channel.k8s.io", 400),
    ];
    for (path, protocol, expected) in table {
        match Client::open(&node, &path, protocol).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), expected, "{path}"),
            _ => panic!("{path} was not refused"),
        }
    }
    let (code, _, message) = node.refused(http::Method::GET, &format!("{EXEC}?command=cat&stdout=1")).await;
    assert_eq!((code, message.split(':').next().unwrap()), (400, "unable to upgrade"));
}

#[tokio::test]
async fn a_server_that_stops_lets_streams_go() {
    let node = Node::start().await;
    let path = format!("{EXEC}?command=cat&stdin=1&stdout=1");
    let mut client = Client::open(&node, &path, V5).await.unwrap();
    assert_eq!(client.next().await, (1, Vec::new()));
    node.cancel.cancel();
    node.served.await.unwrap();
    assert!(!matches!(client.0.next().await, Some(Ok(_))));
}
