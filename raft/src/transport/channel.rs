//! The calling side of a connection: dials when it must, writes requests as they come, matches answers by number.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::{AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::frame::{self, Frame, LEAVING, PING, PONG};
use super::heard::Heard;
use super::hello::{self, Identity};
use super::{PeerStream, Purpose};
use crate::limits::{
    ASKING_PING_INTERVAL, CALLS_IN_FLIGHT, DIAL_TIMEOUT, PEER_SILENCE, PING_INTERVAL, RECONNECT_DELAY_MAX,
    RECONNECT_DELAY_MIN, WRITE_COALESCE_BYTES,
};

/// Why a request has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// It certainly did not reach the other side.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have reached the other side, and may have been done.
    #[error("sent, and not answered: {0}")]
    Lost(String),
}

/// How the other side was found when it was last dialed or spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    #[default]
    Unknown,
    Up,
    /// Its machine answers, its process does not.
    Refused,
    Unreachable,
}

/// Whatever lies below the stream has its own words for this, which say nothing of servers.
const HUNG_UP: &str = "it ended the connection without a word: it is stopping, or it hears this server no more";

/// How a channel makes a connection.
pub type Connect = Arc<dyn Fn() -> BoxFuture<'static, io::Result<Box<dyn PeerStream>>> + Send + Sync>;

/// Requests to one peer for one purpose; clones share the connection. It is made when first needed (or kept at all times), and
/// made again after it broke. While the peer cannot be reached, requests fail at once.
#[derive(Clone)]
pub struct Channel {
    queue: mpsc::Sender<Call>,
    reach: watch::Receiver<Reach>,
    window: Arc<Semaphore>,
    _end_on_drop: Arc<DropGuard>,
}

/// A request that is on its way. Dropping it forgets the answer, not the request.
pub struct Pending {
    answer: oneshot::Receiver<Result<Frame, CallError>>,
    _place: OwnedSemaphorePermit,
}

struct Call {
    kind: u8,
    payload: Bytes,
    answer: oneshot::Sender<Result<Frame, CallError>>,
}

type Waiting = HashMap<u64, oneshot::Sender<Result<Frame, CallError>>>;

struct Task {
    me: Identity,
    peer: u64,
    /// What people call the peer.
    name: String,
    purpose: Purpose,
    connect: Connect,
    queue: mpsc::Receiver<Call>,
    reach: watch::Sender<Reach>,
    heard: Heard,
    waiting: Mutex<Waiting>,
    next_id: u64,
    /// Connected at all times, not only when there is something to say.
    keep: bool,
}

impl Channel {
    pub fn new(
        me: Identity,
        (peer, name, heard): (u64, String, Heard),
        purpose: Purpose,
        connect: Connect,
        keep: bool,
    ) -> Self {
        let (sender, queue) = mpsc::channel(CALLS_IN_FLIGHT);
        let (reach_now, reach) = watch::channel(Reach::Unknown);
        let cancel = CancellationToken::new();
        let waiting = Mutex::default();
        let task = Task { me, peer, name, purpose, connect, queue, reach: reach_now, heard, waiting, next_id: 1, keep };
        tokio::spawn(cancel.clone().run_until_cancelled_owned(task.run()));
        let window = Arc::new(Semaphore::new(CALLS_IN_FLIGHT));
        Channel { queue: sender, reach, window, _end_on_drop: Arc::new(cancel.drop_guard()) }
    }

    /// Changes whenever the peer is reached or lost.
    pub fn reach(&self) -> watch::Receiver<Reach> {
        self.reach.clone()
    }

    /// Hands a request over; requests leave in the order of these calls. Waits while too many are unanswered.
    pub async fn start(&self, kind: u8, payload: impl Into<Bytes>) -> Result<Pending, CallError> {
        let closed = |_| CallError::NotSent("this server is shutting down".into());
        let place = self.window.clone().acquire_owned().await.expect("the window is never closed");
        let (done, answer) = oneshot::channel();
        let call = Call { kind, payload: payload.into(), answer: done };
        self.queue.send(call).await.map_err(closed)?;
        Ok(Pending { answer, _place: place })
    }

    /// A request and its answer, if that comes in time.
    pub async fn call(&self, kind: u8, payload: impl Into<Bytes>, patience: Duration) -> Result<Frame, CallError> {
        let deadline = Instant::now() + patience;
        let late = || format!("no answer within {patience:?}");
        let started = tokio::time::timeout_at(deadline, self.start(kind, payload)).await;
        let pending = started.map_err(|_| CallError::NotSent(late()))??;
        let answer = tokio::time::timeout_at(deadline, pending.answer()).await;
        answer.unwrap_or_else(|_| Err(CallError::Lost(late())))
    }
}

impl Pending {
    pub async fn answer(self) -> Result<Frame, CallError> {
        self.answer.await.unwrap_or_else(|_| Err(CallError::Lost("the connection was given up".into())))
    }
}

impl Task {
    /// Connects, serves, and connects again, until nobody holds the channel.
    async fn run(mut self) {
        let mut delay = RECONNECT_DELAY_MIN;
        loop {
            let mut first = None;
            if !self.keep {
                let Some(call) = self.queue.recv().await else { return };
                first = Some(call);
            }
            match self.open().await {
                Ok(stream) => {
                    delay = RECONNECT_DELAY_MIN;
                    let lost = [Reach::Refused, Reach::Unreachable].contains(&self.reach.send_replace(Reach::Up));
                    if lost && self.purpose == Purpose::Control {
                        tracing::info!(name = self.name, "a server can be reached again");
                    }
                    let why = self.converse(stream, first).await;
                    tracing::debug!(peer = self.peer, purpose = ?self.purpose, %why, "connection ended");
                    self.give_up_waiting(&why);
                }
                Err(error) => {
                    let refused = error.kind() == io::ErrorKind::ConnectionRefused;
                    let found = if refused { Reach::Refused } else { Reach::Unreachable };
                    // Once each time, by the connection that there always is.
                    if self.reach.send_replace(found) != found && self.purpose == Purpose::Control {
                        match error.kind() {
                            io::ErrorKind::UnexpectedEof => {
                                tracing::warn!(name = self.name, %error, "a server hangs up")
                            }
                            _ => tracing::warn!(name = self.name, %error, "a server cannot be reached"),
                        }
                    }
                    if !self.fail_for(delay, first, &error).await {
                        return;
                    }
                    delay = (delay * 2).min(RECONNECT_DELAY_MAX);
                }
            }
        }
    }

    async fn open(&self) -> io::Result<Box<dyn PeerStream>> {
        let connected = timeout(DIAL_TIMEOUT, async {
            let mut stream = (self.connect)().await?;
            hello::greet(&mut stream, &self.me, self.peer, self.purpose).await?;
            Ok(stream)
        });
        let connected = connected.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        connected.map_err(|error: io::Error| match error.kind() {
            kind @ io::ErrorKind::UnexpectedEof => io::Error::new(kind, HUNG_UP),
            _ => error,
        })
    }

    /// Until it is time to dial again, whoever asks is told at once. False when nobody can ask any more.
    async fn fail_for(&mut self, delay: Duration, first: Option<Call>, error: &io::Error) -> bool {
        let fail = |call: Call| _ = call.answer.send(Err(CallError::NotSent(error.to_string())));
        first.into_iter().for_each(fail);
        let again = Instant::now() + delay;
        loop {
            match tokio::time::timeout_at(again, self.queue.recv()).await {
                Ok(Some(call)) => fail(call),
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Serves one connection until it breaks, and says why it did.
    async fn converse(&mut self, stream: Box<dyn PeerStream>, first: Option<Call>) -> String {
        let (reader, writer) = tokio::io::split(stream);
        let Task { queue, waiting, next_id, heard, .. } = self;
        let (leaving_now, leaving) = watch::channel(false);
        let ended = tokio::select! {
            result = hear_answers(reader, (waiting, heard), &leaving_now) => result,
            result = write_requests(writer, (queue, first), waiting, next_id, leaving) => result,
        };
        ended.map_or_else(|error| error.to_string(), |()| "closed by the other side".into())
    }

    fn give_up_waiting(&mut self, why: &str) {
        for (_, answer) in lock(&self.waiting).drain() {
            _ = answer.send(Err(CallError::Lost(why.to_owned())));
        }
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn hear_answers(
    reader: ReadHalf<Box<dyn PeerStream>>,
    (waiting, heard): (&Mutex<Waiting>, &Heard),
    leaving: &watch::Sender<bool>,
) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(WRITE_COALESCE_BYTES, reader);
    loop {
        let silent = |_| io::Error::new(io::ErrorKind::TimedOut, format!("nothing heard for {PEER_SILENCE:?}"));
        let Some(frame) = timeout(PEER_SILENCE, frame::read(&mut reader)).await.map_err(silent)?? else {
            return Ok(());
        };
        heard.note();
        match frame.kind {
            PONG => (),
            LEAVING => _ = leaving.send_replace(true),
            _ => {
                // Who asked may have gone away.
                if let Some(answer) = lock(waiting).remove(&frame.id) {
                    _ = answer.send(Ok(frame));
                }
            }
        }
        if *leaving.borrow() && lock(waiting).is_empty() {
            return Ok(());
        }
    }
}

async fn write_requests(
    mut writer: WriteHalf<Box<dyn PeerStream>>,
    (queue, first): (&mut mpsc::Receiver<Call>, Option<Call>),
    waiting: &Mutex<Waiting>,
    next_id: &mut u64,
    mut leaving: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut pinged = Instant::now();
    let (mut calls, mut out) = (Vec::from_iter(first), Vec::new());
    loop {
        for Call { kind, payload, answer } in calls.drain(..) {
            if answer.is_closed() {
                continue;
            }
            let id = *next_id;
            *next_id += 1;
            lock(waiting).insert(id, answer);
            frame::put(&mut out, id, kind, &payload);
            if out.len() >= WRITE_COALESCE_BYTES {
                write(&mut writer, &mut out).await?;
            }
        }
        write(&mut writer, &mut out).await?;
        let asking = !lock(waiting).is_empty();
        tokio::select! {
            biased;
            // Its reader ends the connection after the last answer; what comes meanwhile goes by the next one.
            _ = leaving.changed() => std::future::pending().await,
            received = queue.recv_many(&mut calls, CALLS_IN_FLIGHT) => if received == 0 { return Ok(()) },
            () = sleep_until(pinged + if asking { ASKING_PING_INTERVAL } else { PING_INTERVAL }) => {
                pinged = Instant::now();
                frame::put(&mut out, 0, PING, &[]);
            }
        }
        // The answers nobody waits for any more are not kept for ever.
        if lock(waiting).len() > 2 * CALLS_IN_FLIGHT {
            lock(waiting).retain(|_, answer| !answer.is_closed());
        }
    }
}

/// Writes and clears what has gathered, without keeping an unusual amount of memory.
pub async fn write(writer: &mut (impl AsyncWrite + Unpin), out: &mut Vec<u8>) -> io::Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    writer.write_all(out).await?;
    writer.flush().await?;
    out.clear();
    out.shrink_to(WRITE_COALESCE_BYTES);
    Ok(())
}
