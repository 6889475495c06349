//! Keeps what this server has made of some resources' objects as the log has them, by the log's own changes.
//!
//! Nobody is told of changes in the background: who asks takes in what has happened since the last question, from the
//! log's memory. So an answer is never older than what this server has acknowledged, and an idle log costs one comparison.

use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use kontiki_model::{Key, Revision, Scope};
use kontiki_raft::{EventKind, ListOptions, Log, ReadError, Subject};
use serde_json::Value;

/// A state that is made of the objects of some resources.
pub(crate) trait Followed: Default + Send + Sync {
    /// The resources, as the store names them; the other functions count them in this order.
    fn resources() -> Vec<String>;
    /// An object is there as it is given, or is there no more.
    fn set(&mut self, resource: usize, namespace: &str, name: &str, object: Option<&Value>);
    /// Nothing is known of a resource any more: its objects come anew.
    fn clear(&mut self, resource: usize);
}

pub(crate) struct Follower<S> {
    held: RwLock<Held<S>>,
    /// What is held is right up to here; 0: nothing was read yet.
    right_until: AtomicU64,
}

struct Held<S> {
    state: S,
    feeds: Vec<Feed>,
}

/// One resource's objects, and up to which revision they are taken in.
struct Feed {
    resource: usize,
    scope: Scope,
    subject: Subject,
    seen: Option<Revision>,
}

impl<S: Followed> Follower<S> {
    pub fn new() -> Self {
        let feed = |(resource, name): (usize, String)| {
            let scope = Scope { resource: name, namespace: None };
            Feed { resource, subject: scope.clone().into(), scope, seen: None }
        };
        let feeds = S::resources().into_iter().enumerate().map(feed).collect();
        Follower { held: RwLock::new(Held { state: S::default(), feeds }), right_until: AtomicU64::new(0) }
    }

    /// Asks the state as this server knows it now.
    pub fn ask<T>(&self, log: &Log, question: impl FnOnce(&S) -> T) -> Result<T, ReadError> {
        let now = log.revision();
        if self.right_until.load(Ordering::Acquire) < now || now == 0 {
            self.catch_up(log)?;
        }
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        Ok(question(&held.state))
    }

    fn catch_up(&self, log: &Log) -> Result<(), ReadError> {
        let unchanged = {
            let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
            held.feeds.iter().map(|feed| feed.unchanged_until(log)).min().flatten()
        };
        let right_until = match unchanged {
            Some(revision) => revision,
            None => {
                let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
                let Held { state, feeds } = &mut *held;
                let mut right_until = Revision::MAX;
                for feed in feeds {
                    right_until = right_until.min(feed.take_in(log, state)?);
                }
                right_until
            }
        };
        self.right_until.fetch_max(right_until, Ordering::AcqRel);
        Ok(())
    }
}

impl Feed {
    /// The revision up to which nothing of this resource has happened that was not taken in; `None` if something may have.
    fn unchanged_until(&self, log: &Log) -> Option<Revision> {
        let (events, seen) = log.recent(&self.subject, self.seen?)?;
        events.is_empty().then_some(seen)
    }

    /// Takes in what has happened; from the beginning, where memory does not reach back. Says how far that is.
    fn take_in(&mut self, log: &Log, state: &mut impl Followed) -> Result<Revision, ReadError> {
        loop {
            let recent = self.seen.and_then(|seen| log.recent(&self.subject, seen));
            let Some((events, seen)) = recent else {
                self.seen = Some(self.read(log, state)?);
                continue;
            };
            self.seen = Some(seen);
            if events.is_empty() {
                return Ok(seen);
            }
            for event in events {
                let body = match event.kind {
                    EventKind::Created | EventKind::Updated => Some(&*event.object.body),
                    EventKind::Deleted => None,
                };
                set(state, self.resource, &event.object.key, body);
            }
        }
    }

    fn read(&self, log: &Log, state: &mut impl Followed) -> Result<Revision, ReadError> {
        let page = log.list(&self.scope, ListOptions::default())?;
        state.clear(self.resource);
        for stored in &page.items {
            set(state, self.resource, &stored.key, Some(&stored.body));
        }
        Ok(page.revision)
    }
}

fn set(state: &mut impl Followed, resource: usize, key: &Key, body: Option<&[u8]>) {
    let read = |body: &[u8]| match serde_json::from_slice::<Value>(body) {
        Ok(object) => Some(object),
        Err(error) => {
            tracing::error!(?key, %error, "what is stored is no JSON: it counts as absent");
            None
        }
    };
    state.set(resource, &key.namespace, &key.name, body.and_then(read).as_ref());
}
