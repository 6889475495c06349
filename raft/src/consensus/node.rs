//! One Raft node: started on its storage, asked for writes and read indexes, told to take snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::metrics::{RaftServerMetrics, WaitError};
use openraft::{Config, Raft, ReadPolicy, ServerState, SnapshotPolicy};
use tokio::sync::watch;
use tokio::time::Instant;

use super::machine::Machine;
use super::network::NoPeers;
use super::{LogStore, Member, Proposal, TypeConfig};
use crate::disk::Shortage;
use crate::limits::{
    APPLY_BATCH_ENTRIES, ELECTION_TIMEOUT_MS_MAX, ELECTION_TIMEOUT_MS_MIN, HEARTBEAT_MS, LEADER_RETRY, LEADER_WAIT,
    LOG_KEEP_ENTRIES, OPEN_TIMEOUT, SNAPSHOT_RETRY, SNAPSHOT_TIMEOUT,
};
use crate::log::{Leadership, Role, Status};
use crate::store::{Outcome, Store};
use crate::{Command, OpenError};

#[derive(Clone)]
pub struct Node {
    raft: Raft<TypeConfig, Machine>,
    log: LogStore,
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
    Storage(String),
}

impl Node {
    /// Starts Raft on its storage, as a cluster of one if there is none yet, and waits until it can serve.
    pub async fn start(id: u64, address: String, log: LogStore, store: Arc<Store>) -> Result<Self, OpenError> {
        let config = Config {
            cluster_name: "kontiki".into(),
            heartbeat_interval: HEARTBEAT_MS,
            election_timeout_min: ELECTION_TIMEOUT_MS_MIN,
            election_timeout_max: ELECTION_TIMEOUT_MS_MAX,
            // Housekeeping asks for snapshots: it knows bytes as well as entries, and flushes first.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: LOG_KEEP_ENTRIES,
            purge_batch_size: APPLY_BATCH_ENTRIES as u64,
            enable_pre_vote: Some(true),
            ..Config::default()
        };
        let config = config.validate().map_err(|error| OpenError::Raft(error.to_string()))?;
        let machine = Machine::new(store);
        let raft = Raft::new(id, Arc::new(config), NoPeers, log.clone(), machine).await;
        let raft = raft.map_err(|error| OpenError::Raft(error.to_string()))?;
        let initialized = raft.is_initialized().await.map_err(|error| OpenError::Raft(error.to_string()))?;
        if !initialized {
            let members = BTreeMap::from([(id, Member { address })]);
            raft.initialize(members).await.map_err(|error| OpenError::Raft(error.to_string()))?;
        }
        let node = Node { raft, log };
        node.ready().await?;
        Ok(node)
    }

    /// Waits until the state is known to be the newest.
    async fn ready(&self) -> Result<(), OpenError> {
        if self.raft.voter_ids().count() == 1 && !self.raft.is_leader() {
            // Alone, there is no reason to wait for an election timeout.
            self.raft.trigger().elect(false).await.map_err(|error| OpenError::Raft(error.to_string()))?;
        }
        match self.read_index(OPEN_TIMEOUT).await {
            Ok(()) => Ok(()),
            // Another server leads: this one serves what it has, and asks the leader when it must.
            Err(NodeError::NotLeader { leader: Some(_), .. }) => Ok(()),
            Err(NodeError::NotLeader { leader: None, .. } | NodeError::Unknown) => {
                Err(OpenError::NoLeader(OPEN_TIMEOUT))
            }
            Err(NodeError::Full(shortage)) => Err(OpenError::Raft(shortage.to_string())),
            Err(NodeError::Unavailable(reason) | NodeError::Storage(reason)) => Err(OpenError::Raft(reason)),
        }
    }

    /// Commits and applies a command: its log index and what became of it.
    pub async fn write(&self, command: Arc<Command>) -> Result<(u64, Outcome), NodeError> {
        if let Some(shortage) = self.log.shortage() {
            return Err(NodeError::Full(shortage));
        }
        let deadline = Instant::now() + LEADER_WAIT;
        loop {
            let refused = match self.raft.client_write(Proposal(command.clone())).await {
                Ok(response) => return Ok((response.log_id.index, response.data)),
                Err(RaftError::Fatal(fatal)) => return Err(fatal_error(fatal)),
                Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => return Err(NodeError::Unknown),
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => forward,
                Err(RaftError::APIError(other)) => return Err(NodeError::Unavailable(other.to_string())),
            };
            self.retry_or_forward(refused, deadline).await?;
        }
    }

    /// Returns once the local state holds everything that was acknowledged before the call.
    pub async fn read_index(&self, patience: Duration) -> Result<(), NodeError> {
        let deadline = Instant::now() + patience;
        loop {
            let refused = match self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
                Ok(_) => return Ok(()),
                Err(RaftError::Fatal(fatal)) => return Err(fatal_error(fatal)),
                Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => forward,
                Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(few))) => {
                    return Err(NodeError::Unavailable(few.to_string()));
                }
            };
            self.retry_or_forward(refused, deadline).await?;
        }
    }

    /// Nobody leads yet, or this server does and is not ready: wait a little. Somebody else leads: say who.
    async fn retry_or_forward(&self, refused: ForwardToLeader<TypeConfig>, deadline: Instant) -> Result<(), NodeError> {
        let elsewhere = refused.leader_id.is_some_and(|leader| leader != *self.raft.node_id());
        if elsewhere || Instant::now() >= deadline {
            let address = refused.leader_node.map(|member| member.address);
            return Err(NodeError::NotLeader { leader: refused.leader_id, address });
        }
        tokio::time::sleep(LEADER_RETRY).await;
        Ok(())
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

    /// Why writes are refused, if the disk is full.
    pub fn shortage(&self) -> Option<Shortage> {
        self.log.shortage()
    }

    pub fn tend_space(&self) {
        self.log.tend_space();
    }

    pub fn appended_bytes(&self) -> u64 {
        self.log.appended_bytes()
    }

    pub fn leadership(&self) -> Leadership {
        to_leadership(&self.raft.server_metrics().borrow_watched())
    }

    /// Tells changes of leadership until Raft ends, and then that there is none.
    pub async fn follow_leadership(&self, leadership: watch::Sender<Leadership>) {
        let mut metrics = self.raft.server_metrics();
        loop {
            let now = to_leadership(&metrics.borrow_and_update());
            let changed = leadership.send_if_modified(|before| std::mem::replace(before, now) != now);
            if changed {
                tracing::info!(leader = now.leader, term = now.term, "leadership");
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
        let stopped = metrics.running_state.as_ref().err().map(ToString::to_string);
        Status {
            node: metrics.id,
            role,
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_index: metrics.last_log_index.unwrap_or_default(),
            applied_index: index(&metrics.last_applied),
            snapshot_index: index(&metrics.snapshot),
            purged_index: index(&metrics.purged),
            shortage: self.log.shortage(),
            failure: self.log.failure().map(str::to_owned).or(stopped),
            ..Status::default()
        }
    }

    /// Ends Raft's tasks; what was accepted and not yet answered gets an error.
    pub async fn shutdown(&self) {
        self.log.close();
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "Raft did not end in order");
        }
    }
}

fn to_leadership(metrics: &RaftServerMetrics<TypeConfig>) -> Leadership {
    Leadership { leader: metrics.state == ServerState::Leader, term: metrics.vote.leader_id.term }
}

fn fatal_error(fatal: Fatal<TypeConfig>) -> NodeError {
    match fatal {
        Fatal::StorageError(error) => NodeError::Storage(error.to_string()),
        stopped @ (Fatal::Panicked | Fatal::Stopped) => NodeError::Unavailable(stopped.to_string()),
    }
}
