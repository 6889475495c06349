//! The log's files as the thread that writes it sees it: where it ends, and what to do when there is no room.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{PURGED, read_mark};
use crate::OpenError;
use crate::disk::{DiskError, EndMark, LogDb, LogOp, Sink, Space};
use crate::limits::SPACE_RETRY;

/// The files as the flusher's thread sees them.
pub struct LogSink<F> {
    pub db: Arc<LogDb>,
    pub space: Arc<Space>,
    sync: F,
    mark: Mutex<EndMark>,
    /// The index behind the last entry written.
    end: AtomicU64,
}

impl<F> LogSink<F> {
    /// Refuses a log that ends before what was synced. Nothing on the disk is changed until it is written to.
    pub fn open(db: LogDb, path: &Path, space: Space, sync: F) -> Result<Self, OpenError> {
        let mark = EndMark::open(&end_mark(path))?;
        let (end, synced) = (end_of(&db)?, mark.end());
        if end < synced {
            return Err(OpenError::LogCut { path: path.to_owned(), end, synced });
        }
        let end = AtomicU64::new(end);
        Ok(LogSink { db: Arc::new(db), space: Arc::new(space), sync, mark: Mutex::new(mark), end })
    }

    fn mark(&self) -> MutexGuard<'_, EndMark> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Fn(&LogDb) -> Result<(), DiskError> + Send + 'static> Sink for LogSink<F> {
    fn write(&self, ops: &[LogOp]) -> Result<(), DiskError> {
        self.space.glance();
        let mut end = self.end.load(Ordering::Relaxed);
        for op in ops {
            match op {
                LogOp::Entry(index, _) => end = index + 1,
                LogOp::TruncateFrom(index) => {
                    self.mark().lower(*index)?;
                    end = *index;
                }
                LogOp::Mark(..) | LogOp::PurgeTo(_) => {}
            }
        }
        self.end.store(end, Ordering::Relaxed);
        self.db.write(ops)
    }

    fn sync(&self) -> Result<(), DiskError> {
        (self.sync)(&self.db)?;
        // It may say less than is durable.
        if let Err(error) = self.mark().set(self.end.load(Ordering::Relaxed)) {
            tracing::warn!(%error, "where the log ends was not marked");
        }
        Ok(())
    }

    fn make_room(&self, bytes: u64, closing: &AtomicBool) -> Result<(), DiskError> {
        self.space.release();
        loop {
            // Also where there seems to be room: a quota is not told, and what was refused a moment ago may be again.
            std::thread::sleep(SPACE_RETRY);
            if closing.load(Ordering::SeqCst) {
                let message = "the log is being closed".into();
                return Err(DiskError::Io { step: "wait for room on the disk", message });
            }
            if self.space.has_room_for(bytes) {
                return self.db.reopen();
            }
        }
    }

    fn rewrite(&self) -> Result<(), DiskError> {
        match self.space.shortage_for(self.db.bytes()) {
            Some(shortage) => Err(DiskError::Full { step: "rewrite the log", message: shortage.to_string() }),
            None => self.db.rewrite(),
        }
    }
}

/// Where the log's end is marked, beside the log.
pub fn end_mark(log: &Path) -> PathBuf {
    log.with_file_name("log-end")
}

/// The index behind the last entry, or behind the last that was purged.
pub fn end_of(db: &LogDb) -> Result<u64, DiskError> {
    match db.last()? {
        Some((index, _)) => Ok(index + 1),
        None => Ok(read_mark(db, PURGED)?.map_or(0, |id| id.index + 1)),
    }
}
