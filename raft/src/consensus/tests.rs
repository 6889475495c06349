//! Raft on a disk that fails, and what travels between servers.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kontiki_model::{Head, Key};
use openraft::RaftSnapshotBuilder;
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use openraft::storage::RaftStateMachine;
use tempfile::TempDir;

use super::log_store::COMMITTED;
use super::machine::Machine;
use super::wire::WireVote;
use super::{
    LogStore, Member, Node, NodeError, NodeOptions, Payload, Proposal, Start, TypeConfig, decode_entry, encode_entry,
    log_id,
};
use crate::codec::{LogPayload, LogRecord};
use crate::disk::DiskError;
use crate::limits::CLOCK_SLACK;
use crate::snapshot::{SnapshotDir, SnapshotReceiver};
use crate::status::LostEntries;
use crate::store::{Checkpoint, HistoryLimits, Outcome, Store};
use crate::{Command, Mutation};

fn put(name: &str) -> Arc<Command> {
    let mutation = Mutation::Put { key: Key::new("pods", "ns", name), head: Head::default(), body: b"{}".to_vec() };
    Arc::new(Command { mutations: vec![mutation], ..Command::default() })
}

async fn start(dir: &TempDir, broken: Arc<AtomicBool>) -> (Node, Arc<Store>) {
    let log = LogStore::open_with(&dir.path().join("log"), move |db| match broken.load(Ordering::SeqCst) {
        true => Err(DiskError::Io { step: "sync the log", message: "Input/output error".into() }),
        false => db.sync(),
    });
    let store = Store::open(&dir.path().join("state"), HistoryLimits::default(), 16).unwrap();
    let me = crate::transport::Identity::new(1, 0);
    let storage = (log.unwrap(), store.clone());
    (Node::start(me, Member::default(), options(Start::Alone), None, storage).await.unwrap(), store)
}

fn options(start: Start) -> NodeOptions {
    NodeOptions { start, keep_entries: 100, clock_slack: CLOCK_SLACK }
}

#[tokio::test]
async fn a_failing_sync_acknowledges_nothing_and_the_server_steps_down() {
    let dir = tempfile::tempdir().unwrap();
    let broken = Arc::new(AtomicBool::new(false));
    let (node, store) = start(&dir, broken.clone()).await;
    assert!(matches!(node.write(put("a")).await, Ok((_, Outcome::Applied { first: 1, count: 1 }))));
    assert_eq!(node.status().failure, None);

    broken.store(true, Ordering::SeqCst);
    let refused = node.write(put("b")).await;
    assert!(matches!(&refused, Err(NodeError::Storage(_) | NodeError::Unavailable(_))), "{refused:?}");
    assert_eq!(store.revision(), 1, "nothing is applied that is not durable");
    assert!(node.status().failure.is_some_and(|failure| failure.contains("Input/output error")));

    broken.store(false, Ordering::SeqCst);
    assert!(node.write(put("c")).await.is_err(), "a disk that failed once is not trusted again");
    assert!(node.read_index(std::time::Duration::ZERO).await.is_err());
    node.shutdown().await;
}

/// The others are a majority, and their disks are faster.
#[tokio::test]
async fn what_is_committed_is_applied_only_where_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (finish, hold) = std::sync::mpsc::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    let store = Store::open(&dir.path().join("state"), HistoryLimits::default(), 16).unwrap();
    let (state, broken) = (store.clone(), Arc::new(AtomicBool::new(false)));
    let fails = broken.clone();
    let log = LogStore::open_with(&dir.path().join("log"), move |db| {
        if fails.load(Ordering::SeqCst) {
            // Held until Raft has asked for all that it will ask for before it knows how this ends.
            hold.recv().unwrap();
            tell.send(state.revision()).unwrap();
            return Err(DiskError::Io { step: "sync the log", message: "Input/output error".into() });
        }
        db.sync()
    });
    let me = crate::transport::Identity::new(2, 0);
    let storage = (log.unwrap(), store.clone());
    let node = Node::start(me, Member::default(), options(Start::Join), None, storage).await.unwrap();
    let vote = super::Vote::new_committed(1, 9);
    let append = move |from: u64, to: u64| AppendEntriesRequest {
        vote,
        prev_log_id: from.checked_sub(1).map(|before| log_id(1, before)),
        entries: (from..to).map(|index| super::from_record(record(1, index)).unwrap()).collect(),
        leader_commit: Some(log_id(1, to - 1)),
    };
    assert!(node.raft.append_entries(append(0, 10)).await.unwrap().is_success());
    node.applied(9, crate::limits::WRITE_TIMEOUT).await.unwrap();
    assert_eq!(store.revision(), 10);
    broken.store(true, Ordering::SeqCst);
    let raft = node.raft.clone();
    let appended = tokio::spawn(async move { raft.append_entries(append(10, 20)).await });
    while node.status().last_index < 19 {
        tokio::task::yield_now().await;
    }
    finish.send(()).unwrap();
    assert!(!appended.await.unwrap().is_ok_and(|answer| answer.is_success()));
    assert_eq!((told.recv().unwrap(), store.revision()), (10, 10));
    assert!(store.flush().is_ok());
    node.shutdown().await;
}

#[tokio::test]
async fn what_is_committed_is_noted_with_what_comes_next() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _store) = start(&dir, Arc::default()).await;
    let (first, _) = node.write(put("a")).await.unwrap();
    let (second, _) = node.write(put("b")).await.unwrap();
    let noted = || node.log.mark(COMMITTED).unwrap().map(|id| id.index);
    assert_eq!(noted(), Some(first));
    node.log.note_committed().await.unwrap();
    assert_eq!(noted(), Some(second));
    node.shutdown().await;
}

#[test]
fn entries_survive_disk_and_wire() {
    let membership = openraft::Membership::new(
        vec![[1, 2].into()],
        std::collections::BTreeMap::from(
            [1, 2].map(|id| (id, Member { name: format!("s{id}"), address: format!("10.0.0.{id}:7000") })),
        ),
    )
    .unwrap();
    for payload in [Payload::Blank, Payload::Normal(Proposal(put("a"))), Payload::Membership(membership)] {
        let entry = super::Entry { log_id: log_id(3, 70_000), payload };
        let back = decode_entry(&encode_entry(&entry).unwrap()).unwrap();
        assert_eq!(format!("{back:?}"), format!("{entry:?}"));
        let wire: super::Entry = serde_json::from_slice(&serde_json::to_vec(&entry).unwrap()).unwrap();
        assert_eq!(format!("{wire:?}"), format!("{entry:?}"));
    }
}

/// A server that started on an older copy of its folder.
#[tokio::test]
async fn who_has_lost_what_it_acknowledged_votes_only_for_who_has_it_until_it_has_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let append = |from: u64, to: u64| AppendEntriesRequest {
        vote: super::Vote::new_committed(1, 9),
        prev_log_id: from.checked_sub(1).map(|before| log_id(1, before)),
        entries: (from..to).map(|index| super::from_record(record(1, index)).unwrap()).collect(),
        leader_commit: Some(log_id(1, to - 1)),
    };
    let open = async || {
        let log = LogStore::open(&dir.path().join("log")).unwrap();
        let store = Store::open(&dir.path().join("state"), HistoryLimits::default(), 16).unwrap();
        let me = crate::transport::Identity::new(2, 0);
        Node::start(me, Member::default(), options(Start::Join), None, (log, store)).await.unwrap()
    };
    let node = open().await;
    assert!(node.raft.append_entries(append(0, 10)).await.unwrap().is_success());
    node.reminded(log_id(1, 5)).await.unwrap();
    assert_eq!(node.status().lost, None, "it has that one");
    node.reminded(log_id(1, 19)).await.unwrap();
    let lost = Some(LostEntries { acknowledged: 19, end: 9 });
    assert_eq!(node.status().lost, lost);
    node.shutdown().await;
    drop(node);

    let node = open().await;
    assert_eq!(node.status().lost, lost, "a restart makes it no better");
    let vote = super::wire::VoteMessage::from(&VoteRequest::new(super::Vote::new(2, 9), Some(log_id(1, 9))));
    for kind in [super::wire::PRE_VOTE, super::wire::VOTE, super::wire::TRANSFER] {
        let refused = super::service::control(node.clone(), kind, super::wire::encode(&vote).into()).await;
        assert!(refused.is_err_and(|why| why.contains("it had acknowledged all up to 19")), "{kind}");
    }
    // Of two servers that is the one that has to lead.
    let complete = super::wire::VoteMessage::from(&VoteRequest::new(super::Vote::new(2, 9), Some(log_id(1, 19))));
    let asked =
        super::service::control(node.clone(), super::wire::PRE_VOTE, super::wire::encode(&complete).into()).await;
    let answer: super::wire::VoteAnswer = super::wire::decode(&asked.unwrap()).unwrap();
    assert!(openraft::raft::VoteResponse::<TypeConfig>::from(answer).vote_granted);
    let regaining = tokio::spawn(node.clone().regain());
    assert!(node.raft.append_entries(append(10, 20)).await.unwrap().is_success());
    while node.status().lost.is_some() {
        tokio::task::yield_now().await;
    }
    assert!(super::service::control(node.clone(), super::wire::VOTE, super::wire::encode(&vote).into()).await.is_ok());
    regaining.abort();
    node.shutdown().await;
}

fn record(term: u64, index: u64) -> LogRecord {
    LogRecord { term, index, payload: LogPayload::Command(put(&format!("o{index}"))) }
}

/// Of another server that has applied these entries.
fn snapshot_of(dir: &TempDir, entries: impl Iterator<Item = LogRecord>) -> Arc<SnapshotDir> {
    let leader = Store::open(&dir.path().join("leader"), HistoryLimits::default(), 16).unwrap();
    leader.apply(&entries.collect::<Vec<_>>()).unwrap();
    let Checkpoint { mut draft, applied, .. } = leader.checkpoint().unwrap();
    Arc::new(draft.complete(&applied).unwrap())
}

/// It was begun before the leader's came.
#[tokio::test]
async fn a_snapshot_that_is_complete_late_takes_no_newer_ones_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state"), HistoryLimits::default(), 16).unwrap();
    store.apply(&(0..50).map(|index| record(1, index)).collect::<Vec<_>>()).unwrap();
    let mut machine = Machine::new(store.clone(), LogStore::open(&dir.path().join("log")).unwrap());
    let mut late = RaftStateMachine::<TypeConfig>::get_snapshot_builder(&mut machine).await;
    let received = snapshot_of(&dir, (0..200).map(|index| record(1, index)));
    let meta = super::machine::describe(received.manifest()).unwrap();
    RaftStateMachine::<TypeConfig>::install_snapshot(&mut machine, &meta, received).await.unwrap();
    let of = || (store.snapshot().unwrap().manifest().index, store.checkpoint_of_snapshot());
    RaftSnapshotBuilder::<TypeConfig>::build_snapshot(&mut late).await.unwrap();
    assert_eq!(of(), (Some(199), 0));
    assert_eq!(std::fs::read_dir(store.snapshots_dir()).unwrap().count(), 0, "nothing of it is left");
    let mut next = RaftStateMachine::<TypeConfig>::get_snapshot_builder(&mut machine).await;
    RaftSnapshotBuilder::<TypeConfig>::build_snapshot(&mut next).await.unwrap();
    assert_eq!(of(), (Some(199), 2));
}

/// A leader's snapshot arrives at a server that has entries of that leader and was not told that they are committed.
#[tokio::test]
async fn openraft_2116_a_snapshot_over_a_tail_that_is_not_known_to_be_committed() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = snapshot_of(&dir, (0..200).map(|index| record(1, index)));

    let log = LogStore::open(&dir.path().join("log")).unwrap();
    let store = Store::open(&dir.path().join("state"), HistoryLimits::default(), 16).unwrap();
    let me = crate::transport::Identity::new(2, 0);
    let node = Node::start(me, Member::default(), options(Start::Join), None, (log, store.clone())).await.unwrap();
    let vote = super::Vote::new_committed(1, 9);
    let entries = (0..50).map(|index| super::from_record(record(1, index)).unwrap()).collect();
    let append = AppendEntriesRequest { vote, prev_log_id: None, entries, leader_commit: Some(log_id(1, 30)) };
    assert!(node.raft.append_entries(append).await.unwrap().is_success());
    node.install(WireVote::from(&vote), snapshot).await.unwrap();
    assert_eq!((store.revision(), node.status().failure), (200, None));
    assert_eq!(node.status().applied_index, 199);
    node.shutdown().await;
}

/// A former leader receives a snapshot in place of what it could not commit, and is killed before Raft has dropped that.
#[tokio::test]
async fn a_server_killed_while_a_snapshot_replaces_its_tail_starts_again() {
    for installed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let open = async || {
            let log = LogStore::open(&dir.path().join("log")).unwrap();
            let store = Store::open(&dir.path().join("state"), HistoryLimits::default(), 16).unwrap();
            super::check_log_reaches(dir.path(), &log, &store).unwrap();
            let me = crate::transport::Identity::new(2, 0);
            let node = Node::start(me, Member::default(), options(Start::Join), None, (log, store.clone())).await;
            (node.unwrap(), store)
        };
        let append = |vote: super::Vote, (term, before): (u64, Option<u64>), entries: std::ops::Range<u64>| {
            AppendEntriesRequest {
                vote,
                prev_log_id: before.map(|index| log_id(term, index)),
                leader_commit: Some(log_id(term, before.unwrap_or(9))),
                entries: entries.map(|index| super::from_record(record(vote.leader_id.term, index)).unwrap()).collect(),
            }
        };
        let (node, _) = open().await;
        for request in [
            append(super::Vote::new_committed(1, 9), (1, None), 0..10),
            append(super::Vote::new_committed(3, 9), (1, Some(9)), 10..30),
        ] {
            assert!(node.raft.append_entries(request).await.unwrap().is_success());
        }
        node.shutdown().await;
        drop(node);

        let committed = (0..10).map(|index| record(1, index)).chain((10..16).map(|index| record(5, index)));
        let sent = snapshot_of(&dir, committed);
        let store = Store::open(&dir.path().join("state"), HistoryLimits::default(), 16).unwrap();
        let mut receiver = SnapshotReceiver::begin(&store.snapshots_dir(), sent.manifest().clone()).unwrap();
        sent.chunks().for_each(|chunk| receiver.accept(&chunk.unwrap()).unwrap());
        let received = receiver.finish().unwrap();
        if installed {
            store.install(&received).unwrap();
        }
        drop(store);

        for _ in 0..2 {
            let (node, store) = open().await;
            assert_eq!((node.status().last_index, node.status().applied_index, store.revision()), (15, 15, 16));
            node.shutdown().await;
        }
        let (node, store) = open().await;
        let more = append(super::Vote::new_committed(5, 9), (5, Some(15)), 16..20);
        assert!(node.raft.append_entries(more).await.unwrap().is_success());
        node.shutdown().await;
        drop((node, store));
        assert_eq!(open().await.0.status().last_index, 19);
    }
}
