//! Group commit: one thread that syncs the log once for everybody who waits.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::{io, thread};

use super::DiskError;
use crate::limits::FLUSH_QUEUE;

/// Called with the outcome of the sync that covers its write.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// While one `fdatasync` runs, appends gather in the queue; the next one covers them all.
///
/// A sync that failed is never tried again: what the kernel did with the dirty pages is unknown. Its error is the answer to
/// everybody from then on, so that Raft steps down.
pub struct Flusher {
    queue: Option<SyncSender<Done>>,
    failure: Arc<OnceLock<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    pub fn start(sync: impl Fn() -> Result<(), DiskError> + Send + 'static) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(FLUSH_QUEUE);
        let failure = Arc::new(OnceLock::new());
        let latch = failure.clone();
        let thread = thread::Builder::new().name("log-sync".into()).spawn(move || run(&jobs, sync, &latch))?;
        Ok(Flusher { queue: Some(queue), failure, thread: Some(thread) })
    }

    /// Hands over a callback; whatever was written before this call is durable when it gets `Ok`.
    pub fn submit(&self, done: Done) {
        let queue = self.queue.as_ref().expect("the queue is open until drop");
        if let Err(rejected) = queue.send(done) {
            (rejected.0)(Err(io::Error::other("the log's sync thread has ended")));
        }
    }

    /// The first failure to sync, if there was one.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the log's sync thread panicked");
        }
    }
}

fn run(jobs: &Receiver<Done>, sync: impl Fn() -> Result<(), DiskError>, failure: &OnceLock<String>) {
    let mut waiting = Vec::with_capacity(FLUSH_QUEUE);
    while let Ok(first) = jobs.recv() {
        waiting.push(first);
        waiting.extend(jobs.try_iter().take(FLUSH_QUEUE - 1));
        if failure.get().is_none()
            && let Err(error) = sync()
        {
            tracing::error!(%error, "the log cannot be synced; this server stops writing");
            failure.get_or_init(|| error.to_string());
        }
        for done in waiting.drain(..) {
            done(match failure.get() {
                None => Ok(()),
                Some(message) => Err(io::Error::other(message.clone())),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn one_sync_serves_everybody_who_waits() {
        let syncs = Arc::new(AtomicUsize::new(0));
        let (started, on_start) = channel();
        let (release, gate) = channel::<()>();
        let counter = syncs.clone();
        let flusher = Flusher::start(move || {
            if counter.fetch_add(1, Ordering::SeqCst) == 0 {
                started.send(()).unwrap();
                gate.recv().unwrap();
            }
            Ok(())
        })
        .unwrap();
        let (answers, outcome) = channel();
        let submit = || {
            let answers = answers.clone();
            flusher.submit(Box::new(move |result| answers.send(result.is_ok()).unwrap()));
        };
        submit();
        on_start.recv().unwrap();
        (0..100).for_each(|_| submit());
        release.send(()).unwrap();
        assert!(outcome.iter().take(101).all(|ok| ok));
        assert_eq!(syncs.load(Ordering::SeqCst), 2, "the first, and one for the hundred that came meanwhile");
    }

    #[test]
    fn a_failed_sync_fails_everybody_from_then_on_and_is_not_tried_again() {
        let syncs = Arc::new(AtomicUsize::new(0));
        let counter = syncs.clone();
        let flusher = Flusher::start(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            Err(DiskError::Missing("the disk".into()))
        })
        .unwrap();
        for _ in 0..3 {
            let (answer, outcome) = channel();
            flusher.submit(Box::new(move |result| answer.send(result).unwrap()));
            assert!(outcome.recv().unwrap().is_err());
        }
        assert_eq!((syncs.load(Ordering::SeqCst), flusher.failure()), (1, Some("the disk is missing")));
    }
}
