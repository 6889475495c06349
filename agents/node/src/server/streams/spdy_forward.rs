//! Port-forward over SPDY: for each connection that it forwards, the client opens a stream for errors and one for data.

use std::{collections::HashMap, io, sync::Arc};

use bytes::Bytes;
use futures::{
    SinkExt, Stream, StreamExt,
    future::{AbortHandle, Abortable},
};
use k8s_openapi::api::core::v1::Pod;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::codec::Framed;

use super::forward;
use crate::server::{
    backend::Backend,
    limits,
    spdy::{Codec, Frame, Headers},
};

/// One connection that is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    port: u16,
    error: u32,
    data: u32,
}

/// The streams of the client's connections.
#[derive(Default)]
struct Streams {
    /// By the client's number: the stream that came first, and whether it is the one for errors.
    waiting: HashMap<String, (u32, bool)>,
    /// By the stream for data: where to put it, and how to break off.
    open: HashMap<u32, (Option<mpsc::Sender<Bytes>>, AbortHandle)>,
}

impl Streams {
    /// Takes in a stream; when its other half is there, they are a connection. Fails for one that is neither.
    fn pair(&mut self, stream: u32, headers: &Headers) -> Result<Option<Pair>, ()> {
        let is_error = match headers.get("streamtype") {
            Some("error") => true,
            Some("data") => false,
            Some(_) | None => return Err(()),
        };
        let port = headers.get("port").and_then(|port| port.parse().ok()).filter(|port| *port != 0).ok_or(())?;
        // Old clients do not number: they open the stream for data right after the one for errors.
        let implied = if is_error { stream } else { stream.saturating_sub(2) };
        let number = headers.get("requestid").map_or_else(|| implied.to_string(), str::to_owned);
        if self.waiting.len() + self.open.len() >= limits::FORWARDS_MAX {
            return Err(());
        }
        match self.waiting.remove(&number) {
            None => {
                self.waiting.insert(number, (stream, is_error));
                Ok(None)
            }
            Some((_, was_error)) if was_error == is_error => Err(()),
            Some((other, true)) => Ok(Some(Pair { port, error: other, data: stream })),
            Some((other, false)) => Ok(Some(Pair { port, error: stream, data: other })),
        }
    }
}

/// Carries until the client leaves.
pub async fn serve(connection: impl AsyncRead + AsyncWrite + Send + Unpin, backend: Arc<dyn Backend>, pod: Arc<Pod>) {
    let (mut sink, frames) = Framed::new(connection, Codec::new()).split();
    let (outgoing, mut to_client) = mpsc::channel::<Frame>(limits::STREAM_PIECES_MAX);
    let sending = async {
        while let Some(frame) = to_client.recv().await {
            if let Err(error) = sink.send(frame).await {
                return tracing::debug!(%error, "the client has gone");
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = receive(frames, backend, pod, outgoing) => {}
    }
    if let Ok(Err(error)) = tokio::time::timeout(limits::CLOSE_MAX, sink.close()).await {
        tracing::debug!(%error, "the client has gone");
    }
}

async fn receive(
    mut frames: impl Stream<Item = io::Result<Frame>> + Unpin,
    backend: Arc<dyn Backend>,
    pod: Arc<Pod>,
    outgoing: mpsc::Sender<Frame>,
) {
    let mut streams = Streams::default();
    // Tasks of their own: one connection that stands still must not stop the others from being read.
    let mut forwarding = JoinSet::new();
    loop {
        let frame = tokio::select! {
            Some(Ok(ended)) = forwarding.join_next() => {
                streams.open.remove(&ended);
                continue;
            }
            frame = frames.next() => frame,
        };
        let answer = match frame {
            Some(Ok(Frame::Open { stream, headers, .. })) => match streams.pair(stream, &headers) {
                Ok(None) => Frame::Accepted { stream },
                Ok(Some(pair)) => {
                    let (sender, receiver) = mpsc::channel(limits::STREAM_PIECES_MAX);
                    let (handle, registration) = AbortHandle::new_pair();
                    streams.open.insert(pair.data, (Some(sender), handle));
                    let work = connect(backend.clone(), pod.clone(), pair, receiver, outgoing.clone());
                    forwarding.spawn(async move {
                        // Broken off or not, it has ended.
                        let _ = Abortable::new(work, registration).await;
                        pair.data
                    });
                    Frame::Accepted { stream }
                }
                Err(()) => Frame::Reset { stream },
            },
            Some(Ok(Frame::Data { stream, fin, bytes })) => {
                if let Some((sender, _)) = streams.open.get_mut(&stream) {
                    deliver(sender, bytes, fin).await;
                }
                continue;
            }
            Some(Ok(Frame::Reset { stream })) => {
                if let Some((_, handle)) = streams.open.get(&stream) {
                    handle.abort();
                }
                continue;
            }
            Some(Ok(Frame::Ping { id })) => Frame::Ping { id },
            // Streams that are open go on until the connection ends.
            Some(Ok(Frame::GoAway | Frame::Accepted { .. } | Frame::Other)) => continue,
            Some(Err(error)) => return tracing::debug!(%error, "the client has gone"),
            None => return,
        };
        if outgoing.send(answer).await.is_err() {
            return;
        }
    }
}

async fn deliver(sender: &mut Option<mpsc::Sender<Bytes>>, bytes: Bytes, fin: bool) {
    if let Some(open) = sender
        && !bytes.is_empty()
    {
        // A connection that has ended takes no more.
        let _ = open.send(bytes).await;
    }
    if fin {
        *sender = None;
    }
}

/// Forwards one connection, and ends both of its streams.
async fn connect(
    backend: Arc<dyn Backend>,
    pod: Arc<Pod>,
    pair: Pair,
    from_client: mpsc::Receiver<Bytes>,
    outgoing: mpsc::Sender<Frame>,
) {
    let piece = |bytes| Frame::Data { stream: pair.data, fin: false, bytes };
    let carried = forward::connect(&*backend, &pod, pair.port, from_client, &outgoing, piece).await;
    let ends = [(pair.error, Bytes::from(carried.err().unwrap_or_default())), (pair.data, Bytes::new())];
    for (stream, bytes) in ends {
        // A client that has gone need not know.
        let _ = outgoing.send(Frame::Data { stream, fin: true, bytes }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(kind: &str, port: &str, number: Option<&str>) -> Headers {
        let named = [("streamtype", Some(kind)), ("port", Some(port)), ("requestid", number)];
        Headers(named.iter().filter_map(|(name, value)| Some(((*name).to_owned(), (*value)?.to_owned()))).collect())
    }

    #[test]
    fn two_streams_make_a_connection() {
        let mut streams = Streams::default();
        assert_eq!(streams.pair(1, &headers("error", "80", Some("0"))), Ok(None));
        assert_eq!(streams.pair(3, &headers("data", "81", Some("1"))), Ok(None));
        assert_eq!(streams.pair(5, &headers("data", "80", Some("0"))), Ok(Some(Pair { port: 80, error: 1, data: 5 })));
        assert_eq!(streams.pair(7, &headers("error", "81", Some("1"))), Ok(Some(Pair { port: 81, error: 7, data: 3 })));
        assert_eq!(streams.pair(9, &headers("error", "82", None)), Ok(None));
        assert_eq!(streams.pair(11, &headers("data", "82", None)), Ok(Some(Pair { port: 82, error: 9, data: 11 })));
        assert_eq!(streams.pair(13, &headers("other", "80", Some("2"))), Err(()));
        assert_eq!(streams.pair(15, &headers("data", "0", Some("2"))), Err(()));
        assert_eq!(streams.pair(17, &headers("data", "80", Some("3"))), Ok(None));
        assert_eq!(streams.pair(19, &headers("data", "80", Some("3"))), Err(()), "twice the same half");
    }
}
