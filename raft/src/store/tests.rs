//! The store alone, without Raft: history's end, the past while it is retained, snapshots from one store to another.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use kontiki_model::{Head, Key, Retention, Revision, Scope};
use tempfile::TempDir;

use super::{HistoryLimits, ListOptions, Outcome, Retain, Store};
use crate::codec::{LogPayload, LogRecord};
use crate::limits::PRUNE_STEP_RECORDS;
use crate::snapshot::{Chunk, SnapshotDir, SnapshotError, SnapshotReceiver};
use crate::{Command, Mutation, ReadError, Subject, WatchItem};

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
        let (mut draft, applied) = self.store.checkpoint().unwrap();
        draft.complete(&applied).unwrap()
    }
}

fn show(stored: &crate::Stored) -> String {
    format!("{}={}", stored.key.name, String::from_utf8_lossy(&stored.body))
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
    assert!(matches!(abreast.next().await.unwrap(), WatchItem::Event(event) if event.revision() == 12));
}

/// Sends a snapshot to another store's directory, chunk by chunk.
fn send(snapshot: &SnapshotDir, to: &Store) -> Result<SnapshotDir, SnapshotError> {
    let mut receiver = SnapshotReceiver::begin(&to.snapshots_dir(), snapshot.manifest().clone())?;
    for chunk in snapshot.chunks() {
        receiver.accept(&chunk?)?;
    }
    receiver.finish()
}

#[tokio::test]
async fn a_snapshot_carries_state_history_and_watchers_to_another_store() {
    let mut source = Bench::new(by_age(100, 100));
    let mut target = Bench::new(by_age(100, 100));
    for bench in [&mut source, &mut target] {
        bench.put(0, "pods", "a", "1");
        bench.put(0, "pods", "b", "1");
    }
    let mut watch = target.store.watch(scope("pods").into(), 1).unwrap();
    assert!(matches!(watch.next().await.unwrap(), WatchItem::Event(event) if event.revision() == 2));
    for number in 0..500 {
        source.put(0, "pods", "a", &format!("{number}").repeat(1_000));
    }
    source.delete(0, "pods", "b");
    let snapshot = source.snapshot();
    source.put(0, "pods", "a", "later");

    let received = send(&snapshot, &target.store).unwrap();
    target.store.install(&received).unwrap();
    target.store.set_snapshot(Arc::new(received));
    assert_eq!((target.store.revision(), target.store.applied_record().index), (503, Some(503)));
    for revision in 3..=503 {
        match watch.next().await.unwrap() {
            WatchItem::Event(event) => assert_eq!(event.revision(), revision),
            WatchItem::Progress(at) => panic!("progress at {at} before {revision}"),
        }
    }
    for at in [2, 3, 250, 502, 503] {
        assert_eq!(target.at("pods", at), source.at("pods", at), "{at}");
    }
    target.index = source.index;
    assert_eq!(target.put(0, "pods", "c", "1"), 504);
    drop(watch);

    let target = target.reopen(by_age(100, 100));
    assert_eq!(target.at("pods", 503), source.at("pods", 503));
    assert!(target.store.snapshot().is_some(), "what was installed is the current snapshot");
    let states = std::fs::read_dir(target.dir.path()).unwrap();
    let names = states.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("state-")).count(), 1, "the replaced state is gone");
}

#[test]
fn a_damaged_or_incomplete_snapshot_is_refused() {
    let mut source = Bench::new(by_age(100, 100));
    source.put(0, "pods", "a", &"x".repeat(100_000));
    let snapshot = source.snapshot();
    let chunks: Vec<_> = snapshot.chunks().map(Result::unwrap).collect();
    let full = chunks.iter().position(|chunk| !chunk.bytes.is_empty()).unwrap();
    let target = Bench::new(by_age(100, 100));
    let begin = || SnapshotReceiver::begin(&target.store.snapshots_dir(), snapshot.manifest().clone()).unwrap();
    let accept = |chunks: &[Chunk]| {
        let mut receiver = begin();
        chunks.iter().try_for_each(|chunk| receiver.accept(chunk)).map(|()| receiver)
    };

    let mut damaged = chunks.clone();
    damaged[full].bytes[0] ^= 1;
    assert!(matches!(accept(&damaged), Err(SnapshotError::Chunk { .. })));
    damaged[full].crc32 = crc32fast::hash(&damaged[full].bytes);
    assert!(matches!(accept(&damaged), Err(SnapshotError::File(_))), "consistent in itself, but not what the file was");
    assert!(matches!(accept(&chunks[1..]), Err(SnapshotError::Chunk { .. })), "out of order");
    let incomplete = accept(&chunks[..chunks.len() - 1]).map(SnapshotReceiver::finish);
    assert!(matches!(incomplete, Ok(Err(SnapshotError::File(_)))));
    let drafts = || std::fs::read_dir(target.store.snapshots_dir()).unwrap().count();
    assert_eq!(drafts(), 0, "what did not become a snapshot takes no room");
    let mut evil = snapshot.manifest().clone();
    evil.files[0].name = "../escape".into();
    let refused = SnapshotReceiver::begin(&target.store.snapshots_dir(), evil);
    assert!(matches!(refused, Err(SnapshotError::Name(_))));
    drop(target.store.checkpoint().unwrap());
    assert_eq!(drafts(), 0, "nor does a checkpoint that was not completed");
    let killed = begin();
    std::mem::forget(killed);
    assert_eq!(drafts(), 1);
    let target = target.reopen(by_age(100, 100));
    assert!(target.store.snapshot().is_none(), "drafts do not survive a restart");
}

#[test]
fn a_retired_snapshot_goes_with_its_last_reader() {
    let mut bench = Bench::new(by_age(100, 100));
    bench.put(0, "pods", "a", "1");
    bench.store.set_snapshot(Arc::new(bench.snapshot()));
    let reader = bench.store.snapshot().unwrap();
    bench.put(0, "pods", "a", "2");
    bench.store.set_snapshot(Arc::new(bench.snapshot()));
    assert!(reader.path().exists());
    let path = reader.path().to_owned();
    drop(reader);
    assert!(!path.exists());
    assert!(bench.store.snapshot().unwrap().path().exists());
}

/// Revision 3 is told as of 20: a clock that goes back does not take time back.
fn put_at_moments(bench: &mut Bench) {
    for (time_ms, resource) in [(10, "pods"), (20, "leases"), (5, "pods"), (30, "leases"), (30, "pods"), (50, "pods")] {
        bench.put(time_ms, resource, "a", "1");
    }
}

/// The revisions that are found at moments then.
const FOUND: [(i64, Revision); 9] = [(9, 0), (10, 1), (19, 1), (20, 3), (29, 3), (30, 5), (49, 5), (50, 6), (60, 6)];

#[track_caller]
fn found_at(bench: &Bench, cases: &[(i64, Revision)]) {
    for (time_ms, expected) in cases {
        assert_eq!(bench.store.revision_at(*time_ms, 60).unwrap(), *expected, "at {time_ms}");
    }
}

#[test]
fn a_moment_is_found_in_the_past_though_clocks_go_back_or_ahead() {
    let mut bench = Bench::new(by_age(100, 1));
    assert_eq!(bench.store.revision_at(7, 7).unwrap(), 0, "nothing happened yet");
    put_at_moments(&mut bench);
    found_at(&bench, &FOUND);
    let later = bench.store.revision_at(61, 60);
    assert!(matches!(later, Err(ReadError::Future { requested: 7, revision: 6 })), "{later:?}");
    let times: Vec<_> = (1..=6).map(|revision| bench.store.event(revision).unwrap().time_ms).collect();
    assert_eq!(times, [10, 20, 20, 30, 30, 50]);

    // What stands behind an event from the future may have been at any time since the one before it.
    bench.put(9 * HOUR_MS, "pods", "a", "2");
    bench.put(60, "pods", "a", "3");
    found_at(&bench, &FOUND[..7]);
    for now in [50, 60] {
        let ahead = bench.store.revision_at(now, 60);
        assert!(matches!(ahead, Err(ReadError::ClockAhead { since: 7 })), "{ahead:?}");
    }
    assert_eq!(bench.store.revision_at(60, 9 * HOUR_MS).unwrap(), 6);
    assert_eq!(bench.store.revision_at(9 * HOUR_MS, 9 * HOUR_MS).unwrap(), 8);
}

#[test]
fn a_moment_is_found_though_history_was_dropped() {
    let mut bench = Bench::new(by_age(100, 1));
    put_at_moments(&mut bench);
    // The lease's first version and the event of it are gone; revision 3 is still known.
    bench.prune(HOUR_MS + 40);
    found_at(&bench, &FOUND);
    bench.prune(100 * HOUR_MS + 21);
    assert_eq!(bench.store.floor(), 3);
    let too_early = bench.store.revision_at(19, 60);
    assert!(matches!(too_early, Err(ReadError::Compacted { requested: 2, floor: 3 })), "{too_early:?}");
    found_at(&bench, &FOUND[3..]);
    let bench = bench.reopen(by_age(100, 1));
    assert!(matches!(bench.store.revision_at(19, 60), Err(ReadError::Compacted { .. })));
    found_at(&bench, &FOUND[3..]);
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
        assert!(matches!(everything.next().await.unwrap(), WatchItem::Event(event) if event.revision() == revision));
    }
    for revision in (1..=300).filter(|revision| (revision - 1) % 3 != 0) {
        assert!(matches!(lasting.next().await.unwrap(), WatchItem::Event(event) if event.revision() == revision));
    }
    for watch in [&mut everything, &mut lasting] {
        assert_eq!(watch.next().await.unwrap(), WatchItem::Progress(300));
    }
    let (told, _) = tokio::join!(everything.next(), async { bench.put(2 * HOUR_MS, "leases", "a", "live") });
    assert!(matches!(told.unwrap(), WatchItem::Event(event) if event.revision() == 301));
    bench.prune(2 * HOUR_MS);
    let refused = bench.store.watch(Subject::Everything, 290).map(|_| ());
    assert!(matches!(refused, Err(ReadError::Compacted { requested: 290, floor: 298 })), "{refused:?}");
    assert!(bench.store.watch(Subject::Lasting, 0).is_ok(), "the short class leaves no gap in what lasts");
    assert!(matches!(bench.store.event(1), Err(ReadError::Compacted { requested: 1, .. })));
    assert!(matches!(bench.store.event(302), Err(ReadError::Future { requested: 302, revision: 301 })));
}
