//! Bad input: the same Status, conditions and events as Kubernetes', a message that helps, nothing left behind.

use serde_json::Value;

use crate::harness::{Cluster, able, wait};

fn pod(name: &str, rest: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 0\n{rest}")
}

/// Waits until the first container waits for (or ended by) this reason; its state.
fn waiting_for(cluster: &Cluster, name: &str, reasons: &[&str]) -> Value {
    wait(&format!("{name} to show {reasons:?}"), || {
        let status = cluster.get(&["pod", name])["status"]["containerStatuses"][0].clone();
        let state = &status["state"];
        let shown = [&state["waiting"], &state["terminated"], &status["lastState"]["terminated"]];
        let found = shown.iter().find(|one| reasons.iter().any(|reason| one["reason"] == *reason));
        found.map(|one| (*one).clone()).ok_or_else(|| status.to_string())
    })
}

fn has_event(cluster: &Cluster, object: &str, reason: &str) -> String {
    wait(&format!("event {reason} of {object}"), || {
        let events =
            cluster.get(&["events", "--field-selector", &format!("involvedObject.name={object},reason={reason}")]);
        let first = events["items"].as_array().and_then(|items| items.first()).map(|event| event["message"].clone());
        first.and_then(|message| message.as_str().map(str::to_owned)).ok_or_else(|| events.to_string())
    })
}

#[test]
fn pods_that_cannot_run_say_why() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    cluster.import_busybox("busybox:test");
    cluster.apply(&pod("noimage", "  containers: [{name: c, image: 'absent:1', imagePullPolicy: Never}]\n"));
    cluster.apply(&pod("unreachable", "  containers: [{name: c, image: '127.0.0.1:1/absent:1'}]\n"));
    cluster.apply(&pod("badname", "  containers: [{name: c, image: 'UPPER CASE'}]\n"));
    cluster.apply(&pod(
        "nocommand",
        "  restartPolicy: Never\n  containers: [{name: c, image: 'busybox:test', command: [/bin/absent]}]\n",
    ));
    cluster.apply(&pod(
        "nosecret",
        "  containers: [{name: c, image: 'busybox:test', command: [/bin/sleep, '60'], env: [{name: A, valueFrom: {secretKeyRef: {name: absent, key: a}}}]}]\n",
    ));
    cluster.apply(&pod(
        "novolume",
        "  volumes: [{name: v, hostPath: {path: /absent/here, type: Directory}}]\n  containers: [{name: c, image: 'busybox:test', command: [/bin/sleep, '60'], volumeMounts: [{name: v, mountPath: /v}]}]\n",
    ));
    let message = |state: &Value| state["message"].as_str().unwrap_or_default().to_owned();
    waiting_for(&cluster, "noimage", &["ErrImageNeverPull"]);
    waiting_for(&cluster, "unreachable", &["ErrImagePull", "ImagePullBackOff"]);
    waiting_for(&cluster, "badname", &["InvalidImageName"]);
    let state = waiting_for(&cluster, "nocommand", &["StartError", "ContainerCannotRun"]);
    assert_eq!(state["exitCode"], 128, "{state}");
    assert!(message(&state).contains("/bin/absent"), "{state}");
    let state = waiting_for(&cluster, "nosecret", &["CreateContainerConfigError"]);
    assert!(message(&state).contains("secret \"absent\" not found"), "{state}");
    assert!(has_event(&cluster, "novolume", "FailedMount").contains("/absent/here"));
    assert!(cluster.k(&["describe", "pod", "novolume"]).contains("FailedMount"));
    cluster.k(&["delete", "pods", "--all", "--wait=true"]);
    cluster.assert_no_pod_left();
    cluster.down();
    cluster.assert_no_trace();
}

#[test]
fn bad_requests_get_kubernetes_answers() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    let file = |text: &str| {
        std::fs::write(cluster.dir.path().join("bad.yaml"), text).unwrap();
        cluster.k_fails(&["apply", "-f", "bad.yaml"])
    };
    let said = file("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Bad_Name}\n");
    assert!(said.contains("metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain"), "{said}");
    let said = file("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndta: {a: b}\n");
    assert!(said.contains("unknown field \"dta\""), "{said}");
    let said = cluster.k_fails(&["get", "absents"]);
    assert!(said.contains("the server doesn't have a resource type \"absents\""), "{said}");
    let said = file("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: many}\n");
    assert!(said.contains("replicas"), "{said}");
    let said = cluster.k_fails(&["get", "pod", "absent"]);
    assert!(said.contains("Error from server (NotFound): pods \"absent\" not found"), "{said}");
    let big = "x".repeat(3 << 20);
    std::fs::write(cluster.dir.path().join("big"), big).unwrap();
    let said = cluster.k_fails(&["create", "configmap", "big", "--from-file=big"]);
    assert!(said.to_lowercase().contains("too large") || said.contains("Too long"), "{said}");
    assert!(cluster.k(&["get", "configmaps", "-o", "name"]).trim() == "configmap/kube-root-ca.crt");
}
