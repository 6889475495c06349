//! Connections that other servers make: who is let in, and for how long.

use std::{pin::pin, time::Duration};

use openraft::async_runtime::watch::WatchReceiver;
use tokio_util::sync::CancellationToken;

use super::node::Node;
use crate::transport::{self, PeerStream};

/// What the certificate of a connection's other side proves: which server it is, and for how long from now.
#[derive(Clone, Copy, Debug)]
pub struct Proof {
    pub node: u64,
    pub left: Duration,
}

impl Node {
    /// Serves a connection that another server made.
    pub async fn accept(&self, stream: Box<dyn PeerStream>, proven: Option<Proof>, closing: &CancellationToken) {
        if closing.is_cancelled() {
            return;
        }
        let _connected = self.connections.begin();
        // Looked up before the hello: whoever is removed while it keeps its own back is dismissed, too.
        let was_member = proven.is_some_and(|proof| self.is_member(proof.node));
        let incoming = match transport::accept(stream, self.peers.me(), proven.map(|proof| proof.node)).await {
            Ok(incoming) => incoming,
            Err(error) => return self.refusals.tell(&error),
        };
        if self.peers.me().cluster() == 0
            && incoming.cluster() != 0
            && let Err(error) = self.join_cluster(incoming.cluster()).await
        {
            return tracing::error!(%error, "the cluster's number cannot be kept");
        }
        let (from, leaving) = (incoming.from(), closing.child_token());
        let mut served = pin!(self.serve(incoming, &leaving));
        tokio::select! {
            () = served.as_mut() => return,
            () = self.dismissed(from, was_member) => leaving.cancel(),
            () = lapsed(proven) => leaving.cancel(),
        }
        served.await;
    }

    /// Until a server that is a member, or is about to become one, is none any more.
    async fn dismissed(&self, node: u64, mut was_member: bool) {
        let mut news = self.raft.server_metrics();
        let mut name = String::new();
        loop {
            let member = news.borrow_and_update().membership_config.get_node(&node).cloned();
            if was_member && member.is_none() {
                return tracing::info!(name, node, "a server was removed: it is heard out");
            }
            was_member = member.is_some();
            if let Some(member) = member {
                name = member.name;
            }
            if news.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn is_member(&self, node: u64) -> bool {
        self.raft.server_metrics().borrow_watched().membership_config.membership().get_node(&node).is_some()
    }

    /// Tells of a connection that was refused before it came here.
    pub fn refuse(&self, why: &str) {
        self.refusals.tell(&why);
    }
}

/// Until a proof does not count any more: whoever has a newer one connects again.
async fn lapsed(proven: Option<Proof>) {
    match proven {
        Some(Proof { left, .. }) => tokio::time::sleep(left).await,
        None => std::future::pending().await,
    }
}
