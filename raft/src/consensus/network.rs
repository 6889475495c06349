//! The calling side of Raft: openraft's requests over the channels to each server.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bincode::{Decode, Encode};
use futures::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use tokio::sync::mpsc;

use super::wire::{
    self, AppendAnswer, AppendMessage, SnapshotMessage, TransferAnswer, VoteAnswer, VoteMessage, WireVote,
};
use super::{LogId, Member, Snapshot, TypeConfig, Vote};
use crate::limits::{
    APPENDS_IN_FLIGHT, CHUNKS_IN_FLIGHT, PEER_SILENCE, RECONNECT_DELAY_MAX, RECONNECT_DELAY_MIN,
    SNAPSHOT_BYTES_PER_SECOND, SNAPSHOT_TIMEOUT,
};
use crate::snapshot::{Chunk, SnapshotDir, SnapshotError};
use crate::transport::{CallError, Channel, Frame, Peer, Peers, Pending};

type RpcError = RPCError<TypeConfig>;

/// Makes the clients that openraft talks to the other servers through.
pub struct Network {
    peers: Peers,
    acknowledged: HashMap<u64, Arc<Acknowledged>>,
}

/// What openraft says to one server. It makes one of these for each of replication, heartbeats, votes and snapshots.
pub struct Client {
    replica: Replica,
    heartbeat: bool,
    peers: Peers,
}

/// One server, and what this one knows of its log.
#[derive(Clone)]
struct Replica {
    peer: Arc<Peer>,
    acknowledged: Arc<Acknowledged>,
}

/// The term in which this server leads, and the last entry that the other one has acknowledged in it.
#[derive(Default)]
struct Acknowledged(Mutex<(u64, Option<LogId>)>);

impl Network {
    pub fn new(peers: Peers) -> Self {
        Network { peers, acknowledged: HashMap::new() }
    }

    fn replica(&mut self, target: u64, member: &Member) -> Replica {
        Replica {
            peer: self.peers.get(target, member),
            acknowledged: self.acknowledged.entry(target).or_default().clone(),
        }
    }
}

impl Acknowledged {
    fn in_term(&self, vote: &Vote) -> MutexGuard<'_, (u64, Option<LogId>)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != vote.leader_id.term {
            *known = (vote.leader_id.term, None);
        }
        known
    }

    fn raise(&self, vote: &Vote, acknowledged: Option<LogId>) {
        let mut known = self.in_term(vote);
        known.1 = known.1.max(acknowledged);
    }

    fn forget(&self, vote: &Vote) {
        self.in_term(vote).1 = None;
    }
}

impl Replica {
    /// Takes note of an answer before Raft does. An entry that is missing although it was acknowledged is lost: the other server
    /// is told so, and Raft only when that one knows.
    async fn note(&self, vote: &Vote, answer: &StreamAppendResult<TypeConfig>) -> Result<(), RpcError> {
        let lost = match answer {
            Ok(matching) => {
                self.acknowledged.raise(vote, *matching);
                return Ok(());
            }
            Err(StreamAppendError::HigherVote(_)) => return Ok(()),
            Err(StreamAppendError::Conflict(missing)) => {
                self.acknowledged.in_term(vote).1.filter(|acknowledged| missing <= acknowledged)
            }
        };
        let Some(lost) = lost else { return Ok(()) };
        let told = self.peer.control.call(wire::LOST, wire::encode(&wire::wire_id(&lost)), PEER_SILENCE).await;
        decode_answer::<()>(told.map_err(|error| rpc_error(&error))?)?;
        self.acknowledged.forget(vote);
        let name = &self.peer.member.name;
        tracing::warn!(
            name,
            entry = lost.index,
            "a server has lost entries that it had acknowledged; it gets them again"
        );
        Ok(())
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, member: &Member) -> Client {
        Client { replica: self.replica(target, member), heartbeat: false, peers: self.peers.clone() }
    }

    async fn new_heartbeat_client(&mut self, target: u64, member: &Member) -> Client {
        Client { replica: self.replica(target, member), heartbeat: true, peers: self.peers.clone() }
    }
}

impl Client {
    async fn ask<T: Decode<()>>(&self, kind: u8, message: &impl Encode, option: &RPCOption) -> Result<T, RpcError> {
        let answer = self.replica.peer.control.call(kind, wire::encode(message), option.soft_ttl()).await;
        decode_answer(answer.map_err(|error| rpc_error(&error))?)
    }
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = Arc<SnapshotDir>;

    /// Heartbeats, only: entries go by [`Self::stream_append`].
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let message = encode_append(&request)?;
        let answer = self.replica.peer.control.call(wire::HEARTBEAT, message, option.soft_ttl()).await;
        let answer: AppendAnswer = decode_answer(answer.map_err(|error| rpc_error(&error))?)?;
        let answer = StreamAppendResult::<TypeConfig>::from(answer);
        self.replica.note(&request.vote, &answer).await?;
        // Raft has ended, or is about to: it would take it for an error that nobody hears of the answer.
        match self.peers.is_closed() {
            true => Err(RPCError::Unreachable(Unreachable::from_string("this server ends"))),
            false => Ok(answer.into()),
        }
    }

    /// Many appends on their way at a time, answered in order. It ends with the first that is not a success.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        if self.heartbeat {
            return openraft::network::stream_append_sequential(self, input, option);
        }
        let answers: BoxStream<'s, _> = Box::pin(pipeline(self.replica.clone(), input));
        Box::pin(async move { Ok(answers) })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let answer: VoteAnswer = self.ask(wire::VOTE, &VoteMessage::from(&request), &option).await?;
        Ok(answer.into())
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let answer: VoteAnswer = self.ask(wire::PRE_VOTE, &VoteMessage::from(&request), &option).await?;
        Ok(answer.into())
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            sent = tokio::time::timeout(SNAPSHOT_TIMEOUT, send_snapshot(&self.replica.peer.snapshot, &vote, &snapshot.snapshot)) => {
                let late = || Unreachable::from_string(format!("no snapshot was sent within {SNAPSHOT_TIMEOUT:?}"));
                let answer = sent.unwrap_or_else(|_| Err(RPCError::Unreachable(late())))?;
                if answer == vote {
                    self.replica.acknowledged.raise(&vote, snapshot.meta.last_log_id);
                }
                Ok(SnapshotResponse::new(answer))
            }
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        // The receiver waits for its disk before it answers; the caller of this sets the time.
        let message = wire::encode(&wire::TransferMessage::from(&request));
        let answer = self.replica.peer.control.call(wire::TRANSFER, message, SNAPSHOT_TIMEOUT).await;
        let answer: TransferAnswer = decode_answer(answer.map_err(|error| rpc_error(&error))?)?;
        Ok(answer.into())
    }

    fn backoff(&self) -> Option<Backoff> {
        let doubled = |delay: &Duration| Some((*delay * 2).min(RECONNECT_DELAY_MAX));
        Some(Backoff::new(std::iter::successors(Some(RECONNECT_DELAY_MIN), doubled)))
    }
}

fn pipeline(
    replica: Replica,
    input: impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
) -> impl Stream<Item = Result<StreamAppendResult<TypeConfig>, RpcError>> + Send {
    let started = input.enumerate().then(move |(position, request)| {
        let replica = replica.clone();
        async move {
            let kind = if position == 0 { wire::APPEND_FIRST } else { wire::APPEND };
            let started = replica.peer.replicate.start(kind, encode_append(&request)?).await;
            Ok((started.map_err(|error| rpc_error(&error))?, replica, request.vote))
        }
    });
    let answers = started.map(|started: Result<_, RpcError>| async {
        let (pending, replica, vote): (Pending, Replica, Vote) = started?;
        let answer = pending.answer().await.map_err(|error| rpc_error(&error))?;
        let answer = StreamAppendResult::from(decode_answer::<AppendAnswer>(answer)?);
        replica.note(&vote, &answer).await?;
        Ok(answer)
    });
    // `then` starts them in order; `buffered` hands the answers on in that order.
    answers.buffered(APPENDS_IN_FLIGHT).scan(false, |ended, result| {
        let last = !matches!(result, Ok(Ok(_)));
        let item = (!*ended).then_some(result);
        *ended |= last;
        futures::future::ready(item)
    })
}

/// Sends a snapshot in pieces, at a rate that leaves room for the log, and waits until it is installed: the receiver's vote.
async fn send_snapshot(channel: &Channel, vote: &Vote, snapshot: &Arc<SnapshotDir>) -> Result<Vote, RpcError> {
    let begin = SnapshotMessage { vote: WireVote::from(vote), manifest: snapshot.manifest().clone() };
    let begun = channel.start(wire::SNAPSHOT_BEGIN, wire::encode(&begin)).await.map_err(|error| rpc_error(&error))?;
    let (chunks, mut to_send) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let read = snapshot.clone();
    // It ends by itself when nobody takes the chunks any more.
    let reading = tokio::task::spawn_blocking(move || read_chunks(&read, &chunks));
    let begun = begun.answer().await.map_err(|error| rpc_error(&error))?;
    decode_answer::<()>(begun)?;
    let mut unanswered = std::collections::VecDeque::with_capacity(CHUNKS_IN_FLIGHT);
    let mut due = tokio::time::Instant::now();
    while let Some(chunk) = to_send.recv().await {
        let chunk = chunk.map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))?;
        tokio::time::sleep_until(due).await;
        due = due.max(tokio::time::Instant::now())
            + Duration::from_secs(1) * chunk.bytes.len() as u32 / SNAPSHOT_BYTES_PER_SECOND;
        if unanswered.len() == CHUNKS_IN_FLIGHT
            && let Some(oldest) = unanswered.pop_front()
        {
            answered(oldest).await?;
        }
        let started = channel.start(wire::SNAPSHOT_CHUNK, wire::encode(&chunk)).await;
        unanswered.push_back(started.map_err(|error| rpc_error(&error))?);
    }
    for pending in unanswered {
        answered(pending).await?;
    }
    reading.await.map_err(|error| RPCError::Network(NetworkError::new(&error)))?;
    let installed = channel.start(wire::SNAPSHOT_END, bytes::Bytes::new()).await.map_err(|error| rpc_error(&error))?;
    let answer = installed.answer().await.map_err(|error| rpc_error(&error))?;
    Ok(Vote::from(decode_answer::<WireVote>(answer)?))
}

async fn answered(pending: Pending) -> Result<(), RpcError> {
    decode_answer(pending.answer().await.map_err(|error| rpc_error(&error))?)
}

fn read_chunks(snapshot: &SnapshotDir, chunks: &mpsc::Sender<Result<Chunk, SnapshotError>>) {
    for chunk in snapshot.chunks() {
        let failed = chunk.is_err();
        if chunks.blocking_send(chunk).is_err() || failed {
            return;
        }
    }
}

fn encode_append(request: &AppendEntriesRequest<TypeConfig>) -> Result<Vec<u8>, RpcError> {
    let message = AppendMessage::new(request).map_err(|error| RPCError::Network(NetworkError::new(&error)))?;
    Ok(wire::encode(&message))
}

fn decode_answer<T: Decode<()>>(answer: Frame) -> Result<T, RpcError> {
    match answer.kind {
        wire::DONE => wire::decode(&answer.payload).map_err(|error| RPCError::Network(NetworkError::new(&error))),
        // It is there and cannot serve: as good as not there, for a while.
        _ => Err(RPCError::Unreachable(Unreachable::from_string(String::from_utf8_lossy(&answer.payload)))),
    }
}

fn rpc_error(error: &CallError) -> RpcError {
    match error {
        CallError::NotSent(_) => RPCError::Unreachable(Unreachable::new(error)),
        CallError::Lost(_) => RPCError::Network(NetworkError::new(error)),
    }
}
