//! The newest entries in memory, and what of them is in the files.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use tokio::sync::watch;

use super::{COMMITTED, Entry, LogId, mark_frame};
use crate::disk::LogOp;
use crate::limits::{LOG_CACHE_BYTES, LOG_CACHE_ENTRIES, LOG_READ_ENTRIES};

/// The newest entries, as they came: apply and replication read them without decoding. Those that are not in the files yet are
/// always here.
#[derive(Default)]
pub struct Recent {
    /// Consecutive indexes.
    entries: VecDeque<Cached>,
    bytes: usize,
    /// Appends so far, and how many of them are in the files, durably.
    appends: u64,
    written: u64,
    /// What is committed, as far as Raft has told.
    pub committed: Option<LogId>,
    /// That is not in the files yet.
    pub committed_is_news: bool,
    /// Why an append did not get to the disk, and none will.
    failure: Option<String>,
    /// Changes whenever the fate of an append is known.
    settled: watch::Sender<()>,
}

struct Cached {
    entry: Entry,
    /// Its size on disk.
    bytes: usize,
    /// Which append it came with.
    append: u64,
}

impl Recent {
    fn first(&self) -> Option<u64> {
        self.entries.front().map(|cached| cached.entry.log_id.index)
    }

    pub fn last(&self) -> Option<LogId> {
        self.entries.back().map(|cached| cached.entry.log_id)
    }

    /// Takes the entries of one append, and numbers it.
    pub fn append(&mut self, entries: Vec<(Entry, usize)>) -> u64 {
        self.appends += 1;
        for (entry, bytes) in entries {
            let follows = |last: &Cached| last.entry.log_id.index + 1 == entry.log_id.index;
            if !self.entries.back().is_none_or(follows) {
                self.entries.clear();
                self.bytes = 0;
            }
            self.bytes += bytes;
            self.entries.push_back(Cached { entry, bytes, append: self.appends });
        }
        self.evict();
        self.appends
    }

    /// The mark of what is committed, once: whoever takes it writes it.
    pub fn news_of_committed(&mut self) -> Option<LogOp> {
        let news = std::mem::take(&mut self.committed_is_news);
        self.committed.filter(|_| news).map(|id| LogOp::Mark(COMMITTED, mark_frame(&id)))
    }

    /// An append is durable, and all before it; or it is not, and none will be.
    pub fn settle(&mut self, append: u64, outcome: &io::Result<()>) {
        match outcome {
            // One that came after it was told first.
            Ok(()) if append <= self.written => return,
            Ok(()) => self.written = append,
            Err(error) => self.failure = Some(error.to_string()),
        }
        self.evict();
        self.settled.send_replace(());
    }

    /// Whether an entry is durable, or why it never will be. What is not here any more is.
    pub fn is_durable(&self, index: u64) -> io::Result<bool> {
        let cached = self.first().and_then(|first| self.entries.get(usize::try_from(index.checked_sub(first)?).ok()?));
        if cached.is_none_or(|cached| cached.append <= self.written) {
            return Ok(true);
        }
        self.failure.as_ref().map_or(Ok(false), |failure| Err(io::Error::other(failure.clone())))
    }

    pub fn settled(&self) -> watch::Receiver<()> {
        self.settled.subscribe()
    }

    fn evict(&mut self) {
        let full = |recent: &Recent| recent.entries.len() > LOG_CACHE_ENTRIES || recent.bytes > LOG_CACHE_BYTES;
        while full(self) && self.entries.front().is_some_and(|oldest| oldest.append <= self.written) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(Cached { bytes, .. }) = self.entries.pop_front() {
            self.bytes -= bytes;
        }
    }

    pub fn truncate_from(&mut self, index: u64) {
        while self.entries.back().is_some_and(|last| last.entry.log_id.index >= index) {
            if let Some(Cached { bytes, .. }) = self.entries.pop_back() {
                self.bytes -= bytes;
            }
        }
    }

    pub fn purge_to(&mut self, index: u64) {
        while self.first().is_some_and(|first| first <= index) {
            self.pop_front();
        }
    }

    /// The start of a range, if it is here.
    pub fn read(&self, range: &Range<u64>) -> Option<Vec<Entry>> {
        let skip = usize::try_from(range.start.checked_sub(self.first()?)?).ok()?;
        if range.is_empty() || skip >= self.entries.len() {
            return None;
        }
        let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(LOG_READ_ENTRIES);
        Some(self.entries.range(skip..).take(wanted).map(|cached| cached.entry.clone()).collect())
    }
}
