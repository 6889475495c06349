//! No file of the log's directory keeps what sensitive history has let go of.
//!
//! Dropping a version only marks it as deleted, and the same bytes lie in the log's entries and in snapshots. So, after history
//! has dropped sensitive versions: the state's files that held them are rewritten; a snapshot is taken of the result, which retires
//! the one before; the log is purged up to it, past what slow followers would like to have; and the log's files are rewritten. What
//! is to be done is noted with the state until it is done, so a crash in between repeats it.
//!
//! A key for each object, destroyed in place of its bytes, would not do: the servers would have to agree on the keys, through the
//! same log, and then every copy of a key would have to be found and destroyed as the bodies are now.

use std::sync::Arc;
use std::time::Instant;

use crate::ReadError;
use crate::consensus::Node;
use crate::limits::SHRED_REST;
use crate::store::Store;

/// Shreds now and then: rarely enough that it costs only a small share of the time.
pub struct Shredder {
    node: Node,
    store: Arc<Store>,
    rests_until: Instant,
}

impl Shredder {
    pub fn new(node: Node, store: Arc<Store>) -> Self {
        Shredder { node, store, rests_until: Instant::now() }
    }

    /// Shreds if there is something to shred and it has rested.
    pub async fn round(&mut self) {
        let start = Instant::now();
        if start < self.rests_until {
            return;
        }
        match shred(&self.node, &self.store).await {
            Ok(true) => {}
            Ok(false) => tracing::debug!("what is to be shredded is still being read"),
            Err(error) => tracing::error!(%error, "what history dropped is not shredded yet"),
        }
        self.rests_until = Instant::now() + start.elapsed() * SHRED_REST;
    }
}

/// Leaves no trace of what was dropped. False if it is to be tried again.
pub async fn shred(node: &Node, store: &Arc<Store>) -> Result<bool, ReadError> {
    let Some(shreds) = store.shreds() else { return Ok(true) };
    let (state, found) = (store.clone(), shreds.clone());
    let rewrite = tokio::task::spawn_blocking(move || state.rewrite(&found));
    if !rewrite.await.map_err(|_| ReadError::Closed)?? {
        return Ok(false);
    }
    if shreds.of_state() {
        node.snapshot_anew(store).await?;
    }
    if !node.purge_to_snapshot(store).await? {
        return Ok(false);
    }
    node.rewrite_log().await?;
    let state = store.clone();
    let finish = tokio::task::spawn_blocking(move || state.shredded(&shreds));
    finish.await.map_err(|_| ReadError::Closed)??;
    Ok(true)
}
