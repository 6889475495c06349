//! A log whose files were damaged while nobody looked: it is refused, or nothing is missing.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use kontiki_model::{Head, Key, Scope};
use kontiki_raft::backup::{BackupError, Origin, Stopped};
use kontiki_raft::{Command, ListOptions, Log, LogConfig, Mutation, OpenError, set_aside};

/// Places in each file where a byte is changed.
const PLACES: usize = 6;

fn key(number: usize) -> Key {
    Key::new("configmaps", "default", format!("{number:03}"))
}

async fn put(log: &Log, number: usize) {
    let body = format!("{number:->30}").into_bytes();
    let mutation = Mutation::Put { key: key(number), head: Head::default(), body };
    log.propose(Command { mutations: vec![mutation], ..Command::default() }).await.unwrap();
}

/// What there is, if all of it can be read.
async fn contents(dir: &Path) -> Result<Vec<usize>, String> {
    let log = Log::open(LogConfig::new(dir)).await.map_err(|error| error.to_string())?;
    let read = read(&log);
    log.shutdown().await;
    read
}

fn read(log: &Log) -> Result<Vec<usize>, String> {
    let scope = Scope { resource: "configmaps".into(), namespace: None };
    let page = log.list(&scope, ListOptions::default()).map_err(|error| error.to_string())?;
    let mut numbers = Vec::new();
    for stored in page.items {
        let number = stored.key.name.parse().unwrap();
        assert_eq!(stored.body, format!("{number:->30}").into_bytes());
        log.history(&stored.key, None, 10).map_err(|error| error.to_string())?;
        numbers.push(number);
    }
    Ok(numbers)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.as_ref().unwrap().file_name());
        match path.is_dir() {
            true => copy(&path, &to.join(name)),
            // The ballast is large, and holds nothing.
            false if name == "ballast" => {}
            false => drop(fs::copy(&path, to.join(name)).unwrap()),
        }
    }
}

/// What processes that were killed may leave, and a snapshot that was damaged since.
fn leave_behind(dir: &Path) -> [PathBuf; 4] {
    let names = ["state-000009", "snapshots/building-1-1", "snapshots/receiving", "snapshots/snapshot-9-9-0"];
    let left = names.map(|name| dir.join("state").join(name));
    for path in &left {
        fs::create_dir(path).unwrap();
        fs::write(path.join("MANIFEST.kontiki"), "damaged").unwrap();
    }
    left
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.sort();
    found
}

/// Damages one byte of one file after another, each in a copy of its own.
async fn damage_each(dir: &Path, expected: &[usize]) {
    let scratch = tempfile::tempdir().unwrap();
    let (mut refused, mut harmless) = (0, 0);
    for file in files(dir) {
        let (name, bytes) = (file.strip_prefix(dir).unwrap(), fs::read(&file).unwrap());
        let places = PLACES.min(bytes.len());
        for at in (0..places).map(|place| place * (bytes.len() - 1) / (places - 1).max(1)) {
            // Each has a folder of its own: a log that was let go of may still be tidying up in its.
            let copied = tempfile::tempdir_in(scratch.path()).unwrap();
            copy(dir, copied.path());
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x41;
            fs::write(copied.path().join(name), damaged).unwrap();
            match contents(copied.path()).await {
                Err(message) => {
                    assert!(!message.is_empty());
                    refused += 1;
                }
                Ok(found) => {
                    assert_eq!(found, expected, "byte {at} of {}", name.display());
                    harmless += 1;
                }
            }
        }
    }
    eprintln!("{refused} refused, {harmless} harmless");
    assert!(refused > harmless / 4, "{refused} refused, {harmless} harmless");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_changed_byte_in_any_file_is_a_silent_loss() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(LogConfig { snapshot_entries: 1 << 40, ..LogConfig::new(dir.path()) }).await.unwrap();
    for number in 0..20 {
        put(&log, number).await;
    }
    // A snapshot, tables, and entries behind it that are only in the write-ahead log.
    log.snapshot().await.unwrap();
    for number in 20..30 {
        put(&log, number).await;
    }
    let stopped = tempfile::tempdir().unwrap();
    copy(dir.path(), stopped.path());
    log.shutdown().await;
    let expected: Vec<_> = (0..30).collect();
    // As a crash leaves it, and after an orderly end.
    damage_each(stopped.path(), &expected).await;
    drop(log);
    damage_each(dir.path(), &expected).await;
}

/// The log's newest segment.
fn newest_segment(dir: &Path) -> PathBuf {
    let segments = files(&dir.join("log")).into_iter().filter(|path| path.extension().is_some_and(|one| one == "wal"));
    segments.max().unwrap()
}

/// Where the zeros begin that lie ahead.
fn end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_last_record_is_dropped_wherever_it_is_torn_unless_it_was_synced() {
    let (dir, before, after) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = Log::open(LogConfig::new(dir.path())).await.unwrap();
    for number in 0..3 {
        put(&log, number).await;
    }
    copy(dir.path(), before.path());
    put(&log, 3).await;
    copy(dir.path(), after.path());
    log.shutdown().await;

    let name = newest_segment(before.path()).strip_prefix(before.path()).unwrap().to_owned();
    let (short, long) = (fs::read(before.path().join(&name)).unwrap(), fs::read(after.path().join(&name)).unwrap());
    let (short, written) = (&short[..end(&short)], end(&long));
    assert!(long.starts_with(short) && written > short.len() + 50);
    let scratch = tempfile::tempdir().unwrap();
    for cut in short.len()..=written {
        let copied = tempfile::tempdir_in(scratch.path()).unwrap();
        copy(before.path(), copied.path());
        // The file ends there, or what was laid out ahead follows.
        let mut torn = long[..cut].to_vec();
        torn.resize(if cut % 2 == 0 { cut } else { long.len() }, 0);
        fs::write(copied.path().join(&name), torn).unwrap();
        let found = contents(copied.path()).await.unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        assert!(found == [0, 1, 2] || found == [0, 1, 2, 3], "cut at {cut}: {found:?}");
    }

    // The same cut, in an entry that was acknowledged.
    fs::write(after.path().join(&name), &long[..short.len() + 40]).unwrap();
    for _ in 0..2 {
        match Log::open(LogConfig::new(after.path())).await.map(|_| ()) {
            Err(error @ OpenError::LogCut { .. }) => assert!(error.to_string().contains("--rebuild"), "{error}"),
            other => panic!("{other:?}"),
        }
    }
    // Nor is it saved, or recovered from, without a word.
    let refused = Stopped::open(after.path()).map(|_| ());
    assert!(matches!(refused, Err(BackupError::Open(OpenError::LogCut { .. }))), "{refused:?}");
    let left = Stopped::open_damaged(after.path()).unwrap();
    let figures = left.figures().unwrap();
    assert_eq!(figures.synced, figures.last + 1, "{figures:?}");
    assert_eq!(left.backup(Origin::default()).unwrap().header().objects["configmaps"], 3);
    drop(left);
    fs::write(after.path().join(&name), &long).unwrap();
    assert_eq!(contents(after.path()).await.unwrap(), [0, 1, 2, 3], "a refusal changes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_before_a_damage_in_the_log_can_be_taken_and_what_is_gone_is_told() {
    let (dir, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = Log::open(LogConfig { snapshot_entries: 1 << 40, ..LogConfig::new(dir.path()) }).await.unwrap();
    for number in 0..300 {
        put(&log, number).await;
    }
    copy(dir.path(), left.path());
    log.shutdown().await;
    drop(log);

    let whole = Stopped::open(left.path()).unwrap().figures().unwrap();
    let file = newest_segment(left.path());
    let bytes = fs::read(&file).unwrap();
    let mut damaged = bytes.clone();
    damaged[end(&bytes) / 2] ^= 0x41;
    fs::write(&file, &damaged).unwrap();
    let refused = Stopped::open(left.path()).map(|_| ()).unwrap_err();
    assert!(refused.is_loss() && refused.to_string().contains("--rebuild"), "{refused}");
    let stopped = Stopped::open_damaged(left.path()).unwrap();
    let figures = stopped.figures().unwrap();
    assert_eq!((figures.synced, figures.members.len(), figures.node), (whole.last, 1, whole.node), "{figures:?}");
    assert!((whole.last / 3..whole.last * 2 / 3).contains(&figures.last), "{figures:?}");
    let objects = stopped.backup(Origin::default()).unwrap().header().objects["configmaps"];
    assert!((100..200).contains(&objects), "{objects}");
    drop(stopped);
    assert_eq!(fs::read(&file).unwrap(), damaged, "what is damaged stays as it is");

    // A damaged state is no loss that could be accepted: there is nothing to go on from.
    let state = files(&left.path().join("state")).into_iter().find(|path| path.ends_with("CURRENT")).unwrap();
    fs::write(state.with_file_name("CURRENT"), "damaged").unwrap();
    let refused = Stopped::open_damaged(left.path()).map(|_| ()).unwrap_err();
    assert!(!refused.is_loss(), "{refused}");
}

#[tokio::test]
async fn a_state_or_its_name_that_is_gone_is_not_taken_for_a_new_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { snapshot_entries: 50, log_keep_entries: 50, ..LogConfig::new(dir.path()) };
    let log = Log::open(config).await.unwrap();
    let writes = (0..6_000).map(|number| put(&log, number % 100));
    futures::future::join_all(writes).await;
    log.snapshot().await.unwrap();
    let purged = async {
        while log.status().purged_index == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), purged)
        .await
        .expect("the log is purged behind the snapshot");
    log.shutdown().await;
    drop(log);
    let expect_refusal = async |copied: &Path, what: &str| {
        let refused = contents(copied).await.expect_err(what);
        assert!(refused.contains("kontiki snapshot restore"), "{refused}");
    };
    for (gone, what) in [("state", "the state"), ("state/state-000001", "the state's database")] {
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        fs::remove_dir_all(copied.path().join(gone)).unwrap();
        expect_refusal(copied.path(), what).await;
    }
    let copied = tempfile::tempdir().unwrap();
    copy(dir.path(), copied.path());
    fs::rename(copied.path().join("state/state-000001"), copied.path().join("state/state-000002")).unwrap();
    expect_refusal(copied.path(), "another name").await;
    fs::remove_file(copied.path().join("state/CURRENT")).unwrap();
    expect_refusal(copied.path(), "no name").await;
    let logs = tempfile::tempdir().unwrap();
    copy(dir.path(), logs.path());
    fs::remove_dir_all(logs.path().join("log")).unwrap();
    let left = leave_behind(logs.path());
    expect_refusal(logs.path(), "the log").await;
    assert!(left.iter().all(|path| path.exists()), "a refusal changes nothing");
    let snapshots = files(&dir.path().join("state/snapshots")).len();
    let left = leave_behind(dir.path());
    contents(dir.path()).await.unwrap();
    assert!(!left.iter().any(|path| path.exists()));
    assert_eq!(files(&dir.path().join("state/snapshots")).len(), snapshots);

    let damaged = logs.path().join("state");
    let aside = set_aside(&damaged).unwrap().unwrap();
    assert!(!damaged.exists() && aside.join("CURRENT").exists());
    assert_eq!(set_aside(&damaged).unwrap(), None);
}
