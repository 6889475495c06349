//! A Raft node for a simulation: the same engine, storage and state as [`super::Node`], on a runtime, a network and a schedule of
//! syncs that the simulation brings.
//!
//! What the simulation wants to break, it breaks with a [`Tamper`], around the real storage and never in it.

mod tamper;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
use std::io;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::impls::leader_id_std::LeaderId;
use openraft::impls::{BoxedErrorSource, InlineBatch, ProgressResponder};
use openraft::{AsyncRuntime, ChangeMembers, Config, OptionalSend, Raft, RaftTypeConfig, ReadPolicy};

pub use self::tamper::Tamper;
use self::tamper::{TamperedLog, TamperedMachine};
use self::wire::Network;
pub use self::wire::{Answer, Request, Wire};
use super::machine::Machine;
use super::node::config;
use super::{
    Entry, LogStore, Member, NodeError, Payload, Proposal, Snapshot, Types, Vote, check_log_reaches, drop_overtaken,
};
use crate::disk::Flush;
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
        check_log_reaches(dir, &log, &store)?;
        store.remove_leftovers()?;
        drop_overtaken(&log, &store).await.map_err(|error| OpenError::Raft(error.to_string()))?;
        let config = Config { max_in_snapshot_log_to_keep: limits.log_keep_entries, ..config()? };
        let restores = Some(around.tamper.restores_leader());
        let config = Config { enable_leader_restore: restores, purge_batch_size: 1, ..config };
        let tampered = TamperedLog { log: log.clone(), tamper: around.tamper.clone() };
        let machine = TamperedMachine {
            machine: Machine::new(store.clone(), log.clone()),
            log: log.clone(),
            tamper: around.tamper,
        };
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

    /// Voters and learners.
    pub fn members(&self) -> BTreeSet<u64> {
        self.raft.server_metrics().borrow_watched().membership_config.nodes().map(|(id, _)| *id).collect()
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
