//! What every client of the log does, all at once: list, watch from there, keep a cache, start over when told to.
//!
//! Writers, informers and the forgetting of history race on several threads over a ring far too small. Each informer checks
//! that no event is missing or told twice (an object's body counts its writes), and ends with the cache that a list shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use kontiki_model::{Head, Key, Retention, Revision, Scope};
use kontiki_raft::{
    Command, EventKind, HistoryLimits, ListOptions, Log, LogConfig, Mutation, ReadError, Retain, Stored, WatchItem,
};

const WRITERS: usize = 4;
const WRITES: u64 = 400;
const INFORMERS: usize = 12;
const RESOURCES: [&str; 2] = ["pods", "leases"];
const NAMESPACES: [&str; 4] = ["ns-0", "ns-1", "ns-2", "ns-3"];
/// Written to every namespace, in this order, when all else is.
const LAST: &str = "last";
/// Far ahead of any clock: the log's own housekeeping forgets nothing here.
const EPOCH_MS: i64 = 1_000_000_000_000_000;

fn body(count: u64) -> Vec<u8> {
    format!("{count}").into_bytes()
}

fn count(stored: &Stored) -> u64 {
    std::str::from_utf8(&stored.body).ok().and_then(|text| text.parse().ok()).expect("a body is a count")
}

/// Counts up objects of its own; each tenth time one is deleted and starts again at one.
async fn write(log: Log, writer: usize, clock: Arc<AtomicI64>) {
    let mut counts = BTreeMap::<Key, u64>::new();
    for number in 0..WRITES {
        let resource = RESOURCES[number as usize % 2];
        let key = Key::new(resource, NAMESPACES[number as usize % 3], format!("{writer}-{}", number % 5));
        let retention = if resource == "leases" { Retention::Short } else { Retention::Normal };
        let head = Head { retention, ..Head::default() };
        let counted = counts.entry(key.clone()).or_default();
        let mutation = if *counted == 10 {
            *counted = 0;
            Mutation::Delete { key, last: None }
        } else {
            *counted += 1;
            Mutation::Put { key, head, body: body(*counted) }
        };
        let time_ms = clock.fetch_add(1, Ordering::Relaxed);
        let command = Command { time_ms, mutations: vec![mutation], ..Command::default() };
        let applied = log.propose(command).await.expect("a write");
        let event = &applied.events[0];
        let seen = log.get(&event.object.key).expect("a read").map(|stored| stored.revision);
        let expected = (event.kind != EventKind::Deleted).then(|| event.revision());
        assert_eq!(seen, expected, "a client reads its own write");
    }
}

struct Informer {
    log: Log,
    scope: Scope,
    cache: BTreeMap<Key, u64>,
    told: Revision,
    restarts: Arc<AtomicU64>,
}

impl Informer {
    /// In pages, the later ones at the first one's revision.
    fn list(&mut self) -> Result<(), ReadError> {
        self.cache.clear();
        let mut options = ListOptions { limit: Some(3), ..ListOptions::default() };
        loop {
            let page = self.log.list(&self.scope, options.clone())?;
            self.cache.extend(page.items.iter().map(|stored| (stored.key.clone(), count(stored))));
            self.told = page.revision;
            if page.rest.is_none() {
                return Ok(());
            }
            (options.rest, options.at) = (page.rest, Some(page.revision));
        }
    }

    async fn follow(&mut self) -> Result<(), ReadError> {
        let mut watch = self.log.watch(self.scope.clone(), self.told)?;
        while !self.complete() {
            match watch.next().await? {
                WatchItem::Progress(revision) => assert!(revision >= self.told, "progress never goes back"),
                WatchItem::Event(event) => {
                    assert!(event.revision() > self.told, "events come in order, each once");
                    self.told = event.revision();
                    let key = event.object.key.clone();
                    let before = event.previous.as_ref().map(count);
                    let cached = match event.kind {
                        EventKind::Deleted => self.cache.remove(&key),
                        EventKind::Created | EventKind::Updated => self.cache.insert(key, count(&event.object)),
                    };
                    assert_eq!(cached, before, "no event is missing before {}", event.revision());
                }
            }
        }
        Ok(())
    }

    /// The last object of the scope was seen.
    fn complete(&self) -> bool {
        let namespace = self.scope.namespace.as_deref().unwrap_or(NAMESPACES[NAMESPACES.len() - 1]);
        self.cache.contains_key(&Key::new(&self.scope.resource, namespace, LAST))
    }

    async fn run(mut self) -> BTreeMap<Key, u64> {
        let mut listed = false;
        while !listed || !self.complete() {
            let outcome = match listed {
                false => self.list(),
                true => self.follow().await,
            };
            listed = match outcome {
                Ok(()) => true,
                Err(ReadError::Compacted { .. }) => {
                    self.restarts.fetch_add(1, Ordering::Relaxed);
                    false
                }
                Err(error) => panic!("{error}"),
            };
        }
        self.cache
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn informers_end_with_what_a_list_shows() {
    let dir = tempfile::tempdir().expect("a directory");
    let retain = |age_ms| Retain { bytes: u64::MAX, age: std::time::Duration::from_millis(age_ms) };
    let history = HistoryLimits { normal: retain(400), short: retain(100), ..HistoryLimits::default() };
    let config = LogConfig { history, ring_events: 16, clock_slack: Duration::MAX, ..LogConfig::new(dir.path()) };
    let log = Log::open(config).await.expect("a log");
    let clock = Arc::new(AtomicI64::new(EPOCH_MS));
    let restarts = Arc::new(AtomicU64::new(0));
    let until = WRITERS as u64 * WRITES;

    let informers: Vec<_> = (0..INFORMERS)
        .map(|number| {
            let scope = Scope {
                resource: RESOURCES[number % 2].into(),
                namespace: (number % 3 == 0).then(|| NAMESPACES[number % 4].into()),
            };
            let cache = BTreeMap::new();
            let informer =
                Informer { log: log.clone(), scope: scope.clone(), cache, told: 0, restarts: restarts.clone() };
            (scope, tokio::spawn(informer.run()))
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS).map(|number| tokio::spawn(write(log.clone(), number, clock.clone()))).collect();
    while log.revision() < until {
        log.compact_history(clock.load(Ordering::Relaxed)).await.expect("compaction");
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.expect("a writer");
    }
    for (resource, namespace) in RESOURCES.iter().flat_map(|one| NAMESPACES.map(|namespace| (*one, namespace))) {
        let key = Key::new(resource, namespace, LAST);
        let mutations = vec![Mutation::Put { key, head: Head::default(), body: body(0) }];
        log.propose(Command { time_ms: i64::MAX, mutations, ..Command::default() }).await.expect("a write");
    }
    for (scope, informer) in informers {
        let cache = informer.await.expect("an informer");
        let page = log.list(&scope, ListOptions::default()).expect("a list");
        let listed: BTreeMap<_, _> = page.items.iter().map(|stored| (stored.key.clone(), count(stored))).collect();
        assert_eq!(cache, listed, "{scope:?}, after {restarts:?} restarts");
    }
    log.shutdown().await;
}
