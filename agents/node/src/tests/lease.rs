//! The heartbeat of a node that is registered anew.

use serde_json::{Value, json};

use super::{Cluster, NODE};
use crate::lease::renew;

#[tokio::test]
async fn the_lease_is_of_the_node_that_there_is_now() {
    let cluster = Cluster::new();
    let client = kube::Client::new(cluster.api.service(), "default");
    let lease = || cluster.api.get("leases", "kube-node-lease", NODE);
    renew(&client, NODE).await.unwrap();
    assert_eq!(lease(), Value::Null, "there is no node yet");
    let mut uids = Vec::new();
    for _ in 0..2 {
        let node = cluster.api.create("nodes", json!({"metadata": {"name": NODE, "namespace": ""}}));
        renew(&client, NODE).await.unwrap();
        let made = lease();
        assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], node["metadata"]["uid"]);
        renew(&client, NODE).await.unwrap();
        assert_ne!(lease()["spec"]["renewTime"], made["spec"]["renewTime"]);
        uids.push(node["metadata"]["uid"].clone());
        // What follows from the deletion of a node.
        cluster.api.remove("nodes", "", NODE);
        cluster.api.remove("leases", "kube-node-lease", NODE);
    }
    assert_ne!(uids[0], uids[1]);
}
