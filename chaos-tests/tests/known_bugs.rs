//! Bugs that other systems had, each as the circumstances in which it showed: here every promise holds in them.

use kontiki_chaos::cluster::{Fault, Scenario};

const STEPS: u64 = 25;
const SEEDS: [u64; 2] = [101, 102];

fn survives(voters: u64, faults: &'static [Fault]) {
    for seed in SEEDS {
        if let Err(broken) = (Scenario { steps: STEPS, voters, faults, ..Scenario::of(seed) }).run() {
            panic!("{broken}");
        }
    }
}

use Fault::{
    AllOff, Clock, Disk, IsolateLeader, Members, Mute, Partition, PowerOff, Prune, Restart, Snapshot, Transfer,
    Weather, Whole,
};

/// Progress of five voters was kept out of order, and an entry counted as committed that only two of them had.
#[test]
fn openraft_1802_a_commit_without_a_quorum() {
    survives(5, &[Partition, Mute, Weather, Whole, PowerOff, Restart, Restart, IsolateLeader]);
}

/// A follower that installed a snapshot kept voters from an entry which the same snapshot had removed.
#[test]
fn openraft_1808_voters_that_no_longer_exist_after_a_snapshot() {
    survives(3, &[Members, Members, Snapshot, Snapshot, IsolateLeader, Whole, PowerOff, Restart]);
}

/// A new leader counted entries as durable that it had appended as a follower and not synced yet.
#[test]
fn openraft_2118_a_new_leader_counts_what_it_has_not_synced() {
    survives(3, &[Disk, Disk, IsolateLeader, Transfer, Whole, AllOff, Restart, Restart]);
}

/// Applied and recorded as applied in two steps: a crash under load between them left members at different revisions.
#[test]
fn etcd_13766_revisions_differ_after_a_crash_under_load() {
    survives(3, &[PowerOff, PowerOff, Restart, Restart]);
}

/// With one member, a write was acknowledged before it was durable.
#[test]
fn etcd_14370_a_single_member_loses_a_write_in_a_crash() {
    survives(1, &[AllOff, Restart, Restart, Disk]);
}

/// A crash while the database was rewritten left members at different revisions.
#[test]
fn etcd_14685_revisions_differ_after_a_crash_while_compacting_files() {
    survives(3, &[Snapshot, Snapshot, PowerOff, Restart, Restart]);
}

/// A bookmark overtook the events before it.
#[test]
fn etcd_15220_a_bookmark_ahead_of_its_stream() {
    survives(3, &[Weather, Disk, Transfer, Clock]);
}

/// After a partition, a watch was told events from before those it had seen.
#[test]
fn etcd_15271_a_watch_goes_back_in_time_after_a_partition() {
    survives(3, &[Partition, Mute, IsolateLeader, Whole, Whole]);
}

/// An event of a command with several changes was told twice.
#[test]
fn etcd_17247_an_event_of_several_is_told_twice() {
    survives(3, &[Transfer, Weather, IsolateLeader, Whole]);
}

/// Watchers that read slowly lost events.
#[test]
fn etcd_17529_a_slow_watcher_loses_events() {
    survives(3, &[Disk, Clock, Weather, PowerOff, Restart]);
}

/// After a crash during compaction the revision was lower than before.
#[test]
fn etcd_17780_the_revision_decreases_after_a_crash_while_compacting() {
    survives(3, &[Prune, Prune, PowerOff, AllOff, Restart, Restart, Restart]);
}

/// Compaction at the revision of a deletion took the deletion away from watchers.
#[test]
fn etcd_18089_compaction_on_a_deletion_drops_the_event() {
    survives(3, &[Prune, Prune, Snapshot, Transfer]);
}

/// A read of a compacted revision gave different answers on different members.
#[test]
fn etcd_18667_reads_of_a_compacted_revision_differ() {
    survives(3, &[Prune, Snapshot, PowerOff, Restart, Restart]);
}

/// A watch opened at the very revision of a compaction missed a deletion.
#[test]
fn etcd_19179_a_watch_opened_at_the_compacted_revision_misses_a_deletion() {
    survives(3, &[Prune, Prune, IsolateLeader, Whole, PowerOff, Restart]);
}

/// A watch from a revision that its member had not reached yet was told old events.
#[test]
fn etcd_20221_a_watch_from_the_future_is_told_the_past() {
    survives(3, &[Mute, Disk, Partition, Whole, Whole, PowerOff, Restart]);
}
