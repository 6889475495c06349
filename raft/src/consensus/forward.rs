//! Writes and linearizable reads on any server: done here by the leader, sent to it by the others.
//!
//! A write is tried again only when it is certain that it did not enter the log: it was not sent, or whoever took it said that it
//! does not lead. If the connection breaks after it was sent, nobody knows; the answer is `Unknown`, never a second attempt.
//! A former leader that lives answers all it was sent; of one that hangs or is cut off nothing is waited for once another leads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bincode::{Decode, Encode};
use openraft::ReadPolicy;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Proposal;
use super::majority::no_majority;
use super::node::{Node, NodeError, fatal_error};
use super::wire::{self, Forwarded, Written};
use crate::Command;
use crate::limits::{FORMER_LEADER_SILENCE, LEADER_RETRY, READ_ROUND_TIMEOUT, WRITE_TIMEOUT};
use crate::log::now_ms;
use crate::store::Outcome;
use crate::transport::{CallError, Peer};

/// What a server that was removed says of itself.
pub const REMOVED: &str = "this server was removed from the cluster";

/// Counts what was begun and not answered yet.
#[derive(Clone)]
pub struct InFlight(watch::Sender<usize>);

/// One thing that was begun.
pub struct Begun(watch::Sender<usize>);

/// One attempt at something that only the leader does.
pub(super) enum Attempt<T> {
    Done(T),
    /// Certainly not done: somebody else leads, or nobody does.
    Retry(NodeError),
    Failed(NodeError),
}

impl Default for InFlight {
    fn default() -> Self {
        InFlight(watch::Sender::new(0))
    }
}

impl InFlight {
    pub fn begin(&self) -> Begun {
        self.0.send_modify(|count| *count += 1);
        Begun(self.0.clone())
    }

    /// Waits until everything begun is answered; false if that takes too long.
    pub async fn drained(&self, patience: Duration) -> bool {
        let mut count = self.0.subscribe();
        let drained = count.wait_for(|count| *count == 0);
        tokio::time::timeout(patience, drained).await.is_ok()
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Node {
    /// Commits a command, wherever the leader is, and waits until it is applied here: its log index and what became of it.
    pub async fn write(&self, command: Arc<Command>) -> Result<(u64, Outcome), NodeError> {
        let _begun = self.in_flight.begin();
        let writing = async {
            let Written { index, outcome } = self.with_leader(self.leader_wait(), || self.try_write(&command)).await?;
            // It is committed: whoever cannot see it here yet must not be told that it is not.
            self.applied(index, WRITE_TIMEOUT).await.map_err(|_| NodeError::Unknown)?;
            Ok((index, outcome))
        };
        self.while_not_forsaken(writing).await.unwrap_or(Err(NodeError::Unknown))
    }

    /// Returns once the local state holds everything that was acknowledged, anywhere, before the call.
    pub async fn read_index(&self, patience: Duration) -> Result<(), NodeError> {
        let deadline = Instant::now() + patience;
        let reading = async {
            let index = self.with_leader(patience, || self.try_read_index()).await?;
            self.applied(index, deadline.saturating_duration_since(Instant::now()).max(LEADER_RETRY)).await
        };
        let forsaken = || Err(NodeError::Unavailable("this server ends, and so do the others".into()));
        self.while_not_forsaken(reading).await.unwrap_or_else(forsaken)
    }

    /// Answers a server that forwarded a command.
    pub(super) async fn write_for_another(&self, command: Arc<Command>) -> Forwarded<Written> {
        let _begun = self.in_flight.begin();
        if command.validate().is_err() {
            return Forwarded::Unavailable("the command is malformed".into());
        }
        let written = self.while_not_forsaken(self.leading(|| self.write_here(&command))).await;
        to_wire(written.unwrap_or(Err(NodeError::Unknown)))
    }

    pub(super) async fn read_index_for_another(&self) -> Forwarded<u64> {
        to_wire(self.leading(|| self.read_index_here()).await)
    }

    async fn try_write(&self, command: &Arc<Command>) -> Attempt<Written> {
        match self.other_leader() {
            None => self.write_here(command).await,
            Some(leader) => {
                let answer = self.forward(leader, wire::PROPOSE, command, WRITE_TIMEOUT).await;
                from_wire(answer, NodeError::Unknown)
            }
        }
    }

    async fn try_read_index(&self) -> Attempt<u64> {
        match self.other_leader() {
            None => self.read_index_here().await,
            Some(leader) => {
                let answer = self.forward(leader, wire::READ_INDEX, &(), READ_ROUND_TIMEOUT).await;
                // A read may be asked for as often as one likes.
                match from_wire(answer, NodeError::Unknown) {
                    Attempt::Failed(NodeError::Unknown) => Attempt::Retry(NodeError::Unknown),
                    attempt => attempt,
                }
            }
        }
    }

    async fn write_here(&self, command: &Arc<Command>) -> Attempt<Written> {
        if let Err(stopped) = &self.raft.metrics().borrow_watched().running_state {
            return Attempt::Failed(fatal_error(stopped.clone()));
        }
        let shortage = || self.shortage().or_else(|| self.rooms.refused());
        if self.raft.is_leader()
            && let Some(shortage) = shortage()
        {
            return Attempt::Failed(NodeError::Full(shortage));
        }
        let written = self.raft.client_write(Proposal(in_time(command, now_ms(), self.clock_slack)));
        let Ok(written) = tokio::time::timeout(WRITE_TIMEOUT, written).await else {
            return Attempt::Failed(NodeError::Unknown);
        };
        match written {
            Ok(response) => Attempt::Done(Written { index: response.log_id.index, outcome: response.data }),
            Err(RaftError::Fatal(fatal)) => Attempt::Failed(match fatal_error(fatal) {
                // It ended under way: the entry may be in the log of others.
                NodeError::Unavailable(_) => NodeError::Unknown,
                error => error,
            }),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                // It leads and sends the write to nobody: no majority has answered it within its lease.
                let unconfirmed = forward.leader_id.is_none() && self.raft.is_leader();
                Attempt::Retry(match unconfirmed {
                    true => NodeError::Unavailable(no_majority(&self.status().members, &self.taking_part())),
                    false => not_leader(forward.leader_id, forward.leader_node),
                })
            }
            Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => Attempt::Failed(NodeError::Unknown),
            Err(RaftError::APIError(other)) => Attempt::Failed(NodeError::Unavailable(other.to_string())),
        }
    }

    /// The index up to which a read that begins now must see the log.
    pub(super) async fn read_index_here(&self) -> Attempt<u64> {
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Attempt::Done(linearizer.read_log_id().index()),
            Err(RaftError::Fatal(fatal)) => Attempt::Failed(fatal_error(fatal)),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Attempt::Retry(not_leader(forward.leader_id, forward.leader_node))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(few))) => {
                let confirmed: BTreeSet<u64> = few.got.into_iter().collect();
                Attempt::Retry(NodeError::Unavailable(no_majority(&self.status().members, &confirmed)))
            }
        }
    }

    /// Tries until it is done, has failed, or no leader does it in time.
    pub(super) async fn with_leader<T, F: Future<Output = Attempt<T>>>(
        &self,
        patience: Duration,
        attempt: impl Fn() -> F,
    ) -> Result<T, NodeError> {
        let deadline = Instant::now() + patience;
        let mut news = self.raft.server_metrics();
        loop {
            news.borrow_and_update();
            let refused = match attempt().await {
                Attempt::Done(done) => return Ok(done),
                Attempt::Failed(error) => return Err(error),
                Attempt::Retry(refused) => refused,
            };
            if Instant::now() >= deadline {
                return Err(self.without_majority_for_long().map_or(refused, NodeError::NoMajority));
            }
            // Another leader, or the same one whose lease has come back.
            _ = tokio::time::timeout(LEADER_RETRY, news.changed()).await;
        }
    }

    /// The same on behalf of another server, which looks for another leader itself.
    pub(super) async fn leading<T, F: Future<Output = Attempt<T>>>(
        &self,
        attempt: impl Fn() -> F,
    ) -> Result<T, NodeError> {
        let here = || async {
            match attempt().await {
                Attempt::Retry(refused) if !self.raft.is_leader() => Attempt::Failed(refused),
                attempt => attempt,
            }
        };
        self.with_leader(self.leader_wait() / 2, here).await
    }

    /// The leader, if this server knows another one.
    pub(super) fn other_leader(&self) -> Option<u64> {
        let leader = self.raft.server_metrics().borrow_watched().current_leader;
        leader.filter(|leader| *leader != self.id())
    }

    pub(super) async fn forward<T: Decode<()>>(
        &self,
        leader: u64,
        kind: u8,
        message: &impl Encode,
        patience: Duration,
    ) -> Result<Forwarded<T>, CallError> {
        let member = self.raft.server_metrics().borrow_watched().membership_config.get_node(&leader).cloned();
        let Some(member) = member else {
            return Err(CallError::NotSent(format!("server {leader} leads and is not a member")));
        };
        let peer = self.peers.get(leader, &member);
        let answer = tokio::select! {
            answer = peer.forward.call(kind, wire::encode(message), patience) => answer?,
            () = self.superseded(leader, &peer) => {
                return Err(CallError::Lost(format!("server {leader} leads no more, and is silent")));
            }
        };
        match answer.kind {
            wire::DONE => {
                let forwarded = wire::decode(&answer.payload).map_err(|error| CallError::Lost(error.to_string()))?;
                let removed = matches!(forwarded, Forwarded::NotMember);
                if self.removed.swap(removed, Ordering::Relaxed) != removed {
                    tracing::warn!(
                        removed,
                        leader = member.name,
                        "whether this server belongs to the cluster has changed"
                    );
                }
                Ok(forwarded)
            }
            _ => Ok(Forwarded::Unavailable(String::from_utf8_lossy(&answer.payload).into_owned())),
        }
    }

    /// Returns once another server leads and nothing comes from the former leader.
    async fn superseded(&self, former: u64, peer: &Peer) {
        let mut news = self.raft.server_metrics();
        while news.borrow_and_update().current_leader.is_none_or(|leader| leader == former) {
            if news.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
        peer.heard.silence(FORMER_LEADER_SILENCE).await;
    }

    /// Waits until an entry is applied to the state of this server.
    pub(super) async fn applied(&self, index: u64, patience: Duration) -> Result<(), NodeError> {
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|applied| *applied >= index);
        match tokio::time::timeout(patience, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(NodeError::Unavailable("the log was shut down".into())),
            Err(_) => Err(NodeError::Unavailable(format!("entry {index} was not applied here within {patience:?}"))),
        }
    }
}

/// The log's time never goes back: one server whose clock runs ahead must not put it there for all.
fn in_time(command: &Arc<Command>, now_ms: i64, slack: Duration) -> Arc<Command> {
    let latest = now_ms.saturating_add(i64::try_from(slack.as_millis()).unwrap_or(i64::MAX));
    if command.time_ms <= latest {
        return command.clone();
    }
    tracing::warn!(
        ahead_ms = command.time_ms - now_ms,
        "a command's time is ahead of the leader's clock; it gets the leader's"
    );
    Arc::new(Command { time_ms: now_ms, ..Command::clone(command) })
}

fn not_leader(leader: Option<u64>, member: Option<crate::Member>) -> NodeError {
    NodeError::NotLeader { leader, address: member.map(|member| member.address) }
}

fn to_wire<T>(result: Result<T, NodeError>) -> Forwarded<T> {
    match result {
        Ok(done) => Forwarded::Done(done),
        Err(NodeError::NotLeader { leader, .. }) => Forwarded::NotLeader { leader },
        Err(NodeError::Unknown) => Forwarded::Unknown,
        Err(NodeError::Unavailable(why)) => Forwarded::Unavailable(why),
        Err(NodeError::Refused(why)) => Forwarded::Refused(why),
        Err(NodeError::Storage(why)) => Forwarded::Storage(why),
        Err(NodeError::Full(shortage)) => Forwarded::Full(shortage),
        Err(NodeError::NoMajority(why)) => Forwarded::NoMajority(why),
    }
}

/// `lost` is the verdict on what was sent and not answered.
pub(super) fn from_wire<T>(answer: Result<Forwarded<T>, CallError>, lost: NodeError) -> Attempt<T> {
    match answer {
        Ok(Forwarded::Done(done)) => Attempt::Done(done),
        Ok(Forwarded::NotLeader { leader }) => Attempt::Retry(not_leader(leader, None)),
        Ok(Forwarded::NotMember) => Attempt::Failed(NodeError::Unavailable(REMOVED.into())),
        Ok(Forwarded::Unknown) => Attempt::Failed(NodeError::Unknown),
        Ok(Forwarded::Unavailable(why)) => Attempt::Retry(NodeError::Unavailable(why)),
        Ok(Forwarded::Full(shortage)) => Attempt::Failed(NodeError::Full(shortage)),
        Ok(Forwarded::NoMajority(why)) => Attempt::Failed(NodeError::NoMajority(why)),
        Ok(Forwarded::Refused(why)) => Attempt::Failed(NodeError::Refused(why)),
        // The leader's disk failed while it had the entry.
        Ok(Forwarded::Storage(_)) => Attempt::Failed(lost),
        Err(CallError::NotSent(why)) => Attempt::Retry(NodeError::Unavailable(why)),
        Err(CallError::Lost(_)) => Attempt::Failed(lost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CLOCK_SLACK;

    #[test]
    fn a_command_from_the_future_gets_the_leaders_time() {
        let slack = CLOCK_SLACK.as_millis() as i64;
        for (asked, stamped) in
            [(0, 0), (1_000, 1_000), (1_000 + slack, 1_000 + slack), (1_001 + slack, 1_000), (i64::MAX, 1_000)]
        {
            let command = Arc::new(Command { time_ms: asked, ..Command::default() });
            assert_eq!(in_time(&command, 1_000, CLOCK_SLACK).time_ms, stamped, "asked for {asked}");
        }
    }
}
