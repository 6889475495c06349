//! Entries that this server acknowledged and has no more: its folder is an older copy, or its disk forgot what was synced.
//!
//! Raft counts on what was acknowledged, and only the leader that counted it knows that it is gone: the log is shorter than what
//! came to that leader as acknowledged. The leader says so before it sends the entries again. From then on, across restarts,
//! until its log reaches as far again, this server stands for no election and votes only for who has all that it acknowledged, as it
//! would have if it had lost nothing: a leader that it helped to choose otherwise might lack what was committed. It does vote for
//! those: the others may be too few without it, and then nobody could send it anything.

use std::io;

use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use super::node::Node;
use super::{LogId, LogStore};
use crate::DiskError;
use crate::status::LostEntries;

/// The last entry that is missing; clones share it.
#[derive(Clone)]
pub struct Lost(watch::Sender<Option<LogId>>);

impl Lost {
    /// As it was noted, unless the log has come as far since.
    pub fn open(log: &LogStore) -> Result<Self, DiskError> {
        let (noted, last) = (log.lost()?, log.last()?);
        Ok(Lost(watch::Sender::new(noted.filter(|noted| last < Some(*noted)))))
    }

    pub fn is_none(&self) -> bool {
        self.0.borrow().is_none()
    }
}

impl Node {
    /// The leader says that this server acknowledged an entry to it.
    pub(super) async fn reminded(&self, acknowledged: LogId) -> io::Result<()> {
        if self.log.last()? >= Some(acknowledged) {
            return Ok(());
        }
        // At once; it is safe across a restart when the leader has its answer.
        self.raft.runtime_config().elect(false);
        let is_news = self.lost.0.send_if_modified(|lost| {
            let further = *lost < Some(acknowledged);
            *lost = (*lost).max(Some(acknowledged));
            further
        });
        self.log.note_lost(acknowledged).await?;
        if is_news && let Some(lost) = self.lost_entries() {
            tracing::error!("{lost}");
        }
        Ok(())
    }

    /// Whether a candidate's log reaches as far as what this server acknowledged, of which it may lack some.
    pub(super) fn would_have_voted_for(&self, candidates_last: Option<LogId>) -> bool {
        candidates_last >= *self.lost.0.borrow()
    }

    /// What this server lacks of what it acknowledged.
    pub fn lost_entries(&self) -> Option<LostEntries> {
        let acknowledged = (*self.lost.0.borrow())?.index;
        let end = self.raft.metrics().borrow_watched().last_log_index.unwrap_or_default();
        Some(LostEntries { acknowledged, end })
    }

    /// Stands for election again once it has what it lost.
    pub async fn regain(self) {
        let (mut lost, mut applied) = (self.lost.0.subscribe(), self.applied.clone());
        loop {
            let Some(acknowledged) = *lost.borrow_and_update() else {
                if lost.changed().await.is_err() {
                    return;
                }
                continue;
            };
            applied.borrow_and_update();
            if self.log.last().is_ok_and(|last| last >= Some(acknowledged)) {
                self.lost.0.send_replace(None);
                self.raft.runtime_config().elect(true);
                tracing::info!(
                    entry = acknowledged.index,
                    "the entries that were lost are here again: this server votes"
                );
            } else if applied.changed().await.is_err() {
                return;
            }
        }
    }
}
