//! Servers that join, leave, hand over, and come back after a long time.

use std::time::Duration;

use kontiki_raft::{ListOptions, Proof, ProposeError, Role, Start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::sync::CancellationToken;

use crate::harness::{Cluster, PATIENCE, body, configmaps, member, next_revisions, put, until, write_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_joins_as_a_learner_and_votes_once_it_has_caught_up() {
    let mut cluster = Cluster::start(&["a"]).await;
    for number in 0..50 {
        cluster.log("a").propose(put(&format!("o{number:02}"), "x")).await.unwrap();
    }
    let joining = cluster.open("b", Start::Join).await;
    assert_eq!(joining.status().role, Role::Learner);
    assert!(joining.members().is_empty(), "it waits to be added");
    cluster.add("a", "b").await;
    joining.ready().await.unwrap();
    assert_eq!(cluster.converged().await.len(), 50);
    for log in cluster.logs.values() {
        let voters = until("both vote", || {
            let members = log.members();
            (members.iter().filter(|member| member.voter).count() == 2).then_some(members)
        })
        .await;
        let mut names: Vec<_> = voters.iter().map(|member| (member.name.as_str(), member.leader)).collect();
        names.sort_unstable();
        assert_eq!(names, [("a", true), ("b", false)]);
    }
    // Adding what is there changes nothing; on any server.
    cluster.add("b", "b").await;
    let told = cluster.log("a").members();
    let b = told.iter().find(|member| member.name == "b").unwrap();
    assert!(b.lag.is_some() && b.silent_for.is_some(), "the leader knows how far the others are: {b:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_removed_while_writes_go_on_and_the_leader_too() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    let stop = CancellationToken::new();
    let follower = cluster.follower().await;
    let writers: Vec<_> = ["one", "two", "three"]
        .map(|name| tokio::spawn(write_until(cluster.log(&follower).clone(), name.into(), stop.clone())))
        .into();
    let leader = cluster.leader().await;
    let id = cluster.log(&leader).node_id();
    cluster.log(&leader).remove_member(id).await.unwrap();
    let removed = cluster.logs.remove(&leader).unwrap();
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    assert!(cluster.log(&next).members().iter().all(|member| member.id != id));
    stop.cancel();
    let mut written = 0;
    for writer in writers {
        let (acknowledged, failed) = writer.await.unwrap();
        assert!(failed.is_empty(), "{failed:?}");
        written += acknowledged.len();
    }
    assert_eq!(cluster.converged().await.len(), written);
    // Removing it again is no error; the last voter stays.
    cluster.log(&next).remove_member(id).await.unwrap();
    removed.shutdown().await;
    let other = cluster.follower().await;
    cluster.log(&next).remove_member(cluster.log(&other).node_id()).await.unwrap();
    let last = cluster.log(&next).remove_member(cluster.log(&next).node_id()).await;
    assert!(matches!(last, Err(ProposeError::Refused(_))), "{last:?}");
    cluster.log(&next).propose(put("alone", "1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_server_is_not_heard_on_the_connections_it_has_open() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let follower = cluster.follower().await;
    let leader = cluster.leader().await;
    cluster.log(&follower).propose(put("before", "1")).await.unwrap();
    cluster.net.bar(&follower);
    cluster.log(&leader).remove_member(cluster.log(&follower).node_id()).await.unwrap();
    let refused = cluster.log(&follower).propose(put("after", "1")).await;
    assert!(refused.is_err(), "{refused:?}");
    cluster.log(&leader).propose(put("last", "1")).await.unwrap();
    let listed = cluster.log(&leader).list(&configmaps(), ListOptions::default()).unwrap();
    let names: Vec<_> = listed.items.iter().map(|item| item.key.name.as_str()).collect();
    assert_eq!(names, ["before", "last"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_back_its_hello_while_it_is_removed_is_dismissed() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let leader = cluster.leader().await;
    let (leader, follower) = (cluster.log(&leader), cluster.log(&cluster.follower().await));
    let (mut caller, stream) = tokio::io::duplex(1024);
    let (listening, from) = (leader.clone(), follower.node_id());
    let proof = Proof { node: from, left: 10 * PATIENCE };
    // It begins to listen before the member is one no more.
    let mut served = Box::pin(async move { listening.accept_peer(Box::new(stream), Some(proof)).await });
    assert!(futures::poll!(&mut served).is_pending());
    leader.remove_member(from).await.unwrap();
    caller.write_all(&hello(from, leader.node_id())).await.unwrap();
    is_told_to_go(served, caller).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lasts_as_long_as_what_its_caller_has_proven() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let (leader, from) = (cluster.log(&leader).clone(), cluster.log(&follower).node_id());
    let (mut caller, stream) = tokio::io::duplex(1024);
    caller.write_all(&hello(from, leader.node_id())).await.unwrap();
    let proof = Proof { node: from, left: Duration::from_millis(50) };
    is_told_to_go(leader.accept_peer(Box::new(stream), Some(proof)), caller).await;
    // Their own connections, which say nothing of their ends, go on.
    cluster.log(&follower).propose(put("after", "1")).await.unwrap();
}

/// It is not only left alone.
async fn is_told_to_go(served: impl Future<Output = ()>, mut caller: DuplexStream) {
    let said = async {
        let mut said = Vec::new();
        caller.read_to_end(&mut said).await.unwrap();
        said
    };
    let ended = async { tokio::join!(served, said) };
    let ((), said) = tokio::time::timeout(PATIENCE, ended).await.expect("the connection ends");
    assert!(said.len() > HELLO_BYTES, "{} bytes", said.len());
}

const HELLO_BYTES: usize = 37;

/// What a server that is asked to forward a write hears first, from one that does not say of which cluster it is.
fn hello(from: u64, to: u64) -> Vec<u8> {
    let mut hello = b"kontiki\x01\x03".to_vec();
    for number in [0, from, to] {
        hello.extend(number.to_le_bytes());
    }
    hello.extend(crc32fast::hash(&hello).to_le_bytes());
    assert_eq!(hello.len(), HELLO_BYTES);
    hello
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_without_a_failed_write() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let stop = CancellationToken::new();
    let writers: Vec<_> = ["a", "b", "c"]
        .iter()
        .flat_map(|name| (0..4).map(move |number| (name, format!("{name}{number}"))))
        .map(|(name, prefix)| tokio::spawn(write_until(cluster.log(name).clone(), prefix, stop.clone())))
        .collect();
    for round in 0..6 {
        let leader = cluster.leader().await;
        let revision = cluster.log(&leader).revision();
        let to = (round % 2 == 0).then(|| cluster.logs.keys().find(|name| **name != leader).unwrap());
        let to = to.map(|name| cluster.log(name).node_id());
        // Asked of a follower as well as of the leader.
        let asked = if round % 3 == 0 { cluster.follower().await } else { leader.clone() };
        cluster.log(&asked).transfer_leadership(to).await.unwrap();
        assert_ne!(cluster.leader().await, leader);
        until("writes go on", || (cluster.log(&leader).revision() > revision + 20).then_some(())).await;
    }
    stop.cancel();
    let mut written = 0;
    for writer in writers {
        let (acknowledged, failed) = writer.await.unwrap();
        assert!(failed.is_empty(), "{failed:?}");
        written += acknowledged.len();
    }
    assert_eq!(cluster.converged().await.len(), written);
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_not_given_to_a_server_that_is_gone() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    let (leader, gone) = (cluster.leader().await, cluster.follower().await);
    let (id, term) = (cluster.log(&gone).node_id(), cluster.log(&leader).status().term);
    cluster.kill(&gone).await;
    let other = cluster.follower().await;
    cluster.log(&leader).propose(put("x", "1")).await.unwrap();
    for asked in [&leader, &other] {
        let refused = cluster.log(asked).transfer_leadership(Some(id)).await;
        assert!(matches!(refused, Err(ProposeError::Refused(_))), "{refused:?}");
    }
    assert_eq!((cluster.leader().await, cluster.log(&leader).status().term), (leader, term));
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_restart_one_after_the_other_without_a_failed_write() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    for round in 0..3 {
        let leader = cluster.leader().await;
        let others: Vec<_> = cluster.logs.keys().filter(|name| **name != leader).cloned().collect();
        let stop = CancellationToken::new();
        let writers: Vec<_> = others
            .iter()
            .map(|name| tokio::spawn(write_until(cluster.log(name).clone(), format!("{name}{round}"), stop.clone())))
            .collect();
        let revision = cluster.log(&leader).revision();
        until("writes", || (cluster.log(&leader).revision() > revision + 20).then_some(())).await;
        cluster.stop(&leader).await;
        let revision = cluster.log(&others[0]).revision();
        until("writes go on", || (cluster.log(&others[0]).revision() > revision + 20).then_some(())).await;
        stop.cancel();
        for writer in writers {
            let (_, failed) = writer.await.unwrap();
            assert!(failed.is_empty(), "{failed:?}");
        }
        cluster.open(&leader, Start::Join).await.ready().await.unwrap();
    }
    cluster.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_away_past_the_purge_catches_up_by_snapshot_and_its_watches_go_on() {
    let mut cluster = Cluster::start_with(&["a", "b", "c"], 200).await;
    let away = cluster.follower().await;
    cluster.log(&away).propose(put("first", "1")).await.unwrap();
    let seen = cluster.log(&away).revision();
    cluster.stop(&away).await;
    let leader = cluster.leader().await;
    let log = cluster.log(&leader).clone();
    let mut number = 0;
    while log.status().purged_index <= 10 {
        let writes = (0..500).map(|_| {
            number += 1;
            log.propose(put(&format!("o{number:06}"), "x"))
        });
        futures::future::try_join_all(writes).await.unwrap();
        log.snapshot().await.unwrap();
    }
    let stop = CancellationToken::new();
    let writer = tokio::spawn(write_until(log.clone(), "meanwhile".into(), stop.clone()));
    let back = cluster.open(&away, Start::Join).await;
    let mut watch = back.watch(configmaps(), seen).unwrap();
    back.ready().await.unwrap();
    assert!(back.status().snapshot_index > 0, "it was sent a snapshot");
    until("writes go on", || (back.revision() > seen + number as u64 + 5).then_some(())).await;
    stop.cancel();
    let (_, failed) = writer.await.unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    cluster.converged().await;
    let last = cluster.log(&leader).revision();
    let told = next_revisions(&mut watch, (last - seen) as usize).await;
    assert_eq!(told, (seen + 1..=last).collect::<Vec<_>>(), "each event once, in order");
    assert_eq!(body(&back, "first"), Some("1".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_server_comes_back_under_another_number() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    let wiped = cluster.follower().await;
    cluster.log(&wiped).propose(put("x", "1")).await.unwrap();
    let old = cluster.log(&wiped).node_id();
    cluster.kill(&wiped).await;
    // Its database may still be open in this process.
    std::fs::rename(cluster.path(&wiped), cluster.path("gone")).unwrap();
    let back = cluster.open(&wiped, Start::Join).await;
    assert_ne!(back.node_id(), old);
    let leader = cluster.leader_of_others(&wiped).await;
    cluster.log(&leader).remove_member(old).await.unwrap();
    cluster.log(&leader).add_member(back.node_id(), member(&wiped)).await.unwrap();
    back.ready().await.unwrap();
    assert_eq!(body(&back, "x"), Some("1".into()));
    let voters = cluster.log(&leader).members().iter().filter(|member| member.voter).count();
    assert_eq!(voters, 3);
}
