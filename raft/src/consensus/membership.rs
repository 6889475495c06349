//! Who belongs to the cluster: servers join as learners and become voters when they have caught up; leadership is handed over
//! before its holder goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::metrics::RaftMetrics;
use openraft::{ChangeMembers, Instant, ServerState};

use super::forward::{Attempt, from_wire};
use super::node::{Node, NodeError, fatal_error};
use super::wire::{self, ClusterChange, Forwarded};
use super::{LogId, TypeConfig};
use crate::limits::{
    CAUGHT_UP_ENTRIES, LEAVE_TIMEOUT, LET_GO_TIMEOUT, MEMBERSHIP_TIMEOUT, PEER_SILENCE, TRANSFER_TIMEOUT,
};
use crate::transport::{Member, Reach};

type Change = ChangeMembers<u64, Member>;

/// A member of the cluster, as this server knows it. The leader alone knows how far the others are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberStatus {
    pub id: u64,
    pub name: String,
    pub address: String,
    pub voter: bool,
    pub leader: bool,
    /// Entries of the log that it does not have yet.
    pub lag: Option<u64>,
    /// Since when it has not answered the leader.
    pub silent_for: Option<Duration>,
}

pub fn members(metrics: &RaftMetrics<TypeConfig>) -> Vec<MemberStatus> {
    let membership = metrics.membership_config.membership();
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let last = metrics.last_log_index.unwrap_or_default();
    let lag = |id: &u64| {
        let matched: &Option<LogId> = metrics.replication.as_ref()?.get(id)?;
        Some(last.saturating_sub(matched.as_ref().map_or(0, |matched| matched.index)))
    };
    let silent_for = |id: &u64| metrics.heartbeat.as_ref()?.get(id)?.as_ref().map(|acked| acked.elapsed());
    let describe = |(id, member): (&u64, &Member)| MemberStatus {
        id: *id,
        name: member.name.clone(),
        address: member.address.clone(),
        voter: voters.contains(id),
        leader: metrics.current_leader == Some(*id),
        lag: lag(id),
        silent_for: silent_for(id).filter(|_| *id != metrics.id),
    };
    membership.nodes().map(describe).collect()
}

impl Node {
    /// Changes the cluster, wherever the leader is. Repeating a change that was made changes nothing.
    pub async fn change(&self, change: ClusterChange) -> Result<(), NodeError> {
        let changed = self.while_not_forsaken(self.with_leader(MEMBERSHIP_TIMEOUT, || self.try_change(&change))).await;
        changed.unwrap_or(Err(NodeError::Unknown))
    }

    pub(super) async fn change_for_another(&self, change: ClusterChange) -> Forwarded<()> {
        match self.change_here(&change).await {
            Attempt::Done(()) => Forwarded::Done(()),
            Attempt::Retry(NodeError::NotLeader { leader, .. }) => Forwarded::NotLeader { leader },
            Attempt::Retry(error) => Forwarded::Unavailable(refusal(error)),
            Attempt::Failed(NodeError::Refused(why)) => Forwarded::Refused(why),
            Attempt::Failed(error) => Forwarded::Storage(refusal(error)),
        }
    }

    async fn try_change(&self, change: &ClusterChange) -> Attempt<()> {
        match self.other_leader() {
            None => self.change_here(change).await,
            Some(leader) => {
                let answer = self.forward(leader, wire::CHANGE, change, MEMBERSHIP_TIMEOUT).await;
                match answer {
                    // It may have happened, and whoever leads now would hand over once more.
                    Err(crate::transport::CallError::Lost(_))
                        if matches!(change, ClusterChange::Transfer { to: None }) =>
                    {
                        Attempt::Failed(NodeError::Unknown)
                    }
                    // All others may be repeated.
                    Err(error) => Attempt::Retry(NodeError::Unavailable(error.to_string())),
                    Ok(Forwarded::Storage(why)) => Attempt::Failed(NodeError::Unavailable(why)),
                    answer => from_wire(answer, NodeError::Unknown),
                }
            }
        }
    }

    async fn change_here(&self, change: &ClusterChange) -> Attempt<()> {
        match change {
            ClusterChange::Add { id, name, address } => {
                self.add_here(*id, Member { name: name.clone(), address: address.clone() }).await
            }
            ClusterChange::Remove { id } => self.remove_here(*id).await,
            ClusterChange::Transfer { to } => self.transfer_here(*to).await,
        }
    }

    async fn add_here(&self, id: u64, member: Member) -> Attempt<()> {
        let (known, voter) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let membership = metrics.membership_config.membership();
            (membership.get_node(&id).cloned(), membership.voter_ids().any(|voter| voter == id))
        };
        if known.as_ref() != Some(&member) {
            let node = BTreeMap::from([(id, member)]);
            let change = if known.is_some() { Change::SetNodes(node) } else { Change::AddNodes(node) };
            match self.change_membership(change, true).await {
                Attempt::Done(()) => (),
                other => return other,
            }
        }
        if voter {
            return self.settled().await;
        }
        let caught_up = |metrics: &RaftMetrics<TypeConfig>| {
            let lag = members(metrics).into_iter().find(|member| member.id == id).and_then(|member| member.lag);
            let reached =
                metrics.replication.as_ref().and_then(|matched| matched.get(&id)).is_some_and(Option::is_some);
            metrics.state != ServerState::Leader || (reached && lag.is_some_and(|lag| lag <= CAUGHT_UP_ENTRIES))
        };
        let wait = self.raft.wait(Some(MEMBERSHIP_TIMEOUT));
        match wait.metrics(caught_up, "a new server to catch up").await {
            Ok(_) => self.change_membership(Change::AddVoterIds(BTreeSet::from([id])), true).await,
            Err(error) => Attempt::Failed(NodeError::Unavailable(error.to_string())),
        }
    }

    async fn remove_here(&self, id: u64) -> Attempt<()> {
        let (known, voters) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let membership = metrics.membership_config.membership();
            (membership.get_node(&id).cloned(), membership.voter_ids().collect::<BTreeSet<_>>())
        };
        let Some(member) = known else { return self.settled().await };
        match () {
            () if !voters.contains(&id) => {
                let change = Change::RemoveNodes(BTreeSet::from([id]));
                self.let_go(id, &member, change).await
            }
            () if voters.len() == 1 => {
                Attempt::Failed(NodeError::Refused("the last voter of a cluster cannot be removed".into()))
            }
            // The next leader removes this one.
            () if id == self.id() => match self.transfer_here(None).await {
                Attempt::Done(()) => {
                    Attempt::Retry(NodeError::NotLeader { leader: self.other_leader(), address: None })
                }
                other => other,
            },
            () => {
                let change = Change::RemoveVoters(BTreeSet::from([id]));
                self.let_go(id, &member, change).await
            }
        }
    }

    /// Changes the membership to one without a server, and tells it so: nothing else does, for no entry goes to it any more.
    async fn let_go(&self, id: u64, member: &Member, change: Change) -> Attempt<()> {
        let peer = self.peers.get(id, member);
        let changed = self.change_membership(change, false).await;
        if let Attempt::Done(()) = changed
            && let Err(error) = peer.control.call(wire::LET_GO, wire::encode(&()), LET_GO_TIMEOUT).await
        {
            tracing::debug!(member.name, %error, "a server that was removed was not told so");
        }
        changed
    }

    /// What the configuration says already is so once that is committed, and this server leads.
    async fn settled(&self) -> Attempt<()> {
        let said = self.raft.metrics().borrow_watched().membership_config.log_id().as_ref().map_or(0, |id| id.index);
        match self.read_index_here().await {
            Attempt::Done(committed) if committed >= said => Attempt::Done(()),
            Attempt::Done(_) => Attempt::Retry(NodeError::Unavailable("a change of the cluster is under way".into())),
            Attempt::Retry(error) => Attempt::Retry(error),
            Attempt::Failed(error) => Attempt::Failed(error),
        }
    }

    async fn change_membership(&self, change: Change, retain: bool) -> Attempt<()> {
        // Raft takes one after the other, and complains aloud of any that does not wait for its turn.
        let _turn = self.changing.lock().await;
        match self.raft.change_membership(change, retain).await {
            Ok(_) => Attempt::Done(()),
            Err(RaftError::Fatal(fatal)) => Attempt::Failed(fatal_error(fatal)),
            Err(RaftError::APIError(
                ClientWriteError::ForwardToLeader(forward) | ClientWriteError::LogEntryDiscarded(forward),
            )) => Attempt::Retry(NodeError::NotLeader {
                leader: forward.leader_id,
                address: forward.leader_node.map(|member| member.address),
            }),
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(
                one,
            )))) => Attempt::Retry(NodeError::Unavailable(one.to_string())),
            Err(RaftError::APIError(other)) => Attempt::Failed(NodeError::Unavailable(other.to_string())),
        }
    }

    /// Hands leadership over, to a given voter or to the one that has caught up best. Each attempt that fails costs the cluster
    /// its leader for a while: a given voter gets one, and only if it can be expected to take over.
    async fn transfer_here(&self, to: Option<u64>) -> Attempt<()> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        if metrics.state != ServerState::Leader {
            return Attempt::Retry(NodeError::NotLeader { leader: self.other_leader(), address: None });
        }
        if to == Some(self.id()) {
            return Attempt::Done(());
        }
        let chosen = match to {
            Some(to) => self.fit_to_lead(&metrics, to).await,
            None => match self.successor(&metrics).await {
                Some(successor) => Attempt::Done(successor),
                None if metrics.membership_config.voter_ids().count() == 1 => {
                    Attempt::Failed(NodeError::Refused("this is the only server: no other one could lead".into()))
                }
                None => Attempt::Failed(NodeError::Refused(
                    "no other voter answers, has room on its disk and is not about to end: none could lead".into(),
                )),
            },
        };
        let (asked, to) = match chosen {
            Attempt::Done(chosen) => (to, chosen),
            Attempt::Retry(error) => return Attempt::Retry(error),
            Attempt::Failed(error) => return Attempt::Failed(error),
        };
        if let Err(fatal) = self.raft.trigger().transfer_leader(to).await {
            return Attempt::Failed(fatal_error(fatal));
        }
        let wait = self.raft.wait(Some(TRANSFER_TIMEOUT));
        let moved = |now: &RaftMetrics<TypeConfig>| now.current_leader.is_some_and(|leader| leader != metrics.id);
        match wait.metrics(moved, "another leader").await {
            Ok(now) if now.current_leader == Some(to) => {
                let to = metrics.membership_config.get_node(&to).map_or("", |member| member.name.as_str());
                tracing::info!(to, "handed leadership over");
                Attempt::Done(())
            }
            Ok(_) if asked.is_none() => Attempt::Done(()),
            Ok(_) => Attempt::Failed(NodeError::Refused("another server was elected".into())),
            Err(_) if asked.is_some() => {
                Attempt::Failed(NodeError::Refused(format!("it did not take over within {TRANSFER_TIMEOUT:?}")))
            }
            Err(error) => Attempt::Retry(NodeError::Unavailable(error.to_string())),
        }
    }

    /// A voter that somebody named, if it can lead now.
    async fn fit_to_lead(&self, metrics: &RaftMetrics<TypeConfig>, id: u64) -> Attempt<u64> {
        let refuse = |why: String| Attempt::Failed(NodeError::Refused(why));
        let Some(member) = members(metrics).into_iter().find(|member| member.id == id && member.voter) else {
            return refuse("it is not a voter".into());
        };
        if let Some(shortage) = self.rooms.of(id) {
            return refuse(format!("it cannot take writes: {shortage}"));
        }
        match (self.answers(&member), member.silent_for, member.lag) {
            // That it answered a moment ago does not say that it does now.
            (true, _, Some(lag)) if lag <= CAUGHT_UP_ENTRIES => match self.stays(&member).await {
                true => Attempt::Done(id),
                false => refuse("it does not answer now, or is about to end: it cannot lead".into()),
            },
            (true, _, lag) => {
                refuse(format!("it lacks {} entries of the log: it cannot lead yet", lag.unwrap_or_default()))
            }
            // Whoever leads since a moment ago has not heard of it yet.
            (false, None, _) if self.reach(&member) == Reach::Up => {
                Attempt::Retry(NodeError::Unavailable("it has not answered the leader yet".into()))
            }
            (false, ..) => refuse("it does not answer the leader: it cannot lead".into()),
        }
    }

    fn reach(&self, member: &MemberStatus) -> Reach {
        let address = Member { name: member.name.clone(), address: member.address.clone() };
        *self.peers.get(member.id, &address).reach().borrow()
    }

    fn answers(&self, member: &MemberStatus) -> bool {
        self.reach(member) == Reach::Up && member.silent_for.is_some_and(|silent| silent < PEER_SILENCE)
    }

    /// The voter that would lose least time as the next leader.
    async fn successor(&self, metrics: &RaftMetrics<TypeConfig>) -> Option<u64> {
        let others = members(metrics).into_iter().filter(|member| member.voter && member.id != metrics.id);
        let fit = others.filter(|member| self.answers(member) && self.rooms.of(member.id).is_none()).collect();
        let staying = self.staying(fit).await.into_iter();
        staying.min_by_key(|member| member.lag.unwrap_or(u64::MAX)).map(|member| member.id)
    }

    /// Before this server ends: leadership goes to another voter, and what is in flight is answered, by whoever leads then.
    pub async fn hand_over(&self) {
        self.leave();
        let metrics = self.raft.metrics().borrow_watched().clone();
        let voters = metrics.membership_config.voter_ids().count();
        if metrics.state == ServerState::Leader
            && voters > 1
            && let Some(Attempt::Retry(error) | Attempt::Failed(error)) =
                self.while_not_forsaken(self.transfer_here(None)).await
        {
            let why = refusal(error);
            tracing::info!(why, "leadership was not handed over; the others elect a leader when they miss this one");
        }
        if !self.in_flight.drained(TRANSFER_TIMEOUT).await {
            tracing::warn!("some writes were not answered in time");
        }
    }

    /// A leader whose disk is full lets a server lead that has room, if there is one.
    pub async fn step_aside(&self) {
        let voters = self.raft.server_metrics().borrow_watched().membership_config.voter_ids().count();
        if self.raft.is_leader() && voters > 1 {
            match self.transfer_here(None).await {
                Attempt::Done(()) => tracing::warn!("the disk is full: another server leads now"),
                Attempt::Retry(error) | Attempt::Failed(error) => {
                    tracing::warn!(why = refusal(error), "the disk is full, and nobody takes over")
                }
            }
        }
    }

    /// Waits until the others have let go of their connections to this server, which is closing.
    pub async fn left(&self) {
        if !self.connections.drained(LEAVE_TIMEOUT).await {
            tracing::debug!("some servers did not let go of their connections");
        }
    }

    /// Keeps the connections to the members, whoever they are at the time.
    pub async fn follow_members(self) {
        let mut news = self.raft.server_metrics();
        loop {
            let membership = news.borrow_and_update().membership_config.clone();
            self.peers.keep(membership.nodes().map(|(id, member)| (*id, member)));
            let changed = |now: Arc<super::StoredMembership>| now != membership;
            loop {
                if news.changed().await.is_err() {
                    return;
                }
                if changed(news.borrow_and_update().membership_config.clone()) {
                    break;
                }
            }
        }
    }

    /// Tells the cluster under which name and address this server is reached now, if it knows another.
    pub async fn announce(self, member: Member) {
        if member == Member::default() {
            return;
        }
        let mut news = self.raft.server_metrics();
        loop {
            let known = news.borrow_and_update().membership_config.get_node(&self.id()).cloned();
            match known {
                Some(known) if known != member => {
                    let change = ClusterChange::add(self.id(), member.clone());
                    match self.change(change).await {
                        Ok(()) => return,
                        Err(error) => {
                            tracing::warn!(why = refusal(error), "the cluster was not told this server's address")
                        }
                    }
                }
                Some(_) => return,
                None => (),
            }
            if news.changed().await.is_err() {
                return;
            }
        }
    }
}

fn refusal(error: NodeError) -> String {
    match error {
        NodeError::Unavailable(why)
        | NodeError::NoMajority(why)
        | NodeError::Refused(why)
        | NodeError::Storage(why) => why,
        NodeError::NotLeader { .. } => "there is no leader".into(),
        NodeError::Unknown => "the leader changed".into(),
        NodeError::Full(shortage) => shortage.to_string(),
    }
}
