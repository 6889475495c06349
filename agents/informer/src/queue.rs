//! A work queue: every key once, never two workers on one key, failures retried with growing delay.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fmt::Debug,
    hash::Hash,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt as _;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::error;

/// First delay after a failure; doubled by each further one up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(60);

struct Inner<T> {
    ready: VecDeque<T>,
    /// In `ready`, or to be put there when its worker is done.
    wanted: HashSet<T>,
    active: HashSet<T>,
    failures: HashMap<T, u32>,
    /// When a delayed key is due: its place in `due`.
    delayed: HashMap<T, Due>,
    due: BTreeMap<Due, T>,
    /// Tells keys apart that are due at one instant.
    sequence: u64,
}

type Due = (Instant, u64);

/// Shared by the subscriptions that fill it and the workers that empty it. Cheap to clone.
pub struct Queue<T> {
    inner: Arc<Mutex<Inner<T>>>,
    wake: Arc<Notify>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue { inner: self.inner.clone(), wake: self.wake.clone() }
    }
}

impl<T: Clone + Eq + Hash + Send + 'static> Default for Queue<T> {
    fn default() -> Self {
        let inner = Inner {
            ready: VecDeque::new(),
            wanted: HashSet::new(),
            active: HashSet::new(),
            failures: HashMap::new(),
            delayed: HashMap::new(),
            due: BTreeMap::new(),
            sequence: 0,
        };
        Queue { inner: Arc::new(Mutex::new(inner)), wake: Arc::new(Notify::new()) }
    }
}

impl<T: Clone + Eq + Hash + Send + 'static> Queue<T> {
    pub fn add(&self, key: T) {
        let mut inner = self.lock();
        inner.undelay(&key);
        inner.want(key);
        drop(inner);
        self.wake.notify_one();
    }

    /// Adds the key later, unless it is due earlier already.
    pub fn add_after(&self, key: T, delay: Duration) {
        let due = Instant::now() + delay;
        let mut inner = self.lock();
        inner.delay(key, due);
        drop(inner);
        self.wake.notify_one();
    }

    /// The next key; the caller owns it until [`Queue::done`] or [`Queue::retry`]. `None` once cancelled.
    pub async fn next(&self, cancel: &CancellationToken) -> Option<T> {
        loop {
            let next_due = {
                let mut inner = self.lock();
                let next_due = inner.promote(Instant::now());
                if let Some(key) = inner.take() {
                    // Another worker goes on waiting for what is ready or due meanwhile: this one may be busy for long.
                    let more = !inner.ready.is_empty() || next_due.is_some();
                    drop(inner);
                    if more {
                        self.wake.notify_one();
                    }
                    return Some(key);
                }
                next_due
            };
            let due = async {
                match next_due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return None,
                () = self.wake.notified() => {}
                () = due => {}
            }
        }
    }

    /// The key was dealt with.
    pub fn done(&self, key: &T) {
        let mut inner = self.lock();
        inner.failures.remove(key);
        inner.release(key);
        drop(inner);
        self.wake.notify_one();
    }

    /// The key failed and comes back after a delay.
    pub fn retry(&self, key: &T) {
        let mut inner = self.lock();
        let failures = inner.failures.entry(key.clone()).or_insert(0);
        let delay = RETRY_MIN.saturating_mul(1 << (*failures).min(16)).min(RETRY_MAX);
        *failures += 1;
        inner.release(key);
        drop(inner);
        self.add_after(key.clone(), delay);
    }

    /// Hands every key to `work`, with `workers` of them at a time, until cancelled. Work that answers `false` or panics
    /// is tried again later; a panic is logged, and costs no other key its worker.
    pub async fn drain<F, Fut>(&self, workers: usize, cancel: CancellationToken, work: F)
    where
        T: Debug,
        F: Fn(T) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = bool> + Send,
    {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..workers {
            let (queue, cancel, work) = (self.clone(), cancel.clone(), work.clone());
            tasks.spawn(async move {
                while let Some(key) = queue.next(&cancel).await {
                    let (work, owned) = (work.clone(), key.clone());
                    let attempt = async move { work(owned).await };
                    let settled = AssertUnwindSafe(attempt).catch_unwind().await.unwrap_or_else(|_| {
                        error!(?key, "work on this key panicked; it is tried again");
                        false
                    });
                    if settled {
                        queue.done(&key);
                    } else {
                        queue.retry(&key);
                    }
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner<T>> {
        self.inner.lock().expect("nobody panics while holding the queue's lock")
    }
}

impl<T: Clone + Eq + Hash> Inner<T> {
    fn want(&mut self, key: T) {
        if self.wanted.insert(key.clone()) && !self.active.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn take(&mut self) -> Option<T> {
        let key = self.ready.pop_front()?;
        self.wanted.remove(&key);
        self.active.insert(key.clone());
        Some(key)
    }

    fn release(&mut self, key: &T) {
        self.active.remove(key);
        if self.wanted.contains(key) {
            self.ready.push_back(key.clone());
        }
    }

    fn delay(&mut self, key: T, due: Instant) {
        if self.delayed.get(&key).is_some_and(|(earlier, _)| *earlier <= due) {
            return;
        }
        self.undelay(&key);
        self.sequence += 1;
        self.delayed.insert(key.clone(), (due, self.sequence));
        self.due.insert((due, self.sequence), key);
    }

    fn undelay(&mut self, key: &T) {
        if let Some(due) = self.delayed.remove(key) {
            self.due.remove(&due);
        }
    }

    /// Moves what is due to the ready keys; gives the time the next one is due.
    fn promote(&mut self, now: Instant) -> Option<Instant> {
        while let Some(first) = self.due.first_entry() {
            let (due, _) = *first.key();
            if due > now {
                return Some(due);
            }
            let key = first.remove();
            self.delayed.remove(&key);
            self.want(key);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_is_given_once_and_never_to_two_workers() {
        let (queue, cancel) = (Queue::default(), CancellationToken::new());
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.next(&cancel).await, Some("a"));
        queue.add("a");
        assert_eq!(queue.next(&cancel).await, Some("b"));
        queue.done(&"b");
        queue.done(&"a");
        assert_eq!(queue.next(&cancel).await, Some("a"));
        queue.done(&"a");
        cancel.cancel();
        assert_eq!(queue.next(&cancel).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_come_back_later_each_time() {
        let (queue, cancel) = (Queue::default(), CancellationToken::new());
        let start = Instant::now();
        queue.add("a");
        let mut waits = Vec::new();
        for _ in 0..4 {
            let key = queue.next(&cancel).await.unwrap();
            waits.push(start.elapsed().as_millis());
            queue.retry(&key);
        }
        assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_time_wins() {
        let (queue, cancel) = (Queue::default(), CancellationToken::new());
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(100));
        queue.add_after("a", Duration::from_secs(1));
        assert_eq!(queue.next(&cancel).await, Some("a"));
        assert!(start.elapsed() < Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_falls_due_while_the_worker_that_waited_for_it_is_busy() {
        let (queue, cancel) = (Queue::default(), CancellationToken::new());
        let idle = tokio::spawn({
            let (queue, cancel) = (queue.clone(), cancel.clone());
            async move { queue.next(&cancel).await }
        });
        queue.add_after("late", Duration::from_secs(1));
        queue.add("now");
        // This worker is given "now" and never comes back.
        assert_eq!(queue.next(&cancel).await, Some("now"));
        assert_eq!(idle.await.unwrap(), Some("late"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_costs_one_try_and_no_worker() {
        let (queue, cancel) = (Queue::default(), CancellationToken::new());
        queue.add("a");
        let tries = Arc::new(Mutex::new(0));
        let (counted, ended) = (tries.clone(), cancel.clone());
        let work = move |_| {
            let (counted, ended) = (counted.clone(), ended.clone());
            async move {
                let mut tries = counted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                *tries += 1;
                assert!(*tries > 1, "the first try fails");
                ended.cancel();
                true
            }
        };
        queue.drain(1, cancel, work).await;
        assert_eq!(*tries.lock().unwrap_or_else(std::sync::PoisonError::into_inner), 2);
    }
}
