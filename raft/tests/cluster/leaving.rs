//! Servers that are about to end, one by one and all at once.

use std::time::Duration;

use kontiki_raft::{ProposeError, Role};

use crate::harness::{Cluster, put};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_to_nobody_who_is_about_to_end() {
    let cluster = Cluster::start(&["a", "b", "c"]).await;
    let first = cluster.leader().await;
    let others: Vec<&String> = cluster.logs.keys().filter(|name| **name != first).collect();
    let (leaving, staying) = (others[0], others[1]);
    cluster.log(leaving).leave();
    // There and back, and there again: it is never the turn of the one that leaves.
    for (from, to) in [(&first, staying), (staying, &first), (&first, staying)] {
        // Who has only just begun to lead may not have heard the others yet.
        let handed_over = async {
            while cluster.log(from).transfer_leadership(None).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, handed_over).await.expect("somebody stays");
        assert_eq!(cluster.leader().await, *to);
    }
    cluster.log(&first).leave();
    let refused = cluster.log(staying).transfer_leadership(None).await;
    assert!(matches!(&refused, Err(ProposeError::Refused(why)) if why.contains("about to end")), "{refused:?}");
    // It leads as well as ever.
    cluster.log(leaving).propose(put("after", "1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_all_end_wait_for_no_majority() {
    for leads in [true, false] {
        let mut cluster = Cluster::start(&["a", "b", "c"]).await;
        let last = if leads { cluster.leader().await } else { cluster.follower().await };
        cluster.logs.values().for_each(|log| log.leave());
        let others: Vec<String> = cluster.logs.keys().filter(|name| **name != last).cloned().collect();
        for name in &others {
            cluster.stop(name).await;
        }
        let log = cluster.log(&last);
        let read = log.barrier().await.unwrap_err().to_string();
        assert!(read.contains("this server ends, and so do the others"), "{read}");
        let written = log.propose(put("late", "1")).await;
        assert!(matches!(written, Err(ProposeError::Unknown)), "{written:?}");
        log.shutdown().await;
        assert_eq!(log.status().role, Role::Shutdown);
    }
}
