//! The process is killed at any moment: containers go on, and its successor adopts them.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Cluster, able, is_alive, succeed, wait};

/// A pod that counts. The mark stands in its command line: tests run side by side on one machine.
fn ticker(mark: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: ticker}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox:test
    command: [/bin/sh, -c, "i=0; while true; do echo tick $i; i=$((i+1)); sleep 0.2; done", {mark}]
"#
    )
}

fn running(cluster: &Cluster, name: &str) -> Value {
    wait("the pod to run", || {
        let pod = cluster.get(&["pod", name]);
        if pod["status"]["phase"] == "Running" { Ok(pod) } else { Err(pod["status"].to_string()) }
    })
}

/// The pids of processes whose command line contains the text.
fn pids_of(text: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(text) && line.starts_with("/bin/sh -c") {
            found.push(pid);
        }
    }
    found
}

#[test]
fn containers_survive_kill_9_of_the_process_and_are_adopted() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    cluster.import_busybox("busybox:test");
    let mark = format!("survivor-{}", std::process::id());
    cluster.apply(&ticker(&mark));
    let before = running(&cluster, "ticker");
    let container = pids_of(&mark);
    assert_eq!(container.len(), 1, "one container process");
    let killed = cluster.pid();
    succeed(Command::new("kill").args(["-9", &killed.to_string()]));
    wait("the process to be gone", || if is_alive(killed) { Err("alive".into()) } else { Ok(()) });
    assert_eq!(pids_of(&mark), container, "the container goes on");
    cluster.up();
    let after = running(&cluster, "ticker");
    assert_eq!(pids_of(&mark), container, "the same process");
    let facts = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        (status["containerID"].clone(), status["restartCount"].clone(), pod["status"]["podIP"].clone())
    };
    assert_eq!(facts(&after), facts(&before));
    // The log has every line, the ones of the time without an agent included.
    let ticks = wait("more lines than before", || {
        let log = cluster.k(&["logs", "ticker"]);
        let ticks: Vec<u64> = log.lines().filter_map(|line| line.strip_prefix("tick ")?.parse().ok()).collect();
        if ticks.len() > 10 { Ok(ticks) } else { Err(format!("{} lines", ticks.len())) }
    });
    assert_eq!(ticks, (0..u64::try_from(ticks.len()).unwrap()).collect::<Vec<_>>());
    // And the adopted container can be ended.
    cluster.k(&["delete", "pod", "ticker", "--wait=true"]);
    assert_eq!(pids_of(&mark), Vec::<i32>::new());
}

#[test]
fn an_exit_while_nobody_watched_is_known_and_acted_on() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    cluster.import_busybox("busybox:test");
    let mark = format!("exiting-{}", std::process::id());
    cluster.apply(&ticker(&mark));
    running(&cluster, "ticker");
    let container = pids_of(&mark);
    let killed = cluster.pid();
    succeed(Command::new("kill").args(["-9", &killed.to_string()]));
    wait("the process to be gone", || if is_alive(killed) { Err("alive".into()) } else { Ok(()) });
    succeed(Command::new("kill").args(["-9", &container[0].to_string()]));
    cluster.up();
    wait("the container to be restarted", || {
        let status = cluster.get(&["pod", "ticker"])["status"]["containerStatuses"][0].clone();
        let restarted = status["restartCount"] == 1 && status["state"]["running"].is_object();
        let known = status["lastState"]["terminated"]["exitCode"] == 137;
        if restarted && known { Ok(()) } else { Err(status.to_string()) }
    });
}
