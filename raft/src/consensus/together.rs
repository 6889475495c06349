//! Log and state as an earlier process left them: what they have to be to each other before Raft starts.

use std::io;
use std::path::Path;

use super::{LogStore, log_id};
use crate::OpenError;
use crate::store::Store;

/// The state is never ahead of the durable log, except by a snapshot that came from the leader. Nothing is changed.
pub fn check_log_reaches(dir: &Path, log: &LogStore, store: &Store) -> Result<(), OpenError> {
    let (applied, purged) = (store.applied_record().index, log.purged()?);
    let snapshot = store.snapshot().and_then(|snapshot| snapshot.manifest().index);
    if applied.max(snapshot) < purged {
        let (applied, purged) = (applied.unwrap_or_default(), purged.unwrap_or_default());
        return Err(OpenError::StateLost { dir: dir.join("state"), applied, purged });
    }
    let Some(applied) = applied else { return Ok(()) };
    let last = log.last()?.map(|id| id.index);
    if last.max(snapshot) >= Some(applied) {
        return Ok(());
    }
    Err(OpenError::LogLost { dir: dir.to_owned(), log: last.unwrap_or_default(), applied })
}

/// Drops a log that the state has overtaken on another way: a leader's snapshot was received in place of entries that were never
/// committed, and the process ended before they were gone. Raft takes entries that contradict the state for damage.
pub async fn drop_overtaken(log: &LogStore, store: &Store) -> io::Result<()> {
    let applied = store.applied_record();
    let snapshot = store.snapshot().map(|snapshot| (snapshot.manifest().index, snapshot.manifest().term));
    let (Some(index), term) = snapshot.max(Some((applied.index, applied.term))).unwrap_or_default() else {
        return Ok(());
    };
    match log.term_of(index)? {
        Some(other) if other != term => {
            tracing::warn!(
                index,
                term,
                other,
                "the log holds entries that a snapshot has replaced: it goes on behind that"
            );
            log.begin_behind(log_id(term, index)).await
        }
        _ => Ok(()),
    }
}
