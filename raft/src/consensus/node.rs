//! One Raft node: started on its storage, asked for writes and read indexes, told to take snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::metrics::{RaftServerMetrics, WaitError};
use openraft::{Config, Raft, ServerState, SnapshotPolicy};
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::forward::{InFlight, REMOVED};
use super::lost::Lost;
use super::machine::Machine;
use super::majority::Leaderless;
use super::membership::members;
use super::network::Network;
use super::room::Rooms;
use super::service::Receiving;
use super::{LogStore, TypeConfig, drop_overtaken};
use crate::disk::Shortage;
use crate::limits::{
    APPLY_BATCH_ENTRIES, ELECTION_TIMEOUT_MS_MAX, ELECTION_TIMEOUT_MS_MIN, HEARTBEAT_MS, LOG_READ_ENTRIES,
    OPEN_TIMEOUT, PURGE_TIMEOUT, SNAPSHOT_POLL, SNAPSHOT_RETRY, SNAPSHOT_TIMEOUT,
};
use crate::status::{Leadership, Role, Status};
use crate::store::Store;
use crate::transport::{Dial, Identity, Member, Peers, Refusals};
use crate::{DiskError, OpenError};

#[derive(Clone)]
pub struct Node {
    pub(super) raft: Raft<TypeConfig, Machine>,
    pub(super) log: LogStore,
    pub(super) store: Arc<Store>,
    pub(super) peers: Peers,
    /// How far this server's state is applied.
    pub(super) applied: watch::Receiver<u64>,
    pub(super) receiving: Receiving,
    pub(super) in_flight: InFlight,
    /// The leader has said that this server is no member.
    pub(super) removed: Arc<AtomicBool>,
    /// Connections that others made.
    pub(super) connections: InFlight,
    /// This server is about to end.
    pub(super) leaving: CancellationToken,
    pub(super) clock_slack: Duration,
    pub(super) lost: Lost,
    pub(super) rooms: Rooms,
    pub(super) leaderless: Leaderless,
    pub(super) refusals: Refusals,
    /// Another server has said that this one is no member any more.
    pub let_go: Arc<Notify>,
    /// Held while this server changes the membership.
    pub(super) changing: Arc<Mutex<()>>,
}

/// How a node is to be.
#[derive(Clone, Copy, Debug)]
pub struct NodeOptions {
    pub start: Start,
    /// Entries that stay in the log behind a snapshot.
    pub keep_entries: u64,
    /// How far a command's time may be ahead of this server's clock.
    pub clock_slack: Duration,
}

/// What an empty directory becomes. A directory that is not empty goes on as what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// A cluster of one.
    #[default]
    Alone,
    /// A server that waits until the leader of a cluster adds it.
    Join,
}

/// Why Raft did not do what it was asked.
#[derive(Clone, Debug)]
pub enum NodeError {
    NotLeader {
        leader: Option<u64>,
        address: Option<String>,
    },
    /// The leader changed under way; the entry may or may not be committed.
    Unknown,
    /// The disk has no room for writes.
    Full(Shortage),
    Unavailable(String),
    /// No leader has had a majority for long: who takes part.
    NoMajority(String),
    /// The cluster is not changed that way, for this reason.
    Refused(String),
    Storage(String),
}

impl Node {
    /// Starts Raft on its storage. A server that is alone can serve when this returns; others have only begun.
    pub async fn start(
        me: Identity,
        member: Member,
        NodeOptions { start, keep_entries, clock_slack }: NodeOptions,
        dial: Option<Arc<dyn Dial>>,
        (log, store): (LogStore, Arc<Store>),
    ) -> Result<Self, OpenError> {
        let lost = Lost::open(&log)?;
        let config = Config {
            max_in_snapshot_log_to_keep: keep_entries,
            enable_elect: lost.is_none(),
            // Who has lost what it acknowledged gets it again; `network` tells it so before Raft hears of it.
            allow_log_reversion: Some(true),
            ..config()?
        };
        drop_overtaken(&log, &store).await.map_err(|error| OpenError::Raft(error.to_string()))?;
        let machine = Machine::new(store.clone(), log.clone());
        let applied = machine.applied();
        let id = me.node;
        let peers = Peers::new(me, dial);
        let raft = Raft::new(id, Arc::new(config), Network::new(peers.clone()), log.clone(), machine).await;
        let raft = raft.map_err(|error| OpenError::Raft(error.to_string()))?;
        let (receiving, in_flight, removed, connections, leaving, rooms, leaderless) = Default::default();
        let (refusals, let_go, changing) = Default::default();
        let node = Node {
            raft,
            log,
            store,
            peers,
            applied,
            receiving,
            in_flight,
            removed,
            connections,
            leaving,
            clock_slack,
            lost,
            rooms,
            leaderless,
            refusals,
            let_go,
            changing,
        };
        let initialized = node.raft.is_initialized().await.map_err(|error| OpenError::Raft(error.to_string()))?;
        if !initialized && start == Start::Alone {
            let members = BTreeMap::from([(id, member)]);
            node.raft.initialize(members).await.map_err(|error| OpenError::Raft(error.to_string()))?;
        }
        let alone = node.raft.with_raft_state(move |state| state.membership_state.effective().voter_ids().eq([id]));
        if alone.await.map_err(|error| OpenError::Raft(error.to_string()))? {
            // Alone, there is no reason to wait for an election timeout.
            node.raft.trigger().elect(false).await.map_err(|error| OpenError::Raft(error.to_string()))?;
            node.ready(OPEN_TIMEOUT).await?;
            let mut news = node.raft.server_metrics();
            while news.borrow_and_update().state != ServerState::Leader {
                news.changed().await.map_err(|_| OpenError::Raft("Raft is ending".into()))?;
            }
            if node.peers.me().cluster() == 0 {
                node.join_cluster(rand::random_range(1..u64::MAX)).await.map_err(OpenError::Disk)?;
            }
        }
        Ok(node)
    }

    /// Waits until a leader is known and the state here holds all that was acknowledged before.
    pub async fn ready(&self, patience: Duration) -> Result<(), OpenError> {
        match self.read_index(patience).await {
            Ok(()) => Ok(()),
            Err(NodeError::NotLeader { .. } | NodeError::NoMajority(_) | NodeError::Unknown) => {
                Err(OpenError::NoLeader(patience))
            }
            Err(NodeError::Full(shortage)) => Err(OpenError::Raft(shortage.to_string())),
            Err(NodeError::Unavailable(reason) | NodeError::Refused(reason) | NodeError::Storage(reason)) => {
                Err(OpenError::Raft(reason))
            }
        }
    }

    /// Keeps to a cluster from now on: other clusters' servers are not heard.
    pub(super) async fn join_cluster(&self, cluster: u64) -> Result<(), DiskError> {
        let cluster = self.log.join_cluster(cluster).await?;
        self.peers.me().adopt(cluster);
        Ok(())
    }

    pub fn id(&self) -> u64 {
        *self.raft.node_id()
    }

    pub fn cluster(&self) -> u64 {
        self.peers.me().cluster()
    }

    /// Waits until there is a complete snapshot of at least what is applied now; the log is purged behind it.
    pub async fn snapshot(&self) -> Result<(), NodeError> {
        let deadline = Instant::now() + SNAPSHOT_TIMEOUT;
        let applied = self.raft.metrics().borrow_watched().last_applied;
        while self.raft.metrics().borrow_watched().snapshot < applied {
            if Instant::now() >= deadline {
                return Err(NodeError::Unavailable(format!("no snapshot within {SNAPSHOT_TIMEOUT:?}")));
            }
            if let Some(shortage) = self.log.shortage() {
                return Err(NodeError::Full(shortage));
            }
            // Raft ignores the request while it builds an earlier one: ask again.
            self.raft.trigger().snapshot().await.map_err(fatal_error)?;
            let wait = self.raft.wait(Some(SNAPSHOT_RETRY));
            let complete = wait.metrics(|now| now.snapshot >= applied, "snapshot").await;
            if let Err(WaitError::ShuttingDown) = complete {
                return Err(NodeError::Unavailable("Raft is ending".into()));
            }
        }
        Ok(())
    }

    /// Waits until there is a snapshot that was begun after the call, even if nothing was applied since the last one.
    pub async fn snapshot_anew(&self, store: &Store) -> Result<(), NodeError> {
        let deadline = Instant::now() + SNAPSHOT_TIMEOUT;
        let before = store.checkpoints_begun();
        while store.checkpoint_of_snapshot() <= before {
            if Instant::now() >= deadline || store.is_closed() {
                return Err(NodeError::Unavailable(format!("no snapshot within {SNAPSHOT_TIMEOUT:?}")));
            }
            // Raft ignores the request while it builds an earlier one: ask again.
            self.raft.trigger().snapshot().await.map_err(fatal_error)?;
            tokio::time::sleep(SNAPSHOT_POLL).await;
        }
        Ok(())
    }

    /// Purges the log up to the newest snapshot, whatever followers may still want; they get the snapshot then. False if it is
    /// not done after a while.
    pub async fn purge_to_snapshot(&self, store: &Store) -> Result<bool, NodeError> {
        let Some(index) = store.snapshot().and_then(|snapshot| snapshot.manifest().index) else { return Ok(true) };
        let reached = |id: &Option<super::LogId>| id.as_ref().is_some_and(|id| id.index >= index);
        let wait = self.raft.wait(Some(PURGE_TIMEOUT));
        // Raft purges up to the snapshot it has heard of.
        let mut done = wait.metrics(|now| reached(&now.snapshot), "snapshot").await;
        if done.is_ok() {
            self.raft.trigger().purge_log(index).await.map_err(fatal_error)?;
            done = wait.metrics(|now| reached(&now.purged), "purged").await;
        }
        match done {
            Ok(_) => Ok(true),
            Err(WaitError::Timeout(..)) => Ok(false),
            Err(WaitError::ShuttingDown) => Err(NodeError::Unavailable("Raft is ending".into())),
        }
    }

    /// Rewrites the log's files without what was purged. Blocks.
    pub async fn rewrite_log(&self) -> Result<(), DiskError> {
        self.log.rewrite().await.map_err(DiskError::io("rewrite the log"))
    }

    /// Returns once the log is durable, also what a start has found in it that an earlier process may not have synced.
    pub async fn log_synced(&self) -> Result<(), NodeError> {
        self.log.synced().await.map_err(|error| NodeError::Storage(error.to_string()))
    }

    /// What this server's disk lacks, if it is full.
    pub fn shortage(&self) -> Option<Shortage> {
        self.log.shortage()
    }

    pub fn tend_space(&self) {
        match self.store.unflushed() {
            Ok(bytes) => self.log.owe(bytes),
            Err(error) => tracing::warn!(%error, "what the state still has to write cannot be told"),
        }
        self.log.tend_space();
    }

    /// Notes what is committed where no append does, until the log fails.
    pub async fn note_committed(self) {
        while let Ok(()) = self.log.note_committed().await {}
    }

    pub fn appended_bytes(&self) -> u64 {
        self.log.appended_bytes()
    }

    pub fn leadership(&self) -> Leadership {
        to_leadership(&self.raft.server_metrics().borrow_watched())
    }

    /// Tells changes of leadership until Raft ends, and then that there is none.
    pub async fn follow_leadership(self, leadership: watch::Sender<Leadership>) {
        let mut metrics = self.raft.server_metrics();
        let mut told = None;
        loop {
            let (now, leader) = {
                let metrics = metrics.borrow_and_update();
                let leader = metrics.current_leader.and_then(|leader| metrics.membership_config.get_node(&leader));
                (to_leadership(&metrics), leader.map(|leader| leader.name.clone()))
            };
            leadership.send_if_modified(|before| std::mem::replace(before, now) != now);
            if let Some(leader) = leader.map(|leader| (leader, now.term)).filter(|leader| told.as_ref() != Some(leader))
            {
                tracing::info!(leader = leader.0, term = leader.1, "who leads");
                told = Some(leader);
            }
            if metrics.changed().await.is_err() {
                leadership.send_modify(|before| before.leader = false);
                return;
            }
        }
    }

    pub fn status(&self) -> Status {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let index = |id: &Option<super::LogId>| id.as_ref().map_or(0, |id| id.index);
        let role = match metrics.state {
            ServerState::Learner => Role::Learner,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Leader => Role::Leader,
            ServerState::Shutdown => Role::Shutdown,
        };
        let removed = self.removed.load(Ordering::Relaxed).then(|| REMOVED.to_owned());
        let stopped = metrics.running_state.as_ref().err().map(ToString::to_string);
        let leader = metrics.current_leader;
        let leader_name = leader.and_then(|id| Some(metrics.membership_config.get_node(&id)?.name.clone()));
        Status {
            node: metrics.id,
            role,
            term: metrics.current_term,
            leader,
            leader_name,
            members: members(&metrics),
            last_index: metrics.last_log_index.unwrap_or_default(),
            applied_index: index(&metrics.last_applied),
            snapshot_index: index(&metrics.snapshot),
            purged_index: index(&metrics.purged),
            shortage: self.log.shortage(),
            lost: self.lost_entries(),
            failure: self.log.failure().map(str::to_owned).or(stopped).or(removed),
            ..Status::default()
        }
    }

    /// Ends Raft's tasks and connections; what was accepted and not yet answered gets an error.
    pub async fn shutdown(&self) {
        self.log.close();
        self.peers.close();
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "Raft did not end in order");
        }
    }
}

/// How Raft is set.
pub(super) fn config() -> Result<Config, OpenError> {
    let config = Config {
        cluster_name: "kontiki".into(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_TIMEOUT_MS_MIN,
        election_timeout_max: ELECTION_TIMEOUT_MS_MAX,
        // Housekeeping asks for snapshots: it knows bytes as well as entries, and flushes first.
        snapshot_policy: SnapshotPolicy::Never,
        purge_batch_size: APPLY_BATCH_ENTRIES as u64,
        max_payload_entries: LOG_READ_ENTRIES as u64,
        enable_pre_vote: Some(true),
        // A leader that crashed may have lost entries that others have synced and that were acknowledged; if it went on in its
        // term, it would write others in their place. Its applied state may be older as well: an election brings it forward.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    config.validate().map_err(|error| OpenError::Raft(error.to_string()))
}

fn to_leadership(metrics: &RaftServerMetrics<TypeConfig>) -> Leadership {
    Leadership { leader: metrics.state == ServerState::Leader, term: metrics.vote.leader_id.term }
}

pub(super) fn fatal_error(fatal: Fatal<TypeConfig>) -> NodeError {
    match fatal {
        Fatal::StorageError(error) => NodeError::Storage(error.to_string()),
        stopped @ (Fatal::Panicked | Fatal::Stopped) => NodeError::Unavailable(stopped.to_string()),
    }
}
