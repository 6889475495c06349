//! Log and state as an earlier process left them: what they have to be to each other before Raft starts.

use std::path::Path;

use super::LogStore;
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
