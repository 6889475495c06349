//! The store alone, without Raft: history's end, the past while it is retained, those who watch.
#![allow(clippy::unwrap_used)]
mod moments;
mod snapshots;

use std::sync::Arc;
use std::time::Duration;

use kontiki_model::{Head, Key, Retention, Revision, Scope};
use tempfile::TempDir;

use super::{Checkpoint, HistoryLimits, ListOptions, Outcome, Retain, Store};
use crate::codec::{LogPayload, LogRecord};
use crate::limits::PRUNE_STEP_RECORDS;
use crate::snapshot::SnapshotDir;
use crate::{Command, Mutation, ReadError, Subject, Watch, WatchItem};

const FOREVER: Retain = Retain { bytes: u64::MAX, age: Duration::from_secs(1 << 40) };
const HOUR_MS: i64 = 3_600_000;

struct Bench {
    dir: TempDir,
    store: Arc<Store>,
    index: u64,
}

fn key(resource: &str, name: &str) -> Key {
    Key::new(resource, "ns", name)
}

fn scope(resource: &str) -> Scope {
    Scope { resource: resource.into(), namespace: None }
}

impl Bench {
    fn new(history: HistoryLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), history, 4).unwrap();
        Bench { dir, store, index: 0 }
    }

    fn reopen(self, history: HistoryLimits) -> Self {
        let Bench { dir, store, index } = self;
        store.flush().unwrap();
        drop(store);
        let store = Store::open(dir.path(), history, 4).unwrap();
        Bench { dir, store, index }
    }

    fn command(&mut self, time_ms: i64, mutation: Mutation) -> Revision {
        self.index += 1;
        let command = Arc::new(Command { time_ms, mutations: vec![mutation], ..Command::default() });
        let record = LogRecord { term: 1, index: self.index, payload: LogPayload::Command(command) };
        match self.store.apply(&[record]).unwrap().remove(0) {
            Outcome::Applied { first, count: 1 } => first,
            other => panic!("{other:?}"),
        }
    }

    fn put(&mut self, time_ms: i64, resource: &str, name: &str, body: &str) -> Revision {
        let retention = match resource {
            "leases" => Retention::Short,
            "secrets" => Retention::Sensitive,
            _ => Retention::Normal,
        };
        let head = Head { retention, ..Head::default() };
        self.command(time_ms, Mutation::Put { key: key(resource, name), head, body: body.into() })
    }

    fn delete(&mut self, time_ms: i64, resource: &str, name: &str) -> Revision {
        self.command(time_ms, Mutation::Delete { key: key(resource, name), last: None })
    }

    fn prune(&self, now_ms: i64) {
        while self.store.prune(now_ms).unwrap() {}
    }

    /// `name=body` at a revision, or where history begins.
    fn at(&self, resource: &str, at: Revision) -> Result<Vec<String>, Revision> {
        let options = ListOptions { at: Some(at), ..ListOptions::default() };
        match self.store.list(&scope(resource), options) {
            Ok(page) => Ok(page.items.iter().map(show).collect()),
            Err(ReadError::Compacted { floor, .. }) => Err(floor),
            Err(other) => panic!("{other}"),
        }
    }

    fn snapshot(&self) -> SnapshotDir {
        let Checkpoint { mut draft, applied, .. } = self.store.checkpoint().unwrap();
        draft.complete(&applied).unwrap()
    }
}

fn show(stored: &crate::Stored) -> String {
    format!("{}={}", stored.key.name, String::from_utf8_lossy(&stored.body))
}

/// The revision of a watch's next event.
async fn next(watch: &mut Watch) -> Revision {
    match watch.next().await.unwrap() {
        WatchItem::Event(event) => event.revision(),
        WatchItem::Progress(at) => panic!("progress at {at} where an event should be"),
    }
}

fn by_age(normal_hours: u64, short_hours: u64) -> HistoryLimits {
    let hours = |hours: u64| Retain { age: Duration::from_secs(hours * 3600), ..FOREVER };
    HistoryLimits { normal: hours(normal_hours), short: hours(short_hours), sensitive: hours(normal_hours) }
}

#[test]
fn the_past_is_told_page_by_page_as_it_was() {
    let mut bench = Bench::new(by_age(1000, 1000));
    let mut then: Vec<std::collections::BTreeMap<String, String>> = vec![Default::default()];
    for step in 0..400_u64 {
        let name = format!("{}", (step * step + step / 7) % 13);
        let mut now = then.last().unwrap().clone();
        if step % 5 == 4 && now.remove(&name).is_some() {
            bench.delete(0, "pods", &name);
        } else {
            bench.put(0, "pods", &name, &step.to_string());
            now.insert(name, step.to_string());
        }
        then.push(now);
        // Others lie before and behind them.
        bench.put(0, "nodes", "n", "1");
        bench.put(0, "podsets", "p", "1");
        then.extend([then.last().unwrap().clone(), then.last().unwrap().clone()]);
    }
    for (at, expected) in then.iter().enumerate().skip(1) {
        let expected: Vec<String> = expected.iter().map(|(name, body)| format!("{name}={body}")).collect();
        assert_eq!(bench.at("pods", at as Revision), Ok(expected.clone()), "at {at}");
        let page = ListOptions { at: Some(at as Revision), ..ListOptions::default() };
        let page = bench.store.list(&scope("pods"), page).unwrap();
        let told: Vec<_> = page.items.iter().map(|one| (one.key.clone(), one.revision)).collect();
        assert_eq!(bench.store.versions(&scope("pods"), at as Revision).unwrap(), told, "at {at}");
        let (mut paged, mut rest) = (Vec::new(), None);
        loop {
            let options = ListOptions { at: Some(at as Revision), limit: Some(3), rest, filter: None };
            let page = bench.store.list(&scope("pods"), options).unwrap();
            paged.extend(page.items.iter().map(show));
            rest = page.rest;
            if rest.is_none() {
                break;
            }
        }
        assert_eq!(paged, expected, "at {at}, by pages");
    }
}

#[test]
fn history_ends_by_age_and_the_living_stay() {
    let mut bench = Bench::new(by_age(2, 2));
    bench.put(0, "pods", "a", "1");
    bench.put(0, "pods", "b", "1");
    bench.put(HOUR_MS, "pods", "a", "2");
    bench.delete(HOUR_MS, "pods", "b");
    bench.put(3 * HOUR_MS, "pods", "a", "3");
    assert_eq!(bench.at("pods", 2), Ok(vec!["a=1".into(), "b=1".into()]));
    bench.prune(2 * HOUR_MS + 1);
    assert_eq!((bench.store.floor(), bench.at("pods", 1)), (2, Err(2)));
    assert_eq!(bench.at("pods", 2), Ok(vec!["a=1".into(), "b=1".into()]), "the floor itself can be read");
    assert_eq!(bench.at("pods", 3), Ok(vec!["a=2".into(), "b=1".into()]));
    bench.prune(4 * HOUR_MS);
    assert_eq!((bench.store.floor(), bench.at("pods", 3)), (4, Err(4)));
    assert_eq!(bench.at("pods", 4), Ok(vec!["a=2".into()]));
    bench.prune(100 * HOUR_MS);
    assert_eq!((bench.store.floor(), bench.at("pods", 5)), (5, Ok(vec!["a=3".into()])));
    assert_eq!(bench.store.get(&key("pods", "a")).unwrap().as_ref().map(show), Some("a=3".into()));
    let told = bench.store.key_history(&key("pods", "a"), None, 10).unwrap();
    assert_eq!(told.iter().map(|event| event.revision()).collect::<Vec<_>>(), [5], "who wrote the living is known");
    assert_eq!(bench.store.key_history(&key("pods", "b"), None, 10).unwrap(), []);
    let bench = bench.reopen(by_age(2, 2));
    assert_eq!((bench.store.floor(), bench.at("pods", 4), bench.at("pods", 5)), (5, Err(5), Ok(vec!["a=3".into()])));
}

#[test]
fn history_ends_by_size() {
    let limits = HistoryLimits { normal: Retain { bytes: 20_000, ..FOREVER }, short: FOREVER, sensitive: FOREVER };
    let mut bench = Bench::new(limits);
    for _ in 0..100 {
        bench.put(0, "pods", "a", &"x".repeat(1_000));
    }
    bench.prune(0);
    let figures = bench.store.figures();
    assert!(figures.history_bytes <= 20_000 && figures.history_bytes > 18_000, "{figures:?}");
    assert!((80..90).contains(&figures.floor), "{figures:?}");
    let before = figures.history_bytes;
    assert_eq!(bench.reopen(limits).store.figures().history_bytes, before);
}

#[test]
fn the_short_class_ends_earlier_and_only_for_its_resources() {
    let mut bench = Bench::new(by_age(100, 1));
    bench.put(0, "leases", "l", "1");
    bench.put(0, "pods", "a", "1");
    bench.put(1, "leases", "l", "2");
    bench.put(HOUR_MS, "pods", "a", "2");
    bench.put(2 * HOUR_MS, "leases", "l", "3");
    bench.prune(2 * HOUR_MS);
    assert_eq!(bench.store.floor(), 0);
    assert_eq!((bench.at("leases", 2), bench.at("leases", 3)), (Err(3), Ok(vec!["l=2".into()])));
    assert_eq!((bench.at("pods", 2), bench.at("pods", 4)), (Ok(vec!["a=1".into()]), Ok(vec!["a=2".into()])));
    let watch = |resource: &str, from| bench.store.watch(scope(resource).into(), from).map(|_| ());
    assert!(matches!(watch("leases", 2), Err(ReadError::Compacted { requested: 2, floor: 3 })));
    assert!(matches!((watch("pods", 0), watch("leases", 3)), (Ok(()), Ok(()))));
    let bench = bench.reopen(by_age(100, 1));
    assert_eq!((bench.at("leases", 2), bench.at("pods", 2)), (Err(3), Ok(vec!["a=1".into()])));
    bench.prune(1_000 * HOUR_MS);
    assert_eq!((bench.at("leases", 4), bench.at("pods", 4)), (Err(5), Err(5)));
    assert_eq!((bench.at("leases", 5), bench.at("pods", 5)), (Ok(vec!["l=3".into()]), Ok(vec!["a=2".into()])));
}

#[test]
fn one_step_of_compaction_is_bounded() {
    let mut bench = Bench::new(by_age(1, 1));
    for _ in 0..PRUNE_STEP_RECORDS + 1 {
        bench.put(0, "pods", "a", "1");
    }
    assert!(bench.store.prune(10 * HOUR_MS).unwrap(), "there is more");
    assert_eq!(bench.store.floor(), PRUNE_STEP_RECORDS as u64);
    bench.prune(10 * HOUR_MS);
    assert_eq!(bench.store.floor(), PRUNE_STEP_RECORDS as u64 + 1);
}

#[tokio::test]
async fn a_watcher_that_history_left_behind_is_told_so() {
    let mut bench = Bench::new(by_age(1, 1));
    bench.put(0, "pods", "a", "1");
    let mut behind = bench.store.watch(scope("pods").into(), 0).unwrap();
    let mut abreast = bench.store.watch(scope("pods").into(), 1).unwrap();
    for _ in 0..10 {
        bench.put(0, "pods", "a", "2");
    }
    while let WatchItem::Event(_) = abreast.next().await.unwrap() {}
    bench.prune(10 * HOUR_MS);
    assert!(matches!(behind.next().await, Err(ReadError::Compacted { requested: 0, floor: 11 })));
    bench.put(0, "pods", "a", "3");
    assert_eq!(next(&mut abreast).await, 12);
}

#[tokio::test]
async fn everything_is_followed_from_disk_then_live_without_a_gap() {
    let mut bench = Bench::new(by_age(100, 1));
    for number in 0..300 {
        bench.put(0, if number % 3 == 0 { "leases" } else { "pods" }, "a", &format!("{number}"));
    }
    let mut everything = bench.store.watch(Subject::Everything, 0).unwrap();
    let mut lasting = bench.store.watch(Subject::Lasting, 0).unwrap();
    for revision in 1..=300 {
        assert_eq!(next(&mut everything).await, revision);
    }
    for revision in (1..=300).filter(|revision| (revision - 1) % 3 != 0) {
        assert_eq!(next(&mut lasting).await, revision);
    }
    for watch in [&mut everything, &mut lasting] {
        assert_eq!(watch.next().await.unwrap(), WatchItem::Progress(300));
    }
    let (told, _) = tokio::join!(next(&mut everything), async { bench.put(2 * HOUR_MS, "leases", "a", "live") });
    assert_eq!(told, 301);
    bench.prune(2 * HOUR_MS);
    let refused = bench.store.watch(Subject::Everything, 290).map(|_| ());
    assert!(matches!(refused, Err(ReadError::Compacted { requested: 290, floor: 298 })), "{refused:?}");
    assert!(bench.store.watch(Subject::Lasting, 0).is_ok(), "the short class leaves no gap in what lasts");
    assert!(matches!(bench.store.event(1), Err(ReadError::Compacted { requested: 1, .. })));
    assert!(matches!(bench.store.event(302), Err(ReadError::Future { requested: 302, revision: 301 })));
}
