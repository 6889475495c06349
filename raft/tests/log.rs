//! The log as its users see it: one server, on a real disk.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use kontiki_model::{Head, Key, Scope};
use kontiki_raft::{
    Command, Event, EventKind, Expect, HistoryLimits, ListOptions, Log, LogConfig, Malformed, Member, Mutation,
    Precondition, ProposeError, ReadError, Rejection, Rest, Retain, Role, Watch, WatchItem,
};
use tempfile::TempDir;

fn key(name: &str) -> Key {
    Key::new("configmaps", "default", name)
}

fn configmaps() -> Scope {
    Scope { resource: "configmaps".into(), namespace: None }
}

fn put(name: &str, body: &str) -> Mutation {
    Mutation::Put { key: key(name), head: Head { uid: name.into(), ..Head::default() }, body: body.into() }
}

fn delete(name: &str) -> Mutation {
    Mutation::Delete { key: key(name), last: None }
}

fn command(mutations: Vec<Mutation>) -> Command {
    Command { mutations, time_ms: 1_000, ..Command::default() }
}

/// A log that keeps all its past, that of 1970 too.
async fn open() -> (TempDir, Log) {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(LogConfig { history: forever(), ..LogConfig::new(dir.path()) }).await.unwrap();
    (dir, log)
}

fn forever() -> HistoryLimits {
    let forever = Retain { age: Duration::MAX, ..HistoryLimits::default().normal };
    HistoryLimits { normal: forever, ..HistoryLimits::default() }
}

async fn next_event(watch: &mut Watch) -> std::sync::Arc<Event> {
    loop {
        if let WatchItem::Event(event) = watch.next().await.unwrap() {
            return event;
        }
    }
}

fn body(log: &Log, name: &str) -> Option<String> {
    log.get(&key(name)).unwrap().map(|stored| String::from_utf8(stored.body.to_vec()).unwrap())
}

fn listed(log: &Log, options: ListOptions<'_>) -> Vec<String> {
    let page = log.list(&configmaps(), options).unwrap();
    let show = |stored: &kontiki_raft::Stored| {
        format!("{}@{}={}", stored.key.name, stored.revision, String::from_utf8_lossy(&stored.body))
    };
    page.items.iter().map(show).collect()
}

#[tokio::test]
async fn a_write_is_read_back_at_once_and_after_a_restart() {
    let (dir, log) = open().await;
    assert_eq!((log.revision(), log.floor(), body(&log, "a")), (0, 0, None));
    let applied = log.propose(command(vec![put("a", "1"), put("b", "2")])).await.unwrap();
    let kinds: Vec<_> = applied.events.iter().map(|event| (event.kind, event.revision())).collect();
    assert_eq!(kinds, [(EventKind::Created, 1), (EventKind::Created, 2)]);
    assert_eq!((log.revision(), body(&log, "a"), body(&log, "b")), (2, Some("1".into()), Some("2".into())));
    assert_eq!(log.barrier().await.unwrap(), 2);
    log.propose(command(vec![put("a", "3"), delete("b")])).await.unwrap();
    log.shutdown().await;
    drop(log);

    let log = Log::open(LogConfig::new(dir.path())).await.unwrap();
    assert_eq!((log.revision(), body(&log, "a"), body(&log, "b")), (4, Some("3".into()), None));
    let applied = log.propose(command(vec![put("c", "4")])).await.unwrap();
    assert_eq!(applied.events[0].revision(), 5, "revisions go on");
    let status = log.status();
    assert_eq!(
        (status.role, status.leader, status.failure, status.objects),
        (Role::Leader, Some(log.node_id()), None, 2)
    );
}

#[tokio::test]
async fn a_rejected_command_changes_nothing() {
    let (_dir, log) = open().await;
    log.propose(command(vec![put("a", "1")])).await.unwrap();
    let guarded = |expect: Expect| Command {
        preconditions: vec![Precondition { key: key("a"), expect }],
        ..command(vec![put("b", "2"), put("a", "2")])
    };
    for expect in [Expect::Absent, Expect::Revision(7), Expect::Uid("x".into())] {
        let found = Some((1, "a".to_owned()));
        let expected = Rejection::Precondition { key: key("a"), expect: expect.clone(), found };
        match log.propose(guarded(expect)).await {
            Err(ProposeError::Rejected(rejection)) => assert_eq!(rejection, expected),
            other => panic!("{other:?}"),
        }
    }
    let stale = Command { term: Some(0), ..command(vec![put("b", "2")]) };
    assert!(matches!(log.propose(stale).await, Err(ProposeError::Rejected(Rejection::StaleTerm { .. }))));
    let twice = log.propose(command(vec![put("b", "2"), delete("b")])).await;
    assert!(matches!(twice, Err(ProposeError::Malformed(Malformed::KeyTwice(_)))));
    assert_eq!((log.revision(), body(&log, "b")), (1, None));
    log.propose(guarded(Expect::Revision(1))).await.unwrap();
    assert_eq!((log.revision(), body(&log, "b")), (3, Some("2".into())));
}

#[tokio::test]
async fn an_oversized_command_is_refused_before_the_log() {
    let (_dir, log) = open().await;
    let huge = "x".repeat(kontiki_raft::limits::ENTRY_BYTES_MAX);
    assert!(matches!(log.propose(command(vec![put("a", &huge)])).await, Err(ProposeError::TooLarge { .. })));
}

#[tokio::test]
async fn a_watch_tells_the_past_then_the_present_with_what_was_before() {
    let (_dir, log) = open().await;
    log.propose(command(vec![put("a", "1")])).await.unwrap();
    log.propose(command(vec![put("a", "2")])).await.unwrap();
    let mut watch = log.watch(configmaps(), 1).unwrap();
    let event = next_event(&mut watch).await;
    assert_eq!((event.kind, event.revision(), &event.object.body[..]), (EventKind::Updated, 2, &b"2"[..]));
    assert_eq!(event.previous.as_ref().map(|stored| (stored.revision, &stored.body[..])), Some((1, &b"1"[..])));
    assert_eq!(watch.next().await.unwrap(), WatchItem::Progress(2));
    let elsewhere = Mutation::Put { key: Key::new("nodes", "", "n"), head: Head::default(), body: vec![] };
    log.propose(command(vec![elsewhere])).await.unwrap();
    assert_eq!(watch.progress(), 3, "a bookmark may pass what is not of the scope");
    log.propose(command(vec![delete("a")])).await.unwrap();
    let event = next_event(&mut watch).await;
    assert_eq!((event.kind, event.revision(), &event.object.body[..]), (EventKind::Deleted, 4, &b"2"[..]));
    assert!(matches!(log.watch(configmaps(), 5), Err(ReadError::Future { requested: 5, revision: 4 })));
    log.shutdown().await;
    assert_eq!(watch.next().await.unwrap(), WatchItem::Progress(4));
    assert!(matches!(watch.next().await, Err(ReadError::Closed)));
}

#[tokio::test]
async fn what_is_recent_is_there_as_soon_as_the_write_is_acknowledged() {
    let (_dir, log) = open().await;
    let subject = configmaps().into();
    assert_eq!(log.recent(&subject, 0), Some((vec![], 0)));
    for revision in 1..=3 {
        log.propose(command(vec![put("a", "1")])).await.unwrap();
        let (events, seen) = log.recent(&subject, revision - 1).unwrap();
        assert_eq!((events.len(), events[0].revision(), seen), (1, revision, revision));
    }
}

#[tokio::test]
async fn a_watch_behind_the_ring_reads_on_from_disk_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    // Its commands are of 1970: nothing is to be too old.
    let history = forever();
    let config = LogConfig { ring_events: 8, history, ..LogConfig::new(dir.path()) };
    let log = Log::open(config).await.unwrap();
    let mut watch = log.watch(configmaps(), 0).unwrap();
    let writes = (0..500).map(|number| log.propose(command(vec![put(&format!("{}", number % 7), "x")])));
    futures::future::try_join_all(writes).await.unwrap();
    for revision in 1..=500 {
        assert_eq!(next_event(&mut watch).await.revision(), revision);
    }
    assert_eq!(watch.next().await.unwrap(), WatchItem::Progress(500));
}

#[tokio::test]
async fn lists_page_at_one_revision_while_writes_go_on() {
    let (_dir, log) = open().await;
    for name in ["a", "b", "c", "d"] {
        log.propose(command(vec![put(name, "1")])).await.unwrap();
    }
    let first = log.list(&configmaps(), ListOptions { limit: Some(2), ..ListOptions::default() }).unwrap();
    assert_eq!((first.revision, first.items.len()), (4, 2));
    assert_eq!(first.rest, Some(Rest { after: key("b"), left: Some(2) }));
    log.propose(command(vec![put("a", "2"), put("c", "2"), delete("d"), put("cc", "1")])).await.unwrap();
    let rest = ListOptions { rest: first.rest, at: Some(4), ..ListOptions::default() };
    assert_eq!(listed(&log, rest), ["c@3=1", "d@4=1"]);
    assert_eq!(listed(&log, ListOptions::default()), ["a@5=2", "b@2=1", "c@6=2", "cc@8=1"]);
    // Once it is past, too: `c` was another one then, `d` is no more, `cc` was not yet.
    let past =
        |rest, limit| log.list(&configmaps(), ListOptions { rest, at: Some(4), limit: Some(limit), filter: None });
    let first = past(None, 1).unwrap();
    assert_eq!(first.rest, Some(Rest { after: key("a"), left: Some(3) }));
    assert_eq!(past(first.rest, 2).unwrap().rest, Some(Rest { after: key("c"), left: Some(1) }));
    assert_eq!(past(Some(Rest { after: key("a"), left: None }), 3).unwrap().rest, None);
    let only_b = |key: &Key, _: &Head| key.name == "b";
    let filtered = ListOptions { filter: Some(&only_b), limit: Some(1), ..ListOptions::default() };
    let page = log.list(&configmaps(), filtered).unwrap();
    assert_eq!((page.items.len(), page.rest), (1, None));
    let body_at = |name: &str, at| log.get_at(&key(name), at).unwrap().map(|stored| stored.body.to_vec());
    assert_eq!((body_at("a", 4), body_at("a", 5), body_at("d", 6), body_at("d", 7), body_at("cc", 7)), {
        (Some(b"1".to_vec()), Some(b"2".to_vec()), Some(b"1".to_vec()), None, None)
    });
}

#[tokio::test]
async fn a_keys_history_is_told_newest_first() {
    let (_dir, log) = open().await;
    for mutation in [put("a", "1"), put("b", "1"), put("a", "2"), delete("a"), put("a", "3")] {
        log.propose(command(vec![mutation])).await.unwrap();
    }
    let told = |before, limit| -> Vec<_> {
        let events = log.history(&key("a"), before, limit).unwrap();
        events.iter().map(|event| (event.revision(), event.kind)).collect()
    };
    let (created, updated, deleted) = (EventKind::Created, EventKind::Updated, EventKind::Deleted);
    assert_eq!(told(None, 10), [(5, created), (4, deleted), (3, updated), (1, created)]);
    assert_eq!(told(Some(5), 2), [(4, deleted), (3, updated)]);
}

#[tokio::test]
async fn waiting_for_a_revision_ends_when_it_is_applied_or_time_is_up() {
    let (_dir, log) = open().await;
    let waiting = log.wait_for(1, Duration::from_secs(60));
    let (waited, written) = tokio::join!(waiting, log.propose(command(vec![put("a", "1")])));
    written.unwrap();
    waited.unwrap();
    assert!(matches!(log.wait_for(2, Duration::ZERO).await, Err(ReadError::Future { requested: 2, .. })));
}

#[tokio::test]
async fn a_directory_keeps_its_servers_number_whatever_the_server_is_called() {
    let (dir, log) = open().await;
    let id = log.node_id();
    assert!(id > 0 && id < 1 << 53);
    log.shutdown().await;
    drop(log);
    let member = Member { name: "b".into(), address: "127.0.0.1:1".into() };
    let log = Log::open(LogConfig { member: member.clone(), ..LogConfig::new(dir.path()) }).await.unwrap();
    assert_eq!(log.node_id(), id);
    let renamed = async {
        while log.members().iter().all(|known| known.name != "b") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), renamed).await.unwrap();
    let known = &log.members()[0];
    assert_eq!((known.id, &known.address, known.voter, known.leader), (id, &member.address, true, true));
}

#[tokio::test]
async fn snapshots_are_taken_and_the_log_is_purged_without_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(LogConfig { snapshot_entries: 100, log_keep_entries: 500, ..LogConfig::new(dir.path()) })
        .await
        .unwrap();
    let leadership = *log.leadership().borrow();
    assert_eq!((leadership.leader, leadership.term), (true, log.status().term));
    let writes = (0..6_000).map(|number| log.propose(command(vec![put(&format!("{}", number % 100), "x")])));
    futures::future::try_join_all(writes).await.unwrap();
    let purged = async {
        while log.status().purged_index == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), purged).await.unwrap();
    let status = log.status();
    assert!(status.purged_index < status.snapshot_index && status.snapshot_index <= status.applied_index);
    assert_eq!(log.newest_snapshot().unwrap().manifest().index, Some(status.snapshot_index));
    log.shutdown().await;
    drop(log);
    let log = Log::open(LogConfig::new(dir.path())).await.unwrap();
    assert_eq!((log.revision(), log.status().objects), (6_000, 100));
    log.shutdown().await;
}
