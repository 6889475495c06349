//! The ring of recent events, and who is woken when one comes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kontiki_model::{Revision, Scope};
use tokio::sync::watch;

use super::Subject;
use crate::Event;
use crate::limits::{WATCH_BATCH_BYTES, WATCH_BATCH_EVENTS};

/// Recent events, shared by all watchers; each is a cursor into it and costs the others nothing.
///
/// Watchers sleep per resource, so a write wakes only those who watch its resource.
pub struct Hub {
    ring: RwLock<Ring>,
    /// Wakes who follows more than one resource.
    any: watch::Sender<()>,
    revision: watch::Sender<Revision>,
}

struct Ring {
    /// All resources' events in revision order: the order of eviction.
    order: VecDeque<Arc<Event>>,
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
    feeds: HashMap<String, Feed>,
    /// Where the ring began: a resource without a feed may have had events up to here, none since.
    start: Revision,
    /// Events at or below this revision are no longer all here.
    complete_after: Revision,
    revision: Revision,
}

/// One resource's share of the ring.
struct Feed {
    events: VecDeque<Arc<Event>>,
    /// Events at or below this revision may be missing here.
    complete_after: Revision,
    wake: watch::Sender<()>,
}

/// What the ring knows of the events of a subject after a revision.
#[derive(Debug, PartialEq)]
pub enum Recent {
    /// The next events, and the revision up to which they are all of them.
    Events(Vec<Arc<Event>>, Revision),
    /// The ring does not reach back that far.
    Evicted,
}

impl Hub {
    pub fn new(revision: Revision, events_max: usize, bytes_max: usize) -> Self {
        let ring = Ring {
            order: VecDeque::new(),
            bytes: 0,
            events_max,
            bytes_max,
            feeds: HashMap::new(),
            start: revision,
            complete_after: revision,
            revision,
        };
        Hub { ring: RwLock::new(ring), any: watch::Sender::new(()), revision: watch::Sender::new(revision) }
    }

    /// Adds the events of one batch; `revision` is the state's after it.
    pub fn publish(&self, events: &[Arc<Event>], revision: Revision) {
        if events.is_empty() {
            return;
        }
        let feeds = {
            let mut ring = self.write();
            for event in events {
                assert!(event.revision() > ring.revision, "events come in revision order");
                ring.push(event.clone());
            }
            assert_eq!(ring.revision, revision, "the last event is the state's revision");
            ring.evict();
            ring.feeds_of(events)
        };
        // Not under the lock: thousands may be waiting.
        for feed in feeds {
            feed.send_replace(());
        }
        self.any.send_replace(());
        self.revision.send_replace(revision);
    }

    /// Forgets everything: the state was replaced by one at `revision`, whose events are all on disk.
    pub fn reset(&self, revision: Revision) {
        {
            let mut ring = self.write();
            ring.order.clear();
            ring.bytes = 0;
            ring.start = revision;
            ring.complete_after = revision;
            ring.revision = revision;
            for feed in ring.feeds.values_mut() {
                feed.events.clear();
                feed.complete_after = revision;
                feed.wake.send_replace(());
            }
        }
        self.any.send_replace(());
        self.revision.send_replace(revision);
    }

    /// Wakes everybody, without news: the log is being closed.
    pub fn wake_all(&self) {
        self.read().feeds.values().for_each(|feed| feed.wake.send_replace(()));
        self.any.send_replace(());
        self.revision.send_modify(|_| ());
    }

    /// Wakes whenever something of this subject's resource happened, or anything at all.
    pub fn subscribe(&self, subject: &Subject) -> watch::Receiver<()> {
        let Subject::Scope(Scope { resource, .. }) = subject else { return self.any.subscribe() };
        if let Some(feed) = self.read().feeds.get(resource) {
            return feed.wake.subscribe();
        }
        self.write().feed(resource).wake.subscribe()
    }

    /// The revision that watchers may have seen; wakes on each batch.
    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }

    /// The next events of a subject after a revision, bounded as one watcher's batch is.
    ///
    /// The revision may be ahead of the ring: a reader of the disk sees a batch just before it is published.
    pub fn after(&self, subject: &Subject, revision: Revision) -> Recent {
        let ring = self.read();
        let (events, complete_after) = match subject {
            Subject::Lasting | Subject::Everything => (&ring.order, ring.complete_after),
            Subject::Scope(scope) => match ring.feeds.get(&scope.resource) {
                Some(feed) => (&feed.events, feed.complete_after),
                None if revision < ring.start => return Recent::Evicted,
                None => return Recent::Events(Vec::new(), ring.revision.max(revision)),
            },
        };
        if revision < complete_after {
            return Recent::Evicted;
        }
        let first = events.partition_point(|event| event.revision() <= revision);
        let (mut found, mut bytes) = (Vec::new(), 0);
        let told = |event: &&Arc<Event>| subject.contains(&event.object.key, event.object.head.retention);
        for event in events.range(first..).filter(told) {
            if found.len() >= WATCH_BATCH_EVENTS || (bytes > 0 && bytes + event.bytes() > WATCH_BATCH_BYTES) {
                let seen = found.last().map_or(revision, |event: &Arc<Event>| event.revision());
                return Recent::Events(found, seen);
            }
            bytes += event.bytes();
            found.push(event.clone());
        }
        Recent::Events(found, ring.revision.max(revision))
    }

    /// Whether the ring is sure that a resource had no event after a revision, up to another.
    pub fn unchanged(&self, resource: &str, after: Revision, until: Revision) -> bool {
        let ring = self.read();
        let known = match ring.feeds.get(resource) {
            None => ring.start <= after,
            Some(feed) => {
                let last = feed.events.back().map_or(feed.complete_after, |event| event.revision());
                last <= after
            }
        };
        known && until <= ring.revision
    }

    /// The events of a run of revisions, if the ring still holds them all.
    pub fn run(&self, first: Revision, count: usize) -> Option<Vec<Arc<Event>>> {
        let ring = self.read();
        let start = ring.order.partition_point(|event| event.revision() < first);
        let end = start + count;
        let complete = ring.order.get(start).is_some_and(|event| event.revision() == first);
        (complete && end <= ring.order.len()).then(|| ring.order.range(start..end).cloned().collect())
    }

    fn read(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Ring> {
        self.ring.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn feed(&mut self, resource: &str) -> &mut Feed {
        let start = self.start;
        let new = || Feed { events: VecDeque::new(), complete_after: start, wake: watch::Sender::new(()) };
        self.feeds.entry(resource.to_owned()).or_insert_with(new)
    }

    fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.bytes();
        self.revision = event.revision();
        self.feed(&event.object.key.resource).events.push_back(event.clone());
        self.order.push_back(event);
    }

    fn evict(&mut self) {
        while self.order.len() > self.events_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.order.pop_front() else { return };
            self.bytes -= oldest.bytes();
            self.complete_after = oldest.revision();
            let feed = self.feed(&oldest.object.key.resource);
            let evicted = feed.events.pop_front().expect("an event in the ring is in its feed");
            assert_eq!(evicted.revision(), oldest.revision(), "feeds are evicted in the ring's order");
            feed.complete_after = oldest.revision();
        }
    }

    /// Who is to be woken: the feeds of these events' resources, each once.
    fn feeds_of(&self, events: &[Arc<Event>]) -> Vec<watch::Sender<()>> {
        let mut resources: Vec<&str> = Vec::new();
        for event in events {
            let resource = event.object.key.resource.as_str();
            if !resources.contains(&resource) {
                resources.push(resource);
            }
        }
        resources.into_iter().filter_map(|resource| self.feeds.get(resource)).map(|feed| feed.wake.clone()).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use kontiki_model::Key;

    use super::*;
    use crate::{EventKind, Stored};

    pub fn event(revision: Revision, resource: &str, namespace: &str) -> Arc<Event> {
        let key = Key::new(resource, namespace, "x");
        let object = Stored { key, revision, head: Arc::default(), body: Bytes::new() };
        Arc::new(Event {
            kind: EventKind::Created,
            object,
            previous: None,
            index: revision,
            time_ms: 0,
            author: Arc::default(),
            cause: None,
        })
    }

    fn after(hub: &Hub, resource: &str, namespace: Option<&str>, revision: Revision) -> Option<(Vec<u64>, u64)> {
        let scope = Scope { resource: resource.into(), namespace: namespace.map(str::to_owned) };
        told(hub, &scope.into(), revision)
    }

    fn told(hub: &Hub, subject: &Subject, revision: Revision) -> Option<(Vec<u64>, u64)> {
        match hub.after(subject, revision) {
            Recent::Evicted => None,
            Recent::Events(events, seen) => Some((events.iter().map(|event| event.revision()).collect(), seen)),
        }
    }

    #[test]
    fn a_scope_sees_its_events_in_order_and_how_far_they_are_complete() {
        let hub = Hub::new(10, 4, usize::MAX);
        let events = [event(11, "pods", "a"), event(12, "nodes", ""), event(13, "pods", "b")];
        hub.publish(&events, 13);
        assert_eq!(after(&hub, "pods", None, 10), Some((vec![11, 13], 13)));
        assert_eq!(after(&hub, "pods", Some("b"), 10), Some((vec![13], 13)));
        assert_eq!(after(&hub, "pods", None, 11), Some((vec![13], 13)));
        assert_eq!(after(&hub, "leases", None, 10), Some((vec![], 13)));
        assert_eq!(after(&hub, "leases", None, 9), None, "before the ring began");
        hub.publish(&[event(14, "pods", "a"), event(15, "pods", "a")], 15);
        assert_eq!(after(&hub, "pods", None, 10), None, "11 was evicted");
        assert_eq!(after(&hub, "pods", None, 11), Some((vec![13, 14, 15], 15)));
        assert_eq!(after(&hub, "nodes", None, 10), Some((vec![12], 15)), "eviction is told per resource");
        assert_eq!(told(&hub, &Subject::Everything, 11), Some((vec![12, 13, 14, 15], 15)));
        assert_eq!(told(&hub, &Subject::Everything, 10), None, "11 is gone");
        assert_eq!(hub.run(13, 3).map(|run| run.len()), Some(3));
        assert_eq!((hub.run(11, 1), hub.run(15, 2)), (None, None));
        assert_eq!(after(&hub, "pods", None, 17), Some((vec![], 17)), "read ahead from disk: never back");
        assert_eq!(after(&hub, "leases", None, 17), Some((vec![], 17)));
        hub.reset(20);
        assert_eq!((after(&hub, "pods", None, 15), after(&hub, "nodes", None, 20)), (None, Some((vec![], 20))));
    }

    #[test]
    fn only_watchers_of_the_resource_are_woken() {
        let hub = Hub::new(0, 4, usize::MAX);
        let of = |resource: &str| Subject::from(Scope { resource: resource.into(), namespace: None });
        let (pods, nodes, all) =
            (hub.subscribe(&of("pods")), hub.subscribe(&of("nodes")), hub.subscribe(&Subject::Lasting));
        hub.publish(&[event(1, "pods", "a")], 1);
        let changed = [pods, nodes, all].map(|wake| wake.has_changed().ok());
        assert_eq!(changed, [Some(true), Some(false), Some(true)]);
    }

    #[test]
    fn one_batch_is_bounded_and_says_where_it_stopped() {
        let hub = Hub::new(0, 1000, usize::MAX);
        let events: Vec<_> = (1..=500).map(|revision| event(revision, "pods", "a")).collect();
        hub.publish(&events, 500);
        let last = WATCH_BATCH_EVENTS as u64;
        assert_eq!(after(&hub, "pods", None, 0), Some(((1..=last).collect(), last)));
    }
}
