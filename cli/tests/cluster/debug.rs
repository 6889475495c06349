//! `kubectl debug`: beside the containers of a pod, on a copy of it, and on a node.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use crate::harness::{Cluster, able, is_alive, succeed, text, wait};

const WEB: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox:test
    command: [/bin/sh, -c, "echo mark > /www/mark; exec /bin/busybox httpd -f -p 8080 -h /www"]
"#;

/// What the first process is called, and what its files are.
const LOOK: &str = "busybox tr '\\0' ' ' < /proc/1/cmdline; cat /proc/1/root/www/mark";
const SEEN: &str = "/bin/busybox httpd -f -p 8080 -h /www mark\n";

/// A command with something to read.
fn told(command: &mut Command, input: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    text(&output)
}

fn started() -> Cluster {
    let cluster = Cluster::start();
    cluster.import_busybox("busybox:test");
    cluster.apply(WEB);
    cluster.k(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]);
    cluster
}

#[test]
fn a_running_pod_is_debugged_beside_its_containers() {
    if !able() {
        return;
    }
    let cluster = started();
    let debug = ["debug", "-i", "web", "--image=busybox:test", "--target=main", "--profile=general", "-c", "eye"];
    let said = told(cluster.kubectl(&debug).args(["--", "/bin/sh"]), &format!("{LOOK}\nexit 3\n"));
    assert!(said.contains(SEEN), "{said}");
    let ended = wait("the end of the debugging container to be told", || {
        let status = cluster.get(&["pod", "web"])["status"].clone();
        let state = &status["ephemeralContainerStatuses"][0]["state"];
        if state["terminated"]["exitCode"] == 3 { Ok(status) } else { Err(status.to_string()) }
    });
    assert_eq!((&ended["phase"], &ended["containerStatuses"][0]["ready"]), (&"Running".into(), &true.into()));
    assert!(cluster.k(&["logs", "web", "-c", "eye"]).contains(SEEN));

    // One that runs can be entered, and is known to the process that follows this one.
    let stay = ["debug", "web", "--image=busybox:test", "--target=main", "-c", "stay", "--", "/bin/sleep", "1000"];
    cluster.k(&stay);
    let stays = || {
        wait("the debugging container to run", || {
            let status = cluster.get(&["pod", "web"])["status"]["ephemeralContainerStatuses"][1].clone();
            if status["state"]["running"].is_object() {
                Ok(status["containerID"].clone())
            } else {
                Err(status.to_string())
            }
        })
    };
    let before = stays();
    let enter = ["exec", "web", "-c", "stay", "--", "/bin/sh", "-c", LOOK];
    assert_eq!(cluster.k(&enter), SEEN);
    let killed = cluster.pid();
    succeed(Command::new("kill").args(["-9", &killed.to_string()]));
    wait("the process to be gone", || if is_alive(killed) { Err("alive".into()) } else { Ok(()) });
    cluster.up();
    assert_eq!(stays(), before);
    assert_eq!(cluster.k(&enter), SEEN);
    cluster.k(&["delete", "pod", "web"]);
    cluster.assert_no_pod_left();
}

#[test]
fn a_copy_of_a_pod_and_a_node_are_debugged() {
    if !able() {
        return;
    }
    let cluster = started();
    let copy = ["debug", "web", "--copy-to=copy", "--image=busybox:test", "-c", "eye", "--share-processes"];
    succeed(cluster.kubectl(&copy).args(["--", "/bin/sleep", "1000"]));
    cluster.k(&["wait", "--for=condition=Ready", "pod/copy", "--timeout=60s"]);
    let seen = cluster.k(&["exec", "copy", "-c", "eye", "--", "/bin/busybox", "ps", "-o", "args"]);
    assert!(seen.contains("/bin/busybox httpd -f -p 8080"), "{seen}");

    let script = format!("busybox ls /host{}/node; busybox cat /proc/1/comm", cluster.data().display());
    let node = ["debug", "-i", "node/here", "--image=busybox:test", "--profile=sysadmin", "--", "/bin/sh"];
    let said = told(&mut cluster.kubectl(&node), &format!("{script}\nexit\n"));
    let init = std::fs::read_to_string("/proc/1/comm").unwrap();
    for expected in ["sandboxes\n", init.as_str()] {
        assert!(said.contains(expected), "{expected:?} is not in {said}");
    }
    let pods = cluster.get(&["pods"]);
    let debugger = pods["items"].as_array().unwrap().iter().find(|pod| pod["spec"]["hostPID"] == true).unwrap();
    assert_eq!(debugger["spec"]["nodeName"], "here");
    cluster.k(&["delete", "pods", "--all"]);
    cluster.assert_no_pod_left();
}
