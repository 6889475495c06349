//! The answering side of a connection: requests in, answers out, each in a bounded queue.

use std::io;

use bytes::Bytes;
use tokio::io::{BufReader, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::channel::write;
use super::frame::{self, Frame, LEAVING, PING, PONG};
use super::hello::{self, Caller, Identity};
use super::{PeerStream, Purpose};
use crate::limits::{
    CALLS_IN_FLIGHT, DIAL_TIMEOUT, LEAVE_TIMEOUT, PEER_SILENCE, SERVED_IN_FLIGHT, WRITE_COALESCE_BYTES,
};

/// A connection that another server made, after the hellos.
pub struct Incoming {
    caller: Caller,
    stream: Box<dyn PeerStream>,
}

/// Hears out who calls; where the stream has `proven` who that is, nobody else.
pub async fn accept(mut stream: Box<dyn PeerStream>, me: &Identity, proven: Option<u64>) -> io::Result<Incoming> {
    let caller = timeout(DIAL_TIMEOUT, hello::hear(&mut stream, me, proven));
    let caller = caller.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    Ok(Incoming { caller, stream })
}

impl Incoming {
    pub fn from(&self) -> u64 {
        self.caller.node
    }

    /// The cluster that the caller says it is of; zero if it waits to be added.
    pub fn cluster(&self) -> u64 {
        self.caller.cluster
    }

    pub fn purpose(&self) -> Purpose {
        self.caller.purpose
    }

    /// Runs the connection until it ends or `serve` does. What `serve` sends is written, the last of it too.
    ///
    /// Once this server is `closing` it asks the caller to send no more and serves what it has sent; the caller then ends the
    /// connection, and knows the fate of everything it asked for.
    pub async fn run<F: Future<Output = ()>>(
        self,
        closing: &CancellationToken,
        serve: impl FnOnce(mpsc::Receiver<Frame>, mpsc::Sender<Frame>) -> F,
    ) -> io::Result<()> {
        let (reader, writer) = tokio::io::split(self.stream);
        let (requests, to_serve) = mpsc::channel(SERVED_IN_FLIGHT);
        let (answers, to_write) = mpsc::channel(SERVED_IN_FLIGHT);
        let mut reading = Box::pin(read_requests(reader, requests, answers.clone()));
        let writing = write_answers(writer, to_write);
        let goodbye = answers.clone();
        let serving = async {
            let leave = async {
                closing.cancelled().await;
                // The queue ends only with the connection.
                _ = goodbye.send(Frame { id: 0, kind: LEAVING, payload: Bytes::new() }).await;
                tokio::time::sleep(LEAVE_TIMEOUT).await;
            };
            tokio::select! {
                () = serve(to_serve, answers) => (),
                () = leave => (),
            }
            drop(goodbye);
        };
        tokio::pin!(writing, serving);
        tokio::select! {
            // A caller that has gone has no use for answers; what was begun is dropped.
            result = &mut reading => return result,
            result = &mut writing => return result,
            () = &mut serving => (),
        }
        // All answers are queued, and with the reader's end nobody adds to them.
        drop(reading);
        timeout(PEER_SILENCE, writing).await.unwrap_or(Ok(()))
    }
}

async fn read_requests(
    reader: ReadHalf<Box<dyn PeerStream>>,
    requests: mpsc::Sender<Frame>,
    answers: mpsc::Sender<Frame>,
) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(WRITE_COALESCE_BYTES, reader);
    loop {
        let silent = |_| io::Error::new(io::ErrorKind::TimedOut, format!("nothing heard for {PEER_SILENCE:?}"));
        let Some(frame) = timeout(PEER_SILENCE, frame::read(&mut reader)).await.map_err(silent)?? else {
            return Ok(());
        };
        let queue = if frame.kind == PING { &answers } else { &requests };
        let frame = if frame.kind == PING { Frame { kind: PONG, ..frame } } else { frame };
        if queue.send(frame).await.is_err() {
            return Ok(());
        }
    }
}

async fn write_answers(
    mut writer: WriteHalf<Box<dyn PeerStream>>,
    mut answers: mpsc::Receiver<Frame>,
) -> io::Result<()> {
    let (mut batch, mut out) = (Vec::new(), Vec::new());
    while answers.recv_many(&mut batch, CALLS_IN_FLIGHT).await > 0 {
        for Frame { id, kind, payload } in batch.drain(..) {
            frame::put(&mut out, id, kind, &payload);
            if out.len() >= WRITE_COALESCE_BYTES {
                write(&mut writer, &mut out).await?;
            }
        }
        write(&mut writer, &mut out).await?;
    }
    Ok(())
}
