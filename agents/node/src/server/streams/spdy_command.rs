//! Exec and attach over SPDY: the client opens a stream for each of its streams, and one for errors.

use std::collections::HashMap;

use bytes::Bytes;
use futures::{SinkExt, Stream, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use tokio_util::codec::Framed;

use super::process::{self, Client, Input, Output, Wanted};
use crate::server::{
    limits,
    spdy::{Codec, Frame},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Error,
    Stdin,
    Stdout,
    Stderr,
    Resize,
}

/// The streams that the client has opened.
#[derive(Default)]
struct Streams {
    kinds: HashMap<u32, Kind>,
    ids: HashMap<Kind, u32>,
}

impl Streams {
    /// Takes in a stream, unless it is none of ours.
    fn open(&mut self, stream: u32, kind: Option<&str>) -> bool {
        let kind = match kind {
            Some("error") => Kind::Error,
            Some("stdin") => Kind::Stdin,
            Some("stdout") => Kind::Stdout,
            Some("stderr") => Kind::Stderr,
            Some("resize") => Kind::Resize,
            Some(_) | None => return false,
        };
        if self.ids.contains_key(&kind) {
            return false;
        }
        self.ids.insert(kind, stream);
        self.kinds.insert(stream, kind);
        true
    }

    /// All are there without which the process cannot begin.
    fn suffice(&self, wanted: Wanted) -> bool {
        let needed = [
            (Kind::Error, true),
            (Kind::Stdin, wanted.stdin),
            (Kind::Stdout, wanted.stdout),
            (Kind::Stderr, wanted.stderr),
        ];
        needed.iter().all(|(kind, needed)| !needed || self.ids.contains_key(kind))
    }
}

/// Runs `session` between the streams; what it returns is the status at the end, `None` if the client left.
pub async fn serve(
    connection: impl AsyncRead + AsyncWrite + Send + Unpin,
    wanted: Wanted,
    session: impl AsyncFnOnce(&mut Client) -> Option<Bytes>,
) {
    let (mut sink, mut frames) = Framed::new(connection, Codec::new()).split();
    let (outgoing, mut to_client) = mpsc::channel::<Frame>(limits::STREAM_PIECES_MAX);
    let sending = async {
        while let Some(frame) = to_client.recv().await {
            if let Err(error) = sink.send(frame).await {
                return tracing::debug!(%error, "the client has gone");
            }
        }
        if let Err(error) = sink.close().await {
            tracing::debug!(%error, "the client has gone");
        }
    };
    let working = async {
        let mut streams = Streams::default();
        let opening = open(&mut frames, &mut streams, wanted, &outgoing);
        match tokio::time::timeout(limits::STREAMS_OPEN_MAX, opening).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(_) => return tracing::debug!("the client has not opened its streams in time"),
        }
        let ids = streams.ids.clone();
        let (to_process, to_answer) = (outgoing.clone(), outgoing);
        process::run(
            wanted,
            session,
            |input| receive(&mut frames, streams, input, to_process),
            |output| answer(ids, output, to_answer),
        )
        .await;
    };
    tokio::join!(sending, working);
}

/// Waits for the streams that are wanted; `false` if the client left before.
async fn open(
    frames: &mut (impl Stream<Item = std::io::Result<Frame>> + Unpin),
    streams: &mut Streams,
    wanted: Wanted,
    outgoing: &mpsc::Sender<Frame>,
) -> bool {
    while !streams.suffice(wanted) {
        let Some(Ok(frame)) = frames.next().await else { return false };
        let answer = match frame {
            Frame::Open { stream, headers, .. } => accept(streams, stream, headers.get("streamtype")),
            Frame::Ping { id } => Frame::Ping { id },
            Frame::GoAway => return false,
            Frame::Data { .. } | Frame::Reset { .. } | Frame::Accepted { .. } | Frame::Other => continue,
        };
        if outgoing.send(answer).await.is_err() {
            return false;
        }
    }
    true
}

fn accept(streams: &mut Streams, stream: u32, kind: Option<&str>) -> Frame {
    if streams.open(stream, kind) { Frame::Accepted { stream } } else { Frame::Reset { stream } }
}

/// Takes frames until the client leaves, also when nobody wants them any more.
async fn receive(
    frames: &mut (impl Stream<Item = std::io::Result<Frame>> + Unpin),
    mut streams: Streams,
    to_process: mpsc::Sender<Input>,
    outgoing: mpsc::Sender<Frame>,
) {
    while let Some(Ok(frame)) = frames.next().await {
        match frame {
            Frame::Open { stream, headers, .. } => {
                let _ = outgoing.send(accept(&mut streams, stream, headers.get("streamtype"))).await;
            }
            Frame::Ping { id } => drop(outgoing.send(Frame::Ping { id }).await),
            Frame::Data { stream, fin, bytes } => {
                // A process that has ended takes none.
                match streams.kinds.get(&stream) {
                    Some(Kind::Stdin) => {
                        if !bytes.is_empty() {
                            let _ = to_process.send(Input::Stdin(bytes)).await;
                        }
                        if fin {
                            let _ = to_process.send(Input::StdinEnd).await;
                        }
                    }
                    Some(Kind::Resize) if !bytes.is_empty() => drop(to_process.send(Input::Resize(bytes)).await),
                    Some(Kind::Resize | Kind::Error | Kind::Stdout | Kind::Stderr) | None => {}
                }
            }
            Frame::Reset { stream } => {
                if streams.kinds.get(&stream) == Some(&Kind::Stdin) {
                    let _ = to_process.send(Input::StdinEnd).await;
                }
            }
            Frame::GoAway => return,
            Frame::Accepted { .. } | Frame::Other => {}
        }
    }
}

async fn answer(ids: HashMap<Kind, u32>, mut output: mpsc::Receiver<Output>, outgoing: mpsc::Sender<Frame>) {
    while let Some(output) = output.recv().await {
        let (kind, bytes) = match output {
            Output::Stdout(bytes) => (Kind::Stdout, bytes),
            Output::Stderr(bytes) => (Kind::Stderr, bytes),
            Output::Status(bytes) => (Kind::Error, bytes),
        };
        let Some(stream) = ids.get(&kind).copied() else { continue };
        if outgoing.send(Frame::Data { stream, fin: false, bytes }).await.is_err() {
            return;
        }
    }
    // The client reads each stream to its end, the one for errors too.
    for stream in ids.into_values() {
        let _ = outgoing.send(Frame::Data { stream, fin: true, bytes: Bytes::new() }).await;
    }
}
