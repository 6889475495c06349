//! What a crash leaves: everything acknowledged, and a refusal to start where that cannot be promised.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use kontiki_chaos::crash;
use kontiki_model::{Head, Key, Scope};
use kontiki_raft::{Command, DiskError, ListOptions, Log, LogConfig, Mutation, OpenError, Page, WatchItem};
use tempfile::TempDir;

fn pods() -> Scope {
    Scope { resource: "pods".into(), namespace: None }
}

/// A write of 1970 would be too old to be kept.
const FAR_AHEAD: i64 = i64::MAX / 2;

async fn put(log: &Log, name: impl Into<String>, body: String) {
    let key = Key::new("pods", "ns", name);
    let mutations = vec![Mutation::Put { key, head: Head::default(), body: body.into_bytes() }];
    log.propose(Command { mutations, time_ms: FAR_AHEAD, ..Command::default() }).await.unwrap();
}

async fn storm(log: &Log, writes: std::ops::Range<usize>) {
    let puts = writes.map(|number| put(log, format!("p{}", number % 50), format!("{number}-{}", "x".repeat(200))));
    futures::future::join_all(puts).await;
}

fn everything(log: &Log) -> Page {
    log.list(&pods(), ListOptions::default()).unwrap()
}

async fn open(dir: &TempDir) -> Log {
    Log::open(LogConfig::new(dir.path())).await.unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash_with_its_history() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    storm(&log, 0..600).await;
    let image = crash::image(dir.path()).unwrap();
    let before = everything(&log);
    log.shutdown().await;

    let log = open(&image).await;
    assert_eq!(everything(&log), before);
    let mut watch = log.watch(pods(), 0).unwrap();
    for revision in 1..=600 {
        assert!(matches!(watch.next().await.unwrap(), WatchItem::Event(event) if event.revision() == revision));
    }
    put(&log, "new", String::new()).await;
    assert_eq!(log.revision(), 601);
    log.shutdown().await;
}

#[tokio::test]
async fn a_crash_after_snapshot_and_purge_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(LogConfig { log_keep_entries: 500, ..LogConfig::new(dir.path()) }).await.unwrap();
    storm(&log, 0..6_000).await;
    log.snapshot().await.unwrap();
    let purged = async {
        while log.status().purged_index == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), purged).await.expect("the log is purged behind the snapshot");
    storm(&log, 6_000..6_300).await;
    let image = crash::image(dir.path()).unwrap();
    let (before, status) = (everything(&log), log.status());
    log.shutdown().await;

    assert!(status.snapshot_index >= 6_000 && status.purged_index < status.snapshot_index, "{status:?}");
    let log = open(&image).await;
    assert_eq!(everything(&log), before);
    assert!(log.newest_snapshot().is_some());
    log.shutdown().await;
}

/// The log's file with the newest entries, what is in it, and where the zeros begin that lie ahead.
fn newest_segment(dir: &TempDir) -> (PathBuf, Vec<u8>, usize) {
    let files = fs::read_dir(dir.path().join("log")).unwrap().map(|entry| entry.unwrap().path());
    let newest = files.filter(|path| path.extension().is_some_and(|ending| ending == "wal")).max().unwrap();
    let bytes = fs::read(&newest).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (newest, bytes, end)
}

#[tokio::test]
async fn a_cut_of_what_was_acknowledged_is_no_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    for number in 0..10 {
        put(&log, "a", format!("{number}").repeat(1_000)).await;
    }
    let image = crash::image(dir.path()).unwrap();
    log.shutdown().await;
    let (path, bytes, end) = newest_segment(&image);
    // Into the last record that carries an entry, which was synced and acknowledged.
    fs::write(path, &bytes[..end - 700]).unwrap();

    let error = Log::open(LogConfig::new(image.path())).await.err().unwrap();
    assert!(matches!(error, OpenError::LogCut { .. }), "{error}");
}

#[tokio::test]
async fn damage_below_what_was_acknowledged_is_refused_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    for number in 0..100 {
        put(&log, "a", format!("{number}").repeat(1_000)).await;
    }
    let image = crash::image(dir.path()).unwrap();
    log.shutdown().await;
    let (path, mut bytes, end) = newest_segment(&image);
    bytes[end / 2] ^= 0xff;
    fs::write(&path, &bytes).unwrap();

    let error = Log::open(LogConfig::new(image.path())).await.err().unwrap();
    assert!(matches!(error, OpenError::Disk(DiskError::Damaged { .. })), "{error}");
    assert!(error.to_string().contains("damaged below what was acknowledged"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[tokio::test]
async fn a_log_that_ends_before_the_state_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    storm(&log, 0..20).await;
    log.shutdown().await;
    drop(log);
    fs::remove_dir_all(dir.path().join("log")).unwrap();
    let error = Log::open(LogConfig::new(dir.path())).await.err().unwrap();
    assert!(matches!(error, OpenError::LogCut { end: 0, .. }), "{error}");
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir).await;
    let error = Log::open(LogConfig::new(dir.path())).await.err().unwrap();
    assert!(matches!(error, OpenError::Disk(DiskError::Locked { .. })), "{error}");
    log.shutdown().await;
}
