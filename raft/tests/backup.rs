//! Backups: taken while writes go on, restored to any revision in them, refused when damaged; and a cluster that goes on from
//! what one server has.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use kontiki_model::{Head, Key, Revision, Scope};
use kontiki_raft::backup::{Archive, Backup, BackupError, Founded, Founding, Moment, Origin, Reader, Skip, Stopped};
use kontiki_raft::{Author, Command, EventKind, ListOptions, Log, LogConfig, Member, Mutation, ReadError, WatchItem};
use tempfile::TempDir;

/// Objects by name, each with its revision and its body.
type State = BTreeMap<String, (Revision, String)>;

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

/// So many milliseconds after the tests began: history that is too old is dropped.
fn time(after: i64) -> i64 {
    static START: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);
    let start = START.duration_since(UNIX_EPOCH).unwrap().as_millis();
    i64::try_from(start).unwrap() + after
}

fn command(after: i64, mutations: Vec<Mutation>) -> Command {
    Command { mutations, time_ms: time(after), ..Command::default() }
}

async fn open(dir: &Path) -> Log {
    Log::open(LogConfig::new(dir)).await.unwrap()
}

fn state(log: &Log, at: Option<Revision>) -> Result<State, ReadError> {
    let page = log.list(&configmaps(), ListOptions { at, ..ListOptions::default() })?;
    let item = |stored: &kontiki_raft::Stored| {
        (stored.key.name.clone(), (stored.revision, String::from_utf8(stored.body.to_vec()).unwrap()))
    };
    Ok(page.items.iter().map(item).collect())
}

fn archived(archive: &Archive, at: Revision) -> State {
    let keys = archive.keys_at(at).unwrap();
    let item = |(key, revision): (Key, Revision)| {
        let stored = archive.get_at(&key, at).unwrap().unwrap();
        assert_eq!(stored.revision, revision);
        (key.name, (revision, String::from_utf8(stored.body.to_vec()).unwrap()))
    };
    keys.into_iter().map(item).collect()
}

fn origin() -> Origin {
    Origin { cluster: "c".into(), server: "s".into(), program: "test".into(), taken_ms: 7 }
}

fn bytes(backup: &Backup) -> Vec<u8> {
    backup.pieces().map(|piece| piece.unwrap()).collect::<Vec<_>>().concat()
}

/// A log with a past: objects that come, change and go. What it was at each revision is read from it.
async fn with_past(dir: &Path) -> Log {
    let log = open(dir).await;
    for round in 0..40 {
        let name = format!("n{}", round % 7);
        let live = log.head(&key(&name)).is_some();
        let mutations = match round % 5 {
            4 if live => vec![delete(&name)],
            _ => vec![put(&name, &format!("body {round}")), put("always", &format!("{round}"))],
        };
        log.propose(command(round, mutations)).await.unwrap();
    }
    log
}

fn founding() -> Founding {
    let member = Member { address: "127.0.0.1:1".into(), ..Member::default() };
    Founding { member, to: None, skip: Skip::Revisions(1_000) }
}

/// What a founded log begins with.
fn note(founded: &Founded) -> Command {
    let author = Author { user: "root".into(), verb: "recover".into(), ..Author::default() };
    Command { author, ..command(50, vec![put("note", &format!("restored {}", founded.restored))]) }
}

#[tokio::test]
async fn a_backup_tells_the_state_at_every_revision_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = with_past(dir.path()).await;
    let backup = log.backup(origin()).await.unwrap();
    let header = backup.header().clone();
    assert_eq!((header.first_revision, header.last_revision, &header.origin), (1, log.revision(), &origin()));
    assert_eq!(header.objects, BTreeMap::from([("configmaps".to_owned(), state(&log, None).unwrap().len() as u64)]));
    assert_eq!((header.first_time_ms, header.last_time_ms), (Some(time(0)), Some(time(39))));
    let file = bytes(&backup);
    let verified = Reader::open(file.as_slice()).unwrap().verify().unwrap();
    assert_eq!((verified.header, verified.bytes), (header.clone(), file.len() as u64));
    let archive = log.open_backup(file.as_slice()).unwrap();
    for at in 1..=header.last_revision {
        assert_eq!(archived(&archive, at), state(&log, Some(at)).unwrap(), "at {at}");
    }
    let at = |time_ms| archive.revision(Some(Moment::Time(time_ms)));
    assert_eq!(at(time(0)).unwrap(), 2);
    assert_eq!(at(time(39)).unwrap(), header.last_revision);
    for unknown in [time(0) - 1, time(39).max(header.origin.taken_ms) + 1] {
        assert!(matches!(at(unknown), Err(BackupError::TimeOutOfRange)), "{unknown}");
    }
    for beyond in [0, header.last_revision + 1] {
        let beyond = archive.keys_at(beyond);
        assert!(matches!(beyond, Err(BackupError::OutOfRange { .. })), "{beyond:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_while_writes_go_on_holds_all_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).await;
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = {
        let (log, stop, acknowledged) = (log.clone(), stop.clone(), acknowledged.clone());
        tokio::spawn(async move {
            for number in 0..100_000u64 {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                // Two objects that always say the same.
                let mutations = vec![put("left", &number.to_string()), put("right", &number.to_string())];
                let applied = log.propose(command(0, mutations)).await.unwrap();
                acknowledged.store(applied.events[1].revision(), Ordering::SeqCst);
            }
        })
    };
    for _ in 0..5 {
        let before = loop {
            match acknowledged.load(Ordering::SeqCst) {
                0 => tokio::task::yield_now().await,
                revision => break revision,
            }
        };
        let file = bytes(&log.backup(origin()).await.unwrap());
        let archive = log.open_backup(file.as_slice()).unwrap();
        let last = archive.header().last_revision;
        assert!(last >= before, "{last} < {before}");
        let state = archived(&archive, last);
        assert_eq!(state["left"].1, state["right"].1, "commands are whole");
    }
    stop.store(true, Ordering::SeqCst);
    writer.await.unwrap();
}

#[tokio::test]
async fn a_damaged_or_cut_backup_is_refused_wherever_it_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let file = bytes(&with_past(dir.path()).await.backup(origin()).await.unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let read = |file: &[u8]| -> Result<(), BackupError> {
        let verified = Reader::open(file).and_then(Reader::verify).map(drop);
        let unpacked = Archive::unpack(file, &scratch.path().join("unpacked")).map(drop);
        assert_eq!(verified.is_ok(), unpacked.is_ok(), "reading and unpacking agree");
        assert!(!scratch.path().join("unpacked").exists(), "nothing is left");
        verified
    };
    read(&file).unwrap();
    // Every part of the file, and each end of it.
    let step = (file.len() / 120).max(1);
    let places: Vec<usize> = (0..file.len()).step_by(step).chain(file.len() - 60..file.len()).chain(0..100).collect();
    for at in places {
        let mut damaged = file.clone();
        damaged[at] ^= 0x10;
        read(&damaged).expect_err(&format!("byte {at} of {} changed", file.len()));
        let cut = read(&file[..at]).expect_err(&format!("cut at {at}"));
        let told = matches!(cut, BackupError::Truncated(_) | BackupError::NotABackup);
        assert!(told, "cut at {at}: {cut:?}");
    }
    let longer = [file.as_slice(), b"x"].concat();
    assert!(matches!(read(&longer), Err(BackupError::Broken { .. })));
    assert!(matches!(read(b"PK\x03\x04"), Err(BackupError::NotABackup)));
    assert!(matches!(read(b"kontiki snapshot 2\nmore"), Err(BackupError::Version(version)) if version == "2"));
}

#[tokio::test]
async fn an_empty_directory_becomes_a_cluster_of_one_with_the_past_up_to_a_revision() {
    let dir = tempfile::tempdir().unwrap();
    let log = with_past(dir.path()).await;
    let (file, last) = (bytes(&log.backup(origin()).await.unwrap()), log.revision());
    for (to, restored) in [
        (None, last),
        (Some(Moment::Revision(last)), last),
        (Some(Moment::Revision(last / 2)), last / 2),
        (Some(Moment::Revision(1)), 1),
        (Some(Moment::Time(time(0))), 2),
    ] {
        let target = tempfile::tempdir().unwrap();
        let path = target.path().join("log");
        let founded = Founding { to, ..founding() }.from_backup(file.as_slice(), &path, note).unwrap();
        assert_eq!((founded.restored, founded.revision), (restored, last + 1_000));

        let new = Log::open(LogConfig::new(&path)).await.unwrap();
        assert_eq!(new.revision(), last + 1_001, "the note is the first event");
        let event = new.event(last + 1_001).unwrap();
        assert_eq!((event.kind, event.author.verb.as_str()), (EventKind::Created, "recover"));
        for at in 0..=restored {
            assert_eq!(state(&new, Some(at)).unwrap(), state(&log, Some(at)).unwrap(), "to {to:?}, at {at}");
        }
        // Who saw the lost cluster later than that looks again from now.
        for at in restored + 1..last + 1_000 {
            let expected = |error| matches!(error, Err(ReadError::Compacted { floor, .. }) if floor == last + 1_000);
            assert!(expected(new.watch(configmaps(), at).map(drop)), "watch from {at}");
            assert!(expected(state(&new, Some(at)).map(drop)), "state at {at}");
        }
        // Who saw it before, or sees the new one, goes on without a gap.
        for from in [restored, last + 1_000] {
            let mut watch = new.watch(configmaps(), from).unwrap();
            assert!(matches!(watch.next().await.unwrap(), WatchItem::Event(next) if next == event), "from {from}");
        }
        let applied = new.propose(command(0, vec![put("new", "1")])).await.unwrap();
        assert_eq!(applied.events[0].revision(), last + 1_002);
        new.shutdown().await;
        drop(new);
        let again = Log::open(LogConfig::new(&path)).await.unwrap();
        assert_eq!(again.revision(), last + 1_002);
        assert!(again.watch(configmaps(), last + 500).is_err(), "skipped revisions stay skipped");
        let full = founding().from_backup(file.as_slice(), &path, note);
        assert!(matches!(full, Err(BackupError::NotEmpty(_))), "{full:?}");
    }
    let target = tempfile::tempdir().unwrap();
    let refused = |to| {
        let beyond = Founding { to: Some(to), ..founding() };
        beyond.from_backup(file.as_slice(), &target.path().join("log"), note).unwrap_err()
    };
    assert!(matches!(refused(Moment::Revision(last + 1)), BackupError::OutOfRange { .. }));
    assert!(matches!(refused(Moment::Time(time(0) - 1)), BackupError::TimeOutOfRange));
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0, "nothing is left");
}

/// The wrong moment was chosen, and it is restored once more; then an older file.
#[tokio::test]
async fn what_was_given_out_after_a_restore_is_not_given_out_after_another() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir.path().join("first")).await;
    log.propose(command(0, vec![put("a", "1")])).await.unwrap();
    let older = bytes(&log.backup(origin()).await.unwrap());
    log.propose(command(1, vec![put("b", "1")])).await.unwrap();
    let newer = bytes(&log.backup(origin()).await.unwrap());
    let mut seen = log.revision();
    log.shutdown().await;
    drop(log);
    let at = |second: i64| Founding { skip: Skip::ByClock { now_ms: time(1_000 * second) }, ..founding() };
    for (second, file) in [(1, &newer), (2, &newer), (3, &older)] {
        let path = dir.path().join(second.to_string());
        let founded = at(second).from_backup(file.as_slice(), &path, note).unwrap();
        assert!(founded.revision > seen, "{founded:?} after {seen}");
        let log = open(&path).await;
        if second > 1 {
            let resumed = log.watch(configmaps(), seen).map(drop);
            assert!(matches!(resumed, Err(ReadError::Compacted { .. })), "{resumed:?}");
        }
        log.propose(command(60, vec![put("after", &second.to_string())])).await.unwrap();
        seen = log.revision();
        log.shutdown().await;
    }
    let stopped = wait_for_lock(&dir.path().join("1")).await;
    let founded = at(4).from_server(&stopped, &dir.path().join("4"), note).unwrap();
    assert!(founded.revision > seen, "{founded:?} after {seen}");
    let early = at(1).from_server(&stopped, &dir.path().join("5"), note);
    assert!(matches!(early, Err(BackupError::ClockBehind)), "{early:?}");
}

#[tokio::test]
async fn a_stopped_server_is_saved_with_all_it_has_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let log = with_past(dir.path()).await;
    let (last, expected) = (log.revision(), state(&log, None).unwrap());
    let running = Stopped::open(dir.path());
    assert!(running.is_err(), "a server runs on it");
    // Not shut down: the state is behind the log.
    drop(log);
    let stopped = wait_for_lock(dir.path()).await;
    let backup = stopped.backup(origin()).unwrap();
    assert_eq!(backup.header().last_revision, last);
    let scratch = tempfile::tempdir().unwrap();
    let archive = Archive::unpack(bytes(&backup).as_slice(), &scratch.path().join("a")).unwrap();
    assert_eq!(archived(&archive, last), expected);
    drop((backup, archive, stopped));
    let log = open(dir.path()).await;
    assert_eq!((log.revision(), state(&log, None).unwrap()), (last, expected));
}

/// A log that was dropped lets go of its files when its tasks have ended.
async fn wait_for_lock(dir: &Path) -> Stopped {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        match Stopped::open(dir) {
            Ok(stopped) => return stopped,
            Err(error) if tokio::time::Instant::now() > deadline => panic!("{error}"),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test]
async fn a_new_cluster_goes_on_from_what_one_server_has() {
    let dir: TempDir = tempfile::tempdir().unwrap();
    let log = with_past(&dir.path().join("log")).await;
    let (last, expected) = (log.revision(), state(&log, None).unwrap());
    log.shutdown().await;
    drop(log);
    let stopped = wait_for_lock(&dir.path().join("log")).await;
    let figures = stopped.figures().unwrap();
    assert_eq!((figures.revision, figures.committed), (last, figures.last));
    let founded = founding().from_server(&stopped, &dir.path().join("new"), note).unwrap();
    assert!(founded.term > figures.term && founded.index > figures.last, "{founded:?} {figures:?}");
    drop(stopped);
    let new = Log::open(LogConfig::new(dir.path().join("new"))).await.unwrap();
    assert_eq!(state(&new, Some(last)).unwrap(), expected);
    assert_eq!(state(&new, None).unwrap()["note"], (last + 1_001, format!("restored {last}")));
    assert!(new.status().term > founded.term, "a later term than any the old servers know");
    // The old server's data is as it was.
    let old = open(&dir.path().join("log")).await;
    assert_eq!((old.revision(), state(&old, None).unwrap()), (last, expected));
}

#[tokio::test]
async fn a_damaged_state_is_not_saved_as_if_it_were_whole() {
    let dir = tempfile::tempdir().unwrap();
    let log = with_past(dir.path()).await;
    log.snapshot().await.unwrap();
    let files = fs::read_dir(dir.path().join("state/state-000001")).unwrap().map(|entry| entry.unwrap().path());
    let table = files.filter(|path| path.extension().is_some_and(|ending| ending == "sst")).max().unwrap();
    let mut bytes = fs::read(&table).unwrap();
    let third = bytes.len() / 3;
    bytes[third] ^= 0x10;
    fs::write(&table, bytes).unwrap();
    let refused = log.backup(origin()).await.map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("is damaged"), "{refused}");
    log.shutdown().await;
}
