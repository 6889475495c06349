//! A majority is lost for good: one server becomes a cluster of its own, and the lost ones never mix with it again.

use std::path::Path;

use kontiki_raft::backup::{BackupError, Founded, Founding, Skip, Stopped};
use kontiki_raft::{Author, Command, ProposeError, ReadError, Role, Start};

use super::harness::{Cluster, body, configmaps, member, open_log, put, until};

fn note(founded: &Founded) -> Command {
    let author = Author { user: "root".into(), verb: "recover".into(), ..Author::default() };
    Command { author, ..put("note", &founded.restored.to_string()) }
}

/// Every folder of a server, as a file system's snapshot has it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            std::fs::copy(&source, &target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_an_older_copy_of_its_folder_gets_again_what_it_lost() {
    // With the log still there, and with a snapshot in its place.
    for snapshot in [false, true] {
        let mut cluster = Cluster::start_with(&["a", "b", "c"], 10).await;
        let (leader, follower) = (cluster.leader().await, cluster.follower().await);
        for number in 0..20 {
            cluster.log(&leader).propose(put(&format!("n{number}"), "1")).await.unwrap();
        }
        cluster.converged().await;
        cluster.stop(&follower).await;
        let (folder, older) = (cluster.path(&follower), cluster.path("older"));
        copy(&folder, &older);
        cluster.open(&follower, Start::Join).await.ready().await.unwrap();
        for number in 20..50 {
            cluster.log(&leader).propose(put(&format!("n{number}"), "1")).await.unwrap();
        }
        cluster.converged().await;
        cluster.stop(&follower).await;
        std::fs::rename(&folder, cluster.path("newer")).unwrap();
        std::fs::rename(&older, &folder).unwrap();
        if snapshot {
            cluster.log(&leader).snapshot().await.unwrap();
        }
        let term = cluster.log(&leader).status().term;
        cluster.open(&follower, Start::Join).await.ready().await.unwrap();
        assert_eq!(cluster.converged().await.len(), 50);
        until("it votes again", || cluster.log(&follower).status().lost.is_none().then_some(())).await;
        cluster.log(&follower).propose(put("after", "1")).await.unwrap();
        assert_eq!((cluster.leader().await, cluster.log(&leader).status().term), (leader, term));
    }
}

/// Cut off, whether it led or followed: at first an election may end that, later nobody is told to try again.
async fn without_a_majority(leads: bool) {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let left = if leads { cluster.leader().await } else { cluster.follower().await };
    let mut others: Vec<&str> = ["a", "b", "c"].into_iter().filter(|name| *name != left).collect();
    others.sort_unstable();
    cluster.net.isolate(&left);
    let log = cluster.log(&left);
    let mut early = 0;
    let why = loop {
        match log.barrier().await {
            Err(ReadError::NoMajority(why)) => break why,
            Err(ReadError::NotLeader { .. } | ReadError::Unavailable(_)) => early += 1,
            other => panic!("{other:?}"),
        }
    };
    assert!(early > 0, "given up at once");
    let expected =
        format!("only 1 of 3 servers take part, which is no majority; nothing is heard of {}", others.join(", "));
    assert!(why.starts_with(&expected) && why.contains("kontiki recover"), "{why}");
    let written = log.propose(put("n", "1")).await;
    assert!(matches!(&written, Err(ProposeError::NoMajority(same)) if *same == why), "{written:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_left_without_a_majority_says_who_is_missing() {
    tokio::join!(without_a_majority(true), without_a_majority(false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_survivor_of_three_goes_on_and_the_lost_two_are_refused() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    for number in 0..20 {
        cluster.log("a").propose(put(&format!("n{number}"), "1")).await.unwrap();
    }
    cluster.converged().await;
    let survived = cluster.log("c").revision();
    // The other two go on without it: what they acknowledge then, it never sees.
    cluster.stop("c").await;
    for number in 0..5 {
        cluster.log("a").propose(put(&format!("lost{number}"), "1")).await.unwrap();
    }
    let lost = cluster.log("a").revision();
    cluster.kill("a").await;
    cluster.kill("b").await;

    let stopped = until("the log to be let go of", || match Stopped::open(&cluster.path("c")) {
        Ok(stopped) => Some(stopped),
        Err(BackupError::Disk(_)) => None,
        Err(error) => panic!("{error}"),
    })
    .await;
    let figures = stopped.figures().unwrap();
    let mut names: Vec<_> = figures.members.iter().map(|(_, member, voter)| (member.name.clone(), *voter)).collect();
    names.sort();
    assert_eq!(names, ["a", "b", "c"].map(|name| (name.to_owned(), true)));
    assert!(figures.committed <= figures.last, "{figures:?}");
    let founding = Founding { member: member("c"), to: None, skip: Skip::Revisions(1_000) };
    let founded = founding.from_server(&stopped, &cluster.path("c2"), note).unwrap();
    drop(stopped);
    assert_eq!(founded.restored, survived);
    assert!(founded.revision > lost, "what the lost two gave out is never given out again");

    std::fs::rename(cluster.path("c"), cluster.path("c-before")).unwrap();
    std::fs::rename(cluster.path("c2"), cluster.path("c")).unwrap();
    let survivor = cluster.open("c", Start::Alone).await;
    survivor.ready().await.unwrap();
    assert_eq!((survivor.status().role, survivor.status().members.len()), (Role::Leader, 1));
    assert_eq!(body(&survivor, "n19"), Some("1".into()));
    assert_eq!((body(&survivor, "lost0"), body(&survivor, "note")), (None, Some(survived.to_string())));
    // A client that saw the lost writes looks again; one that did not goes on.
    let seen = survivor.watch(configmaps(), lost).map(drop);
    assert!(matches!(seen, Err(ReadError::Compacted { .. })), "{seen:?}");
    assert!(survivor.watch(configmaps(), survived).is_ok());

    // The lost two come back, and are a cluster of their own; they reach the survivor's address and are sent away.
    let lost_one = cluster.open("a", Start::Alone).await;
    cluster.open("b", Start::Alone).await;
    lost_one.ready().await.unwrap();
    lost_one.propose(put("theirs", "1")).await.unwrap();
    survivor.propose(put("ours", "1")).await.unwrap();
    assert_eq!((body(&survivor, "theirs"), body(&lost_one, "ours")), (None, None));
    assert_eq!((survivor.status().role, survivor.status().members.len()), (Role::Leader, 1));

    // Wiped, one of them joins anew, and gets the survivor's state with its skipped revisions.
    cluster.kill("b").await;
    // In another folder: what was killed within this process may still be closing its files.
    let (net, wiped) = (cluster.net.clone(), cluster.path("b-wiped"));
    let joined = open_log(&net, &wiped, "b", Start::Join, cluster.snapshot_entries).await;
    survivor.add_member(joined.node_id(), member("b")).await.unwrap();
    joined.ready().await.unwrap();
    assert_eq!((body(&joined, "ours"), body(&joined, "lost0")), (Some("1".into()), None));
    assert!(matches!(joined.watch(configmaps(), lost), Err(ReadError::Compacted { .. })));
}
