//! A Raft node for a simulation: the same engine, storage and state as [`super::Node`], on a runtime, a network and a schedule of
//! syncs that the simulation brings.
//!
//! What the simulation wants to break, it breaks here ([`Tamper`]), around the real storage and never in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
use std::io;
use std::marker::PhantomData;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::base::BoxFuture;
use openraft::errors::{
    ClientWriteError, LinearizableReadError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::impls::leader_id_std::LeaderId;
use openraft::impls::{BoxedErrorSource, InlineBatch, ProgressResponder};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::storage::{EntryResponder, IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::{
    AsyncRuntime, ChangeMembers, Config, LogState, OptionalSend, Raft, RaftLogReader, RaftNetworkFactory,
    RaftNetworkV2, RaftTypeConfig, ReadPolicy,
};

use super::machine::{Builder, Machine};
use super::node::config;
use super::{
    Entry, LogId, LogStore, Member, NodeError, Payload, Proposal, Snapshot, SnapshotMeta, StoredMembership, Types, Vote,
};
use crate::disk::Flush;
use crate::limits::APPLY_BATCH_ENTRIES;
use crate::snapshot::{SnapshotDir, SnapshotReceiver};
use crate::store::{HistoryLimits, Outcome, Store};
use crate::{Command, OpenError};

/// A runtime that a simulation brings. Its blocking work is done at once: it is the disk's time that is simulated, not the disk.
pub trait Runtime: AsyncRuntime + Debug + Clone + Copy + Default + Ord + Send + Sync {}

impl<R: AsyncRuntime + Debug + Clone + Copy + Default + Ord + Send + Sync> Runtime for R {}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Simulated<R>(PhantomData<R>);

impl<R: Runtime> RaftTypeConfig for Simulated<R> {
    type D = Proposal;
    type R = Outcome;
    type NodeId = u64;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId<u64, u64>;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = R;
    type Responder<T>
        = ProgressResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

impl<R: Runtime> Types for Simulated<R> {
    async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        Ok(work())
    }
}

/// What one server asks another.
#[derive(Clone)]
pub enum Request<R: Runtime> {
    Append(AppendEntriesRequest<Simulated<R>>),
    Vote(VoteRequest<Simulated<R>>),
    PreVote(VoteRequest<Simulated<R>>),
    Snapshot(Vote, Arc<SnapshotDir>),
    Transfer(TransferLeaderRequest<Simulated<R>>),
}

impl<R: Runtime> Request<R> {
    /// Whoever asks this as the leader of a term: the term and the leader.
    pub fn leader(&self) -> Option<(u64, u64)> {
        let vote = match self {
            Request::Append(request) => &request.vote,
            Request::Snapshot(vote, _) => vote,
            Request::Vote(_) | Request::PreVote(_) | Request::Transfer(_) => return None,
        };
        Some((vote.leader_id.term, vote.leader_id.voted_for))
    }

    pub fn name(&self) -> &'static str {
        match self {
            Request::Append(request) if request.entries.is_empty() => "heartbeat",
            Request::Append(_) => "append",
            Request::Vote(_) => "vote",
            Request::PreVote(_) => "pre-vote",
            Request::Snapshot(..) => "snapshot",
            Request::Transfer(_) => "transfer",
        }
    }
}

/// What it is answered.
pub enum Answer<R: Runtime> {
    Append(AppendEntriesResponse<Simulated<R>>),
    Vote(VoteResponse<Simulated<R>>),
    Snapshot(SnapshotResponse<Simulated<R>>),
    Transfer(TransferLeaderResponse<Simulated<R>>),
}

/// How requests travel. An error is a request, or an answer, that was lost.
pub trait Wire<R: Runtime>: Send + Sync + 'static {
    fn ask(&self, from: u64, to: u64, request: Request<R>) -> BoxFuture<'static, Result<Answer<R>, String>>;
}

/// What a planted bug does to a server's storage and state. The default is a server without bugs.
pub trait Tamper: Send + Sync + 'static {
    /// Whether a vote reaches the disk.
    fn keeps_vote(&self) -> bool {
        true
    }

    /// How often an entry is applied.
    fn times_applied(&self, _index: u64) -> usize {
        1
    }

    /// Whether a leader that starts again goes on leading in its old term.
    fn restores_leader(&self) -> bool {
        false
    }

    /// Where the server, starting, believes that its state ends: so many entries before where it does.
    fn forgets_applied(&self) -> u64 {
        0
    }
}

/// How much of everything a simulated server keeps.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaLimits {
    pub history: HistoryLimits,
    pub ring_events: usize,
    pub log_keep_entries: u64,
}

/// What a simulated server is given besides its directory.
pub struct Surroundings<R: Runtime> {
    pub wire: Arc<dyn Wire<R>>,
    pub tamper: Arc<dyn Tamper>,
    pub schedule: Box<dyn Fn(Flush) + Send + Sync>,
}

/// One simulated server.
#[derive(Clone)]
pub struct Replica<R: Runtime> {
    raft: Raft<Simulated<R>, TamperedMachine>,
    store: Arc<Store>,
    log: LogStore,
}

impl<R: Runtime> Replica<R> {
    pub async fn open(id: u64, dir: &Path, limits: ReplicaLimits, around: Surroundings<R>) -> Result<Self, OpenError> {
        let log = LogStore::open_scheduled(&dir.join("log"), around.schedule)?;
        let store = Store::open(&dir.join("state"), limits.history, limits.ring_events)?;
        let config = Config { max_in_snapshot_log_to_keep: limits.log_keep_entries, ..config()? };
        let restores = Some(around.tamper.restores_leader());
        let config = Config { enable_leader_restore: restores, purge_batch_size: 1, ..config };
        let tampered = TamperedLog { log: log.clone(), tamper: around.tamper.clone() };
        let machine = TamperedMachine { machine: Machine::new(store.clone()), tamper: around.tamper };
        let network = Network { from: id, wire: around.wire };
        let raft = Raft::new(id, Arc::new(config), network, tampered, machine).await;
        Ok(Replica { raft: raft.map_err(|error| OpenError::Raft(error.to_string()))?, store, log })
    }

    /// Makes these the voters of a new cluster.
    pub async fn initialize(&self, members: &BTreeSet<u64>) -> Result<(), String> {
        let members: BTreeMap<u64, Member> = members.iter().map(|id| (*id, member(*id))).collect();
        self.raft.initialize(members).await.map_err(|error| error.to_string())
    }

    /// Serves another server's request.
    pub async fn serve(&self, request: Request<R>) -> Result<Answer<R>, String> {
        let why = |error: &dyn fmt::Display| error.to_string();
        match request {
            Request::Append(request) => {
                self.raft.append_entries(request).await.map(Answer::Append).map_err(|error| why(&error))
            }
            Request::Vote(request) => self.raft.vote(request).await.map(Answer::Vote).map_err(|error| why(&error)),
            Request::PreVote(request) => {
                self.raft.pre_vote(request).await.map(Answer::Vote).map_err(|error| why(&error))
            }
            Request::Snapshot(vote, sent) => {
                let received = self.receive(&sent).map_err(|error| why(&error))?;
                let meta = super::machine::describe(received.manifest()).map_err(|error| why(&error))?;
                let snapshot = Snapshot { meta, snapshot: Arc::new(received) };
                let installed = self.raft.install_full_snapshot(vote, snapshot).await;
                installed.map(Answer::Snapshot).map_err(|error| why(&error))
            }
            Request::Transfer(request) => {
                self.raft.handle_transfer_leader(request).await.map(Answer::Transfer).map_err(|error| why(&error))
            }
        }
    }

    /// As it comes over a wire: chunk by chunk, each verified.
    fn receive(&self, sent: &SnapshotDir) -> Result<SnapshotDir, crate::snapshot::SnapshotError> {
        let mut receiver = SnapshotReceiver::begin(&self.store.snapshots_dir(), sent.manifest().clone())?;
        for chunk in sent.chunks() {
            receiver.accept(&chunk?)?;
        }
        receiver.finish()
    }

    /// Commits and applies a command, on the leader.
    pub async fn write(&self, command: Arc<Command>) -> Result<(u64, Outcome), NodeError> {
        match self.raft.client_write(Proposal(command)).await {
            Ok(response) => Ok((response.log_id.index, response.data)),
            Err(RaftError::Fatal(fatal)) => Err(NodeError::Storage(fatal.to_string())),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(NodeError::NotLeader { leader: forward.leader_id, address: None })
            }
            Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => Err(NodeError::Unknown),
            Err(RaftError::APIError(other)) => Err(NodeError::Unavailable(other.to_string())),
        }
    }

    /// The index up to which a read that begins now must see the log, from the leader.
    pub async fn read_index(&self) -> Result<u64, NodeError> {
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::Fatal(fatal)) => Err(NodeError::Storage(fatal.to_string())),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(NodeError::NotLeader { leader: forward.leader_id, address: None })
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(few))) => {
                Err(NodeError::Unavailable(few.to_string()))
            }
        }
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub fn applied_index(&self) -> u64 {
        self.store.applied_record().index.unwrap_or_default()
    }

    /// Whether it leads, as far as it knows, and in which term.
    pub fn leads(&self) -> (bool, u64) {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        (metrics.state == openraft::ServerState::Leader, metrics.vote.leader_id.term)
    }

    /// The leader it knows.
    pub fn leader(&self) -> Option<u64> {
        self.raft.server_metrics().borrow_watched().current_leader
    }

    pub fn voters(&self) -> BTreeSet<u64> {
        self.raft.voter_ids().collect()
    }

    /// Why it has stopped, if it has.
    pub fn failure(&self) -> Option<String> {
        let stopped = self.raft.metrics().borrow_watched().running_state.as_ref().err().map(ToString::to_string);
        self.log.failure().map(str::to_owned).or(stopped)
    }

    /// Asks for a snapshot, after which the log is purged.
    pub async fn snapshot(&self) -> Result<(), String> {
        self.store.flush().map_err(|error| error.to_string())?;
        self.raft.trigger().snapshot().await.map_err(|error| error.to_string())
    }

    pub fn purged_index(&self) -> u64 {
        self.raft.metrics().borrow_watched().purged.as_ref().map_or(0, |id| id.index)
    }

    pub async fn elect(&self) -> Result<(), String> {
        self.raft.trigger().elect(false).await.map_err(|error| error.to_string())
    }

    pub async fn transfer_leader(&self, to: u64) -> Result<(), String> {
        self.raft.trigger().transfer_leader(to).await.map_err(|error| error.to_string())
    }

    pub async fn add_learner(&self, id: u64) -> Result<(), String> {
        self.raft.add_learner(id, member(id), false).await.map(drop).map_err(|error| error.to_string())
    }

    pub async fn change_voters(&self, voters: BTreeSet<u64>) -> Result<(), String> {
        let change = ChangeMembers::ReplaceAllVoters(voters);
        self.raft.change_membership(change, true).await.map(drop).map_err(|error| error.to_string())
    }

    pub async fn shutdown(&self) {
        // A simulated server that does not end in order has crashed, which it must survive as well.
        _ = self.raft.shutdown().await;
    }
}

fn member(id: u64) -> Member {
    Member { name: format!("server-{id}"), address: format!("server-{id}:7443") }
}

struct Network<R: Runtime> {
    from: u64,
    wire: Arc<dyn Wire<R>>,
}

struct Peer<R: Runtime> {
    from: u64,
    to: u64,
    wire: Arc<dyn Wire<R>>,
}

impl<R: Runtime> RaftNetworkFactory<Simulated<R>> for Network<R> {
    type Network = Peer<R>;

    async fn new_client(&mut self, target: u64, _member: &Member) -> Peer<R> {
        Peer { from: self.from, to: target, wire: self.wire.clone() }
    }
}

impl<R: Runtime> Peer<R> {
    async fn ask(&self, request: Request<R>) -> Result<Answer<R>, RPCError<Simulated<R>>> {
        let answer = self.wire.ask(self.from, self.to, request).await;
        answer.map_err(|lost| RPCError::Unreachable(Unreachable::from_string(lost)))
    }
}

fn unexpected<R: Runtime>() -> RPCError<Simulated<R>> {
    RPCError::Unreachable(Unreachable::from_string("an answer to something else"))
}

impl<R: Runtime> RaftNetworkV2<Simulated<R>> for Peer<R> {
    type SnapshotData = Arc<SnapshotDir>;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Simulated<R>>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Simulated<R>>, RPCError<Simulated<R>>> {
        match self.ask(Request::Append(request)).await? {
            Answer::Append(answer) => Ok(answer),
            _ => Err(unexpected()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Simulated<R>>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Simulated<R>>, RPCError<Simulated<R>>> {
        match self.ask(Request::Vote(request)).await? {
            Answer::Vote(answer) => Ok(answer),
            _ => Err(unexpected()),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Simulated<R>>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Simulated<R>>, RPCError<Simulated<R>>> {
        match self.ask(Request::PreVote(request)).await? {
            Answer::Vote(answer) => Ok(answer),
            _ => Err(unexpected()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Simulated<R>>, StreamingError<Simulated<R>>> {
        let sending = Box::pin(self.ask(Request::Snapshot(vote, snapshot.snapshot)));
        match futures::future::select(sending, Box::pin(cancel)).await {
            futures::future::Either::Left((answer, _)) => match answer? {
                Answer::Snapshot(answer) => Ok(answer),
                _ => Err(StreamingError::from(unexpected())),
            },
            futures::future::Either::Right((closed, _)) => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Simulated<R>>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<Simulated<R>>, RPCError<Simulated<R>>> {
        match self.ask(Request::Transfer(request)).await? {
            Answer::Transfer(answer) => Ok(answer),
            _ => Err(unexpected()),
        }
    }
}

/// The log, with what [`Tamper`] does to it.
#[derive(Clone)]
struct TamperedLog {
    log: LogStore,
    tamper: Arc<dyn Tamper>,
}

impl<R: Runtime> RaftLogReader<Simulated<R>> for TamperedLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        RaftLogReader::<Simulated<R>>::try_get_log_entries(&mut self.log, range).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        RaftLogReader::<Simulated<R>>::limited_get_log_entries(&mut self.log, start, end).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        RaftLogReader::<Simulated<R>>::read_vote(&mut self.log).await
    }
}

impl<R: Runtime> RaftLogStorage<Simulated<R>> for TamperedLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Simulated<R>>, io::Error> {
        self.log.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        if !self.tamper.keeps_vote() {
            return Ok(());
        }
        RaftLogStorage::<Simulated<R>>::save_vote(&mut self.log, vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        RaftLogStorage::<Simulated<R>>::save_committed(&mut self.log, committed).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        RaftLogStorage::<Simulated<R>>::read_committed(&mut self.log).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Simulated<R>>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.log.append(entries, callback).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        RaftLogStorage::<Simulated<R>>::truncate_after(&mut self.log, last).await
    }

    async fn purge(&mut self, id: LogId) -> Result<(), io::Error> {
        RaftLogStorage::<Simulated<R>>::purge(&mut self.log, id).await
    }
}

/// The state machine, with what [`Tamper`] does to it.
struct TamperedMachine {
    machine: Machine,
    tamper: Arc<dyn Tamper>,
}

impl<R: Runtime> RaftStateMachine<Simulated<R>> for TamperedMachine {
    type SnapshotData = Arc<SnapshotDir>;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let (last, membership) = RaftStateMachine::<Simulated<R>>::applied_state(&mut self.machine).await?;
        let forgotten = self.tamper.forgets_applied();
        let earlier =
            |id: LogId| super::log_id(id.committed_leader_id().term, id.index.saturating_sub(forgotten).max(1));
        Ok((last.map(earlier), membership))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Simulated<R>>, io::Error>> + Unpin + OptionalSend,
    {
        let tamper = self.tamper.clone();
        let mut chunks = entries.ready_chunks(APPLY_BATCH_ENTRIES);
        while let Some(chunk) = chunks.next().await {
            let tampered: Vec<_> = chunk.into_iter().flat_map(|item| tampered(&*tamper, item)).collect();
            self.machine.apply(stream::iter(tampered)).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        RaftStateMachine::<Simulated<R>>::get_snapshot_builder(&mut self.machine).await
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Arc<SnapshotDir>) -> Result<(), io::Error> {
        RaftStateMachine::<Simulated<R>>::install_snapshot(&mut self.machine, meta, snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        RaftStateMachine::<Simulated<R>>::get_current_snapshot(&mut self.machine).await
    }
}

type Applied<R> = Result<EntryResponder<Simulated<R>>, io::Error>;

/// Only commands are tampered with: leave an election or a membership out, and Raft itself notices.
fn tampered<R: Runtime>(tamper: &dyn Tamper, item: Applied<R>) -> Vec<Applied<R>> {
    let Ok((entry, responder)) = item else { return vec![item] };
    let Payload::Normal(_) = &entry.payload else { return vec![Ok((entry, responder))] };
    match tamper.times_applied(entry.log_id.index) {
        0 => vec![Ok((Entry { payload: Payload::Blank, ..entry }, responder))],
        times => {
            let again = (1..times).map(|_| Ok((entry.clone(), None))).collect::<Vec<_>>();
            std::iter::once(Ok((entry.clone(), responder))).chain(again).collect()
        }
    }
}
