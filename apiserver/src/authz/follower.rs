//! Keeps [`Rbac`] as the log has it, by the log's own changes.
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

use super::rbac::{Rbac, Resource};

pub struct Follower {
    held: RwLock<Held>,
    /// What is held is right up to here; 0: nothing was read yet.
    right_until: AtomicU64,
}

struct Held {
    rbac: Rbac,
    feeds: [Feed; 4],
}

/// One resource's objects, and up to which revision they are taken in.
struct Feed {
    resource: Resource,
    subject: Subject,
    seen: Option<Revision>,
}

impl Follower {
    pub fn new() -> Self {
        let feed = |resource: Resource| Feed { resource, subject: scope(resource).into(), seen: None };
        let held = Held { rbac: Rbac::default(), feeds: Resource::ALL.map(feed) };
        Follower { held: RwLock::new(held), right_until: AtomicU64::new(0) }
    }

    /// Asks the roles and bindings as this server knows them now.
    pub fn ask<T>(&self, log: &Log, question: impl FnOnce(&Rbac) -> T) -> Result<T, ReadError> {
        let now = log.revision();
        if self.right_until.load(Ordering::Acquire) < now || now == 0 {
            self.catch_up(log)?;
        }
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        Ok(question(&held.rbac))
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
                let Held { rbac, feeds } = &mut *held;
                let mut right_until = Revision::MAX;
                for feed in feeds {
                    right_until = right_until.min(feed.take_in(log, rbac)?);
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
    fn take_in(&mut self, log: &Log, rbac: &mut Rbac) -> Result<Revision, ReadError> {
        loop {
            let recent = self.seen.and_then(|seen| log.recent(&self.subject, seen));
            let Some((events, seen)) = recent else {
                self.seen = Some(self.read(log, rbac)?);
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
                set(rbac, self.resource, &event.object.key, body);
            }
        }
    }

    fn read(&self, log: &Log, rbac: &mut Rbac) -> Result<Revision, ReadError> {
        let page = log.list(&scope(self.resource), ListOptions::default())?;
        rbac.clear(self.resource);
        for stored in &page.items {
            set(rbac, self.resource, &stored.key, Some(&stored.body));
        }
        Ok(page.revision)
    }
}

fn scope(resource: Resource) -> Scope {
    Scope { resource: resource.stored(), namespace: None }
}

/// An object that cannot be read gives nobody anything.
fn set(rbac: &mut Rbac, resource: Resource, key: &Key, body: Option<&[u8]>) {
    let read = |body: &[u8]| match serde_json::from_slice::<Value>(body) {
        Ok(object) => Some(object),
        Err(error) => {
            tracing::error!(?key, %error, "what is stored is no JSON: it counts as absent");
            None
        }
    };
    rbac.set(resource, &key.namespace, &key.name, body.and_then(read).as_ref());
}
