//! A plain connection inside a WebSocket: its bytes are the payload of binary messages, cut anywhere. Newer clients put SPDY
//! into it where a proxy would not let SPDY itself through.

use futures::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split},
    pin,
};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use super::websocket;
use crate::server::limits;

/// Runs `session` on the connection inside.
pub async fn serve<W: Future<Output = ()>>(upgraded: Upgraded, session: impl FnOnce(DuplexStream) -> W) {
    let (inside, outside) = duplex(limits::TUNNEL_BUFFER_BYTES);
    let (mut read, mut write) = split(outside);
    let mut socket = websocket::socket(upgraded).await;
    {
        let (mut sink, mut messages) = (&mut socket).split();
        let inward = async {
            while let Some(Ok(message)) = messages.next().await {
                if message.is_binary() && write.write_all(&message.into_data()).await.is_err() {
                    return;
                }
            }
            // Not an error of the session: it sees the end of its connection.
            let _ = write.shutdown().await;
        };
        let outward = async {
            let mut buffer = vec![0; limits::STREAM_READ_BYTES];
            while let Ok(length @ 1..) = read.read(&mut buffer).await {
                sink.send(Message::Binary(Bytes::copy_from_slice(&buffer[..length]))).await?;
            }
            sink.send(Message::Close(None)).await
        };
        let working = async {
            let (_, sent) = tokio::join!(session(inside), outward);
            if let Err(error) = sent {
                tracing::debug!(%error, "the client has gone");
            }
        };
        pin!(inward, working);
        tokio::select! {
            () = &mut inward => working.await,
            () = &mut working => drop(tokio::time::timeout(limits::CLOSE_MAX, inward).await),
        }
    }
    let shut = async { socket.get_mut().shutdown().await.map_err(Error::from) };
    if let Ok(Err(error)) = tokio::time::timeout(limits::CLOSE_MAX, shut).await {
        tracing::debug!(%error, "WebSocket ended");
    }
}
