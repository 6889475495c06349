//! The answering side of Raft: what other servers ask of this one, by the purpose of their connection.

use std::sync::Arc;

use bincode::{Decode, Encode};
use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult, VoteRequest};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::in_order::InOrder;
use super::machine::{self, Machine};
use super::node::Node;
use super::wire::{
    self, AppendAnswer, AppendMessage, Forwarded, SnapshotMessage, TransferAnswer, VoteAnswer, VoteMessage, WireVote,
};
use super::{LogId, Snapshot, TypeConfig, Vote, log_id};
use crate::limits::{APPENDS_IN_FLIGHT, CALLS_IN_FLIGHT, MIB, SNAPSHOT_TIMEOUT};
use crate::snapshot::{Chunk, SnapshotDir, SnapshotReceiver};
use crate::transport::{Frame, Incoming, Purpose};

type Answer = Result<Vec<u8>, String>;
type Append = AppendEntriesRequest<TypeConfig>;

/// Receiving a snapshot writes to one place: one at a time.
pub type Receiving = Arc<Mutex<()>>;

impl Node {
    /// Serves a connection until it ends, or this server does: then with answers to all that was begun.
    pub(super) async fn serve(&self, incoming: Incoming, closing: &CancellationToken) {
        let (from, purpose) = (incoming.from(), incoming.purpose());
        let ended = match purpose {
            Purpose::Control => {
                incoming
                    .run(closing, |asked, told| {
                        self.concurrently(asked, told, |node, kind, payload| {
                            node.peers.heard(from);
                            control(node, kind, payload)
                        })
                    })
                    .await
            }
            Purpose::Forward => {
                incoming
                    .run(closing, |asked, told| {
                        self.concurrently(asked, told, |node, kind, payload| forward(node, from, kind, payload))
                    })
                    .await
            }
            Purpose::Replicate => incoming.run(closing, |asked, told| self.replicate(from, asked, told)).await,
            Purpose::Snapshot => incoming.run(closing, |asked, told| self.receive_snapshots(asked, told)).await,
        };
        if let Err(error) = ended {
            tracing::debug!(from, ?purpose, %error, "connection ended");
        }
    }

    /// Begins requests as they come and answers them as they are done.
    async fn concurrently<F>(
        &self,
        mut requests: mpsc::Receiver<Frame>,
        answers: mpsc::Sender<Frame>,
        serve: impl Fn(Node, u8, Bytes) -> F,
    ) where
        F: Future<Output = Answer>,
    {
        let mut served = FuturesUnordered::new();
        let mut open = true;
        while open || !served.is_empty() {
            tokio::select! {
                Some(answer) = served.next(), if !served.is_empty() => {
                    if answers.send(answer).await.is_err() {
                        return;
                    }
                }
                request = requests.recv(), if open && served.len() < CALLS_IN_FLIGHT => match request {
                    Some(Frame { id, kind, payload }) => {
                        served.push(serve(self.clone(), kind, payload).map(move |answer| to_frame(id, answer)));
                    }
                    None => open = false,
                },
            }
        }
    }

    /// A snapshot arrives as its manifest, its chunks, and a request to install it.
    async fn receive_snapshots(&self, mut requests: mpsc::Receiver<Frame>, answers: mpsc::Sender<Frame>) {
        let mut receiving = None;
        while let Some(Frame { id, kind, payload }) = requests.recv().await {
            let answer = self.receive(&mut receiving, kind, &payload).await;
            if answer.is_err() {
                receiving = None;
            }
            if answers.send(to_frame(id, answer)).await.is_err() {
                return;
            }
        }
    }

    async fn receive(&self, receiving: &mut Option<Arrival>, kind: u8, payload: &[u8]) -> Answer {
        match kind {
            wire::SNAPSHOT_BEGIN => {
                let SnapshotMessage { vote, manifest } = decode(payload)?;
                let Ok(place) = self.receiving.clone().try_lock_owned() else {
                    return Err("another snapshot is being received".into());
                };
                let (dir, bytes) = (self.store.snapshots_dir(), manifest.bytes());
                if let Some(shortage) = self.log.shortage_for(bytes) {
                    return Err(format!("no room for a snapshot of {} MiB: {shortage}", bytes.div_ceil(MIB as u64)));
                }
                let receiver = blocking(move || SnapshotReceiver::begin(&dir, manifest)).await?;
                *receiving = Some(Arrival { vote, receiver, _place: place });
                done(&())
            }
            wire::SNAPSHOT_CHUNK => {
                let chunk: Chunk = decode(payload)?;
                let mut arrival = receiving.take().ok_or("no snapshot was begun")?;
                *receiving = Some(blocking(move || arrival.receiver.accept(&chunk).map(|()| arrival)).await?);
                done(&())
            }
            wire::SNAPSHOT_END => {
                let Arrival { vote, receiver, _place } = receiving.take().ok_or("no snapshot was begun")?;
                let received = Arc::new(blocking(move || receiver.finish()).await?);
                let vote = self.install(vote, received).await?;
                done(&vote)
            }
            other => Err(format!("a request of kind {other} about snapshots")),
        }
    }

    /// Appends come in sessions, each begun by a first request. A session ends with its first refusal; what was sent behind that
    /// gets no answer, and the sender begins anew.
    async fn replicate(&self, from: u64, mut requests: mpsc::Receiver<Frame>, answers: mpsc::Sender<Frame>) {
        let mut session = Session::NotBegun;
        let mut appends = InOrder::default();
        loop {
            let (id, answer) = tokio::select! {
                // What was begun goes before what comes next.
                biased;
                Some(answered) = appends.next() => answered,
                request = requests.recv(), if appends.len() < APPENDS_IN_FLIGHT => {
                    let Some(Frame { id, kind, payload }) = request else { return };
                    // As good a sign of life as a heartbeat.
                    self.peers.heard(from);
                    if kind == wire::APPEND_FIRST {
                        (session, appends) = (Session::Open, InOrder::default());
                    }
                    match session {
                        Session::Open => {
                            appends.begin(append(&self.raft, payload).map(move |answer| (id, answer)));
                            continue;
                        }
                        Session::Refused => continue,
                        // The rest of a session whose connection broke.
                        Session::NotBegun => (id, Err("no session was begun".into())),
                    }
                }
            };
            if session == Session::Open && !matches!(answer, Ok(Ok(_))) {
                (session, appends) = (Session::Refused, InOrder::default());
            }
            let answer = answer.map(|result| wire::encode(&AppendAnswer::from(result)));
            if answers.send(to_frame(id, answer)).await.is_err() {
                return;
            }
        }
    }

    pub(super) async fn install(&self, vote: WireVote, received: Arc<SnapshotDir>) -> Result<WireVote, String> {
        let meta = machine::describe(received.manifest()).map_err(|error| error.to_string())?;
        if let Some(covered) = meta.last_log_id {
            self.commit_tail(&vote, covered).await?;
        }
        let snapshot = Snapshot { meta, snapshot: received.clone() };
        let answer = self.raft.install_full_snapshot(vote.into(), snapshot).await;
        // Raft may have found that it has all that: then nothing refers to these files.
        if self.store.snapshot().is_none_or(|current| current.path() != received.path()) {
            received.retire();
        }
        answer.map(|response| WireVote::from(&response.vote)).map_err(|error| error.to_string())
    }
}

impl Node {
    /// Entries that came from the leader itself and lie below its snapshot are committed, whether this server was told so or not.
    /// It is told before the snapshot is installed: otherwise Raft would apply them after it has forgotten them, and stop
    /// (openraft #2116).
    async fn commit_tail(&self, vote: &WireVote, covered: LogId) -> Result<(), String> {
        let vote = Vote::from(vote.clone());
        let last = self.log.last().map_err(|error| error.to_string())?;
        let own = |last: &LogId| last.committed_leader_id().term == vote.leader_id.term && *last <= covered;
        let Some(last) = last.filter(own) else { return Ok(()) };
        let told =
            AppendEntriesRequest { vote, prev_log_id: Some(last), leader_commit: Some(last), entries: Vec::new() };
        let answer = self.raft.append_entries(told).await.map_err(|error| error.to_string())?;
        if answer.is_success() {
            let applied = self.applied(last.index, SNAPSHOT_TIMEOUT).await;
            applied.map_err(|error| format!("{error:?}"))?;
        }
        Ok(())
    }
}

/// A snapshot of which some has arrived.
struct Arrival {
    vote: WireVote,
    // Before its place: what has arrived goes before another begins.
    receiver: SnapshotReceiver,
    _place: tokio::sync::OwnedMutexGuard<()>,
}

pub(super) async fn control(node: Node, kind: u8, payload: Bytes) -> Answer {
    match kind {
        wire::HEARTBEAT => done(&AppendAnswer::from(append(&node.raft, payload).await?)),
        wire::TRANSFER if let Some(lost) = node.lost_entries() => Err(lost.to_string()),
        wire::VOTE | wire::PRE_VOTE => {
            let request: VoteRequest<TypeConfig> = decode::<VoteMessage>(&payload)?.into();
            // Raft counts on what a voter had: it votes as if it still had it.
            if let Some(lost) = node.lost_entries().filter(|_| !node.would_have_voted_for(request.last_log_id)) {
                return Err(lost.to_string());
            }
            let voted =
                if kind == wire::VOTE { node.raft.vote(request).await } else { node.raft.pre_vote(request).await };
            done(&VoteAnswer::from(&voted.map_err(|error| error.to_string())?))
        }
        wire::TRANSFER => {
            let request = decode::<wire::TransferMessage>(&payload)?.into();
            let response = node.raft.handle_transfer_leader(request).await.map_err(|error| error.to_string())?;
            done(&TransferAnswer::from(response))
        }
        wire::LOST => {
            let (term, index) = decode(&payload)?;
            node.reminded(log_id(term, index)).await.map_err(|error| error.to_string())?;
            done(&())
        }
        wire::SHORTAGE => done(&node.shortage()),
        wire::STAYS => done(&!node.is_leaving()),
        wire::LET_GO => {
            node.let_go.notify_one();
            done(&())
        }
        other => Err(format!("a request of kind {other} among votes and heartbeats")),
    }
}

async fn forward(node: Node, from: u64, kind: u8, payload: Bytes) -> Answer {
    let member = node.raft.server_metrics().borrow_watched().membership_config.get_node(&from).is_some();
    if !member && node.raft.is_leader() {
        return done(&Forwarded::<()>::NotMember);
    }
    match kind {
        wire::PROPOSE => done(&node.write_for_another(Arc::new(decode(&payload)?)).await),
        wire::READ_INDEX => done(&node.read_index_for_another().await),
        wire::CHANGE => done(&node.change_for_another(decode(&payload)?).await),
        other => Err(format!("a request of kind {other} among forwarded ones")),
    }
}

/// Where a connection is between a first append and the first refusal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Session {
    NotBegun,
    Open,
    Refused,
}

async fn append(raft: &Raft<TypeConfig, Machine>, payload: Bytes) -> Result<StreamAppendResult<TypeConfig>, String> {
    let request = decode::<AppendMessage>(&payload)?.into_request().map_err(|error| error.to_string())?;
    let (prev, sent) = (request.prev_log_id, request_end(&request));
    let response = raft.append_entries(request).await.map_err(|error| error.to_string())?;
    Ok(response.into_stream_result(prev, sent))
}

fn request_end(request: &Append) -> Option<super::LogId> {
    request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id)
}

fn decode<T: Decode<()>>(payload: &[u8]) -> Result<T, String> {
    wire::decode(payload).map_err(|error| error.to_string())
}

fn done(message: &impl Encode) -> Answer {
    Ok(wire::encode(message))
}

fn to_frame(id: u64, answer: Answer) -> Frame {
    match answer {
        Ok(payload) => Frame { id, kind: wire::DONE, payload: payload.into() },
        Err(why) => Frame { id, kind: wire::FAILED, payload: why.into_bytes().into() },
    }
}

async fn blocking<T: Send + 'static, E: ToString + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
    done.map_err(|error| error.to_string())
}
