//! Simulated clusters: every promise holds whatever happens to them, and each planted bug is noticed.

use kontiki_chaos::cluster::{Fault, Mutant, Scenario};

/// Seeds that ever failed, with a word about what they found.
/// 4: a leader that had crashed with entries not synced went on in its term, and wrote others in their place.
/// 207870774 and 207870988: the simulation took a server for a member that a deposed leader had added, in an entry that was lost.
const REGRESSIONS: [u64; 3] = [4, 207_870_774, 207_870_988];

fn survive(seeds: impl IntoIterator<Item = u64>) {
    for seed in seeds {
        if let Err(broken) = Scenario::of(seed).run() {
            panic!("{broken}");
        }
    }
}

// Several tests, so that they run beside one another.
#[test]
fn every_promise_holds_for_seeds_1_to_6() {
    survive(1..=6);
}

#[test]
fn every_promise_holds_for_seeds_7_to_12() {
    survive(7..=12);
}

#[test]
fn every_promise_holds_for_seeds_that_once_failed() {
    survive(REGRESSIONS);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 8] {
        let (first, second) = (Scenario::of(seed).run(), Scenario::of(seed).run());
        match (first, second) {
            (Ok(first), Ok(second)) => assert_eq!(first, second),
            (Err(broken), _) | (_, Err(broken)) => panic!("{broken}"),
        }
    }
}

/// A follower applied what a majority had made durable without it, and its state got to the disk before its log.
#[test]
fn a_server_with_a_slow_disk_starts_again_after_a_crash() {
    const FAULTS: &[Fault] = &[Fault::Disk, Fault::Snapshot, Fault::Snapshot, Fault::PowerOff, Fault::Restart];
    for seed in 1..=6 {
        if let Err(broken) = (Scenario { faults: FAULTS, ..Scenario::of(seed) }).run() {
            panic!("{broken}");
        }
    }
}

/// How many seeds a planted bug may stay hidden for.
const SEEDS: u64 = 40;

/// Looks for the first seed that notices a bug. It must be noticed by one of these promises: by what it breaks, not by accident.
fn noticed(mutant: Mutant, promises: &[&str]) {
    noticed_among(mutant, Scenario::of(1).faults, 1, promises);
}

/// The same from a seed on, where the bug needs circumstances that are rare: among all faults, or among seeds.
fn noticed_among(mutant: Mutant, faults: &'static [Fault], first: u64, promises: &[&str]) {
    let scenario = |seed| Scenario { mutant: Some(mutant), faults, ..Scenario::of(seed) };
    let found = (first..first + SEEDS).find_map(|seed| scenario(seed).run().err());
    let Some(broken) = found else { panic!("{mutant:?} stays hidden for {SEEDS} seeds") };
    assert!(promises.contains(&broken.violation.promise), "{mutant:?} is noticed by another promise: {broken}");
}

const IDENTICAL: &str = "all servers apply the same";
const CONSECUTIVE: &str = "revisions are consecutive";
const ACKNOWLEDGED: &str = "what was acknowledged stays";
const LINEARIZABLE: &str = "reads and writes are linearizable";
const NO_GAP: &str = "a watch leaves no gap";
const ONE_LEADER: &str = "a term has one leader";
/// Raft itself notices some, before anybody is told something wrong.
const NO_PANIC: &str = "no server panics";
const CATCHES_UP: &str = "every member catches up";
const TAKES_WRITES: &str = "a cluster that is whole takes writes";
const STARTS_AGAIN: &str = "a server starts again";
const OUTCOME: &str = "a command has a command's outcome";

#[test]
fn a_write_acknowledged_before_its_sync_is_noticed() {
    noticed(
        Mutant::AcknowledgedBeforeSync,
        &[ACKNOWLEDGED, IDENTICAL, CONSECUTIVE, NO_PANIC, TAKES_WRITES, STARTS_AGAIN],
    );
}

#[test]
fn a_leader_that_goes_on_after_a_crash_is_noticed() {
    noticed(Mutant::LeaderGoesOnAfterCrash, &[CONSECUTIVE, IDENTICAL, ACKNOWLEDGED]);
}

#[test]
fn a_vote_that_is_forgotten_is_noticed() {
    noticed(Mutant::VoteForgotten, &[ONE_LEADER, NO_PANIC, IDENTICAL, CATCHES_UP, TAKES_WRITES]);
}

#[test]
fn an_entry_that_is_skipped_is_noticed() {
    noticed(Mutant::EntrySkipped, &[IDENTICAL, OUTCOME]);
}

#[test]
fn an_entry_that_is_applied_twice_after_a_restart_is_noticed() {
    noticed(Mutant::AppliedTwiceAfterRestart, &[IDENTICAL, CONSECUTIVE]);
}

#[test]
fn a_revision_that_is_used_again_after_a_restart_is_noticed() {
    noticed(Mutant::RevisionReusedAfterRestart, &[CONSECUTIVE, ACKNOWLEDGED]);
}

#[test]
fn a_follower_that_reads_without_asking_the_leader_is_noticed() {
    noticed(Mutant::FollowerReadsWithoutIndex, &[LINEARIZABLE]);
}

#[test]
fn a_deposed_leader_that_answers_is_noticed() {
    let faults = &[Fault::IsolateLeader, Fault::IsolateLeader, Fault::Whole];
    noticed_among(Mutant::DeposedLeaderAnswers, faults, 1, &[LINEARIZABLE]);
}

#[test]
fn a_precondition_checked_on_stale_state_is_noticed() {
    noticed(Mutant::PreconditionOnStaleState, &[LINEARIZABLE]);
}

#[test]
fn planted_bugs_of_watches_are_noticed() {
    noticed(Mutant::WatchResumesLate, &[NO_GAP]);
    noticed(Mutant::WatchResumesEarly, &["a watch tells each event once"]);
    noticed(Mutant::EventDroppedBehindRing, &[NO_GAP]);
    noticed(Mutant::EventComesAgain, &["a watch is ordered"]);
    noticed(
        Mutant::BookmarkAhead,
        &["a bookmark passes no event", "a bookmark is between the last event and the present"],
    );
    noticed(Mutant::CommandSplit, &["events of one command come together"]);
}

#[test]
fn a_snapshot_that_loses_its_last_event_is_noticed() {
    let faults =
        &[Fault::Snapshot, Fault::Snapshot, Fault::PowerOff, Fault::Restart, Fault::IsolateLeader, Fault::Whole];
    noticed_among(Mutant::SnapshotLosesLastEvent, faults, 26, &[NO_GAP, "events of one command come together"]);
}

#[test]
fn a_past_that_is_the_present_is_noticed() {
    noticed(Mutant::PastIsPresent, &["the past is told as it was"]);
}

/// Nobody plants a bug and forgets to prove that it is noticed.
#[test]
fn the_list_of_planted_bugs_is_complete() {
    let source = include_str!("cluster.rs");
    let missing = Mutant::ALL.into_iter().filter(|mutant| !source.contains(&format!("Mutant::{},", mutant.name())));
    assert_eq!(missing.collect::<Vec<_>>(), []);
}
