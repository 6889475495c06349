//! The log of a stopped server: what it knows, and a copy of its state that no server of it will ever see.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kontiki_model::{Head, Key, Revision};

use super::archive::Scratch;
use super::{Backup, BackupError, Origin, io_error};
use crate::codec::{LogPayload, LogRecord};
use crate::consensus::{Place, StoppedLog, members};
use crate::limits::APPLY_BATCH_ENTRIES;
use crate::seal::Door;
use crate::snapshot::SnapshotDir;
use crate::store::{Checkpoint, HistoryLimits, Store};
use crate::transport::Member;
use crate::{DiskError, OpenError};

/// A server's log, owned by this process for as long as this lives: no server can start on it.
pub struct Stopped {
    dir: PathBuf,
    log: StoppedLog,
    // What keeps a server from starting: the log is only read.
    store: Arc<Store>,
    /// The newest one in the log, committed or not, which is the one that counts in Raft.
    membership: Vec<u8>,
}

/// How much of the log is taken for committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpTo {
    /// What this server knew to be committed. A majority may have committed more; a server that was alone has not.
    Committed,
    /// Everything that is in the log, committed or not.
    End,
}

/// What a stopped server's log says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    pub node: u64,
    /// The newest term it took part in.
    pub term: u64,
    /// Indexes of the last entry in the log, and of the last that it knew to be committed.
    pub last: u64,
    pub committed: u64,
    /// Of the last entry.
    pub last_term: u64,
    /// Index of the last entry that this server synced. What is behind `last` up to here it may have acknowledged, and has no more.
    pub synced: u64,
    /// Of the state, which may be behind the log.
    pub revision: Revision,
    /// Servers, and whether each votes.
    pub members: Vec<(u64, Member, bool)>,
}

impl Stopped {
    /// Takes the log of a directory; refused while a server runs on it, and where entries are gone that may have been acknowledged.
    pub fn open(dir: &Path) -> Result<Self, BackupError> {
        let stopped = Stopped::take(dir, StoppedLog::open)?;
        stopped.log.check_end()?;
        let (log, applied) = (stopped.log_end()?.1, stopped.applied().1);
        match applied > log {
            true => Err(OpenError::LogLost { dir: dir.to_owned(), log, applied }.into()),
            false => Ok(stopped),
        }
    }

    /// The same with whatever is left: [`Figures`] tell what is gone.
    pub fn open_damaged(dir: &Path) -> Result<Self, BackupError> {
        Stopped::take(dir, StoppedLog::open_what_is_left)
    }

    fn take(dir: &Path, open: impl FnOnce(&Path) -> Result<StoppedLog, DiskError>) -> Result<Self, BackupError> {
        if !dir.join("log").is_dir() || !dir.join("state").is_dir() {
            return Err(BackupError::NoLog(dir.to_owned()));
        }
        let log = open(&dir.join("log")).map_err(of_log)?;
        let store = Store::open(&dir.join("state"), HistoryLimits::default(), 0)?;
        let membership = store.applied_record().membership;
        let mut stopped = Stopped { dir: dir.to_owned(), log, store, membership };
        let last = stopped.end()?.1;
        // A server that was killed may have applied none of its log for good.
        let mut newest = None;
        stopped.behind_the_state(last, |records| {
            newest = records
                .iter()
                .rev()
                .find_map(|record| match &record.payload {
                    LogPayload::Membership(membership) => Some(membership.clone()),
                    LogPayload::Blank | LogPayload::Command(_) => None,
                })
                .or(newest.take());
            Ok(())
        })?;
        stopped.membership = newest.unwrap_or(stopped.membership);
        Ok(stopped)
    }

    /// The last entry of the log. The snapshot may have come from the leader, and the log may be behind it.
    fn log_end(&self) -> Result<Place, BackupError> {
        let snapshot = self.store.snapshot().map(|one| (one.manifest().term, one.manifest().index.unwrap_or_default()));
        Ok(self.log.last().map_err(of_log)?.max(snapshot).unwrap_or_default())
    }

    /// The last entry that the state or the log has.
    fn end(&self) -> Result<Place, BackupError> {
        Ok(self.log_end()?.max(self.applied()))
    }

    fn applied(&self) -> Place {
        let applied = self.store.applied_record();
        (applied.term, applied.index.unwrap_or_default())
    }

    /// The entries that are not in the state yet, up to an index, in batches.
    fn behind_the_state(
        &self,
        end: u64,
        mut each: impl FnMut(&[LogRecord]) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let mut next = self.store.applied_record().index.map_or(0, |index| index + 1);
        while next <= end {
            let records = self.log.read(next..end + 1).map_err(of_log)?;
            let missing = || BackupError::LogDamaged(DiskError::Missing(format!("log entry {next}")));
            let last = records.last().ok_or_else(missing)?;
            next = last.index + 1;
            records.chunks(APPLY_BATCH_ENTRIES).try_for_each(&mut each)?;
        }
        Ok(())
    }

    pub fn figures(&self) -> Result<Figures, BackupError> {
        let ((last_term, last), applied) = (self.end()?, self.store.applied_record());
        let members = members(&self.membership)?;
        let alone = matches!(members.iter().filter(|(_, _, voter)| *voter).count(), 0 | 1);
        let known = self.log.committed()?.map_or(0, |(_, index)| index).max(applied.index.unwrap_or_default());
        Ok(Figures {
            node: self.log.node()?.unwrap_or_default(),
            term: self.log.term()?.max(last_term),
            last,
            committed: if alone { last } else { known.min(last) },
            last_term,
            synced: self.log.synced().unwrap_or_default(),
            revision: applied.revision,
            members,
        })
    }

    /// The head of an object, as far as the state had come.
    pub fn head(&self, key: &Key) -> Option<Arc<Head>> {
        self.store.head(key).map(|(_, head)| head)
    }

    /// A backup of what the server knew to be committed.
    pub fn backup(&self, origin: Origin) -> Result<Backup, BackupError> {
        let scratch = self.dir.join("state/snapshots/saving");
        let dir = Scratch::make(&scratch)?;
        let store = self.copy(UpTo::Committed, &scratch.join("copy"))?;
        let snapshot = pack(&store)?;
        drop(store);
        Ok(Backup::of(Arc::new(snapshot), origin, &scratch.join("census"))?.in_dir(dir))
    }

    /// The state in a directory of its own, with the log applied to it.
    pub fn copy(&self, up_to: UpTo, dir: &Path) -> Result<Arc<Store>, BackupError> {
        if dir.exists() {
            std::fs::remove_dir_all(dir).map_err(io_error("remove an earlier copy of the state"))?;
        }
        let snapshot = pack(&self.store)?;
        let store = Store::of_snapshot(Door::default(), &snapshot, dir)?;
        snapshot.retire();
        let figures = self.figures()?;
        let end = match up_to {
            UpTo::Committed => figures.committed,
            UpTo::End => figures.last,
        };
        self.behind_the_state(end, |records| {
            store.apply(records)?;
            Ok(())
        })?;
        Ok(store)
    }
}

/// A fault of the log itself, which may be given up from there on; one of the state may not.
fn of_log(error: DiskError) -> BackupError {
    match error {
        DiskError::Damaged { .. } | DiskError::Corrupt { .. } | DiskError::Record { .. } | DiskError::Missing(_) => {
            BackupError::LogDamaged(error)
        }
        other => other.into(),
    }
}

/// A snapshot of a store as it is now.
pub(super) fn pack(store: &Store) -> Result<SnapshotDir, BackupError> {
    store.flush()?;
    let Checkpoint { mut draft, applied, .. } = store.checkpoint()?;
    Ok(draft.complete(&applied)?)
}
