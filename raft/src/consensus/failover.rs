//! A leader whose process is gone is replaced without waiting for its lease to end.
//!
//! The kernel of its machine says so: it refuses connections. Each follower that is told so gives up the lease it granted and,
//! one after the other, asks the rest whether they would vote for it. Whoever still hears the leader would not, so a follower
//! that alone is refused (by a firewall, say) disturbs nobody. Silence proves nothing; it is left to the election timeout.
//! Reads do not depend on leases here, so giving one up early cannot make a read stale.

use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::TransferLeaderRequest;

use super::node::Node;
use crate::limits::{FAILOVER_ROUNDS, FAILOVER_STAGGER};
use crate::transport::Reach;

impl Node {
    pub async fn watch_leader(self) {
        let mut news = self.raft.server_metrics();
        // Whoever is refused by a leader that lives (by a firewall, say) finds that out again and again.
        let mut told = None;
        loop {
            let (leader, member) = {
                let now = news.borrow_and_update();
                let leader = now.current_leader.filter(|leader| *leader != self.id());
                (leader, leader.and_then(|leader| now.membership_config.get_node(&leader).cloned()))
            };
            let (Some(leader), Some(member)) = (leader, member) else {
                if news.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let mut reach = self.peers.get(leader, &member).reach();
            if *reach.borrow() == Reach::Up {
                told = None;
            }
            if *reach.borrow_and_update() == Reach::Refused {
                if told.replace(leader) != Some(leader) {
                    tracing::info!(leader = member.name, "the leader's machine answers, and its process is gone");
                }
                self.replace(leader).await;
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                changed = reach.changed() => if changed.is_err() { tokio::task::yield_now().await },
            }
        }
    }

    async fn replace(&self, leader: u64) {
        if !self.lost.is_none() || self.is_leaving() {
            return;
        }
        let (vote, voters) = {
            let metrics = self.raft.server_metrics();
            let now = metrics.borrow_watched();
            (now.vote, now.membership_config.voter_ids().filter(|voter| *voter != leader).collect::<Vec<_>>())
        };
        let Some(rank) = voters.iter().position(|voter| *voter == self.id()) else { return };
        // As if the leader had asked somebody else to take over: it only ends the lease here.
        let gone = TransferLeaderRequest::new(vote, leader, None);
        if self.raft.handle_transfer_leader(gone).await.is_err() {
            return;
        }
        let others = u32::try_from(voters.len()).unwrap_or(u32::MAX).max(1);
        let mut wait: Duration = FAILOVER_STAGGER * u32::try_from(rank).unwrap_or(u32::MAX);
        for _ in 0..FAILOVER_ROUNDS {
            tokio::time::sleep(wait).await;
            let now = self.raft.server_metrics().borrow_watched().clone();
            if now.current_leader != Some(leader) || now.vote != vote || self.raft.trigger().elect(true).await.is_err()
            {
                return;
            }
            wait = FAILOVER_STAGGER * others;
        }
    }
}
