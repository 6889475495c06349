//! Leaders that die, hang, and come back.

use std::time::{Duration, Instant};

use kontiki_raft::limits::PEER_SILENCE;
use kontiki_raft::{ProposeError, Role, Start};
use tokio_util::sync::CancellationToken;

use crate::harness::{Cluster, PATIENCE, key, put, until, write_until};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_the_leader_and_is_everywhere() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        let leader = cluster.leader().await;
        let stop = CancellationToken::new();
        let writers: Vec<_> = cluster
            .logs
            .iter()
            .flat_map(|(name, log)| (0..3).map(move |number| (format!("{round}{name}{number}"), log.clone())))
            .map(|(prefix, log)| tokio::spawn(write_until(log, prefix, stop.clone())))
            .collect();
        let others: Vec<_> = cluster.logs.keys().filter(|name| **name != leader).cloned().collect();
        let revision = cluster.log(&leader).revision();
        until("writes", || (cluster.log(&leader).revision() > revision + 50).then_some(())).await;
        cluster.kill(&leader).await;
        let revision = cluster.log(&others[0]).revision();
        until("writes go on", || (cluster.log(&others[0]).revision() > revision + 50).then_some(())).await;
        stop.cancel();
        for writer in writers {
            let (done, failed) = writer.await.unwrap();
            acknowledged.extend(done);
            let expected = |error: &ProposeError| {
                matches!(error, ProposeError::Unknown | ProposeError::Unavailable(_) | ProposeError::NotLeader { .. })
            };
            assert!(failed.iter().all(expected), "{:?}", failed.iter().find(|error| !expected(error)));
        }
        cluster.open(&leader, Start::Join).await.ready().await.unwrap();
    }
    cluster.converged().await;
    for (name, log) in &cluster.logs {
        for object in &acknowledged {
            assert!(log.head(&key(object)).is_some(), "{object} was acknowledged and is not on {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_three_killed_at_once_come_back_with_everything() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    let follower = cluster.follower().await;
    let log = cluster.log(&follower).clone();
    let names: Vec<_> = (0..100).map(|number| format!("o{number:03}")).collect();
    futures::future::try_join_all(names.iter().map(|name| log.propose(put(name, "x")))).await.unwrap();
    drop(log);
    for name in ["a", "b", "c"] {
        cluster.kill(name).await;
    }
    for name in ["a", "b", "c"] {
        cluster.open(name, Start::Join).await;
    }
    for name in ["a", "b", "c"] {
        cluster.log(name).ready().await.unwrap();
    }
    assert_eq!(cluster.converged().await.len(), 100);
    cluster.log("a").propose(put("after", "1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_is_replaced_and_acknowledges_nothing_alone() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let old = cluster.leader().await;
    cluster.log(&old).propose(put("before", "1")).await.unwrap();
    cluster.net.isolate(&old);
    let alone = cluster.log(&old).clone();
    let doomed = tokio::spawn(async move { alone.propose(put("alone", "1")).await });
    let new = cluster.leader_of_others(&old).await;
    cluster.log(&new).propose(put("after", "1")).await.unwrap();
    let stale = tokio::time::timeout(Duration::from_millis(300), cluster.log(&old).barrier()).await;
    assert!(!matches!(stale, Ok(Ok(_))), "who is cut off cannot tell what the newest state is");
    cluster.net.heal();
    cluster.log(&old).ready().await.unwrap();
    cluster.converged().await;
    assert!(cluster.log(&old).head(&key("after")).is_some());
    let doomed = tokio::time::timeout(PATIENCE, doomed).await.unwrap().unwrap();
    let there = cluster.log(&old).head(&key("alone")).is_some();
    assert!(doomed.is_err() || there, "what was acknowledged is there");
}

/// The connection to it is given up later than that.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_leader_that_hangs_once_another_leads() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let (old, follower) = (cluster.leader().await, cluster.follower().await);
    let log = cluster.log(&follower).clone();
    log.propose(put("before", "1")).await.unwrap();
    cluster.net.isolate(&old);
    let under_way = async {
        let (write, read) = tokio::join!(log.propose(put("under-way", "1")), log.barrier());
        assert!(matches!(write, Err(ProposeError::Unknown)), "{write:?}");
        read.unwrap();
        log.propose(put("after", "1")).await.unwrap();
    };
    tokio::time::timeout(PEER_SILENCE, under_way).await.expect("an answer before the connection is given up");
    cluster.net.heal();
    cluster.log(&old).ready().await.unwrap();
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_cut_off_does_not_unseat_the_leader_when_it_is_back() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let term = cluster.log(&leader).status().term;
    cluster.net.isolate(&follower);
    until("it misses the leader", || {
        let status = cluster.log(&follower).status();
        (status.role != Role::Leader
            && cluster.log(&leader).members().iter().any(|member| {
                member.name == follower && member.silent_for.is_some_and(|silent| silent > Duration::from_secs(1))
            }))
        .then_some(())
    })
    .await;
    cluster.net.heal();
    cluster.log(&leader).propose(put("x", "1")).await.unwrap();
    cluster.log(&follower).ready().await.unwrap();
    cluster.converged().await;
    assert_eq!((cluster.leader().await, cluster.log(&leader).status().term), (leader, term));
}

/// Not a timed assertion: prints what a person wants to know.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_write_after_a_leaders_death() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    let mut gaps = Vec::new();
    for round in 0..5 {
        let (leader, follower) = (cluster.leader().await, cluster.follower().await);
        cluster.net.kill(&leader);
        let killed = Instant::now();
        let dead = cluster.logs.remove(&leader).unwrap();
        let aborting = tokio::spawn(async move { dead.abort().await });
        let log = cluster.log(&follower).clone();
        while log.propose(put(&format!("r{round}"), "x")).await.is_err() {}
        gaps.push(killed.elapsed());
        aborting.await.unwrap();
        cluster.open(&leader, Start::Join).await.ready().await.unwrap();
    }
    eprintln!("killed to next write: {gaps:?}");
}
