//! Disruption budgets with a real kubectl, the controllers and a node: what may go, goes, and nothing else.

use std::{fs, process::Output};

use serde_json::{Value, json};

use crate::harness::{Cluster, able, text, wait};

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: c, image: "busybox:test", command: [/bin/sleep, "3600"]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec:
  minAvailable: 2
  selector: {matchLabels: {app: web}}
"#;

impl Cluster {
    /// Waits until the budget `web` tells these numbers: healthy, needed, expected and allowed. Nobody is on the way out then.
    fn counted(&self, expected: [i64; 4]) -> Value {
        wait("the budget to be counted", || {
            let status = self.get(&["pdb", "web"])["status"].clone();
            let number = |name: &str| status[name].as_i64().unwrap_or(-1);
            let told = ["currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed"].map(number);
            if told == expected && status["disruptedPods"].is_null() { Ok(status) } else { Err(format!("{status:#}")) }
        })
    }

    /// A ready pod of `web`.
    fn a_pod(&self) -> String {
        let pods = self.get(&["pods", "-l", "app=web", "--field-selector=status.phase=Running"]);
        let live = pods["items"].as_array().unwrap().iter().find(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        live.unwrap()["metadata"]["name"].as_str().unwrap().to_owned()
    }

    fn evict(&self, pod: &str) -> Output {
        let metadata = json!({"name": pod, "namespace": "default"});
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata});
        fs::write(self.dir.path().join("eviction.json"), eviction.to_string()).unwrap();
        let path = format!("/api/v1/namespaces/default/pods/{pod}/eviction");
        self.kubectl(&["create", "--raw", &path, "-f", "eviction.json"]).output().unwrap()
    }
}

#[test]
fn evictions_are_let_through_while_the_budget_allows_them() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    cluster.import_busybox("busybox:test");
    cluster.apply(WEB);
    let status = cluster.counted([3, 2, 3, 1]);
    assert_eq!(
        (&status["observedGeneration"], &status["conditions"][0]["reason"]),
        (&json!(1), &json!("SufficientPods"))
    );

    // Nothing replaces what goes while the node takes no more pods.
    cluster.k(&["cordon", "here"]);
    let evicted = cluster.evict(&cluster.a_pod());
    assert!(evicted.status.success(), "{}", text(&evicted));
    let status = cluster.counted([2, 2, 3, 0]);
    assert_eq!(status["conditions"][0]["reason"], "InsufficientPods");
    let stays = cluster.a_pod();
    let refused = cluster.evict(&stays);
    assert!(!refused.status.success(), "{}", text(&refused));
    let why = "(TooManyRequests): Cannot evict pod as it would violate the pod's disruption budget.";
    assert!(text(&refused).contains(why), "{}", text(&refused));

    cluster.k(&["uncordon", "here"]);
    cluster.counted([3, 2, 3, 1]);
    let evicted = cluster.evict(&stays);
    assert!(evicted.status.success(), "{}", text(&evicted));
    cluster.counted([3, 2, 3, 1]);

    // A share is one of what the Deployment is to have, and a node is drained as fast as it allows.
    cluster.k(&[
        "patch",
        "pdb",
        "web",
        "--type=merge",
        "-p",
        r#"{"spec":{"minAvailable":null,"maxUnavailable":"100%"}}"#,
    ]);
    cluster.counted([3, 0, 3, 3]);
    cluster.k(&["drain", "here", "--timeout=60s"]);
    cluster.counted([0, 0, 3, 0]);
    cluster.down();
}
