//! A server that is about to end. It is handed no leadership; and when those that live are no majority any more, because they all end,
//! it waits for nothing: what is in work cannot be done.

use futures::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;

use super::membership::MemberStatus;
use super::node::Node;
use super::wire;
use crate::limits::{FORSAKEN_POLL, STAYS_TIMEOUT};
use crate::transport::{Member, Reach};

impl Node {
    /// From now on this server is about to end.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Those of some members that answer and are not about to end.
    pub(super) async fn staying(&self, members: Vec<MemberStatus>) -> Vec<MemberStatus> {
        let asked = join_all(members.iter().map(|member| self.stays(member))).await;
        members.into_iter().zip(asked).filter_map(|(member, stays)| stays.then_some(member)).collect()
    }

    pub(super) async fn stays(&self, member: &MemberStatus) -> bool {
        let address = Member { name: member.name.clone(), address: member.address.clone() };
        let peer = self.peers.get(member.id, &address);
        match peer.control.call(wire::STAYS, wire::encode(&()), STAYS_TIMEOUT).await {
            Ok(answer) if answer.kind == wire::DONE => wire::decode(&answer.payload).unwrap_or(true),
            // A server of an earlier version does not know the question.
            Ok(_) => true,
            Err(_) => false,
        }
    }

    /// Returns once this server is about to end and can reach no majority any more.
    pub(super) async fn forsaken(&self) {
        self.leaving.cancelled().await;
        let mut missed = 0;
        // Twice in a row: a connection may be on its way anew.
        while missed < 2 {
            tokio::time::sleep(FORSAKEN_POLL).await;
            missed = if self.is_majority_there() { 0 } else { missed + 1 };
        }
    }

    fn is_majority_there(&self) -> bool {
        let membership = self.raft.server_metrics().borrow_watched().membership_config.clone();
        let is_there = |id: &u64| *id == self.id() || self.peers.reach(*id) == Reach::Up;
        let there = membership.voter_ids().filter(is_there).count();
        there > membership.voter_ids().count() / 2
    }

    /// What becomes of something that needs a majority; nothing, if this server ends and there is none.
    pub(super) async fn while_not_forsaken<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.forsaken() => None,
        }
    }
}
