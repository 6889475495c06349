//! openraft's log storage over the log's files: what is appended is readable at once, and is written and synced in groups by
//! one thread. So Raft never waits for the disk, not even for a full one.

mod recent;
mod sink;

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use tokio::sync::{Notify, oneshot};

use self::recent::Recent;
use self::sink::LogSink;
pub(super) use self::sink::{end_mark, end_of};
use super::{Entry, LogId, Types, Vote, decode_entry, encode_entry, log_id};
use crate::OpenError;
use crate::codec::{self, Tag};
use crate::disk::{DiskError, Flush, Flusher, LogDb, LogOp, Shortage, Sizes, Space};
use crate::limits::{APPEND_BYTES, COMMITTED_NOTE_DELAY};

pub(super) const VOTE: &str = "vote";
pub(super) const PURGED: &str = "purged";
pub(super) const COMMITTED: &str = "committed";
pub(super) const IDENTITY: &str = "identity";
pub(super) const CLUSTER: &str = "cluster";
const LOST: &str = "lost";
/// Sizes of a simulated log.
const SIMULATED: Sizes = Sizes { segment: 16 << 10, ahead: 1 << 10 };

/// A handle to the log; clones share it.
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    // Before the files: it syncs what is queued and then lets go of it.
    flusher: Flusher,
    db: Arc<LogDb>,
    space: Arc<Space>,
    recent: Arc<Mutex<Recent>>,
    committed_news: Notify,
    appended_bytes: AtomicU64,
}

impl LogStore {
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, LogDb::sync)
    }

    /// Opens the log with another way to sync it: a disk that fails is hard to come by.
    pub fn open_with(
        path: &Path,
        sync: impl Fn(&LogDb) -> Result<(), DiskError> + Send + 'static,
    ) -> Result<Self, OpenError> {
        // First: on a full disk its ballast is what the state is opened with.
        let space = Space::open(path.parent().unwrap_or(path))?;
        let sink = LogSink::open(LogDb::open(path)?, path, space, sync)?;
        let (db, space) = (sink.db.clone(), sink.space.clone());
        let flusher = Flusher::start(sink).map_err(OpenError::Thread)?;
        Ok(Self::over(db, space, flusher))
    }

    /// Opens the log with somebody else's schedule of its syncs: a simulation has no threads. Its segments are small, so that there
    /// are some.
    pub fn open_scheduled(path: &Path, schedule: impl Fn(Flush) + Send + Sync + 'static) -> Result<Self, OpenError> {
        let db = LogDb::open_sized(path, SIMULATED)?;
        let sink = LogSink::open(db, path, Space::boundless(path), LogDb::sync)?;
        let (db, space) = (sink.db.clone(), sink.space.clone());
        Ok(Self::over(db, space, Flusher::scheduled(sink, schedule)))
    }

    fn over(db: Arc<LogDb>, space: Arc<Space>, flusher: Flusher) -> Self {
        let (recent, appended_bytes) = (Arc::default(), AtomicU64::new(0));
        let committed_news = Notify::new();
        LogStore { shared: Arc::new(Shared { flusher, db, space, recent, committed_news, appended_bytes }) }
    }

    /// Whose log this is: set once.
    pub fn claim(&self, node: u64) -> Result<u64, DiskError> {
        let db = &self.shared.db;
        if let Some(frame) = db.mark(IDENTITY)? {
            return codec::decode(Tag::Identity, &frame).map_err(DiskError::record("the log's identity"));
        }
        db.write(&[LogOp::Mark(IDENTITY, codec::encode(Tag::Identity, &node))])?;
        db.sync()?;
        Ok(node)
    }

    /// The cluster this log is of; zero if it is of none yet.
    pub fn cluster(&self) -> Result<u64, DiskError> {
        match self.shared.db.mark(CLUSTER)? {
            Some(frame) => codec::decode(Tag::Identity, &frame).map_err(DiskError::record("the log's cluster")),
            None => Ok(0),
        }
    }

    /// Sets the cluster, once.
    pub async fn join_cluster(&self, cluster: u64) -> Result<u64, DiskError> {
        match self.cluster()? {
            0 => {
                let mark = LogOp::Mark(CLUSTER, codec::encode(Tag::Identity, &cluster));
                self.persist(vec![mark]).await.map_err(DiskError::io("keep the cluster's number"))?;
                Ok(cluster)
            }
            kept => Ok(kept),
        }
    }

    /// The last entry, or the last one purged. It may not be durable yet; whatever is persisted after this call will be after it.
    pub fn last(&self) -> Result<Option<LogId>, DiskError> {
        if let Some(last) = self.recent().last() {
            return Ok(Some(last));
        }
        match self.shared.db.last()? {
            Some((_, frame)) => Ok(Some(decode_entry(&frame)?.log_id)),
            None => self.mark(PURGED),
        }
    }

    /// The last entry that was purged.
    pub fn purged(&self) -> Result<Option<u64>, DiskError> {
        Ok(self.mark(PURGED)?.map(|id| id.index))
    }

    /// The last entry that was acknowledged and found missing, whether it has come back since or not.
    pub fn lost(&self) -> Result<Option<LogId>, DiskError> {
        self.mark(LOST)
    }

    pub async fn note_lost(&self, acknowledged: LogId) -> io::Result<()> {
        if self.lost()? >= Some(acknowledged) {
            return Ok(());
        }
        self.persist(vec![LogOp::Mark(LOST, mark_frame(&acknowledged))]).await
    }

    /// Bytes appended since the log was opened.
    pub fn appended_bytes(&self) -> u64 {
        self.shared.appended_bytes.load(Ordering::Relaxed)
    }

    /// The term of an entry that is in the log.
    pub fn term_of(&self, index: u64) -> Result<Option<u64>, DiskError> {
        let found = self.read(index..index + 1)?;
        Ok(found.first().map(|entry| entry.log_id.committed_leader_id().term))
    }

    /// Drops all entries: what comes next follows this one.
    pub async fn begin_behind(&self, id: LogId) -> io::Result<()> {
        self.recent().truncate_from(0);
        self.persist(vec![LogOp::TruncateFrom(0), LogOp::Mark(PURGED, mark_frame(&id))]).await
    }

    /// Why the disk no longer takes writes, if that is so.
    pub fn failure(&self) -> Option<&str> {
        self.shared.flusher.failure()
    }

    /// Why writes are to be refused, if the disk is full.
    pub fn shortage(&self) -> Option<Shortage> {
        self.shared.space.shortage()
    }

    /// Why so many bytes cannot be taken, beside the log's reserve.
    pub fn shortage_for(&self, bytes: u64) -> Option<Shortage> {
        self.shared.space.shortage_for(bytes)
    }

    /// So many bytes of the state have yet to get to the disk.
    pub fn owe(&self, bytes: u64) {
        self.shared.space.owe(bytes);
    }

    /// Looks after the space on the disk; to be called every now and then.
    pub fn tend_space(&self) {
        self.shared.space.tend();
    }

    /// Waits until more is committed, and notes it unless an append has done so in the meantime.
    pub async fn note_committed(&self) -> io::Result<()> {
        self.shared.committed_news.notified().await;
        tokio::time::sleep(COMMITTED_NOTE_DELAY).await;
        let mark = self.recent().news_of_committed();
        match mark {
            Some(mark) => self.write(vec![mark]).await,
            None => Ok(()),
        }
    }

    /// Rewrites the files, so that nothing of what was removed is left in any of them.
    pub async fn rewrite(&self) -> io::Result<()> {
        let (done, rewritten) = oneshot::channel();
        self.shared.flusher.rewrite(Box::new(move |result| _ = done.send(result)));
        rewritten.await.map_err(|_| io::Error::other("the log was closed"))?
    }

    /// What still waits for room on the disk is given up.
    pub fn close(&self) {
        self.shared.flusher.close();
    }

    /// Returns once all that was appended before is durable.
    pub async fn synced(&self) -> io::Result<()> {
        let mark = self.recent().news_of_committed();
        self.persist(Vec::from_iter(mark)).await
    }

    /// Returns once an entry, and all before it, are durable.
    pub async fn durable(&self, index: u64) -> io::Result<()> {
        let mut settled = self.recent().settled();
        while !self.recent().is_durable(index)? {
            settled.changed().await.map_err(|_| io::Error::other("the log was closed"))?;
        }
        Ok(())
    }

    /// Writes, and waits until it is durable.
    async fn persist(&self, ops: Vec<LogOp>) -> io::Result<()> {
        let (done, synced) = oneshot::channel();
        // Nobody listens only if the caller has given up.
        self.shared.flusher.submit(ops, Box::new(move |result| _ = done.send(result)));
        synced.await.map_err(|_| io::Error::other("the log was closed"))?
    }

    /// Writes, and waits until it can be read.
    async fn write(&self, ops: Vec<LogOp>) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        self.shared.flusher.submit_unsynced(ops, Box::new(move |result| _ = done.send(result)));
        written.await.map_err(|_| io::Error::other("the log was closed"))?
    }

    pub(super) fn mark(&self, name: &str) -> Result<Option<LogId>, DiskError> {
        read_mark(&self.shared.db, name)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries from the start of a range, at least one if it is there.
    fn read(&self, range: Range<u64>) -> Result<Vec<Entry>, DiskError> {
        if let Some(entries) = self.recent().read(&range) {
            return Ok(entries);
        }
        let frames = self.shared.db.read(range.clone())?;
        let mut entries = Vec::with_capacity(frames.len());
        for (position, (index, frame)) in frames.into_iter().enumerate() {
            let entry = decode_entry(&frame)?;
            if entry.log_id.index != index || (position > 0 && index != entries_end(&entries)) {
                return Err(DiskError::Missing(format!("log entry before {index}")));
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn read_all(&self, range: Range<u64>) -> Result<Vec<Entry>, DiskError> {
        let mut entries = self.read(range.clone())?;
        while let Some(last) = entries.last() {
            let next = last.log_id.index + 1;
            if next >= range.end {
                break;
            }
            let more = self.read(next..range.end)?;
            match more.first() {
                None => break,
                Some(first) if first.log_id.index == next => entries.extend(more),
                Some(_) => return Err(DiskError::Missing(format!("log entry {next}"))),
            }
        }
        Ok(entries)
    }
}

fn read_mark(db: &LogDb, name: &str) -> Result<Option<LogId>, DiskError> {
    let Some(frame) = db.mark(name)? else { return Ok(None) };
    let (term, index): (u64, u64) = codec::decode(Tag::LogMark, &frame).map_err(DiskError::record("a mark"))?;
    Ok(Some(log_id(term, index)))
}

fn mark_frame(id: &LogId) -> Vec<u8> {
    codec::encode(Tag::LogMark, &(id.committed_leader_id().term, id.index))
}

/// How many entries one message to a follower takes: one of any size, or several small ones.
fn fitting(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    let within = |entry: &&Entry| {
        bytes += super::payload_bytes(entry);
        bytes <= APPEND_BYTES
    };
    entries.iter().take_while(within).count().max(1)
}

fn entries_end(entries: &[Entry]) -> u64 {
    entries.last().map_or(0, |entry| entry.log_id.index + 1)
}

fn to_range(bounds: impl RangeBounds<u64>) -> Range<u64> {
    let start = match bounds.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match bounds.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl<C: Types> RaftLogReader<C> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self.read_all(to_range(range))?)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let mut entries = self.read(start..end)?;
        entries.truncate(fitting(&entries));
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let Some(frame) = self.shared.db.mark(VOTE)? else { return Ok(None) };
        let (term, node, committed): (u64, u64, bool) =
            codec::decode(Tag::Vote, &frame).map_err(DiskError::record("the vote"))?;
        Ok(Some(if committed { Vote::new_committed(term, node) } else { Vote::new(term, node) }))
    }
}

impl<C: Types> RaftLogStorage<C> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<C>, io::Error> {
        Ok(LogState { last_purged_log_id: self.mark(PURGED)?, last_log_id: self.last()? })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let record = (vote.leader_id.term, vote.leader_id.voted_for, vote.committed);
        self.persist(vec![LogOp::Mark(VOTE, codec::encode(Tag::Vote, &record))]).await
    }

    /// It is written with what is appended next, or by [`LogStore::note_committed`] a moment later: at once, it would wake the thread once
    /// more for each group of writes. Losing it costs a later start of serving, never an entry.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(id) = committed {
            let mut recent = self.recent();
            (recent.committed, recent.committed_is_news) = (Some(id), true);
            self.shared.committed_news.notify_one();
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let recent = self.recent().committed;
        Ok(if recent.is_some() { recent } else { self.mark(COMMITTED)? })
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut ops = Vec::from_iter(self.recent().news_of_committed());
        let (mut decoded, mut bytes) = (Vec::new(), 0);
        for entry in entries {
            let frame = encode_entry(&entry)?;
            bytes += frame.len();
            let length = frame.len();
            ops.push(LogOp::Entry(entry.log_id.index, frame));
            decoded.push((entry, length));
        }
        self.shared.appended_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let append = self.recent().append(decoded);
        let recent = self.shared.recent.clone();
        let done = move |result: io::Result<()>| {
            recent.lock().unwrap_or_else(PoisonError::into_inner).settle(append, &result);
            callback.io_completed(result);
        };
        self.shared.flusher.submit(ops, Box::new(done));
        Ok(())
    }

    /// Waits until it is done, and durable: a later read of the files must not meet what is gone, nor a later start what
    /// contradicts the state. It is rare.
    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let index = last.map_or(0, |id| id.index + 1);
        self.recent().truncate_from(index);
        self.persist(vec![LogOp::TruncateFrom(index)]).await
    }

    async fn purge(&mut self, id: LogId) -> Result<(), io::Error> {
        self.recent().purge_to(id.index);
        self.write(vec![LogOp::PurgeTo(id.index), LogOp::Mark(PURGED, mark_frame(&id))]).await
    }
}
