//! The log's database: entries by index, and a few named marks (vote, purged, committed).

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use rocksdb::{
    BottommostLevelCompaction, CompactOptions, DB, DBRecoveryMode, IteratorMode, Options, ReadOptions, WriteBatch,
};

use super::{DiskError, open_error, options};
use crate::limits::{LOG_READ_BYTES, LOG_READ_ENTRIES, LOG_WRITE_BUFFER_BYTES};

const ENTRY: u8 = b'e';
const MARK: u8 = b'm';

/// Writes are readable when they return, and durable after the next [`LogDb::sync`].
pub struct LogDb {
    path: PathBuf,
    /// `None` only while, or because, it cannot be reopened.
    db: RwLock<Option<DB>>,
}

/// One change of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOp {
    Entry(u64, Vec<u8>),
    Mark(&'static str, Vec<u8>),
    /// Removes entries from an index on.
    TruncateFrom(u64),
    /// Removes entries up to an index, inclusive.
    PurgeTo(u64),
}

impl LogOp {
    /// What it takes on the disk, about.
    pub fn bytes(&self) -> u64 {
        match self {
            LogOp::Entry(_, frame) | LogOp::Mark(_, frame) => OP_BYTES + frame.len() as u64,
            LogOp::TruncateFrom(_) | LogOp::PurgeTo(_) => OP_BYTES,
        }
    }
}

/// A key, and what the write-ahead log adds.
const OP_BYTES: u64 = 64;

impl LogDb {
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        Ok(LogDb { path: path.to_owned(), db: RwLock::new(Some(open(path)?)) })
    }

    /// Opens an existing log to look at it; nothing on the disk is changed.
    pub fn open_to_read(path: &Path) -> Result<Self, DiskError> {
        LogDb::open_read_only(path, &log_options())
    }

    /// The same up to where its write-ahead log is damaged.
    pub fn open_what_is_left(path: &Path) -> Result<Self, DiskError> {
        let mut options = log_options();
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        LogDb::open_read_only(path, &options)
    }

    fn open_read_only(path: &Path, options: &Options) -> Result<Self, DiskError> {
        let db = DB::open_for_read_only(options, path, false).map_err(|error| open_error(path, error))?;
        Ok(LogDb { path: path.to_owned(), db: RwLock::new(Some(db)) })
    }

    pub fn write(&self, ops: &[LogOp]) -> Result<(), DiskError> {
        let mut batch = WriteBatch::default();
        for op in ops {
            match op {
                LogOp::Entry(index, frame) => batch.put(entry_key(*index), frame),
                LogOp::Mark(name, frame) => batch.put(mark_key(name), frame),
                LogOp::TruncateFrom(index) => batch.delete_range(entry_key(*index).as_slice(), &[ENTRY + 1]),
                LogOp::PurgeTo(index) => batch.delete_range(entry_key(0), entry_key(index + 1)),
            }
        }
        self.with(|db| db.write(batch).map_err(DiskError::rocks("write the log")))
    }

    /// Makes every write so far durable: one `fdatasync`.
    pub fn sync(&self) -> Result<(), DiskError> {
        self.with(|db| db.flush_wal(true).map_err(DiskError::rocks("sync the log")))
    }

    /// Opens the files anew: what was not synced may be gone, and what stopped the database is forgotten. Readers wait
    /// meanwhile; while there is no room for it, it is tried again for as long as `patient` says so.
    pub fn reopen(&self, patient: impl Fn() -> bool) -> Result<(), DiskError> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        *db = None;
        loop {
            match open(&self.path) {
                Err(error) if error.is_full() && patient() => {}
                opened => break *db = Some(opened?),
            }
        }
        Ok(())
    }

    pub fn mark(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        self.with(|db| db.get(mark_key(name)).map_err(DiskError::rocks("read a mark of the log")))
    }

    /// Entries of a range from its start, up to the limits of one read; at least one if the first is there.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<(u64, Vec<u8>)>, DiskError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let mut read = ReadOptions::default();
        read.set_iterate_lower_bound(entry_key(range.start).to_vec());
        read.set_iterate_upper_bound(entry_key(range.end).to_vec());
        self.with(|db| {
            let (mut out, mut bytes) = (Vec::new(), 0);
            for item in db.iterator_opt(IteratorMode::Start, read) {
                let (key, frame) = item.map_err(DiskError::rocks("read the log"))?;
                bytes += frame.len();
                out.push((entry_index(&key)?, frame.into_vec()));
                if out.len() >= LOG_READ_ENTRIES || bytes >= LOG_READ_BYTES {
                    break;
                }
            }
            Ok(out)
        })
    }

    pub fn last(&self) -> Result<Option<(u64, Vec<u8>)>, DiskError> {
        let mut read = ReadOptions::default();
        read.set_iterate_lower_bound(vec![ENTRY]);
        read.set_iterate_upper_bound(vec![ENTRY + 1]);
        self.with(|db| match db.iterator_opt(IteratorMode::End, read).next() {
            None => Ok(None),
            Some(item) => {
                let (key, frame) = item.map_err(DiskError::rocks("read the end of the log"))?;
                Ok(Some((entry_index(&key)?, frame.into_vec())))
            }
        })
    }

    /// Rewrites the files, so that nothing of what was removed is left in any of them. Blocks for as long as that takes.
    pub fn rewrite(&self) -> Result<(), DiskError> {
        self.with(|db| {
            // A flush ends the write-ahead log that holds what was removed.
            db.flush().map_err(DiskError::rocks("flush the log"))?;
            let mut options = CompactOptions::default();
            options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
            db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
            Ok(())
        })
    }

    fn with<T>(&self, step: impl FnOnce(&DB) -> Result<T, DiskError>) -> Result<T, DiskError> {
        let guard: RwLockReadGuard<'_, Option<DB>> = self.db.read().unwrap_or_else(PoisonError::into_inner);
        step(guard.as_ref().ok_or_else(|| DiskError::Missing("the log's database".into()))?)
    }
}

/// What the write-ahead log holds is written to a table when it is opened; where there is no room for that, it stays where it is.
fn open(path: &Path) -> Result<DB, DiskError> {
    let opened = DB::open(&log_options(), path).map_err(|error| open_error(path, error));
    if !opened.as_ref().is_err_and(DiskError::is_full) {
        return opened;
    }
    let sparing = log_options().get_options_from_string("avoid_flush_during_recovery=true");
    let sparing = sparing.map_err(DiskError::rocks("set a database's options"))?;
    DB::open(&sparing, path).map_err(|error| open_error(path, error))
}

fn log_options() -> Options {
    let mut options = options(LOG_WRITE_BUFFER_BYTES);
    // Writes gather in memory until the flusher hands them over and syncs: one write call per batch.
    options.set_manual_wal_flush(true);
    options
}

fn entry_key(index: u64) -> [u8; 9] {
    let mut key = [ENTRY; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

fn entry_index(key: &[u8]) -> Result<u64, DiskError> {
    let bytes = key.get(1..9).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
    bytes.map(u64::from_be_bytes).ok_or_else(|| DiskError::Missing(format!("the index in the log's key {key:?}")))
}

fn mark_key(name: &str) -> Vec<u8> {
    let mut key = vec![MARK];
    key.extend_from_slice(name.as_bytes());
    key
}
