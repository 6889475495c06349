//! A disk that is really full: a small file system of the test's own, in a mount namespace of its own.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kontiki_model::{Head, Key, Scope};
use kontiki_raft::{Command, DiskError, Log, LogConfig, Mutation, OpenError, ProposeError, WatchItem};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

const SIZE_MIB: usize = 192;
const WRITERS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test on a file system of `SIZE_MIB`, which goes with the thread. Needs root.
fn on_a_small_disk(test: impl AsyncFnOnce(&Path) + Send + 'static) {
    let run = move || {
        let dir = tempfile::tempdir().unwrap();
        let root = nix::unistd::geteuid().is_root();
        if !root || unshare(CloneFlags::CLONE_NEWNS).is_err() {
            return eprintln!("not run: it takes root to mount a small file system");
        }
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let size = format!("size={SIZE_MIB}m");
        mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).unwrap();
        // Its threads are made from this one, and see the same mounts.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test(dir.path()));
        drop(runtime);
        umount2(dir.path(), MntFlags::MNT_DETACH).unwrap();
    };
    std::thread::spawn(run).join().unwrap();
}

/// A write of 1970 would be too old to be kept.
const FAR_AHEAD: i64 = i64::MAX / 2;

fn put(name: &str, number: u64) -> Command {
    let key = Key::new("configmaps", "default", name);
    let body = format!("{number:0>1000}").into_bytes();
    Command {
        mutations: vec![Mutation::Put { key, head: Head::default(), body }],
        time_ms: FAR_AHEAD,
        ..Command::default()
    }
}

fn number(log: &Log, name: &str) -> u64 {
    let stored = log.get(&Key::new("configmaps", "default", name)).unwrap();
    stored.map_or(0, |stored| String::from_utf8_lossy(&stored.body).parse().unwrap())
}

/// What `dd` does.
fn fill(dir: &Path) {
    let (mut file, zeros) = (File::create(dir.join("filler")).unwrap(), vec![0; 1 << 20]);
    for size in [1 << 20, 1 << 12, 1] {
        let full = loop {
            if let Err(error) = file.write_all(&zeros[..size]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull);
    }
}

fn free(dir: &Path) {
    fs::remove_file(dir.join("filler")).unwrap();
}

/// Writes one number after another until it is stopped; `acknowledged` is the last one that was.
async fn storm(log: Log, writer: usize, acknowledged: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> u64 {
    let (name, mut refused) = (format!("{writer}"), 0);
    let mut next = acknowledged.load(Ordering::SeqCst) + 1;
    while !stop.load(Ordering::SeqCst) {
        match log.propose(put(&name, next)).await {
            Ok(_) => {
                acknowledged.store(next, Ordering::SeqCst);
                next += 1;
            }
            Err(ProposeError::DiskFull(shortage)) => {
                assert!(shortage.to_string().contains("Free some space"), "{shortage}");
                refused += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    refused
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

async fn reads_go_on(log: &Log) {
    let revision = tokio::time::timeout(PATIENCE, log.barrier()).await.unwrap().unwrap();
    assert!(number(log, "0") > 0);
    let scope = Scope { resource: "configmaps".into(), namespace: None };
    let mut watch = log.watch(scope, revision - 1).unwrap();
    assert!(matches!(watch.next().await.unwrap(), WatchItem::Event(event) if event.revision() == revision));
}

/// Takes what the ballast leaves, too.
async fn fill_to_the_brim(dir: &Path, log: &Log) {
    let ballast = || fs::metadata(dir.join("log/ballast")).unwrap().len();
    let whole = ballast();
    fill(dir);
    eventually("the ballast is given up", || ballast() < whole).await;
    assert!(log.status().shortage.is_some() && ballast() > 0);
    let (mut file, zeros) = (File::create(dir.join("rest")).unwrap(), vec![0; 4096]);
    while file.write_all(&zeros).is_ok() {}
}

/// Opens it once the handles of whoever was killed are gone.
async fn reopen(dir: &Path) -> Log {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Log::open(LogConfig::new(dir.join("log"))).await {
            Err(OpenError::Disk(DiskError::Locked { .. })) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            opened => return opened.unwrap(),
        }
    }
}

#[test]
fn a_server_that_is_killed_on_a_full_disk_comes_back_to_be_read_and_writes_when_there_is_room() {
    on_a_small_disk(async |dir| {
        let log = Log::open(LogConfig::new(dir.join("log"))).await.unwrap();
        for number in 1..=5_000 {
            log.propose(put("0", number)).await.unwrap();
        }
        fill_to_the_brim(dir, &log).await;
        log.abort().await;
        drop(log);

        let log = reopen(dir).await;
        reads_go_on(&log).await;
        assert_eq!(number(&log, "0"), 5_000);
        assert!(matches!(log.propose(put("0", 1)).await, Err(ProposeError::DiskFull(_))));
        free(dir);
        fs::remove_file(dir.join("rest")).unwrap();
        eventually("writes go on", || log.status().shortage.is_none()).await;
        log.propose(put("0", 5_001)).await.unwrap();
        log.shutdown().await;
    });
}

#[test]
fn a_disk_that_fills_up_in_a_storm_of_writes_loses_nothing_and_writes_go_on_when_it_is_freed() {
    on_a_small_disk(async |dir| {
        let log = Log::open(LogConfig::new(dir.join("log"))).await.unwrap();
        let acknowledged: Vec<_> = (0..WRITERS).map(|_| Arc::new(AtomicU64::new(0))).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let writers = acknowledged.iter().enumerate();
        let writers = writers.map(|(at, told)| tokio::spawn(storm(log.clone(), at, told.clone(), stop.clone())));
        let writers: Vec<_> = writers.collect();
        for round in 0..4 {
            let before: Vec<_> = acknowledged.iter().map(|told| told.load(Ordering::SeqCst)).collect();
            let written =
                || acknowledged.iter().zip(&before).all(|(now, before)| now.load(Ordering::SeqCst) > before + 50);
            eventually("everybody writes", written).await;
            fill(dir);
            eventually("writes are refused", || log.status().shortage.is_some()).await;
            reads_go_on(&log).await;
            assert_eq!(log.status().failure, None);
            free(dir);
            let resumed = eventually("writes go on", || log.status().shortage.is_none()).await;
            eprintln!("round {round}: writes go on {resumed:?} after the disk was freed");
        }
        stop.store(true, Ordering::SeqCst);
        for writer in writers {
            assert!(writer.await.unwrap() > 0, "each was refused at times");
        }
        for (writer, told) in acknowledged.iter().enumerate() {
            assert_eq!(number(&log, &format!("{writer}")), told.load(Ordering::SeqCst));
        }
        log.shutdown().await;
        drop(log);

        // A restart while the disk is full: what there is can be read.
        fill(dir);
        let log = Log::open(LogConfig::new(dir.join("log"))).await.unwrap();
        for (writer, told) in acknowledged.iter().enumerate() {
            assert_eq!(number(&log, &format!("{writer}")), told.load(Ordering::SeqCst));
        }
        assert!(matches!(log.propose(put("0", 1)).await, Err(ProposeError::DiskFull(_))));
        log.barrier().await.unwrap();
        free(dir);
        eventually("writes go on", || log.status().shortage.is_none()).await;
        log.propose(put("0", 1)).await.unwrap();
        log.shutdown().await;
    });
}
