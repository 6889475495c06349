//! The README's path, typed literally.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::harness::{Cluster, able, succeed, wait};

/// A file of this checkout. Asked when run: clones share a target folder, and with it the tests that another clone built.
fn checkout(path: &str) -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests");
    PathBuf::from(manifest).join("..").join(path)
}

/// The commands of the README's first example, in order.
fn readme_commands() -> Vec<String> {
    let readme = fs::read_to_string(checkout("README.md")).unwrap();
    let section = readme.split("<!-- newcomer -->").nth(1).expect("the README marks its first example");
    let mut commands = Vec::new();
    let mut inside = false;
    for line in section.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            command if inside && !command.trim().is_empty() => commands.push(command.to_owned()),
            _ => {}
        }
    }
    assert!(commands.len() >= 10, "{commands:?}");
    commands
}

#[test]
fn a_newcomer_gets_an_answer_from_a_container_behind_a_service() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    let here = cluster.dir.path();
    fs::create_dir_all(here.join("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kontiki"), here.join("bin/kontiki")).unwrap();
    std::os::unix::fs::symlink(checkout("docs"), here.join("docs")).unwrap();
    // `make up` and `make down` build and then do what the harness did: everything else is typed as it stands.
    let commands: Vec<String> = readme_commands().into_iter().filter(|command| !command.starts_with("make ")).collect();
    let script = format!("set -eux\n{}\n", commands.join("\n"));
    let mut bash = cluster.netns.command("bash");
    bash.args(["-c", &script]).current_dir(here).env("HOME", here).stdin(Stdio::null());
    let output = bash.output().unwrap();
    let said = crate::harness::text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("hello from kontiki"), "the Service answered: {said}");
    assert!(said.contains("url:/"), "the log shows the request: {said}");
    wait("pods to be gone", || {
        let pods = cluster.get(&["pods"]);
        pods["items"].as_array().unwrap().is_empty().then_some(()).ok_or_else(|| pods.to_string())
    });
    cluster.assert_no_pod_left();
    cluster.down();
    cluster.assert_no_trace();
}

const PERSISTENT: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: persistent}
spec:
  terminationGracePeriodSeconds: 0
  volumes:
  - {name: memory, emptyDir: {medium: Memory}}
  containers:
  - name: main
    image: busybox:test
    command: [/bin/sleep, "600"]
    volumeMounts: [{name: memory, mountPath: /memory}]
"#;

#[test]
fn objects_outlive_down_and_up_and_a_second_up_is_harmless() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    cluster.k(&["create", "configmap", "kept", "--from-literal=a=b"]);
    let uid = cluster.get(&["configmap", "kept"])["metadata"]["uid"].clone();
    let pid = cluster.pid();
    assert!(cluster.up().contains("running already"));
    assert_eq!(cluster.pid(), pid);
    // A pod with volumes, its token among them, runs when the cluster goes down: nothing of it stays mounted.
    cluster.import_busybox("busybox:test");
    cluster.apply(PERSISTENT);
    cluster.k(&["wait", "--for=condition=Ready", "pod/persistent", "--timeout=60s"]);
    cluster.down();
    cluster.assert_no_trace();
    assert!(cluster.down().contains("objects stay"), "down twice is harmless");
    cluster.up();
    assert_eq!(cluster.get(&["configmap", "kept"])["metadata"]["uid"], uid);
    cluster.k(&["wait", "--for=condition=Ready", "pod/persistent", "--timeout=60s"]);
}

#[test]
fn without_root_the_control_plane_runs_and_says_why_there_is_no_node() {
    if !able() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    succeed(Command::new("chown").args(["65534:65534"]).arg(dir.path()));
    let binary = dir.path().join("kontiki");
    fs::copy(env!("CARGO_BIN_EXE_kontiki"), &binary).unwrap();
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&binary).args(arguments);
        command.current_dir(dir.path()).stdin(Stdio::null());
        command
    };
    let said = succeed(&mut as_nobody(&["up", "--detach", "--data-dir", "data", "--listen", "127.0.0.1:0"]));
    assert!(said.contains("without a node") && said.contains("root"), "{said}");
    let kubeconfig = dir.path().join("data/kubeconfig");
    let namespaces = succeed(
        Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .args(["get", "namespaces"])
            .env("HOME", dir.path()),
    );
    assert!(namespaces.contains("kube-system"), "{namespaces}");
    let nodes = succeed(
        Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .args(["get", "nodes", "-o", "name"])
            .env("HOME", dir.path()),
    );
    assert_eq!(nodes, "", "nothing is half started");
    succeed(&mut as_nobody(&["down", "--data-dir", "data"]));
}
