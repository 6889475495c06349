//! A work queue: every key once, never two workers on one key, failures retried with growing delay.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// First delay after a failure; doubled by each further one up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(60);

struct Inner<T> {
    ready: VecDeque<T>,
    /// In `ready`, or to be put there when its worker is done.
    wanted: HashSet<T>,
    active: HashSet<T>,
    failures: HashMap<T, u32>,
    /// The earliest time a delayed key is due.
    delayed: HashMap<T, Instant>,
}

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
        };
        Queue { inner: Arc::new(Mutex::new(inner)), wake: Arc::new(Notify::new()) }
    }
}

impl<T: Clone + Eq + Hash + Send + 'static> Queue<T> {
    pub fn add(&self, key: T) {
        let mut inner = self.lock();
        inner.delayed.remove(&key);
        inner.want(key);
        drop(inner);
        self.wake.notify_one();
    }

    /// Adds the key later, unless it is due earlier already.
    pub fn add_after(&self, key: T, delay: Duration) {
        let due = Instant::now() + delay;
        let mut inner = self.lock();
        let earliest = inner.delayed.entry(key).or_insert(due);
        *earliest = due.min(*earliest);
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
                    let more = !inner.ready.is_empty();
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

    /// Hands every key to `work`, with `workers` of them at a time, until cancelled.
    pub async fn drain<F, Fut>(&self, workers: usize, cancel: CancellationToken, work: F)
    where
        F: Fn(T) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = bool> + Send,
    {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..workers {
            let (queue, cancel, work) = (self.clone(), cancel.clone(), work.clone());
            tasks.spawn(async move {
                while let Some(key) = queue.next(&cancel).await {
                    if work(key.clone()).await {
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

    /// Moves what is due to the ready keys; gives the time the next one is due.
    fn promote(&mut self, now: Instant) -> Option<Instant> {
        let due: Vec<T> = self.delayed.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            self.delayed.remove(&key);
            self.want(key);
        }
        self.delayed.values().min().copied()
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
}
