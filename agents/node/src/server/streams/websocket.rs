//! WebSocket as Kubernetes uses it: several channels over one socket, the first byte of each message naming its channel.
//! Knows the messages, not what they carry.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use crate::server::limits;

/// Closes the channel that the next byte names (version 5 only).
const CLOSE: u8 = 255;

pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// How channels are put into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Binary,
    /// Text: the channel as a digit, then base64.
    Base64,
}

/// What came over a socket.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    Data { channel: u8, bytes: Bytes },
    Closed { channel: u8 },
}

pub async fn socket(upgraded: Upgraded) -> Socket {
    let config = WebSocketConfig::default()
        .max_message_size(Some(limits::WEBSOCKET_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(limits::WEBSOCKET_MESSAGE_BYTES_MAX));
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await
}

pub fn split(socket: Socket, codec: Codec) -> (Writing, Reading) {
    let (sink, stream) = socket.split();
    (Writing { sink, codec }, Reading { stream, codec })
}

/// Ends the connection below in good order, after both sides have said goodbye.
pub async fn shut(writing: Writing, reading: Reading) {
    let socket = writing.sink.reunite(reading.stream).expect("both halves are of one socket");
    let shut = async { socket.into_inner().shutdown().await };
    if let Ok(Err(error)) = tokio::time::timeout(limits::CLOSE_MAX, shut).await {
        tracing::debug!(%error, "WebSocket ended");
    }
}

pub struct Writing {
    sink: SplitSink<Socket, Message>,
    codec: Codec,
}

impl Writing {
    pub async fn send(&mut self, channel: u8, bytes: &[u8]) -> Result<(), Error> {
        self.sink.send(self.codec.encode(channel, bytes)).await
    }

    /// Says goodbye; the client's answer comes to the reading half.
    pub async fn close(&mut self) -> Result<(), Error> {
        let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        self.sink.send(Message::Close(Some(normal))).await
    }
}

pub struct Reading {
    stream: SplitStream<Socket>,
    codec: Codec,
}

impl Reading {
    /// `None` when the client has gone. Pings are answered on the way.
    pub async fn next(&mut self) -> Option<Received> {
        loop {
            match self.stream.next().await? {
                Ok(message) if message.is_close() => {}
                Ok(message @ (Message::Binary(_) | Message::Text(_))) => {
                    if let Some(received) = self.codec.decode(&message.into_data()) {
                        return Some(received);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "WebSocket ended");
                    return None;
                }
            }
        }
    }
}

impl Codec {
    fn encode(self, channel: u8, bytes: &[u8]) -> Message {
        match self {
            Codec::Binary => {
                let mut message = BytesMut::with_capacity(bytes.len() + 1);
                message.put_u8(channel);
                message.put_slice(bytes);
                Message::Binary(message.freeze())
            }
            Codec::Base64 => Message::text(format!("{}{}", char::from(b'0' + channel), BASE64_STANDARD.encode(bytes))),
        }
    }

    /// `None` if it is no message of any channel.
    fn decode(self, message: &Bytes) -> Option<Received> {
        match (self, *message.first()?) {
            (Codec::Binary, CLOSE) => Some(Received::Closed { channel: *message.get(1)? }),
            (Codec::Binary, channel) => Some(Received::Data { channel, bytes: message.slice(1..) }),
            (Codec::Base64, digit) => {
                let channel = digit.checked_sub(b'0').filter(|channel| *channel < 10)?;
                Some(Received::Data { channel, bytes: BASE64_STANDARD.decode(&message[1..]).ok()?.into() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_their_channel() {
        let data = |channel, bytes: &'static str| Some(Received::Data { channel, bytes: bytes.into() });
        let table = [
            (Codec::Binary, "\x00ab", data(0, "ab")),
            (Codec::Binary, "\x04", data(4, "")),
            (Codec::Binary, "", None),
            (Codec::Base64, "0YWI=", data(0, "ab")),
            (Codec::Base64, "3", data(3, "")),
            (Codec::Base64, "x", None),
            (Codec::Base64, "0?", None),
        ];
        for (codec, message, expected) in table {
            assert_eq!(codec.decode(&Bytes::from_static(message.as_bytes())), expected, "{message:?}");
        }
        let closed = Codec::Binary.decode(&Bytes::from_static(b"\xff\x00"));
        assert_eq!(closed, Some(Received::Closed { channel: 0 }));
        assert_eq!(Codec::Binary.decode(&Bytes::from_static(b"\xff")), None);
        assert_eq!(Codec::Base64.encode(1, b"ab"), Message::text("1YWI="));
        assert_eq!(Codec::Binary.encode(1, b"ab"), Message::binary(b"\x01ab".as_slice()));
    }
}
