//! Backups of a log that runs, and backups opened beside it.

use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use kontiki_model::{Key, Revision};

use super::{Archive, Backup, BackupError, Origin};
use crate::limits::BACKUP_ATTEMPTS;
use crate::{Log, ReadError};

/// Directories made beside the log so far: each has a name of its own.
static SCRATCH: AtomicU64 = AtomicU64::new(0);

impl Log {
    /// A backup of everything that was acknowledged, anywhere, before the call, history included. Any server can make one;
    /// writes go on.
    pub async fn backup(&self, origin: Origin) -> Result<Backup, BackupError> {
        let revision = self.barrier().await?;
        for _ in 0..BACKUP_ATTEMPTS {
            self.snapshot().await?;
            let Some(snapshot) = self.newest_snapshot() else { continue };
            if snapshot.manifest().revision >= revision {
                let scratch = self.scratch();
                let made = tokio::task::spawn_blocking(move || Backup::of(snapshot, origin, &scratch));
                return made.await.map_err(|_| ReadError::Closed)?;
            }
        }
        let reason = "snapshots stay behind what is committed".to_owned();
        Err(ReadError::Unavailable(reason).into())
    }

    /// Unpacks a backup beside the log, to compare with. Blocks on the source and the disk.
    pub fn open_backup(&self, backup: impl Read) -> Result<Archive, BackupError> {
        Archive::unpack_behind(self.store().door().clone(), backup, &self.scratch())
    }

    /// All live keys and the revisions of their objects, at one revision.
    pub fn keys(&self) -> Result<(std::collections::BTreeMap<Key, Revision>, Revision), ReadError> {
        let revision = self.revision();
        Ok((self.store().keys_at(revision)?, revision))
    }

    /// What a crash leaves there goes at the next start, with unfinished snapshots.
    fn scratch(&self) -> PathBuf {
        let number = SCRATCH.fetch_add(1, Ordering::Relaxed);
        self.store().snapshots_dir().join(format!("opened-{number}"))
    }
}
