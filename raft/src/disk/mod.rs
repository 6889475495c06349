//! What is on the disk: the log's files, the state's database, the thread that syncs the log.
//! Knows keys and frames as bytes; refuses to know what a command or an event means.
//!
//! Log and state differ in their durability. The **log** is synced once per batch of appends; its files are its own (see
//! [`segment`] and [`log_db`]), for a database would write each entry twice, and change the file system's records with each sync.
//! The **state** is a RocksDB without a write-ahead log: after a crash it stands at the last flush and the log is applied again
//! from there. Entries leave the log only once a checkpoint (which flushes) covers them, so nothing between the two can be lost.
mod end_mark;
mod flusher;
mod log_db;
mod segment;
mod space;
mod state_db;

pub use end_mark::EndMark;
pub use flusher::{Flush, Flusher, Sink};
pub use log_db::{LogDb, LogOp, Sizes};
pub use space::{Shortage, Space};
pub use state_db::{StateBatch, StateDb};

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::codec::CodecError;

/// What a server whose storage is damaged can do.
pub const WAY_OUT: &str = "With other servers alive, start this one with --rebuild: it sets its log aside and takes everything \
                           from them. Alone, restore a backup with kontiki snapshot restore";

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("cannot open {path}: {message}")]
    Open { path: PathBuf, message: String },
    #[error("{path} is in use by another process: {message}")]
    Locked { path: PathBuf, message: String },
    #[error("{path} is damaged below what was acknowledged: {message}. Nothing was changed. {WAY_OUT}")]
    Damaged { path: PathBuf, message: String },
    /// There is no room for it. What was there before is still there.
    #[error("cannot {step}, for the disk is full: {message}")]
    Full { step: &'static str, message: String },
    #[error("cannot {step}, for what is on the disk is damaged: {message}. {WAY_OUT}")]
    Corrupt { step: &'static str, message: String },
    #[error("cannot {step}: {message}")]
    Io { step: &'static str, message: String },
    #[error("{what} is damaged")]
    Record { what: String, source: CodecError },
    #[error("{0} is missing")]
    Missing(String),
}

impl From<DiskError> for io::Error {
    fn from(error: DiskError) -> Self {
        io::Error::other(error)
    }
}

impl DiskError {
    pub fn record(what: impl Into<String>) -> impl FnOnce(CodecError) -> DiskError {
        let what = what.into();
        move |source| DiskError::Record { what, source }
    }

    pub fn io(step: &'static str) -> impl FnOnce(io::Error) -> DiskError {
        move |error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                DiskError::Full { step, message: error.to_string() }
            }
            _ => DiskError::Io { step, message: error.to_string() },
        }
    }

    /// A sync that failed for want of room has failed like any other: what it was to make durable may be gone.
    pub fn sync(step: &'static str) -> impl FnOnce(io::Error) -> DiskError {
        move |error| DiskError::Io { step, message: error.to_string() }
    }

    /// Whether it is only that there was no room.
    pub fn is_full(&self) -> bool {
        matches!(self, DiskError::Full { .. })
    }

    fn rocks(step: &'static str) -> impl FnOnce(rocksdb::Error) -> DiskError {
        move |error| {
            let (kind, message) = (error.kind(), error.into_string());
            match kind {
                rocksdb::ErrorKind::Corruption => DiskError::Corrupt { step, message },
                _ if says_full(&message) => DiskError::Full { step, message },
                _ => DiskError::Io { step, message },
            }
        }
    }
}

fn open_error(path: &Path, error: rocksdb::Error) -> DiskError {
    let (path, kind, message) = (path.to_owned(), error.kind(), error.into_string());
    match kind {
        rocksdb::ErrorKind::Corruption => DiskError::Damaged { path, message },
        _ if says_full(&message) => DiskError::Full { step: "open a database", message },
        // A part of it is gone: what was never there is made.
        rocksdb::ErrorKind::IOError if message.contains("No such file or directory") => {
            DiskError::Damaged { path, message }
        }
        _ if message.contains("/LOCK") => DiskError::Locked { path, message },
        _ => DiskError::Open { path, message },
    }
}

/// RocksDB tells no more than the operating system's words. A sync that fails for want of room has failed like any other: what
/// it was to make durable may be gone.
fn says_full(message: &str) -> bool {
    let wanting = ["No space left on device", "Disk quota exceeded"].iter().any(|words| message.contains(words));
    // Behind the first slash is a path, which may be called anything.
    let operation = message.split('/').next().unwrap_or_default();
    wanting && !operation.contains("sync")
}

/// A directory for this user alone: what is stored is everybody's secrets. One that was made for all is closed.
pub fn private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o700))
}

/// Makes a rename or a new file in `dir` durable.
pub fn sync_dir(dir: &Path) -> Result<(), DiskError> {
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(DiskError::io("sync a directory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (made, open) = (dir.path().join("a/log"), dir.path().join("b"));
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        for path in [made, open] {
            private_dir(&path).unwrap();
            assert_eq!(mode(&path), 0o700);
        }
    }
}
