//! Seeds that run each time. One that ever failed is added to `REGRESSIONS` with a word about what it found.

use kontiki_chaos::Simulation;

const STEPS: usize = 200;
/// 0 and 4: history's floor rose over what the short class had dropped, and so above what the normal class retains.
const REGRESSIONS: [u64; 2] = [0, 4];

async fn survives(seed: u64) {
    if let Err(failure) = Simulation::run(seed, STEPS).await {
        panic!("{failure}");
    }
}

async fn all_survive(seeds: impl IntoIterator<Item = u64>) {
    for seed in seeds {
        survives(seed).await;
    }
}

// Four tests, so that they run beside one another.
#[tokio::test]
async fn every_promise_holds_for_seeds_1_to_3() {
    all_survive(1..4).await;
}

#[tokio::test]
async fn every_promise_holds_for_seeds_5_to_7() {
    all_survive(5..8).await;
}

#[tokio::test]
async fn every_promise_holds_for_seeds_8_to_11() {
    all_survive(8..12).await;
}

#[tokio::test]
async fn every_promise_holds_for_seeds_that_once_failed() {
    all_survive(REGRESSIONS).await;
}

#[tokio::test]
async fn the_same_seed_gives_the_same_trace() {
    let (first, second) = (Simulation::run(7, STEPS).await, Simulation::run(7, STEPS).await);
    match (first, second) {
        (Ok(first), Ok(second)) => assert_eq!(first.trace, second.trace),
        (Err(failure), _) | (_, Err(failure)) => panic!("{failure}"),
    }
}
