//! Group commit: one thread that writes the log, and syncs it once for everybody who waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::{io, thread};

use super::DiskError;
use super::log_db::LogOp;
use crate::limits::FLUSH_QUEUE;

/// Called with the outcome of the sync that covers its write.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// What the thread writes to.
pub trait Sink: Send + 'static {
    /// Readable when it returns, durable after the next sync.
    fn write(&self, ops: &[LogOp]) -> Result<(), DiskError>;

    /// Makes every write so far durable.
    fn sync(&self) -> Result<(), DiskError>;

    /// Called when a write found no room: waits for some, and leaves the log as it was synced last. Ends with an error if
    /// `closing` says so.
    fn make_room(&self, bytes: u64, closing: &AtomicBool) -> Result<(), DiskError>;

    /// Leaves nothing of what was removed in any file.
    fn rewrite(&self) -> Result<(), DiskError>;
}

/// While one `fdatasync` runs, writes gather in the queue; the next one covers them all.
///
/// A sync that failed is never tried again: what the kernel did with the dirty pages is unknown. Its error is the answer to
/// everybody from then on, so that Raft steps down. A disk without room is something else: nothing was lost, so the writes wait
/// until there is some, and are written again.
pub struct Flusher {
    queue: Queue,
    failure: Arc<OnceLock<String>>,
    closing: Arc<AtomicBool>,
}

enum Queue {
    Thread {
        jobs: Option<SyncSender<Job>>,
        thread: Option<JoinHandle<()>>,
    },
    /// No thread: writes happen at once, and whoever was given to [`Flusher::scheduled`] decides when each sync happens.
    Scheduled {
        sink: Arc<dyn Sink + Sync>,
        schedule: Box<dyn Fn(Flush) + Send + Sync>,
    },
}

/// One sync that somebody waits for, in the hands of a schedule. They are to be run in the order in which they came.
pub struct Flush {
    done: Done,
    sink: Arc<dyn Sink + Sync>,
    failure: Arc<OnceLock<String>>,
}

struct Job {
    ops: Vec<LogOp>,
    then: Then,
    done: Done,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    Sync,
    Rewrite,
}

impl Flusher {
    pub fn start(sink: impl Sink) -> io::Result<Self> {
        let (jobs, taken) = sync_channel(FLUSH_QUEUE);
        let (failure, closing) = (Arc::new(OnceLock::new()), Arc::new(AtomicBool::new(false)));
        let writer = Writer { sink, unsynced: Vec::new(), failure: failure.clone(), closing: closing.clone() };
        let thread = thread::Builder::new().name("log-sync".into()).spawn(move || writer.run(&taken))?;
        Ok(Flusher { queue: Queue::Thread { jobs: Some(jobs), thread: Some(thread) }, failure, closing })
    }

    /// Syncs when a schedule says so, on its thread.
    pub fn scheduled(sink: impl Sink + Sync, schedule: impl Fn(Flush) + Send + Sync + 'static) -> Self {
        let queue = Queue::Scheduled { sink: Arc::new(sink), schedule: Box::new(schedule) };
        Flusher { queue, failure: Arc::default(), closing: Arc::default() }
    }

    /// Writes in the order of the calls; `done` gets `Ok` when they and all before them are durable.
    pub fn submit(&self, ops: Vec<LogOp>, done: Done) {
        self.send(Job { ops, then: Then::Sync, done });
    }

    /// As [`Flusher::submit`], but durable only with the next sync that somebody else asks for.
    pub fn submit_unsynced(&self, ops: Vec<LogOp>, done: Done) {
        self.send(Job { ops, then: Then::Nothing, done });
    }

    /// Leaves nothing of what was removed before in any file; writes wait meanwhile.
    pub fn rewrite(&self, done: Done) {
        self.send(Job { ops: Vec::new(), then: Then::Rewrite, done });
    }

    fn send(&self, job: Job) {
        match &self.queue {
            Queue::Thread { jobs, .. } => {
                let jobs = jobs.as_ref().expect("the queue is open until drop");
                if let Err(rejected) = jobs.send(job) {
                    (rejected.0.done)(Err(io::Error::other("the log's sync thread has ended")));
                }
            }
            Queue::Scheduled { sink, schedule } => {
                let Job { ops, then, done } = job;
                settle(sink.write(&ops), &self.failure);
                match then {
                    Then::Sync => schedule(Flush { done, sink: sink.clone(), failure: self.failure.clone() }),
                    Then::Nothing => done(verdict(&self.failure)),
                    Then::Rewrite => done(verdict(&self.failure).and_then(|()| Ok(sink.rewrite()?))),
                }
            }
        }
    }

    /// The first failure, if there was one.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// From now on nobody waits for room: what does not fit fails.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.close();
        let Queue::Thread { jobs, thread } = &mut self.queue else { return };
        *jobs = None;
        if let Some(thread) = thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the log's sync thread panicked");
        }
    }
}

impl Flush {
    /// Syncs everything written so far, unless something has failed before.
    pub fn sync(&self) -> Result<(), DiskError> {
        if self.failure.get().is_some() { Ok(()) } else { self.sink.sync() }
    }

    /// Tells whoever waits what came of it; one failure is the answer to everybody from then on.
    pub fn answer(self, outcome: Result<(), DiskError>) {
        settle(outcome, &self.failure);
        (self.done)(verdict(&self.failure));
    }
}

fn settle(outcome: Result<(), DiskError>, failure: &OnceLock<String>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "the log cannot be written; this server stops writing");
        failure.get_or_init(|| error.to_string());
    }
}

fn verdict(failure: &OnceLock<String>) -> io::Result<()> {
    match failure.get() {
        None => Ok(()),
        Some(message) => Err(io::Error::other(message.clone())),
    }
}

struct Writer<S> {
    sink: S,
    /// Written or not, these are not known to be durable: when the log has to be reopened they are written again.
    unsynced: Vec<LogOp>,
    failure: Arc<OnceLock<String>>,
    closing: Arc<AtomicBool>,
}

impl<S: Sink> Writer<S> {
    fn run(mut self, jobs: &Receiver<Job>) {
        let (mut waiting, mut rewrites) = (Vec::with_capacity(FLUSH_QUEUE), Vec::new());
        while let Ok(first) = jobs.recv() {
            let start = self.unsynced.len();
            let mut sync = start >= FLUSH_QUEUE;
            let gathered = jobs.try_iter().take(FLUSH_QUEUE - 1);
            for Job { ops, then, done } in std::iter::once(first).chain(gathered) {
                self.unsynced.extend(ops);
                sync |= then != Then::Nothing;
                if then == Then::Rewrite { rewrites.push(done) } else { waiting.push(done) }
            }
            self.persist(start, sync);
            // The newest first: Raft keeps only the newest of what is done, and where it hears of two within a microsecond it sleeps
            // for a tick of the timer between them, which is a thousand times that.
            for done in waiting.drain(..).rev() {
                done(verdict(&self.failure));
            }
            for done in rewrites.drain(..) {
                let rewritten = match self.closing.load(Ordering::SeqCst) {
                    true => Err(io::Error::other("the log is being closed")),
                    false => verdict(&self.failure).and_then(|()| Ok(self.sink.rewrite()?)),
                };
                done(rewritten);
            }
        }
    }

    fn persist(&mut self, start: usize, sync: bool) {
        if self.failure.get().is_some() {
            self.unsynced.clear();
            return;
        }
        let mut result = self.attempt(start, sync);
        while let Err(error) = &result
            && error.is_full()
        {
            tracing::warn!(%error, "the log waits for room on the disk");
            drop_outlived(&mut self.unsynced);
            let bytes = self.unsynced.iter().map(LogOp::bytes).sum();
            result = self.sink.make_room(bytes, &self.closing).and_then(|()| self.attempt(0, true));
        }
        settle(result, &self.failure);
    }

    fn attempt(&mut self, start: usize, sync: bool) -> Result<(), DiskError> {
        self.sink.write(&self.unsynced[start..])?;
        if sync {
            self.sink.sync()?;
            self.unsynced.clear();
        }
        Ok(())
    }
}

/// Entries that a later truncation removes again. Some of the operations may be in the log by now: behind such a truncation those
/// entries would follow on nothing.
fn drop_outlived(ops: &mut Vec<LogOp>) {
    let mut end = u64::MAX;
    let mut kept: Vec<_> = ops
        .drain(..)
        .rev()
        .filter(|op| match op {
            LogOp::Entry(index, _) => *index < end,
            LogOp::TruncateFrom(index) => {
                end = end.min(*index);
                true
            }
            LogOp::Mark(..) | LogOp::PurgeTo(_) => true,
        })
        .collect();
    kept.reverse();
    *ops = kept;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc::channel;

    use super::*;

    /// Counts, fails as it is told, and remembers what is durable.
    #[derive(Clone, Default)]
    struct Fake {
        syncs: Arc<AtomicUsize>,
        failing: Arc<AtomicBool>,
        full: Arc<AtomicUsize>,
        written: Arc<Mutex<Vec<u64>>>,
        durable: Arc<Mutex<Vec<u64>>>,
        gate: Arc<Mutex<Option<Receiver<()>>>>,
        started: Arc<Mutex<Option<std::sync::mpsc::Sender<()>>>>,
    }

    impl Sink for Fake {
        fn write(&self, ops: &[LogOp]) -> Result<(), DiskError> {
            let indexes = ops.iter().map(|op| match op {
                LogOp::Entry(index, _) => *index,
                other => panic!("{other:?}"),
            });
            self.written.lock().unwrap().extend(indexes);
            let full = self.full.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            if full { Err(DiskError::Full { step: "write", message: "none left".into() }) } else { Ok(()) }
        }

        fn sync(&self) -> Result<(), DiskError> {
            self.syncs.fetch_add(1, Ordering::SeqCst);
            if let Some(started) = self.started.lock().unwrap().take() {
                started.send(()).unwrap();
            }
            if let Some(gate) = self.gate.lock().unwrap().take() {
                gate.recv().unwrap();
            }
            if self.failing.load(Ordering::SeqCst) {
                return Err(DiskError::Missing("the disk".into()));
            }
            self.durable.lock().unwrap().append(&mut self.written.lock().unwrap());
            Ok(())
        }

        fn make_room(&self, _bytes: u64, closing: &AtomicBool) -> Result<(), DiskError> {
            self.written.lock().unwrap().clear();
            if closing.load(Ordering::SeqCst) { Err(DiskError::Missing("patience".into())) } else { Ok(()) }
        }

        fn rewrite(&self) -> Result<(), DiskError> {
            assert!(self.written.lock().unwrap().is_empty(), "what came before is durable");
            Ok(())
        }
    }

    fn entry(index: u64) -> Vec<LogOp> {
        vec![LogOp::Entry(index, vec![0])]
    }

    #[test]
    fn one_sync_serves_everybody_who_waits() {
        let fake = Fake::default();
        let (started, on_start) = channel();
        let (release, gate) = channel();
        (*fake.started.lock().unwrap(), *fake.gate.lock().unwrap()) = (Some(started), Some(gate));
        let flusher = Flusher::start(fake.clone()).unwrap();
        let (answers, outcome) = channel();
        let submit = |index| {
            let answers = answers.clone();
            flusher.submit(entry(index), Box::new(move |result| answers.send((index, result.is_ok())).unwrap()));
        };
        submit(0);
        on_start.recv().unwrap();
        (1..=100).for_each(submit);
        release.send(()).unwrap();
        let told: Vec<_> = outcome.iter().take(101).collect();
        let expected = std::iter::once(0).chain((1..=100).rev()).map(|index| (index, true));
        assert_eq!(told, expected.collect::<Vec<_>>(), "of those that are done at once, the newest first");
        assert_eq!(fake.syncs.load(Ordering::SeqCst), 2, "the first, and one for the hundred that came meanwhile");
        assert_eq!(*fake.durable.lock().unwrap(), (0..=100).collect::<Vec<_>>(), "in the order they came");
    }

    fn write(flusher: &Flusher, index: u64) -> bool {
        let (answer, outcome) = channel();
        flusher.submit(entry(index), Box::new(move |result| answer.send(result.is_ok()).unwrap()));
        outcome.recv().unwrap()
    }

    #[test]
    fn a_failed_sync_fails_everybody_from_then_on_and_is_not_tried_again() {
        let fake = Fake::default();
        fake.failing.store(true, Ordering::SeqCst);
        let flusher = Flusher::start(fake.clone()).unwrap();
        assert_eq!([1, 2, 3].map(|index| write(&flusher, index)), [false; 3]);
        fake.failing.store(false, Ordering::SeqCst);
        assert!(!write(&flusher, 4));
        assert_eq!((fake.syncs.load(Ordering::SeqCst), flusher.failure()), (1, Some("the disk is missing")));
    }

    #[test]
    fn what_a_later_truncation_removes_is_not_written_again() {
        let entry = |index| LogOp::Entry(index, vec![0]);
        let (cut, mark) = (LogOp::TruncateFrom, LogOp::Mark("vote", vec![1]));
        let mut ops = vec![entry(2), entry(5), mark.clone(), entry(6), cut(3), entry(3), cut(4), entry(4)];
        drop_outlived(&mut ops);
        assert_eq!(ops, [entry(2), mark, cut(3), entry(3), cut(4), entry(4)]);
    }

    #[test]
    fn files_are_rewritten_behind_what_came_before() {
        let fake = Fake::default();
        let flusher = Flusher::start(fake.clone()).unwrap();
        let (answer, outcome) = channel();
        flusher.submit_unsynced(entry(1), Box::new(|result| assert!(result.is_ok())));
        flusher.rewrite(Box::new(move |result| answer.send(result.is_ok()).unwrap()));
        assert!(outcome.recv().unwrap());
        fake.failing.store(true, Ordering::SeqCst);
        assert!(!write(&flusher, 2));
        let (answer, outcome) = channel();
        flusher.rewrite(Box::new(move |result| answer.send(result.is_ok()).unwrap()));
        assert!(!outcome.recv().unwrap());
    }

    #[test]
    fn what_finds_no_room_is_written_again_with_all_that_was_not_durable() {
        let fake = Fake::default();
        let flusher = Flusher::start(fake.clone()).unwrap();
        let (answer, outcome) = channel();
        flusher.submit_unsynced(entry(1), Box::new(move |result| answer.send(result.is_ok()).unwrap()));
        assert!(outcome.recv().unwrap());
        fake.full.store(3, Ordering::SeqCst);
        assert!(write(&flusher, 2));
        assert_eq!((&*fake.durable.lock().unwrap(), flusher.failure()), (&vec![1, 2], None));
        flusher.close();
        fake.full.store(1, Ordering::SeqCst);
        assert!(!write(&flusher, 3), "who closes does not wait for room");
    }
}
