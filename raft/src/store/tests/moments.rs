//! Which revision was the newest at some time.

use kontiki_model::Revision;

use super::{Bench, HOUR_MS, by_age};
use crate::ReadError;
use crate::limits::CLOCK_SLACK;
use crate::store::{Store, rewind};

/// Times, and the revision that each of them shows of [`six_moments`].
const MOMENTS: [(i64, Revision); 9] = [(9, 0), (10, 1), (19, 1), (20, 3), (29, 3), (30, 5), (49, 5), (50, 6), (60, 6)];

/// A clock that goes back does not take time back: revision 3 is told as of 20.
fn six_moments() -> Bench {
    let mut bench = Bench::new(by_age(100, 1));
    for (time_ms, resource) in [(10, "pods"), (20, "leases"), (5, "pods"), (30, "leases"), (30, "pods"), (50, "pods")] {
        bench.put(time_ms, resource, "a", "1");
    }
    bench
}

fn check(bench: &Bench, moments: &[(i64, Revision)]) {
    for (time_ms, expected) in moments {
        assert_eq!(bench.store.revision_at(*time_ms, 60).unwrap(), *expected, "at {time_ms}");
    }
}

#[test]
fn a_moment_is_found_in_the_past_though_clocks_go_back_or_ahead() {
    assert_eq!(Bench::new(by_age(100, 1)).store.revision_at(7, 7).unwrap(), 0, "nothing happened yet");
    let mut bench = six_moments();
    check(&bench, &MOMENTS);
    let later = bench.store.revision_at(61, 60);
    assert!(matches!(later, Err(ReadError::Future { requested: 7, revision: 6 })), "{later:?}");
    let times: Vec<_> = (1..=6).map(|revision| bench.store.event(revision).unwrap().time_ms).collect();
    assert_eq!(times, [10, 20, 20, 30, 30, 50]);
    let times: Vec<_> = (0..=6).map(|revision| bench.store.time_of(revision).unwrap()).collect();
    assert_eq!(times, [0, 10, 20, 20, 30, 30, 50]);

    // What stands behind an event from the future may have been at any time since the one before it.
    bench.put(9 * HOUR_MS, "pods", "a", "2");
    bench.put(60, "pods", "a", "3");
    check(&bench, &MOMENTS[..7]);
    for now in [50, 60] {
        let ahead = bench.store.revision_at(now, 60);
        assert!(matches!(ahead, Err(ReadError::ClockAhead { since: 7 })), "{ahead:?}");
    }
    assert_eq!(bench.store.revision_at(60, 9 * HOUR_MS).unwrap(), 6);
    assert_eq!(bench.store.revision_at(9 * HOUR_MS, 9 * HOUR_MS).unwrap(), 8);
}

#[test]
fn a_moment_is_found_though_history_was_dropped() {
    let bench = six_moments();
    // The lease's first version and the event of it are gone; revision 3 is still known.
    bench.prune(HOUR_MS + 40);
    check(&bench, &MOMENTS);
    assert_eq!(bench.store.time_of(2).unwrap(), 10, "its own event is gone");
    bench.prune(100 * HOUR_MS + 21);
    assert_eq!(bench.store.floor(), 3);
    let times: Vec<_> = (3..=6).map(|revision| bench.store.time_of(revision).unwrap()).collect();
    assert_eq!(times, [20, 30, 30, 50]);
    let too_early = bench.store.revision_at(19, 60);
    assert!(matches!(too_early, Err(ReadError::Compacted { requested: 2, floor: 3 })), "{too_early:?}");
    check(&bench, &MOMENTS[3..]);
    let bench = bench.reopen(by_age(100, 1));
    assert!(matches!(bench.store.revision_at(19, 60), Err(ReadError::Compacted { .. })));
    check(&bench, &MOMENTS[3..]);
}

#[test]
fn a_clock_that_jumps_ahead_drops_no_history() {
    let bench = six_moments();
    let slack = CLOCK_SLACK.as_millis() as i64;
    let ages = [40, 50, 50 + slack, 51 + slack, 1_000 * HOUR_MS].map(|clock_ms| bench.store.now_of_age(clock_ms));
    assert_eq!(ages, [40, 50, 50 + slack, 50 + slack, 50 + slack]);
    bench.prune(bench.store.now_of_age(1_000 * HOUR_MS));
    assert_eq!((bench.store.floor(), bench.store.floor_of("leases")), (0, 0));
}

#[test]
fn a_past_set_back_to_before_a_clock_ran_ahead_has_its_time_again() {
    for (to, time_ms) in [(7, 9 * HOUR_MS), (6, 50), (4, 30), (0, 0)] {
        let mut bench = six_moments();
        bench.put(9 * HOUR_MS, "pods", "a", "2");
        let Bench { dir, store, .. } = bench;
        store.flush().unwrap();
        drop(store);
        assert_eq!(rewind(dir.path(), to, 1_000).unwrap().time_ms, time_ms);
        let store = Store::open(dir.path(), by_age(100, 1), 4).unwrap();
        let mut bench = Bench { dir, store, index: 7 };
        let revision = bench.put(60, "pods", "a", "3");
        assert_eq!(bench.store.time_of(revision).unwrap(), time_ms.max(60), "back to {to}");
    }
}
