//! Writes and reads on any server.

use kontiki_raft::{Expect, ListOptions, Precondition, ProposeError, Rejection};

use crate::harness::{Cluster, body, configmaps, put, state};

#[tokio::test(flavor = "multi_thread")]
async fn any_server_takes_writes_and_shows_them_at_once() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    for name in ["a", "b", "c"] {
        let log = cluster.log(name);
        let applied = log.propose(put(name, "1")).await.unwrap();
        assert_eq!(applied.events.len(), 1);
        assert_eq!(body(log, name), Some("1".into()), "a write is seen where it was asked for");
        for other in ["a", "b", "c"] {
            let reader = cluster.log(other);
            assert!(reader.barrier().await.unwrap() >= applied.events[0].revision());
            assert_eq!(body(reader, name), Some("1".into()), "after a barrier it is seen everywhere");
        }
    }
    assert_eq!(cluster.converged().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_reaches_the_server_that_asked() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let follower = cluster.log(&cluster.follower().await).clone();
    follower.propose(put("x", "1")).await.unwrap();
    let mut again = put("x", "2");
    again.preconditions = vec![Precondition { key: crate::harness::key("x"), expect: Expect::Absent }];
    match follower.propose(again).await {
        Err(ProposeError::Rejected(Rejection::Precondition { found: Some((1, _)), .. })) => (),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writers_on_all_servers_make_one_history() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let writes = (0..300).map(|number| {
        let log = cluster.log(["a", "b", "c"][number % 3]).clone();
        async move { log.propose(put(&format!("o{number:03}"), "x")).await.unwrap().events[0].revision() }
    });
    let mut revisions = futures::future::join_all(writes).await;
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=300).collect::<Vec<_>>());
    assert_eq!(cluster.converged().await.len(), 300);
    let at = ListOptions { at: Some(150), ..ListOptions::default() };
    let past = |name: &str| cluster.log(name).list(&configmaps(), at.clone()).unwrap().items.len();
    assert_eq!((past("a"), past("b"), past("c")), (150, 150, 150));
    assert_eq!(state(cluster.log("a")), state(cluster.log("b")));
}
