//! What goes on beside the log's work: history ends, snapshots are taken, the disk's space is looked after.

use std::sync::Arc;

use crate::ReadError;
use crate::consensus::Node;
use crate::limits::{HOUSEKEEPING_INTERVAL, PRUNE_STEPS, SNAPSHOT_LOG_BYTES, SPACE_INTERVAL, STATE_FLUSH_ENTRIES};
use crate::log::now_ms;
use crate::shred::Shredder;
use crate::status::Status;
use crate::store::Store;

/// Looks after the free space on the disk, so that writes stop in time and go on soon.
pub(crate) async fn tend_space(node: Node) {
    let mut round = tokio::time::interval(SPACE_INTERVAL);
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut was_short = false;
    loop {
        round.tick().await;
        let tended = node.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || tended.tend_space()).await {
            tracing::error!(%error, "the free space is no longer looked after");
        }
        let short = node.shortage().is_some();
        // Once each time: where all servers share a disk, leadership does not go round.
        if short && !was_short {
            node.step_aside().await;
        }
        was_short = short;
    }
}

/// Drops old history, takes snapshots and flushes, so that history, log and the next start's work stay bounded.
pub(crate) async fn keep_house(node: Node, store: Arc<Store>, snapshot_entries: u64) {
    let mut round = tokio::time::interval(HOUSEKEEPING_INTERVAL);
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut bytes_at_snapshot, mut flushed) = (node.appended_bytes(), node.status().applied_index);
    let mut shredder = Shredder::new(node.clone(), store.clone());
    loop {
        round.tick().await;
        // All of this writes before it frees anything.
        if node.shortage().is_some() {
            continue;
        }
        forget(&store).await;
        shredder.round().await;
        let (bytes, Status { applied_index, snapshot_index, .. }) = (node.appended_bytes(), node.status());
        let entries = applied_index.saturating_sub(snapshot_index);
        if entries >= snapshot_entries || bytes - bytes_at_snapshot >= SNAPSHOT_LOG_BYTES {
            (bytes_at_snapshot, flushed) = (bytes, applied_index);
            if let Err(error) = take_snapshot(&node, &store).await {
                tracing::error!(%error, "no snapshot can be taken; the log grows");
            }
        } else if applied_index.saturating_sub(flushed) >= STATE_FLUSH_ENTRIES {
            flushed = applied_index;
            if let Err(error) = flush(&node, &store).await {
                tracing::error!(%error, "the state cannot be flushed; the next start takes longer");
            }
        }
    }
}

async fn forget(store: &Arc<Store>) {
    for _ in 0..PRUNE_STEPS {
        match prune(store, store.now_of_age(now_ms())).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::error!(%error, "old history cannot be dropped"),
        }
    }
}

/// Flushes first, beside apply, so that the checkpoint, which stops apply, has little left to write.
pub(crate) async fn take_snapshot(node: &Node, store: &Arc<Store>) -> Result<(), ReadError> {
    flush(node, store).await?;
    Ok(node.snapshot().await?)
}

/// The log first: what this process found in it may never have been synced, and a state that is ahead of it cannot be opened.
pub(crate) async fn flush(node: &Node, store: &Arc<Store>) -> Result<(), ReadError> {
    node.log_synced().await?;
    let store = store.clone();
    Ok(tokio::task::spawn_blocking(move || store.flush()).await.map_err(|_| ReadError::Closed)??)
}

pub(crate) async fn prune(store: &Arc<Store>, now_ms: i64) -> Result<bool, ReadError> {
    let store = store.clone();
    Ok(tokio::task::spawn_blocking(move || store.prune(now_ms)).await.map_err(|_| ReadError::Closed)??)
}
