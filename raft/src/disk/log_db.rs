//! The log on the disk: entries by index, and a few named marks (vote, purged, committed), in segments that are only written at
//! their end. Where each entry lies is kept in memory, and read from the segments when the log is opened.
//!
//! Written is at once what can be read; it reaches the disk with the next sync. A segment that is full is sealed, and the next one
//! begins with all marks: so what lies before the oldest entry that is left can go, segment by segment. Nothing on the disk is
//! changed before the first write: a log that is looked at, or refused, stays as it is.
//!
//! One thread writes: whoever calls [`LogDb::write`], [`LogDb::sync`], [`LogDb::reopen`] and [`LogDb::rewrite`] does it in turn.
//! Anybody reads at any time.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::segment::{self, Draft, Op, PREFIX_BYTES, Rest, Seen, Spot};
use super::{DiskError, private_dir};
use crate::limits::{
    LOG_AHEAD_BYTES, LOG_BUFFER_BYTES, LOG_READ_BYTES, LOG_READ_ENTRIES, LOG_REWRITE_BYTES_MAX, LOG_SEGMENT_BYTES,
};

const LOCK: &str = "LOCK";
/// What a file is called while it is made.
const DRAFT: &str = "new";
/// How the log's directory began in versions before the first release, when it was a database.
const FORMER: &str = "CURRENT";

/// Writes are readable when they return, and durable after the next [`LogDb::sync`].
pub struct LogDb {
    dir: PathBuf,
    sizes: Sizes,
    state: Mutex<State>,
    /// Held so that no other process writes.
    _lock: Option<File>,
}

/// When a segment is full, and how far it is laid out ahead of what is written.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub segment: u64,
    pub ahead: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes { segment: LOG_SEGMENT_BYTES, ahead: LOG_AHEAD_BYTES }
    }
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

    fn as_op(&self) -> Op<'_> {
        match self {
            LogOp::Entry(index, frame) => Op::Entry(*index, frame),
            LogOp::Mark(name, frame) => Op::Mark(name, frame),
            LogOp::TruncateFrom(index) => Op::TruncateFrom(*index),
            LogOp::PurgeTo(index) => Op::PurgeTo(*index),
        }
    }
}

/// What an operation takes besides its frame, with its share of a record.
const OP_BYTES: u64 = 64;

impl LogDb {
    pub fn open(dir: &Path) -> Result<Self, DiskError> {
        LogDb::open_sized(dir, Sizes::default())
    }

    pub fn open_sized(dir: &Path, sizes: Sizes) -> Result<Self, DiskError> {
        private_dir(dir).map_err(DiskError::io("make the log's directory"))?;
        let lock = lock(dir)?;
        LogDb::over(dir, sizes, Some(lock), State::load_to_write(dir)?)
    }

    /// Opens an existing log to look at it while nobody writes; nothing on the disk is changed.
    pub fn open_to_read(dir: &Path) -> Result<Self, DiskError> {
        let lock = lock_if_there(dir)?;
        LogDb::over(dir, Sizes::default(), lock, State::load(dir, false)?)
    }

    /// The same up to where it is damaged.
    pub fn open_what_is_left(dir: &Path) -> Result<Self, DiskError> {
        let lock = lock_if_there(dir)?;
        LogDb::over(dir, Sizes::default(), lock, State::load_what_is_left(dir)?)
    }

    fn over(dir: &Path, sizes: Sizes, lock: Option<File>, state: State) -> Result<Self, DiskError> {
        Ok(LogDb { dir: dir.to_owned(), sizes, state: Mutex::new(state), _lock: lock })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On the disk there is all of it or nothing, or a part from its beginning if it is longer than a segment.
    pub fn write(&self, ops: &[LogOp]) -> Result<(), DiskError> {
        let mut state = self.state();
        let mut rest = ops;
        while !rest.is_empty() {
            state.prepare(&self.dir)?;
            let (count, bytes) = fitting(rest, self.sizes.segment);
            if state.end() + bytes > self.sizes.segment && state.has_records() {
                state.roll(&self.dir, self.sizes)?;
            }
            let record;
            (record, rest) = rest.split_at(count);
            state.record(record.iter().map(LogOp::as_op))?;
            if state.buffer.len() >= LOG_BUFFER_BYTES {
                state.write_out(self.sizes)?;
            }
        }
        Ok(())
    }

    /// Makes every write so far durable: one `fdatasync`.
    pub fn sync(&self) -> Result<(), DiskError> {
        let (file, number, end, dropped) = {
            let mut state = self.state();
            state.write_out(self.sizes)?;
            let Some(active) = state.segments.back() else { return Ok(()) };
            (active.file.clone(), active.number, state.written, std::mem::take(&mut state.dropped))
        };
        let outcome = file.sync_data();
        let mut state = self.state();
        state.settle(outcome)?;
        if state.segments.back().is_some_and(|active| active.number == number) {
            state.synced = end;
        }
        drop(state);
        // What says that they are no part of the log is durable now.
        for number in dropped {
            if let Err(error) = remove(&segment::path(&self.dir, number)) {
                tracing::warn!(number, %error, "a segment that is no part of the log any more was not removed");
            }
        }
        Ok(())
    }

    /// Opens the files anew, after one could not be written: what was not synced may be gone.
    pub fn reopen(&self) -> Result<(), DiskError> {
        self.state().check()?;
        let loaded = State::load_to_write(&self.dir)?;
        *self.state() = loaded;
        Ok(())
    }

    pub fn mark(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(self.state().marks.get(name).cloned())
    }

    /// Entries of a range from its start, up to the limits of one read; at least one if the first is there.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<(u64, Vec<u8>)>, DiskError> {
        let pieces = self.state().pieces(range, LOG_READ_ENTRIES, LOG_READ_BYTES);
        pieces.into_iter().map(|piece| Ok((piece.index, piece.read()?))).collect()
    }

    pub fn last(&self) -> Result<Option<(u64, Vec<u8>)>, DiskError> {
        let last = self.state().last();
        match last {
            None => Ok(None),
            Some(last) => Ok(self.read(last..last + 1)?.pop()),
        }
    }

    /// What the entries take, about.
    pub fn bytes(&self) -> u64 {
        self.state().entries.iter().map(|place| OP_BYTES + u64::from(place.spot.length)).sum()
    }

    /// Begins a segment with all there is, in place of those before it: nothing of what was removed is left in any file. Blocks for as
    /// long as that takes; readers do not wait.
    pub fn rewrite(&self) -> Result<(), DiskError> {
        let bytes = self.bytes();
        if bytes > LOG_REWRITE_BYTES_MAX {
            let message = format!("{bytes} bytes are too many to be rewritten at once");
            return Err(DiskError::Io { step: "rewrite the log", message });
        }
        self.state().prepare(&self.dir)?;
        self.sync()?;
        // What was damaged since must not be made whole.
        let read = State::load(&self.dir, false)?;
        let (number, marks, all) = {
            let state = self.state();
            let all = state.pieces(0..u64::MAX, usize::MAX, usize::MAX);
            let is_same = (&read.entries, &read.marks) == (&state.entries, &state.marks)
                && (read.first == state.first || read.entries.is_empty());
            if !is_same || all.len() != state.entries.len() {
                return Err(DiskError::Missing("what the log's files were written with".into()));
            }
            (state.segments.back().map_or(1, |active| active.number + 1), state.marks.clone(), all)
        };
        let (mut file, draft) = head(number, number, &marks);
        draft.finish(&mut file);
        let mut entries = VecDeque::with_capacity(all.len());
        let mut all = all.into_iter().peekable();
        // The last one has no entry, and says that all before it is durable, which it is once the file has its name.
        let mut is_last = false;
        while !is_last {
            is_last = all.peek().is_none();
            let start = file.len();
            let draft = Draft::begin(&mut file, number, 0, start as u64);
            while file.len() - start < LOG_BUFFER_BYTES
                && let Some(piece) = all.next()
            {
                let spot = draft.put(&mut file, Op::Entry(piece.index, &piece.read()?));
                entries.push_back(Place { segment: number, spot });
            }
            draft.finish(&mut file);
        }
        let created = create(&self.dir, number, &file);
        {
            let mut state = self.state();
            let created = state.latched(created)?;
            state.entries = entries;
            state.segments.clear();
            state.dropped.clear();
            state.take_up(Segment { number, file: created }, number, file.len() as u64);
        }
        clear(&self.dir, number)?;
        sync_names(&self.dir)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    segment: u64,
    spot: Spot,
}

struct Segment {
    number: u64,
    file: Arc<File>,
}

/// An entry that is to be read.
struct Piece {
    index: u64,
    spot: Spot,
    source: Source,
}

impl Piece {
    fn read(self) -> Result<Vec<u8>, DiskError> {
        match self.source {
            Source::Buffer(frame) => Ok(frame),
            Source::File(file) => {
                let mut frame = vec![0; self.spot.length as usize];
                file.read_exact_at(&mut frame, self.spot.at.into()).map_err(DiskError::io("read the log"))?;
                Ok(frame)
            }
        }
    }
}

enum Source {
    Buffer(Vec<u8>),
    File(Arc<File>),
}

#[derive(Default)]
struct State {
    /// The oldest first; the last one is written to.
    segments: VecDeque<Segment>,
    /// Where the entries lie, from the first index on without a gap.
    entries: VecDeque<Place>,
    first: u64,
    marks: BTreeMap<String, Vec<u8>>,
    /// Segments below this number are no part of the log.
    oldest: u64,
    /// What is not in the file yet, how far the last segment's file is written, laid out and durable.
    buffer: Vec<u8>,
    written: u64,
    laid_out: u64,
    synced: u64,
    /// Where the last segment's own records begin.
    begun: u64,
    /// Nothing was written since it was opened: what is not part of the log is still there.
    is_fresh: bool,
    /// The last segment has its end, or something that never became part of the log behind it.
    is_sealed: bool,
    is_torn: bool,
    /// Where and what in the last segment was not known to be durable when it was read.
    unsure: (u64, Vec<u8>),
    /// Segments that go with the next sync.
    dropped: Vec<u64>,
    /// Why a sync failed. What it was to make durable may be gone, and the next one would not say so.
    failed: Option<String>,
}

impl State {
    fn load(dir: &Path, to_write: bool) -> Result<State, DiskError> {
        let mut state = State { is_fresh: to_write, ..State::default() };
        match state.read_segments(dir)? {
            None => Ok(state),
            Some(damage) => Err(DiskError::Damaged { path: dir.to_owned(), message: damage }),
        }
    }

    /// What is read may be in the page cache only, as clean as if a sync that failed had made it durable; and it is going to be
    /// counted on. So what no record says was durable is written once more.
    fn load_to_write(dir: &Path) -> Result<State, DiskError> {
        let mut state = State::load(dir, true)?;
        let (from, unsure) = std::mem::take(&mut state.unsure);
        if let Some(active) = state.segments.back() {
            active.file.write_all_at(&unsure, from).map_err(DiskError::io("write the log's end again"))?;
            active.file.sync_all().map_err(of_sync)?;
            sync_names(dir)?;
        }
        Ok(state)
    }

    fn load_what_is_left(dir: &Path) -> Result<State, DiskError> {
        let mut state = State::default();
        if let Some(damage) = state.read_segments(dir)? {
            tracing::warn!(dir = %dir.display(), damage, "the log is taken up to where it is damaged");
        }
        Ok(state)
    }

    /// Reads the segments up to the first damage, and tells what that is.
    fn read_segments(&mut self, dir: &Path) -> Result<Option<String>, DiskError> {
        let mut numbers = numbers(dir)?;
        let Some(newest) = numbers.last().copied() else { return Ok(former(dir)) };
        // What the newest says is no part of the log may be gone already, or be left over.
        let oldest = oldest_of(newest, &read(&segment::path(dir, newest), false)?.1);
        numbers.retain(|number| *number >= oldest);
        for (position, number) in numbers.iter().copied().enumerate() {
            let expected = if position == 0 { oldest.max(1) } else { numbers[position - 1] + 1 };
            if number != expected && (position > 0 || oldest > 0) {
                return Ok(Some(format!("segment {expected} is missing")));
            }
            // One handle: what is read is what the entries' places are in.
            let (file, bytes) = read(&segment::path(dir, number), self.is_fresh)?;
            self.is_sealed = false;
            let seen = segment::read(number, &bytes, |op, spot| {
                if self.is_sealed {
                    return Err("it goes on behind its end".to_owned());
                }
                self.is_sealed = op == Op::Sealed;
                self.apply(op, Place { segment: number, spot })
            });
            let Seen { end, synced, rest } = match seen {
                Ok(seen) => seen,
                Err(gap) => return Ok(Some(format!("segment {number}: {gap}"))),
            };
            if end >= PREFIX_BYTES {
                self.segments.push_back(Segment { number, file: Arc::new(file) });
                (self.written, self.laid_out, self.synced) = (end as u64, bytes.len() as u64, end as u64);
                self.unsure = (synced as u64, bytes.get(synced..end).unwrap_or_default().to_vec());
            }
            self.is_torn = rest == Rest::Torn;
            if rest == Rest::Damaged {
                return Ok(Some(format!("segment {number}: what is at byte {end} cannot be read")));
            }
            if number != newest && !(self.is_sealed && rest == Rest::Nothing) {
                return Ok(Some(format!("segment {number} ends early, at byte {end}")));
            }
        }
        self.oldest = oldest;
        Ok(None)
    }

    /// Takes note of an operation whose frame lies at a place.
    fn apply(&mut self, op: Op<'_>, place: Place) -> Result<(), String> {
        match op {
            Op::Entry(index, _) => {
                self.truncate_from(index);
                if self.entries.is_empty() {
                    self.first = index;
                }
                let next = self.first + self.entries.len() as u64;
                if index != next {
                    return Err(format!("entry {index} follows entry {}", next - 1));
                }
                self.entries.push_back(place);
            }
            Op::Mark(name, frame) => match self.marks.get_mut(name) {
                Some(mark) => frame.clone_into(mark),
                None => _ = self.marks.insert(name.to_owned(), frame.to_owned()),
            },
            Op::TruncateFrom(index) => self.truncate_from(index),
            Op::PurgeTo(index) => {
                let gone = index.saturating_add(1).saturating_sub(self.first).min(self.entries.len() as u64);
                self.entries.drain(..gone as usize);
                self.first += gone;
            }
            Op::Oldest(_) | Op::Sealed => {}
        }
        Ok(())
    }

    fn truncate_from(&mut self, index: u64) {
        let left = index.saturating_sub(self.first).min(self.entries.len() as u64);
        self.entries.truncate(left as usize);
    }

    fn last(&self) -> Option<u64> {
        (self.first + self.entries.len() as u64).checked_sub(1).filter(|_| !self.entries.is_empty())
    }

    fn pieces(&self, range: Range<u64>, most: usize, most_bytes: usize) -> Vec<Piece> {
        let start = range.start.saturating_sub(self.first) as usize;
        let end = range.end.saturating_sub(self.first).min(self.entries.len() as u64) as usize;
        let mut bytes = 0;
        let mut pieces = Vec::new();
        // A later one would not be the first of the range.
        for position in start..end {
            let Place { segment, spot } = self.entries[position];
            if pieces.len() >= most || bytes >= most_bytes {
                break;
            }
            bytes += spot.length as usize;
            let Some(source) = self.source(segment, spot) else { break };
            pieces.push(Piece { index: self.first + position as u64, spot, source });
        }
        pieces
    }

    fn source(&self, number: u64, spot: Spot) -> Option<Source> {
        let active = self.segments.back()?;
        let buffered = u64::from(spot.at).checked_sub(self.written).filter(|_| number == active.number);
        Some(match buffered {
            Some(at) => Source::Buffer(self.buffer.get(at as usize..)?.get(..spot.length as usize)?.to_vec()),
            None => {
                let position = number.checked_sub(self.segments.front()?.number)?;
                Source::File(self.segments.get(position as usize)?.file.clone())
            }
        })
    }

    /// Where the next record begins in the last segment.
    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn has_records(&self) -> bool {
        self.end() > self.begun
    }

    fn settle(&mut self, synced: io::Result<()>) -> Result<(), DiskError> {
        if let Err(error) = synced {
            self.failed.get_or_insert(error.to_string());
        }
        self.check()
    }

    fn check(&self) -> Result<(), DiskError> {
        match &self.failed {
            None => Ok(()),
            Some(message) => Err(DiskError::Io { step: "sync the log", message: message.clone() }),
        }
    }

    /// Before the first write: there is a segment to write to, nothing behind its end, and nothing beside the log.
    fn prepare(&mut self, dir: &Path) -> Result<(), DiskError> {
        self.check()?;
        if !self.is_fresh {
            return match self.segments.is_empty() {
                true => Err(DiskError::Missing("a log that can be written".into())),
                false => Ok(()),
            };
        }
        clear(dir, self.oldest)?;
        if let Some(active) = self.segments.back().filter(|_| self.is_torn) {
            let rest = vec![0; self.laid_out.saturating_sub(self.written) as usize];
            active.file.write_all_at(&rest, self.written).map_err(DiskError::io("clear the log's end"))?;
            let cleared = active.file.sync_data();
            self.settle(cleared)?;
        }
        match self.segments.back().map(|active| active.number) {
            None => self.begin(dir, 1)?,
            Some(sealed) if self.is_sealed => self.begin(dir, sealed + 1)?,
            Some(_) => {}
        }
        (self.is_fresh, self.is_torn, self.is_sealed) = (false, false, false);
        Ok(())
    }

    /// Adds a record to the buffer.
    fn record<'a>(&mut self, ops: impl Iterator<Item = Op<'a>>) -> Result<(), DiskError> {
        let number = self.segments.back().map_or(0, |active| active.number);
        let mut buffer = std::mem::take(&mut self.buffer);
        let start = buffer.len();
        let draft = Draft::begin(&mut buffer, number, self.written, self.synced);
        let mut outcome = Ok(());
        for op in ops {
            let spot = draft.put(&mut buffer, op);
            outcome = outcome.and_then(|()| self.apply(op, Place { segment: number, spot }));
        }
        let oldest = self.entries.front().map_or(number, |place| place.segment);
        self.drop_segments(oldest);
        if oldest > self.oldest {
            self.oldest = oldest;
            draft.put(&mut buffer, Op::Oldest(oldest));
        }
        if let Err(gap) = outcome {
            // It must not get to the disk with what comes next, and nothing more comes.
            buffer.truncate(start);
            self.buffer = buffer;
            let refused = DiskError::Missing(format!("a part of the log ({gap})"));
            self.failed.get_or_insert(refused.to_string());
            return Err(refused);
        }
        draft.finish(&mut buffer);
        self.buffer = buffer;
        Ok(())
    }

    /// Writes the buffer into the file, and zeros ahead of it where it has come to what is laid out.
    fn write_out(&mut self, sizes: Sizes) -> Result<(), DiskError> {
        self.check()?;
        let Some(active) = self.segments.back() else { return Ok(()) };
        if self.buffer.is_empty() {
            return Ok(());
        }
        active.file.write_all_at(&self.buffer, self.written).map_err(DiskError::io("write the log"))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(LOG_BUFFER_BYTES);
        if self.written > self.laid_out {
            let ahead = vec![0; sizes.ahead as usize];
            // Without it each sync costs more, and no more than that: the next try comes when as much was written.
            _ = active.file.write_all_at(&ahead, self.written);
            self.laid_out = self.written + sizes.ahead;
        }
        Ok(())
    }

    /// Ends the last segment, durably, and begins the next.
    fn roll(&mut self, dir: &Path, sizes: Sizes) -> Result<(), DiskError> {
        self.record(std::iter::once(Op::Sealed))?;
        self.write_out(sizes)?;
        let Some(active) = self.segments.back() else { return Ok(()) };
        active.file.set_len(self.written).map_err(DiskError::io("end a segment of the log"))?;
        let (synced, next) = (active.file.sync_data(), active.number + 1);
        self.settle(synced)?;
        self.begin(dir, next)
    }

    /// Begins a segment: with all that those before it may take with them.
    fn begin(&mut self, dir: &Path, number: u64) -> Result<(), DiskError> {
        let oldest = self.entries.front().map_or(number, |place| place.segment).max(self.oldest);
        let (mut bytes, draft) = head(number, oldest, &self.marks);
        draft.finish(&mut bytes);
        let file = self.latched(create(dir, number, &bytes))?;
        self.take_up(Segment { number, file }, oldest, bytes.len() as u64);
        Ok(())
    }

    /// A file that may have its name leaves it unknown which files the next start finds.
    fn latched(&mut self, created: Result<File, NotCreated>) -> Result<Arc<File>, DiskError> {
        match created {
            Ok(file) => Ok(Arc::new(file)),
            Err(NotCreated { error, may_be_there }) => {
                if may_be_there {
                    self.failed.get_or_insert(error.to_string());
                }
                Err(error)
            }
        }
    }

    /// Goes on in a new segment.
    fn take_up(&mut self, segment: Segment, oldest: u64, end: u64) {
        self.segments.push_back(segment);
        self.oldest = oldest;
        (self.written, self.laid_out, self.synced, self.begun) = (end, end, end, end);
        self.drop_segments(oldest);
    }

    fn drop_segments(&mut self, oldest: u64) {
        while self.segments.front().is_some_and(|segment| segment.number < oldest) {
            self.dropped.extend(self.segments.pop_front().map(|segment| segment.number));
        }
    }
}

/// How a segment begins.
fn head(number: u64, oldest: u64, marks: &BTreeMap<String, Vec<u8>>) -> (Vec<u8>, Draft) {
    let mut bytes = segment::prefix(number).to_vec();
    let draft = Draft::begin(&mut bytes, number, 0, 0);
    draft.put(&mut bytes, Op::Oldest(oldest));
    for (name, frame) in marks {
        draft.put(&mut bytes, Op::Mark(name, frame));
    }
    (bytes, draft)
}

/// How many operations make a record: one, or more if all of them fit into a segment; and what they take.
fn fitting(ops: &[LogOp], segment: u64) -> (usize, u64) {
    let mut bytes = ops[0].bytes();
    let fits = |op: &&LogOp| {
        let with = bytes + op.bytes();
        let fits = with <= segment;
        if fits {
            bytes = with;
        }
        fits
    };
    (1 + ops[1..].iter().take_while(fits).count(), bytes)
}

/// The one process that may write.
fn lock(dir: &Path) -> Result<File, DiskError> {
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(DiskError::io("open the log's lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DiskError::Locked { path, message: "it is locked".into() }),
        Err(TryLockError::Error(error)) => Err(DiskError::io("lock the log")(error)),
    }
}

/// The same, without a change to a directory in which nobody has ever written.
fn lock_if_there(dir: &Path) -> Result<Option<File>, DiskError> {
    dir.join(LOCK).exists().then(|| lock(dir)).transpose()
}

fn names(dir: &Path) -> Result<Vec<String>, DiskError> {
    let read = || -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        entries.collect()
    };
    match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(DiskError::io("list the log's segments")),
    }
}

fn numbers(dir: &Path) -> Result<Vec<u64>, DiskError> {
    let mut numbers: Vec<u64> = names(dir)?.iter().filter_map(|name| segment::number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// What a directory without a segment says of an earlier form.
fn former(dir: &Path) -> Option<String> {
    let is_former = dir.join(FORMER).exists();
    is_former.then(|| "it was written by a version before the first release: take a snapshot with that one".to_owned())
}

fn read(path: &Path, to_write: bool) -> Result<(File, Vec<u8>), DiskError> {
    let read = || {
        let (mut file, mut bytes) = (OpenOptions::new().read(true).write(to_write).open(path)?, Vec::new());
        file.read_to_end(&mut bytes)?;
        Ok((file, bytes))
    };
    read().map_err(DiskError::io("read a segment of the log"))
}

/// The oldest segment of the log, as its newest one says; 0 if that says nothing.
fn oldest_of(newest: u64, bytes: &[u8]) -> u64 {
    let mut oldest = 0;
    let read = segment::read(newest, bytes, |op, _| {
        if let Op::Oldest(number) = op {
            oldest = number;
        }
        Ok::<_, std::convert::Infallible>(())
    });
    read.map_or(0, |_| oldest)
}

struct NotCreated {
    error: DiskError,
    may_be_there: bool,
}

/// Makes a segment's file, durably, in the place of one of this number.
fn create(dir: &Path, number: u64, bytes: &[u8]) -> Result<File, NotCreated> {
    let step = DiskError::io("make a segment of the log");
    let path = segment::path(dir, number);
    let draft = path.with_added_extension(DRAFT);
    let made = || -> io::Result<(File, File)> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()?;
        Ok((file, File::open(dir)?))
    };
    let (file, dir) = made().map_err(|error| {
        // With what is in it, it takes room that there may not be.
        _ = std::fs::remove_file(&draft);
        NotCreated { error: step(error), may_be_there: false }
    })?;
    let named = std::fs::rename(&draft, &path).and_then(|()| dir.sync_all());
    named.map_err(|error| NotCreated { error: of_sync(error), may_be_there: true })?;
    Ok(file)
}

/// Removes segments below a number, and what was never finished.
fn clear(dir: &Path, oldest: u64) -> Result<(), DiskError> {
    for name in names(dir)? {
        let is_left_over = segment::number(&name).is_some_and(|number| number < oldest);
        if is_left_over || Path::new(&name).extension().is_some_and(|ending| ending == DRAFT) {
            remove(&dir.join(name))?;
        }
    }
    Ok(())
}

fn sync_names(dir: &Path) -> Result<(), DiskError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(of_sync)
}

fn remove(path: &Path) -> Result<(), DiskError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(DiskError::io("remove what is no part of the log any more")(error))
        }
        _ => Ok(()),
    }
}

fn of_sync(error: io::Error) -> DiskError {
    DiskError::sync("sync the log")(error)
}

#[cfg(test)]
mod tests;
