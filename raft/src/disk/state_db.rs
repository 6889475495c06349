//! The state's database. One column family, so that every batch is one atomic step even without a write-ahead log:
//!
//! | key | value |
//! |---|---|
//! | `h` key | live head: revision and head. Read once, at start, to rebuild the index |
//! | `v` key revision | a version of an object: head and body; or the last form of a deleted one |
//! | `e` revision | the event: key, revision it replaced, log index, time, author, cause |
//! | `m` name | marks: how far the log is applied, where history begins, whose data this is |
//!
//! A key is its three parts, each ended by a zero byte, so `v` sorts as LIST does and a key's versions lie together, oldest
//! first: the object at revision R is one backward seek. An event carries no body; it points at the versions before and after
//! it, so a watcher behind the ring skips other resources' events without reading their objects. Each body is stored once.

use std::path::Path;

use kontiki_model::Revision;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::properties::{CUR_SIZE_ALL_MEM_TABLES, NUM_SNAPSHOTS};
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamilyDescriptor, CompactOptions, DB, DBCompressionType,
    DBIteratorWithThreadMode, DBRawIteratorWithThreadMode, DEFAULT_COLUMN_FAMILY_NAME, Direction, FlushOptions,
    IteratorMode, LogLevel, Options, ReadOptions, SnapshotWithThreadMode, WriteBatch, WriteOptions,
};

use super::{DiskError, open_error};
use crate::limits::{
    MANIFEST_PREALLOCATION_BYTES, OPEN_FILES_MAX, READ_MANY_KEYS, STATE_BLOCK_CACHE_BYTES, STATE_WRITE_BUFFER_BYTES,
    VERIFY_READAHEAD_BYTES,
};

const HEAD: u8 = b'h';
const VERSION: u8 = b'v';
const EVENT: u8 = b'e';
const MARK: u8 = b'm';
const REVISION_BYTES: usize = 8;
/// Versions of a key that are looked at one after the other before it is sought where the wanted one is.
const VERSIONS_IN_A_ROW: usize = 4;

pub struct StateDb {
    db: DB,
}

/// Writes that become visible together.
#[derive(Default)]
pub struct StateBatch {
    batch: WriteBatch,
}

/// The state at one moment, whatever is written meanwhile.
pub struct StateView<'a> {
    db: &'a DB,
    snapshot: SnapshotWithThreadMode<'a, DB>,
}

/// A version's frame and the revision it was written at.
pub type VersionBytes = (Revision, Vec<u8>);

impl StateDb {
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        // Whoever wants it durable flushes; closing it is also what a server does whose log has failed.
        let options = options().get_options_from_string("avoid_flush_during_shutdown=true");
        let mut options = options.map_err(DiskError::rocks("set a database's options"))?;
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(STATE_BLOCK_CACHE_BYTES));
        blocks.set_block_size(16 * 1024);
        blocks.set_bloom_filter(10.0, false);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        options.set_block_based_table_factory(&blocks);
        // By its name, or there is no handle for reading many keys at once.
        let family = ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, options.clone());
        let db = DB::open_cf_descriptors(&options, path, [family]).map_err(|error| open_error(path, error))?;
        Ok(StateDb { db })
    }

    /// Not durable until a flush or a checkpoint: the log is what makes it so.
    pub fn write(&self, batch: StateBatch) -> Result<(), DiskError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch.batch, &options).map_err(DiskError::rocks("write the state"))
    }

    /// Bytes that are in memory only.
    pub fn unflushed(&self) -> Result<u64, DiskError> {
        let bytes = self.db.property_int_value(CUR_SIZE_ALL_MEM_TABLES);
        Ok(bytes.map_err(DiskError::rocks("ask what is not flushed"))?.unwrap_or_default())
    }

    /// Makes everything written so far durable.
    pub fn flush(&self) -> Result<(), DiskError> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db.flush_opt(&options).map_err(DiskError::rocks("flush the state"))
    }

    /// Rewrites the files that hold a resource's versions, so that none of those that were deleted is left in them. False if a
    /// reader of the past still kept some.
    pub fn rewrite_versions(&self, resource: &str) -> Result<bool, DiskError> {
        self.flush()?;
        let mut key = prefixed(VERSION, resource.as_bytes());
        key.push(0);
        let mut end = key.clone();
        end.extend_from_slice(&[u8::MAX]);
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        let kept =
            || self.db.property_int_value(NUM_SNAPSHOTS).map_err(DiskError::rocks("count the readers of the state"));
        let before = kept()?;
        self.db.compact_range_opt(Some(key), Some(end), &options);
        Ok(before == Some(0) && kept()? == Some(0))
    }

    /// Reads all that is on the disk, so that damage shows now.
    pub fn verify(&self) -> Result<(), DiskError> {
        let mut read = ReadOptions::default();
        read.fill_cache(false);
        read.set_readahead_size(VERIFY_READAHEAD_BYTES);
        let mut items = self.db.raw_iterator_opt(read);
        items.seek_to_first();
        while items.valid() {
            items.next();
        }
        items.status().map_err(DiskError::rocks("verify the state"))
    }

    /// A consistent, durable copy in a directory that must not exist yet; unchanged files are linked, not copied.
    pub fn checkpoint(&self, path: &Path) -> Result<(), DiskError> {
        let checkpoint = Checkpoint::new(&self.db).map_err(DiskError::rocks("prepare a checkpoint"))?;
        checkpoint.create_checkpoint(path).map_err(DiskError::rocks("write a checkpoint"))
    }

    pub fn view(&self) -> StateView<'_> {
        StateView { db: &self.db, snapshot: self.db.snapshot() }
    }

    pub fn mark(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        self.db.get(mark_key(name)).map_err(DiskError::rocks("read a mark of the state"))
    }

    pub fn version(&self, key: &[u8], revision: Revision) -> Result<Option<Vec<u8>>, DiskError> {
        self.db.get(version_key(key, revision)).map_err(DiskError::rocks("read a version"))
    }

    pub fn event(&self, revision: Revision) -> Result<Option<Vec<u8>>, DiskError> {
        self.db.get(event_key(revision)).map_err(DiskError::rocks("read an event"))
    }

    /// The live heads: encoded key and frame, in key order.
    pub fn heads(&self) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), DiskError>> + '_ {
        let items = self.db.iterator_opt(IteratorMode::Start, bounds(vec![HEAD], vec![HEAD + 1]));
        items.map(|item| {
            let (key, frame) = item.map_err(DiskError::rocks("read the live heads"))?;
            Ok((key[1..].to_vec(), frame.into_vec()))
        })
    }

    /// Event records after a revision, oldest first.
    pub fn events_after(
        &self,
        revision: Revision,
    ) -> impl Iterator<Item = Result<(Revision, Vec<u8>), DiskError>> + '_ {
        let range = bounds(event_key(revision.saturating_add(1)).to_vec(), vec![EVENT + 1]);
        self.db.iterator_opt(IteratorMode::Start, range).map(|item| {
            let (key, frame) = item.map_err(DiskError::rocks("read the events"))?;
            Ok((revision_at_end(&key)?, frame.into_vec()))
        })
    }

    /// The newest event record at or before a revision, above another.
    pub fn event_between(&self, above: Revision, at: Revision) -> Result<Option<(Revision, Vec<u8>)>, DiskError> {
        let range = bounds(event_key(above.saturating_add(1)).to_vec(), vec![EVENT + 1]);
        let from = event_key(at);
        match self.db.iterator_opt(IteratorMode::From(&from, Direction::Reverse), range).next() {
            None => Ok(None),
            Some(item) => {
                let (key, frame) = item.map_err(DiskError::rocks("look for an event"))?;
                Ok(Some((revision_at_end(&key)?, frame.into_vec())))
            }
        }
    }

    /// The newest version of a key at or before a revision.
    pub fn version_at(&self, key: &[u8], at: Revision) -> Result<Option<VersionBytes>, DiskError> {
        self.versions_down_from(key, at).next().transpose()
    }

    /// The versions of a key at or before a revision, newest first.
    pub fn versions_down_from(
        &self,
        key: &[u8],
        at: Revision,
    ) -> impl Iterator<Item = Result<VersionBytes, DiskError>> + '_ {
        let range = bounds(version_key(key, 0), version_key(key, Revision::MAX));
        let from = version_key(key, at);
        read_versions(self.db.iterator_opt(IteratorMode::From(&from, Direction::Reverse), range))
    }

    /// Of all keys with a prefix, behind one of them if that is given, the newest version at or before a revision, and what is read
    /// of its frame; in key order.
    pub fn versions_at<T>(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        at: Revision,
        read: impl Fn(&[u8]) -> T,
    ) -> impl Iterator<Item = Result<(Vec<u8>, Revision, T), DiskError>> {
        let from = prefixed(VERSION, prefix);
        // No byte of a key is as large.
        let mut end = from.clone();
        end.push(u8::MAX);
        let mut walk = self.db.raw_iterator_opt(bounds(from.clone(), end));
        walk.seek(after.map_or(from, |after| version_key(after, Revision::MAX)));
        std::iter::from_fn(move || next_version_at(&mut walk, at, &read).transpose())
    }
}

/// The version of the next key that has one, and on to the key behind it.
fn next_version_at<T>(
    walk: &mut DBRawIteratorWithThreadMode<'_, DB>,
    at: Revision,
    read: impl Fn(&[u8]) -> T,
) -> Result<Option<(Vec<u8>, Revision, T)>, DiskError> {
    while let Some(found) = walk.key() {
        let (key, mut revision) = (versioned_key(found)?.to_vec(), revision_at_end(found)?);
        let of_key = |walk: &DBRawIteratorWithThreadMode<'_, DB>| -> Result<Option<Revision>, DiskError> {
            let Some(found) = walk.key() else { return Ok(None) };
            Ok(if versioned_key(found)? == key { Some(revision_at_end(found)?) } else { None })
        };
        let mut version = None;
        // Most keys have one version or a few; of one that has many only the ends are looked at.
        for step in 0.. {
            if revision > at {
                break;
            }
            version = walk.value().map(|frame| (revision, read(frame)));
            if step == VERSIONS_IN_A_ROW {
                walk.seek_for_prev(version_key(&key, at));
                version = of_key(walk)?.zip(walk.value()).map(|(revision, frame)| (revision, read(frame)));
            }
            walk.next();
            match of_key(walk)? {
                Some(next) => revision = next,
                None => break,
            }
        }
        if of_key(walk)?.is_some() {
            walk.seek(version_key(&key, Revision::MAX));
        }
        if let Some((revision, read)) = version {
            return Ok(Some((key, revision, read)));
        }
    }
    walk.status().map_err(DiskError::rocks("read the versions of many keys"))?;
    Ok(None)
}

impl StateView<'_> {
    /// Many versions at once, of keys in order.
    pub fn versions(&self, keys: &[(Vec<u8>, Revision)]) -> Vec<Result<Option<Vec<u8>>, DiskError>> {
        debug_assert!(keys.is_sorted_by(|left, right| left.0 <= right.0), "sorted keys share the work");
        let family = self.db.cf_handle(DEFAULT_COLUMN_FAMILY_NAME).expect("opened by this name");
        let mut read = ReadOptions::default();
        read.set_snapshot(&self.snapshot);
        let mut found = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(READ_MANY_KEYS) {
            let keys: Vec<_> = chunk.iter().map(|(key, revision)| version_key(key, *revision)).collect();
            let frames = self.db.batched_multi_get_cf_opt(family, &keys, true, &read);
            let copied = frames.into_iter().map(|item| item.map(|frame| frame.map(|frame| frame.to_vec())));
            found.extend(copied.map(|item| item.map_err(DiskError::rocks("read versions"))));
        }
        found
    }
}

impl StateBatch {
    pub fn put_head(&mut self, key: &[u8], frame: &[u8]) {
        self.batch.put(head_key(key), frame);
    }

    pub fn delete_head(&mut self, key: &[u8]) {
        self.batch.delete(head_key(key));
    }

    pub fn put_version(&mut self, key: &[u8], revision: Revision, frame: &[u8]) {
        self.batch.put(version_key(key, revision), frame);
    }

    pub fn delete_version(&mut self, key: &[u8], revision: Revision) {
        self.batch.delete(version_key(key, revision));
    }

    pub fn put_event(&mut self, revision: Revision, frame: &[u8]) {
        self.batch.put(event_key(revision), frame);
    }

    pub fn delete_event(&mut self, revision: Revision) {
        self.batch.delete(event_key(revision));
    }

    pub fn put_mark(&mut self, name: &str, frame: &[u8]) {
        self.batch.put(mark_key(name), frame);
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_paranoid_checks(true);
    options.set_write_buffer_size(STATE_WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(3);
    options.set_max_background_jobs(2);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_manifest_preallocation_size(MANIFEST_PREALLOCATION_BYTES);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_stats_dump_period_sec(0);
    options
}

fn read_versions(
    items: DBIteratorWithThreadMode<'_, DB>,
) -> impl Iterator<Item = Result<VersionBytes, DiskError>> + '_ {
    items.map(|item| {
        let (key, frame) = item.map_err(DiskError::rocks("read the versions of a key"))?;
        Ok((revision_at_end(&key)?, frame.into_vec()))
    })
}

fn bounds(lower: Vec<u8>, upper: Vec<u8>) -> ReadOptions {
    let mut read = ReadOptions::default();
    read.set_iterate_lower_bound(lower);
    read.set_iterate_upper_bound(upper);
    read
}

fn prefixed(prefix: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len() + REVISION_BYTES);
    key.push(prefix);
    key.extend_from_slice(rest);
    key
}

fn head_key(key: &[u8]) -> Vec<u8> {
    prefixed(HEAD, key)
}

fn mark_key(name: &str) -> Vec<u8> {
    prefixed(MARK, name.as_bytes())
}

fn version_key(key: &[u8], revision: Revision) -> Vec<u8> {
    let mut out = prefixed(VERSION, key);
    out.extend_from_slice(&revision.to_be_bytes());
    out
}

fn event_key(revision: Revision) -> [u8; 1 + REVISION_BYTES] {
    let mut key = [EVENT; 1 + REVISION_BYTES];
    key[1..].copy_from_slice(&revision.to_be_bytes());
    key
}

/// The key of a version, without what is put around it.
fn versioned_key(key: &[u8]) -> Result<&[u8], DiskError> {
    let inner = key.len().checked_sub(REVISION_BYTES).and_then(|end| key.get(1..end));
    inner.ok_or_else(|| DiskError::Missing(format!("the key in the state's key {key:?}")))
}

fn revision_at_end(key: &[u8]) -> Result<Revision, DiskError> {
    let revision = key.last_chunk::<REVISION_BYTES>().copied().map(Revision::from_be_bytes);
    revision.ok_or_else(|| DiskError::Missing(format!("the revision in the state's key {key:?}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_not_flushed_does_not_get_to_the_disk_when_it_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let write = |db: &StateDb, name: &str| {
            let mut batch = StateBatch::default();
            batch.put_mark(name, b"1");
            db.write(batch).unwrap();
        };
        let db = StateDb::open(dir.path()).unwrap();
        write(&db, "flushed");
        db.flush().unwrap();
        write(&db, "not");
        drop(db);
        let db = StateDb::open(dir.path()).unwrap();
        assert_eq!((db.mark("flushed").unwrap(), db.mark("not").unwrap()), (Some(b"1".to_vec()), None));
    }
}
