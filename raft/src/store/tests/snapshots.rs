//! Snapshots from one store to another.

use std::sync::Arc;

use super::{Bench, by_age, next, scope};
use crate::snapshot::{Chunk, SnapshotDir, SnapshotError, SnapshotReceiver};
use crate::store::Store;

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
    assert_eq!(next(&mut watch).await, 2);
    for number in 0..500 {
        source.put(0, "pods", "a", &format!("{number}").repeat(1_000));
    }
    source.delete(0, "pods", "b");
    let snapshot = source.snapshot();
    source.put(0, "pods", "a", "later");

    let received = send(&snapshot, &target.store).unwrap();
    target.store.install(&received).unwrap();
    target.store.set_snapshot(Arc::new(received), None);
    assert_eq!((target.store.revision(), target.store.applied_record().index), (503, Some(503)));
    for revision in 3..=503 {
        assert_eq!(next(&mut watch).await, revision);
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
    bench.store.set_snapshot(Arc::new(bench.snapshot()), None);
    let reader = bench.store.snapshot().unwrap();
    bench.put(0, "pods", "a", "2");
    bench.store.set_snapshot(Arc::new(bench.snapshot()), None);
    assert!(reader.path().exists());
    let path = reader.path().to_owned();
    drop(reader);
    assert!(!path.exists());
    assert!(bench.store.snapshot().unwrap().path().exists());
}

#[test]
fn a_state_that_was_replaced_and_cannot_be_removed_fails_no_install_and_is_not_forgotten() {
    let mut source = Bench::new(by_age(100, 100));
    source.put(0, "pods", "a", "1");
    let target = Bench::new(by_age(100, 100));
    let left = target.dir.path().join("state-000000");
    std::fs::write(&left, "not a directory").unwrap();
    target.store.install(&source.snapshot()).unwrap();
    assert_eq!((target.store.revision(), left.exists()), (1, true));
    let shreds = target.store.shreds().unwrap();
    target.store.shredded(&shreds).unwrap_err();
    assert!(target.store.shreds().is_some());
    std::fs::remove_file(&left).unwrap();
    std::fs::create_dir(&left).unwrap();
    target.store.shredded(&shreds).unwrap();
    assert_eq!((target.store.shreds(), left.exists()), (None, false));
}
