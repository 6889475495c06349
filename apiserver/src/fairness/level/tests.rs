#![allow(clippy::unwrap_used)]
use futures::FutureExt as _;

use super::*;
use crate::{fairness::Asked, request::Identity, route::Target};

const PATIENCE: Duration = Duration::from_secs(60);
const QUEUING: Queuing = Queuing { queues: 4, hand: 1, length: 2 };

fn level(seats: u32) -> Arc<Level> {
    Arc::new(Level::new("l", false, seats, Some(QUEUING)))
}

fn who() -> Arc<Described> {
    let target = Target::Path("/version".to_owned());
    Arc::new(Described::of("s", "jane", Asked { identity: &Identity::default(), verb: "get", target: &target }))
}

fn waiting(level: &Arc<Level>, flow: u64) -> std::pin::Pin<Box<impl Future<Output = Result<Place, Refused>> + use<>>> {
    let level = level.clone();
    let mut waiting = Box::pin(async move { level.wait(Instant::now(), PATIENCE, (1, flow), who()).await });
    assert!((&mut waiting).now_or_never().is_none_or(|outcome| outcome.is_err()), "it waits");
    waiting
}

#[tokio::test]
async fn a_seat_goes_to_who_waits_and_not_to_who_went_away() {
    let level = level(1);
    let place = level.take(Instant::now(), 1, &who()).unwrap();
    let gone = waiting(&level, 0);
    let next = waiting(&level, 0);
    assert_eq!(level.figures().waiting, 2);
    drop(gone);
    assert_eq!((level.figures().waiting, level.counts.cancelled.load(Ordering::Relaxed)), (1, 1));
    drop(place);
    let place = next.await.unwrap();
    assert_eq!((level.figures().executing, place.width), (1, 1));
    drop(place);
    assert!(level.figures().is_idle());
}

#[tokio::test]
async fn who_waits_and_who_is_in_work_is_told_of() {
    let level = level(1);
    let told = || -> Vec<_> {
        level
            .requests()
            .into_iter()
            .map(|one| (one.queue.is_some(), one.place, one.width, one.began.is_some()))
            .collect()
    };
    let place = level.take(Instant::now(), 1, &who()).unwrap();
    let one = waiting(&level, 0);
    assert_eq!(told(), [(true, Some(0), 1, false), (false, None, 1, true)]);
    let details = ["", "get", "/version", "", "", "", "", ""].map(str::to_owned);
    assert!(level.requests().iter().all(|one| one.who.details() == details));
    drop(place);
    assert_eq!(told(), [(true, None, 1, true)], "who waited has begun");
    drop(one);
    assert_eq!(told(), []);
}

#[tokio::test]
async fn who_is_seated_and_never_looks_gives_the_seat_back() {
    let level = level(1);
    let place = level.take(Instant::now(), 1, &who()).unwrap();
    let (never, next) = (waiting(&level, 0), waiting(&level, 1));
    drop(place);
    assert_eq!(level.figures().executing, 1, "it was sent a seat");
    drop(never);
    drop(next.await.unwrap());
    assert!(level.figures().is_idle());
}

#[tokio::test]
async fn waiting_has_an_end_and_queues_a_length() {
    let level = level(1);
    let place = level.take(Instant::now(), 1, &who()).unwrap();
    let _one = waiting(&level, 0);
    assert_eq!(level.wait(Instant::now(), Duration::ZERO, (1, 0), who()).await.err(), Some(Refused::TimeOut));
    let _other = waiting(&level, 0);
    assert_eq!(level.wait(Instant::now(), PATIENCE, (1, 0), who()).await.err(), Some(Refused::QueueFull));
    assert_eq!(level.counts.cancelled.load(Ordering::Relaxed), 0);
    drop(place);
}

#[tokio::test]
async fn no_request_takes_all_of_a_level() {
    let now = Instant::now();
    let width = |seats: u32, wanted: u32| level(seats).take(now, wanted, &who()).unwrap().width;
    assert_eq!([width(100, 20), width(8, 10), width(1, 10), width(8, 2)], [10, 4, 1, 2]);
}
