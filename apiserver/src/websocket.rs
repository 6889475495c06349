//! Answers that are streams, told over a WebSocket to those who ask so: each piece of the body is a message. What the client says is
//! ignored, but that it is alive or goes.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use kontiki_model::Status;
use tokio::{io::AsyncWriteExt as _, time::timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, Utf8Bytes,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use crate::{
    content,
    core::Core,
    failure, limits,
    request::{ApiBody, ApiRequest, ApiResponse},
};

const VERSION: &str = "13";

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// How a piece of a body becomes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Text,
    Binary,
    /// As text.
    Base64,
    /// Without the length that it comes behind: a message has its own.
    Delimited,
}

/// A client that asks to be answered over a WebSocket, and what it was told of the protocol.
pub(crate) struct Handshake {
    client: OnUpgrade,
    accept: HeaderValue,
    protocol: Option<HeaderValue>,
}

/// Goes with an answer whose body is to be told so, until whoever counts requests begins it.
#[derive(Clone)]
struct Messages {
    client: OnUpgrade,
    payload: Payload,
}

impl Handshake {
    /// Agrees to whatever protocol is offered first.
    pub fn of_any(request: &ApiRequest) -> Result<Option<Self>, Status> {
        Self::read(request, |offered| Ok(offered.first().copied().unwrap_or_default()))
    }

    /// Agrees to the first protocol offered that is known; `""` stands for none.
    pub fn of_known(request: &ApiRequest, known: &[(&str, Payload)]) -> Result<Option<(Self, Payload)>, Status> {
        let mut payload = Payload::Binary;
        let handshake = Self::read(request, |offered| {
            let (protocol, found) = agree(offered, known)?;
            payload = found;
            Ok(protocol)
        })?;
        Ok(handshake.map(|handshake| (handshake, payload)))
    }

    fn read<'r>(
        request: &'r ApiRequest,
        agree: impl FnOnce(&[&'r str]) -> Result<&'r str, Status>,
    ) -> Result<Option<Self>, Status> {
        let Some(client) = request.upgrade.clone().filter(|_| is_asked_for(&request.headers)) else { return Ok(None) };
        if request.header(header::SEC_WEBSOCKET_VERSION) != Some(VERSION) {
            return Err(failure::bad_request(format!("unable to upgrade: Sec-WebSocket-Version must be {VERSION}")));
        }
        let key = request.headers.get(header::SEC_WEBSOCKET_KEY);
        let key = key.ok_or_else(|| failure::bad_request("unable to upgrade: no Sec-WebSocket-Key"))?;
        let protocol = agree(&offered(&request.headers))?;
        let value = |text: &str| HeaderValue::from_str(text).map_err(failure::internal);
        let protocol = if protocol.is_empty() { None } else { Some(value(protocol)?) };
        Ok(Some(Handshake { client, accept: value(&derive_accept_key(key.as_bytes()))?, protocol }))
    }

    /// The answer that agrees to it; its body is what will be told.
    pub fn answer(self, body: ApiBody, payload: Payload) -> ApiResponse {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(protocol) = self.protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        response.extensions_mut().insert(Messages { client: self.client, payload });
        response
    }
}

/// Begins to tell the answer's body, if it is one to be told so. It ends with the body, with its client, and with the server.
pub(crate) fn begin(core: &Core, mut response: ApiResponse) -> ApiResponse {
    let Some(Messages { client, payload }) = response.extensions_mut().remove() else { return response };
    let (parts, body) = response.into_parts();
    let stopping = core.stopping.clone();
    core.tunnels.spawn(async move {
        // The body ends when the server stops: what is then not yet told soon never is.
        let late = async {
            stopping.cancelled().await;
            tokio::time::sleep(limits::GOODBYE_TIME_MAX).await;
        };
        tokio::select! {
            ended = tell(client, payload, body) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a WebSocket broke off");
                }
            }
            () = late => {}
        }
    });
    Response::from_parts(parts, content::empty())
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Upgrade(#[from] hyper::Error),
    #[error(transparent)]
    Socket(#[from] tungstenite::Error),
    #[error("the client reads nothing")]
    Stalled,
}

async fn tell(client: OnUpgrade, payload: Payload, body: ApiBody) -> Result<(), Broken> {
    let config = WebSocketConfig::default()
        .read_buffer_size(limits::WEBSOCKET_READ_BYTES)
        .write_buffer_size(limits::ENDLESS_WRITE_BYTES)
        .max_message_size(Some(limits::WEBSOCKET_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(limits::WEBSOCKET_MESSAGE_BYTES_MAX));
    let stream = TokioIo::new(client.await?);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let code = messages(&mut socket, payload, body).await?;
    let goodbye = async {
        if let Some(code) = code {
            socket.send(Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::default() }))).await?;
        }
        // Up to the other side's goodbye, or until ours has gone out.
        while let Some(Ok(_)) = socket.next().await {}
        socket.get_mut().shutdown().await.map_err(tungstenite::Error::from)
    };
    timeout(limits::GOODBYE_TIME_MAX, goodbye).await.unwrap_or(Ok(())).map_err(Broken::from)
}

/// Tells the body, to its end or until the client goes; how the socket is then closed, if the client has not done so.
async fn messages(socket: &mut Socket, payload: Payload, mut body: ApiBody) -> Result<Option<CloseCode>, Broken> {
    loop {
        let mut next = tokio::select! {
            frame = body.frame() => Some(frame),
            // Pings are answered on the way.
            said = socket.next() => match said.transpose()? {
                Some(message) if !message.is_close() => continue,
                Some(_) | None => return Ok(None),
            },
        };
        let (mut bytes, mut code) = (0, None);
        let writing = async {
            // What is ready goes in one piece.
            while let Some(frame) = next {
                match frame {
                    None => code = Some(CloseCode::Normal),
                    Some(Err(error)) => {
                        tracing::debug!(%error, "an answer broke off");
                        code = Some(CloseCode::Error);
                    }
                    Some(Ok(frame)) => {
                        let data = frame.into_data().unwrap_or_default();
                        bytes += data.len();
                        if let Some(message) = payload.message(data) {
                            socket.feed(message).await?;
                        }
                    }
                }
                let more = code.is_none() && bytes < limits::ENDLESS_WRITE_BYTES;
                next = if more { body.frame().now_or_never() } else { None };
            }
            socket.flush().await
        };
        timeout(limits::STALLED_TIME_MAX, writing).await.map_err(|_| Broken::Stalled)??;
        if code.is_some() {
            return Ok(code);
        }
    }
}

impl Payload {
    /// `None` where there is nothing to tell.
    fn message(self, data: Bytes) -> Option<Message> {
        if data.is_empty() {
            return None;
        }
        Some(match self {
            Payload::Text => match Utf8Bytes::try_from(data.clone()) {
                Ok(text) => Message::Text(text),
                Err(_) => Message::Binary(data),
            },
            Payload::Binary => Message::Binary(data),
            Payload::Base64 => Message::text(BASE64_STANDARD.encode(&data)),
            Payload::Delimited => Message::Binary(data.slice(size_of::<u32>().min(data.len())..)),
        })
    }
}

pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The protocols that the client would speak inside, the one it likes best first.
pub(crate) fn offered(headers: &HeaderMap) -> Vec<&str> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|protocol| !protocol.is_empty()).collect()
}

fn agree<'o>(offered: &[&'o str], known: &[(&str, Payload)]) -> Result<(&'o str, Payload), Status> {
    let choices = if offered.is_empty() { &[""] } else { offered };
    let find = |one: &&'o str| known.iter().find(|(name, _)| name == one).map(|(_, payload)| (*one, *payload));
    choices.iter().find_map(find).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        failure::bad_request(format!("requested protocol(s) are not supported: {offered:?}; supports {names:?}"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pieces_become_messages() {
        let message = |payload: Payload, data: &'static [u8]| payload.message(Bytes::from_static(data));
        let table: [(Payload, &[u8], Option<Message>); 6] = [
            (Payload::Text, b"{}\n", Some(Message::text("{}\n"))),
            (Payload::Text, b"\xff", Some(Message::binary(b"\xff".as_slice()))),
            (Payload::Binary, b"ab", Some(Message::binary(b"ab".as_slice()))),
            (Payload::Base64, b"ab", Some(Message::text("YWI="))),
            (Payload::Delimited, b"\0\0\0\x02ab", Some(Message::binary(b"ab".as_slice()))),
            (Payload::Binary, b"", None),
        ];
        for (payload, data, expected) in table {
            assert_eq!(message(payload, data), expected, "{payload:?} {data:?}");
        }
    }

    #[test]
    fn the_first_known_protocol_is_agreed_to() {
        let known = [("", Payload::Binary), ("b", Payload::Binary), ("b64", Payload::Base64)];
        let agreed = |offered: &[&'static str]| agree(offered, &known).map_err(|status| status.message);
        assert_eq!(agreed(&[]).unwrap(), ("", Payload::Binary));
        assert_eq!(agreed(&["x", "b64", "b"]).unwrap(), ("b64", Payload::Base64));
        let why = r#"requested protocol(s) are not supported: ["x"]; supports ["", "b", "b64"]"#;
        assert_eq!(agreed(&["x"]).unwrap_err(), why);
    }
}
