//! Kubernetes' streams over one WebSocket: the first byte of each message names its channel. Knows the messages, not
//! what they carry.

use bytes::Bytes;
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

use super::answer::{self, Answer, Problem};

/// Closes the channel named by the next byte (version 5 only).
const CLOSE: u8 = 255;
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// A sub-protocol that both sides know, best first.
pub const COMMAND_PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What came over the socket.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    Data { channel: u8, bytes: Bytes },
    Closed { channel: u8 },
}

/// Agrees to the upgrade; the handler gets the socket once the answer is on its way.
pub fn upgrade<F, W>(request: Request<Incoming>, protocols: &[&'static str], handler: F) -> Result<Answer, Problem>
where
    F: FnOnce(Socket, &'static str) -> W + Send + 'static,
    W: Future<Output = ()> + Send,
{
    let headers = request.headers();
    if !names(headers, header::UPGRADE, "websocket") {
        let asked = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or("none");
        return Err(Problem::bad_request(format!(
            "this node streams over WebSocket only, the client asked for {asked:?}: use kubectl 1.31 or later"
        )));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or_else(|| Problem::bad_request("no Sec-WebSocket-Key"))?;
    let accept = derive_accept_key(key.as_bytes());
    let protocol = *protocols
        .iter()
        .find(|protocol| names(headers, header::SEC_WEBSOCKET_PROTOCOL, protocol))
        .ok_or_else(|| Problem::bad_request(format!("none of the client's sub-protocols is one of {protocols:?}")))?;
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => {
                let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX));
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
                handler(socket, protocol).await;
            }
            Err(error) => tracing::debug!(%error, "the client did not go through with the upgrade"),
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .header(header::SEC_WEBSOCKET_PROTOCOL, protocol)
        .body(answer::empty())
        .map_err(|error| Problem::internal(error.to_string()))
}

/// A header, in any of its lines, has this word in its list.
fn names(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    let lines = headers.get_all(name);
    lines
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(word))
}

/// The writing half.
pub struct Channels(SplitSink<Socket, Message>);

impl Channels {
    /// Sends bytes on a channel; an error means that the client has gone.
    pub async fn send(&mut self, channel: u8, bytes: &[u8]) -> Result<(), ()> {
        let mut message = Vec::with_capacity(bytes.len() + 1);
        message.push(channel);
        message.extend_from_slice(bytes);
        self.0.send(Message::binary(message)).await.map_err(drop)
    }

    pub async fn close(mut self) {
        // The client may have closed before us.
        let _ = self.0.send(Message::Close(None)).await;
        let _ = self.0.close().await;
    }
}

/// The reading half.
pub struct Incomings(SplitStream<Socket>);

impl Incomings {
    /// The next message; `None` when the client has gone.
    pub async fn next(&mut self) -> Option<Received> {
        loop {
            match self.0.next().await? {
                Ok(Message::Binary(bytes)) => {
                    if let Some(received) = parse(&bytes) {
                        return Some(received);
                    }
                }
                Ok(Message::Text(text)) => {
                    if let Some(received) = parse(&Bytes::copy_from_slice(text.as_bytes())) {
                        return Some(received);
                    }
                }
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Ok(Message::Close(_)) | Err(_) => return None,
            }
        }
    }
}

pub fn split(socket: Socket) -> (Channels, Incomings) {
    let (sink, stream) = socket.split();
    (Channels(sink), Incomings(stream))
}

fn parse(message: &Bytes) -> Option<Received> {
    match message.first()? {
        &CLOSE => message.get(1).map(|channel| Received::Closed { channel: *channel }),
        channel => Some(Received::Data { channel: *channel, bytes: message.slice(1..) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_names_the_channel() {
        assert_eq!(parse(&Bytes::from_static(b"\x00ab")), Some(Received::Data { channel: 0, bytes: "ab".into() }));
        assert_eq!(parse(&Bytes::from_static(b"\xff\x00")), Some(Received::Closed { channel: 0 }));
        assert_eq!(parse(&Bytes::from_static(b"\xff")), None);
        assert_eq!(parse(&Bytes::new()), None);
    }

    #[test]
    fn protocols_are_found_in_any_header_line() {
        let mut headers = HeaderMap::new();
        headers.append(header::SEC_WEBSOCKET_PROTOCOL, "a, v4.channel.k8s.io".parse().unwrap());
        headers.append(header::SEC_WEBSOCKET_PROTOCOL, "b".parse().unwrap());
        for (word, expected) in [("v4.channel.k8s.io", true), ("b", true), ("c", false)] {
            assert_eq!(names(&headers, header::SEC_WEBSOCKET_PROTOCOL, word), expected);
        }
    }
}
