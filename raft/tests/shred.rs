//! What sensitive history has let go of is in no file any more.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kontiki_model::{Head, Key, Retention};
use kontiki_raft::{Command, HistoryLimits, Log, LogConfig, Mutation, ReadError, Retain};

const HOUR_MS: i64 = 3_600_000;

fn key(resource: &str, name: &str) -> Key {
    Key::new(resource, "default", name)
}

fn put(resource: &str, name: &str, body: &str) -> Mutation {
    let retention = if resource == "secrets" { Retention::Sensitive } else { Retention::Normal };
    let head = Head { uid: name.into(), retention, ..Head::default() };
    Mutation::Put { key: key(resource, name), head, body: body.into() }
}

async fn write(log: &Log, time_ms: i64, mutation: Mutation) {
    log.propose(Command { mutations: vec![mutation], time_ms, ..Command::default() }).await.unwrap();
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The files that hold a text, as `grep -r` finds them.
fn grep(dir: &Path, text: &str) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    files(dir).into_iter().filter(holds).collect()
}

async fn gone(dir: &Path, text: &str) {
    let gone = async {
        while !grep(dir, text).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), gone).await;
    assert!(waited.is_ok(), "{text} is still in {:?}", grep(dir, text));
}

/// Tables are compressed; what repeats nothing stays as it is, and can be found.
fn plaintext(name: &str) -> String {
    let mut state = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let letters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + ((state >> 33) % 94) as u8)
    });
    letters.take(64).collect()
}

fn config(dir: &Path) -> LogConfig {
    let hour = Retain { bytes: u64::MAX, age: Duration::from_secs(3600) };
    let history = HistoryLimits { normal: Retain { age: hour.age * 1_000, ..hour }, short: hour, sensitive: hour };
    LogConfig { history, clock_slack: Duration::MAX, ..LogConfig::new(dir) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_secret_and_the_former_values_of_a_living_one_leave_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(config(dir.path())).await.unwrap();
    // The log's own housekeeping knows the real time; these are of its distant future, and only the test lets them end.
    let start = 100 * 365 * 24 * HOUR_MS;
    write(&log, start, put("secrets", "deleted", &plaintext("deleted-first"))).await;
    write(&log, start, put("secrets", "living", &plaintext("living-first"))).await;
    write(&log, start, put("configmaps", "open", &plaintext("open-first"))).await;
    log.snapshot().await.unwrap();
    write(&log, start, put("secrets", "deleted", &plaintext("deleted-second"))).await;
    write(&log, start, put("secrets", "living", &plaintext("living-second"))).await;
    write(&log, start, put("configmaps", "open", &plaintext("open-second"))).await;
    write(&log, start, Mutation::Delete { key: key("secrets", "deleted"), last: None }).await;
    let secrets = ["deleted-first", "deleted-second", "living-first"];
    log.snapshot().await.unwrap();
    for name in secrets {
        for place in ["log", "state/state-000001", "state/snapshots"] {
            let found = grep(&dir.path().join(place), &plaintext(name));
            assert!(!found.is_empty(), "{name} is in the {place} for as long as history has it");
        }
    }
    assert!(log.get_at(&key("secrets", "deleted"), 6).unwrap().is_some(), "it can be undeleted");

    write(&log, start + 2 * HOUR_MS, put("configmaps", "other", "x")).await;
    log.compact_history(start + 2 * HOUR_MS).await.unwrap();
    log.shred().await.unwrap();
    for name in secrets {
        gone(dir.path(), &plaintext(name)).await;
    }
    assert!(matches!(log.get_at(&key("secrets", "deleted"), 6), Err(ReadError::Compacted { .. })));
    assert_eq!(log.get(&key("secrets", "living")).unwrap().unwrap().body, plaintext("living-second").into_bytes());
    let past = log.get_at(&key("configmaps", "open"), 3).unwrap().unwrap();
    assert_eq!(past.body, plaintext("open-first").into_bytes(), "other history stays");
    assert!(log.status().purged_index >= 7, "{:?}", log.status());

    write(&log, start + 3 * HOUR_MS, put("secrets", "living", &plaintext("living-third"))).await;
    log.shutdown().await;
    drop(log);
    let log = Log::open(config(dir.path())).await.unwrap();
    for name in secrets {
        gone(dir.path(), &plaintext(name)).await;
    }
    assert_eq!(log.get(&key("secrets", "living")).unwrap().unwrap().body, plaintext("living-third").into_bytes());
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shredding_happens_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(config(dir.path())).await.unwrap();
    write(&log, 0, put("secrets", "deleted", &plaintext("long-ago"))).await;
    write(&log, 0, Mutation::Delete { key: key("secrets", "deleted"), last: None }).await;
    // History ages as the log goes on.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    write(&log, i64::try_from(now).unwrap(), put("configmaps", "later", "x")).await;
    gone(dir.path(), &plaintext("long-ago")).await;
    log.shutdown().await;
}
