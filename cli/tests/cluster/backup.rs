//! Save, restore and recover, as an operator does it: with the real binary and a real kubectl that watches.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, symlink},
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::Value;

use crate::harness::{Cluster, Process, able, succeed, text, wait};

const KUBECONFIG: [&str; 2] = ["--kubeconfig", ".kontiki/kubeconfig"];

fn snapshot(cluster: &Cluster, arguments: &[&str]) -> String {
    succeed(&mut cluster.kontiki(&[&["snapshot"], arguments].concat()))
}

/// What an operator is told when it does not work.
fn refused(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = cluster.kontiki(arguments).output().unwrap();
    assert!(!output.status.success(), "{arguments:?} succeeded: {}", text(&output));
    text(&output)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// `kubectl get -w`, writing to a file.
fn watching(cluster: &Cluster, file: &str) -> Child {
    let out = fs::File::create(cluster.dir.path().join(file)).unwrap();
    let mut kubectl = cluster.kubectl(&["get", "configmaps", "-w", "--output-watch-events", "--no-headers"]);
    kubectl.stdout(Stdio::from(out)).spawn().unwrap()
}

/// The watch's lines about an object, without its age.
fn seen(cluster: &Cluster, file: &str) -> Vec<String> {
    let lines = fs::read_to_string(cluster.dir.path().join(file)).unwrap_or_default();
    let words = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    lines.lines().filter(|line| line.contains("demo-")).map(words).collect()
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap().to_owned()
}

#[test]
fn a_cluster_is_saved_taken_back_and_made_anew() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    for name in ["demo-changed", "demo-gone"] {
        cluster.k(&["create", "configmap", name, "--from-literal=k=1"]);
    }
    let before = cluster.get(&["configmap", "demo-gone"]);
    let revision = before["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    cluster.k(&["create", "configmap", "demo-late", "--from-literal=k=1"]);
    let said = snapshot(&cluster, &["save", "all.snapshot", KUBECONFIG[0], KUBECONFIG[1]]);
    assert!(said.contains("saved to all.snapshot"), "{said}");

    // What a link leads to is written; what is no file stays what it is.
    let at = |name: &str| cluster.dir.path().join(name);
    symlink("all.snapshot", at("link")).unwrap();
    snapshot(&cluster, &["save", "link", KUBECONFIG[0], KUBECONFIG[1]]);
    assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
    let told = json(&snapshot(&cluster, &["inspect", "all.snapshot", "-o", "json"]));
    assert!(told["verified"] == true && told["objects"]["configmaps"].as_u64().unwrap() >= 3, "{told}");
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    let (pipe, whole) = (at("pipe"), fs::metadata(at("all.snapshot")).unwrap().len());
    let read = thread::spawn(move || fs::read(pipe).unwrap().len() as u64);
    snapshot(&cluster, &["save", "pipe", KUBECONFIG[0], KUBECONFIG[1]]);
    assert!(read.join().unwrap() > whole / 2);
    assert!(fs::metadata(at("pipe")).unwrap().file_type().is_fifo());

    let watch = Process(watching(&cluster, "watch.txt"));
    wait(
        "the watch to begin",
        || if seen(&cluster, "watch.txt").len() == 3 { Ok(()) } else { Err("no events".into()) },
    );
    cluster.k(&["patch", "configmap", "demo-changed", "-p", r#"{"data":{"k":"2"}}"#]);
    cluster.k(&["delete", "configmap", "demo-gone"]);
    cluster.k(&["create", "configmap", "demo-new", "--from-literal=k=1"]);
    let only = ["--resource", "configmaps", "-n", "default", KUBECONFIG[0], KUBECONFIG[1]];
    let dry = snapshot(&cluster, &[&["restore", "all.snapshot", "--dry-run"], only.as_slice()].concat());
    assert!(
        dry.contains("create   configmaps/demo-gone in default") && dry.contains("would change, in one step"),
        "{dry}"
    );
    assert!(cluster.k_fails(&["get", "configmap", "demo-gone"]).contains("NotFound"));
    for (flags, why) in [(["--to-time", "yesterday"], "is no moment"), (["-n", "nonsense"], "there is no namespace")] {
        let said = refused(&cluster, &[&["snapshot", "restore", "all.snapshot"], &KUBECONFIG[..], &flags].concat());
        assert!(said.contains(why), "{said}");
    }
    let done = snapshot(&cluster, &[&["restore", "all.snapshot"], only.as_slice()].concat());
    assert!(done.contains("3 objects changed, in one step"), "{done}");
    let expected = ["MODIFIED demo-changed", "ADDED demo-gone", "DELETED demo-new"];
    wait("the watch to see it", || {
        let lines = seen(&cluster, "watch.txt");
        if lines.ends_with(&expected.map(str::to_owned)) { Ok(()) } else { Err(lines.join("\n")) }
    });
    drop(watch);
    let back = cluster.get(&["configmap", "demo-gone"]);
    assert_eq!((uid(&back), &back["data"]), (uid(&before), &before["data"]));

    let done =
        snapshot(&cluster, &[&["restore", "all.snapshot", "--to-revision", &revision], only.as_slice()].concat());
    assert!(done.contains("delete   configmaps/demo-late") && done.contains("1 object changed"), "{done}");

    let whole = fs::read(cluster.dir.path().join("all.snapshot")).unwrap();
    fs::write(cluster.dir.path().join("cut.snapshot"), &whole[..whole.len() / 2]).unwrap();
    let why = refused(&cluster, &["snapshot", "restore", "cut.snapshot", "--data-dir", "none"]);
    assert!(why.contains("ends early") && !cluster.dir.path().join("none").exists(), "{why}");
    for arguments in [vec!["inspect", "cut.snapshot"], vec!["restore", "cut.snapshot", KUBECONFIG[0], KUBECONFIG[1]]] {
        let why = refused(&cluster, &[&["snapshot"], arguments.as_slice()].concat());
        assert!(why.contains("ends early"), "{why}");
    }

    let why = refused(&cluster, &["recover", "--yes", "--data-dir", ".kontiki"]);
    assert!(why.contains("stop it first"), "{why}");
    made_anew(&cluster, told["lastRevision"].as_u64().unwrap(), &before);
}

/// From the file to a cluster of its own, beside the first one; saved while it is stopped, and recovered.
fn made_anew(cluster: &Cluster, last: u64, before: &Value) {
    let said = snapshot(cluster, &["restore", "all.snapshot", "--data-dir", "anew"]);
    assert!(said.contains("A snapshot holds no keys") && said.contains(&format!("up to revision {last}")), "{said}");
    let why = refused(cluster, &["snapshot", "restore", "all.snapshot", "--data-dir", "anew"]);
    assert!(why.contains("is not empty"), "{why}");
    let up = ["up", "--detach", "--no-node", "--data-dir", "anew", "--listen", "127.0.0.1:7443"];
    let k = |arguments: &[&str]| {
        let mut kubectl = cluster.kubectl(arguments);
        kubectl.arg("--kubeconfig=anew/kubeconfig");
        kubectl
    };
    succeed(&mut cluster.kontiki(&up));
    let there = json(&succeed(&mut k(&["get", "configmap", "demo-gone", "-o", "json"])));
    assert_eq!(
        (uid(&there), &there["metadata"]["resourceVersion"]),
        (uid(before), &before["metadata"]["resourceVersion"])
    );
    succeed(&mut k(&["create", "configmap", "demo-after", "--from-literal=k=1"]));
    let after = json(&succeed(&mut k(&["get", "configmap", "demo-after", "-o", "json"])));
    let after: u64 = after["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    assert!(after > last + 1_000_000_000, "{after}");
    let lost = format!("/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1&resourceVersion={}", last + 7);
    let told = text(&k(&["get", "--raw", &lost]).output().unwrap());
    assert!(told.contains("410") || told.contains("too old"), "{told}");
    succeed(&mut cluster.kontiki(&["down", "--data-dir", "anew"]));

    let said = snapshot(cluster, &["save", "stopped.snapshot", "--data-dir", "anew"]);
    assert!(said.contains("saved to stopped.snapshot"), "{said}");
    let told = json(&snapshot(cluster, &["inspect", "stopped.snapshot", "-o", "json"]));
    assert!(told["lastRevision"].as_u64().unwrap() >= after, "{told}");
    let why = refused(cluster, &["recover", "--yes", "--data-dir", "anew"]);
    assert!(why.contains("needs no recovery, only to be started"), "{why}");
    succeed(&mut cluster.kontiki(&up));
    succeed(&mut k(&["get", "configmap", "demo-after"]));
    succeed(&mut cluster.kontiki(&["down", "--data-dir", "anew"]));
}
