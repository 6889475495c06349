//! Exec and port-forward over SPDY, as kubectl before 1.31 speaks it and later ones do inside a WebSocket.

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use tokio_util::codec::Framed;

use super::client::Node;
use crate::server::spdy::{Codec, Frame, Headers};

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

struct Client(Framed<Box<dyn Io>, Codec>);

impl Client {
    async fn open(node: &Node, path: &str, protocol: &'static str) -> Client {
        let request = Request::post(path)
            .header(header::HOST, "node")
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "SPDY/3.1")
            .header(HeaderName::from_static("x-stream-protocol-version"), protocol);
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let response = node.request(Some(&node.api_server()), request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()["x-stream-protocol-version"], protocol);
        let upgraded = hyper::upgrade::on(response).await.unwrap();
        Client(Framed::new(Box::new(TokioIo::new(upgraded)), Codec::new()))
    }

    /// As kubectl 1.31 and later forward ports.
    async fn tunnel(node: &Node, path: &str) -> Client {
        let stream = node.connect(Some(&node.api_server())).await.unwrap();
        let mut request = format!("wss://localhost{path}").into_client_request().unwrap();
        let protocol = HeaderValue::from_static("SPDY/3.1+portforward.k8s.io");
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol.clone());
        let (socket, response) = client_async(request, stream).await.unwrap();
        assert_eq!(response.headers()[header::SEC_WEBSOCKET_PROTOCOL], protocol);
        let (ours, theirs) = duplex(1 << 16);
        let (mut sink, mut messages) = socket.split();
        let (mut read, mut write) = tokio::io::split(theirs);
        tokio::spawn(async move {
            // Cut where no frame is.
            let mut buffer = [0; 7];
            while let Ok(length @ 1..) = read.read(&mut buffer).await {
                sink.send(Message::binary(buffer[..length].to_vec())).await.unwrap();
            }
        });
        tokio::spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                write.write_all(&message.into_data()).await.unwrap();
            }
        });
        Client(Framed::new(Box::new(ours), Codec::new()))
    }

    async fn stream(&mut self, stream: u32, headers: &[(&str, &str)]) {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.0.send(Frame::Open { stream, fin: false, headers: Headers(headers) }).await.unwrap();
        assert_eq!(self.0.next().await.unwrap().unwrap(), Frame::Accepted { stream });
    }

    async fn data(&mut self, stream: u32, text: &str, fin: bool) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.0.send(Frame::Data { stream, fin, bytes }).await.unwrap();
    }

    /// What comes on these streams until all of them have ended.
    async fn until_ended(&mut self, streams: &[u32]) -> Vec<String> {
        let mut texts = vec![String::new(); streams.len()];
        let mut open = streams.to_vec();
        while !open.is_empty() {
            let frame = self.0.next().await.unwrap().unwrap();
            let Frame::Data { stream, fin, bytes } = frame else { continue };
            let Some(place) = streams.iter().position(|known| *known == stream) else { continue };
            texts[place].push_str(std::str::from_utf8(&bytes).unwrap());
            if fin {
                open.retain(|known| *known != stream);
            }
        }
        texts
    }
}

#[tokio::test]
async fn a_command_s_streams() {
    let node = Node::start().await;
    let path = "/exec/default/web/app?command=cat&stdin=true&stdout=true&stderr=true";
    let mut client = Client::open(&node, path, "v4.channel.k8s.io").await;
    for (stream, kind) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")] {
        client.stream(stream, &[("streamtype", kind)]).await;
    }
    let text = "0123456789".repeat(1_000);
    client.data(3, &text, false).await;
    client.0.send(Frame::Ping { id: 1 }).await.unwrap();
    client.data(3, "", true).await;
    let success = json!({ "metadata": {}, "status": "Success" }).to_string();
    assert_eq!(client.until_ended(&[1, 5, 7]).await, [success, text, String::new()]);
}

#[tokio::test]
async fn a_terminal_has_a_size() {
    let node = Node::start().await;
    let path = "/exec/default/web/app?command=size&stdin=1&stdout=1&tty=1";
    let mut client = Client::open(&node, path, "v4.channel.k8s.io").await;
    for (stream, kind) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "resize")] {
        client.stream(stream, &[("streamtype", kind)]).await;
    }
    client.data(7, "{\"Width\":80,\"Height\":24}\n", false).await;
    assert_eq!(client.until_ended(&[5]).await, ["24x80"]);
}

async fn forward(mut client: Client) {
    for (error, data, port, number) in [(1, 3, "80", "0"), (5, 7, "81", "1")] {
        client.stream(error, &[("streamtype", "error"), ("port", port), ("requestid", number)]).await;
        client.data(error, "", true).await;
        client.stream(data, &[("streamtype", "data"), ("port", port), ("requestid", number)]).await;
        if port == "81" {
            let refused = "error forwarding port 81 to pod web: connection refused";
            assert_eq!(client.until_ended(&[error, data]).await, [refused, ""]);
        } else {
            let text = "0123456789".repeat(1_000);
            client.data(data, &text, true).await;
            assert_eq!(client.until_ended(&[error, data]).await, ["", text.as_str()]);
        }
    }
}

#[tokio::test]
async fn ports_are_forwarded() {
    let node = Node::start().await;
    forward(Client::open(&node, "/portForward/default/web", "portforward.k8s.io").await).await;
}

#[tokio::test]
async fn ports_are_forwarded_through_a_websocket() {
    let node = Node::start().await;
    forward(Client::tunnel(&node, "/portForward/default/web").await).await;
}
