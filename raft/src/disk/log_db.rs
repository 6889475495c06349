//! The log's database: entries by index, and a few named marks (vote, purged, committed).

use std::ops::Range;
use std::path::Path;

use rocksdb::{DB, IteratorMode, ReadOptions, WriteBatch};

use super::{DiskError, open_error, options};
use crate::limits::{LOG_READ_BYTES, LOG_READ_ENTRIES, LOG_WRITE_BUFFER_BYTES};

const ENTRY: u8 = b'e';
const MARK: u8 = b'm';

/// Appends are readable when they return, and durable after the next [`LogDb::sync`].
pub struct LogDb {
    db: DB,
}

impl LogDb {
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let mut options = options(LOG_WRITE_BUFFER_BYTES);
        // Appends gather in memory until the flusher hands them over and syncs: one write call per batch.
        options.set_manual_wal_flush(true);
        let db = DB::open(&options, path).map_err(|error| open_error(path, error))?;
        Ok(LogDb { db })
    }

    pub fn append(&self, entries: &[(u64, Vec<u8>)]) -> Result<(), DiskError> {
        let mut batch = WriteBatch::default();
        for (index, frame) in entries {
            batch.put(entry_key(*index), frame);
        }
        self.db.write(batch).map_err(DiskError::rocks("append to the log"))
    }

    /// Makes every write so far durable: one `fdatasync`.
    pub fn sync(&self) -> Result<(), DiskError> {
        self.db.flush_wal(true).map_err(DiskError::rocks("sync the log"))
    }

    /// Removes entries from `index` on.
    pub fn truncate_from(&self, index: u64) -> Result<(), DiskError> {
        let mut batch = WriteBatch::default();
        batch.delete_range(entry_key(index).as_slice(), &[ENTRY + 1]);
        self.db.write(batch).map_err(DiskError::rocks("truncate the log"))
    }

    /// Removes entries up to `index`, inclusive, and sets a mark in the same batch.
    pub fn purge_to(&self, index: u64, mark: &str, frame: &[u8]) -> Result<(), DiskError> {
        let mut batch = WriteBatch::default();
        batch.delete_range(entry_key(0).as_slice(), entry_key(index + 1).as_slice());
        batch.put(mark_key(mark), frame);
        self.db.write(batch).map_err(DiskError::rocks("purge the log"))
    }

    pub fn set_mark(&self, name: &str, frame: &[u8]) -> Result<(), DiskError> {
        self.db.put(mark_key(name), frame).map_err(DiskError::rocks("write a mark of the log"))
    }

    pub fn mark(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        self.db.get(mark_key(name)).map_err(DiskError::rocks("read a mark of the log"))
    }

    /// Entries of a range from its start, up to the limits of one read; at least one if the first is there.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<(u64, Vec<u8>)>, DiskError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let mut read = ReadOptions::default();
        read.set_iterate_lower_bound(entry_key(range.start).to_vec());
        read.set_iterate_upper_bound(entry_key(range.end).to_vec());
        let (mut out, mut bytes) = (Vec::new(), 0);
        for item in self.db.iterator_opt(IteratorMode::Start, read) {
            let (key, frame) = item.map_err(DiskError::rocks("read the log"))?;
            bytes += frame.len();
            out.push((entry_index(&key)?, frame.into_vec()));
            if out.len() >= LOG_READ_ENTRIES || bytes >= LOG_READ_BYTES {
                break;
            }
        }
        Ok(out)
    }

    pub fn last(&self) -> Result<Option<(u64, Vec<u8>)>, DiskError> {
        let mut read = ReadOptions::default();
        read.set_iterate_lower_bound(vec![ENTRY]);
        read.set_iterate_upper_bound(vec![ENTRY + 1]);
        match self.db.iterator_opt(IteratorMode::End, read).next() {
            None => Ok(None),
            Some(item) => {
                let (key, frame) = item.map_err(DiskError::rocks("read the end of the log"))?;
                Ok(Some((entry_index(&key)?, frame.into_vec())))
            }
        }
    }
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
