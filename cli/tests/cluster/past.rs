//! The past with a real kubectl: objects below `/at/`, history, diff, undo, undelete, why, and a stream that resumes.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use serde_json::Value;

use crate::harness::{Cluster, Process, able, succeed, text, wait};

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: "busybox:test", command: [/bin/sleep, "1000000"]}
"#;

impl Cluster {
    /// Runs a command about the past; it must succeed.
    fn told(&self, arguments: &[&str]) -> String {
        let mut all = arguments.to_vec();
        all.extend(["--kubeconfig", ".kontiki/kubeconfig"]);
        succeed(&mut self.kontiki(&all))
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let mut all = arguments.to_vec();
        all.extend(["--kubeconfig", ".kontiki/kubeconfig"]);
        let output = self.kontiki(&all).output().unwrap();
        assert!(!output.status.success(), "kontiki {arguments:?} succeeded: {}", text(&output));
        text(&output)
    }

    /// kubectl, asking about a moment.
    fn then(&self, moment: &str, arguments: &[&str]) -> String {
        let server = format!("--server=https://127.0.0.1:6443/at/{moment}");
        let mut all = vec![server.as_str()];
        all.extend(arguments);
        self.k(&all)
    }

    fn then_fails(&self, moment: &str, arguments: &[&str]) -> String {
        let server = format!("--server=https://127.0.0.1:6443/at/{moment}");
        let mut all = vec![server.as_str()];
        all.extend(arguments);
        self.k_fails(&all)
    }

    /// The revision of an object.
    fn revision(&self, what: &[&str]) -> u64 {
        self.get(what)["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
    }

    fn ready(&self, replicas: u64) {
        wait("the deployment to be ready", || {
            let deployment = self.get(&["deployment", "web"]);
            let ready = deployment["status"]["readyReplicas"].as_u64().unwrap_or(0);
            let settled = deployment["status"]["replicas"].as_u64().unwrap_or(0) == replicas;
            if settled && ready == replicas { Ok(()) } else { Err(deployment["status"].to_string()) }
        });
    }

    /// The name of the deployment's pod, once there is no other, ending ones included.
    fn the_only_pod(&self) -> String {
        wait("exactly one pod", || {
            let pods = self.get(&["pods", "-l", "app=web"]);
            match pods["items"].as_array().unwrap().as_slice() {
                [pod] => Ok(pod["metadata"]["name"].as_str().unwrap().to_owned()),
                several => Err(format!("{} pods", several.len())),
            }
        })
    }
}

/// Widgets of two versions, stored in one of them.
fn stored_in(version: &str) -> String {
    let one = |name: &str| {
        let schema = "{openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}";
        format!("  - {{name: {name}, served: true, storage: {}, schema: {schema}}}\n", name == version)
    };
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: widgets.example.com}}\n\
         spec:\n  group: example.com\n  scope: Namespaced\n  names: {{plural: widgets, singular: widget, kind: Widget}}\n  \
         versions:\n{}{}",
        one("v1beta1"),
        one("v1")
    )
}

#[test]
fn the_past_is_read_explained_and_taken_back() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    cluster.import_busybox("busybox:test");
    cluster.apply(DEPLOYMENT);
    cluster.ready(1);
    let one = cluster.revision(&["deployment", "web"]).to_string();
    cluster.k(&["create", "configmap", "settings", "--from-literal=color=red"]);
    cluster.k(&["label", "configmap", "settings", "app=web"]);
    let labelled = cluster.revision(&["configmap", "settings"]).to_string();
    cluster.k(&["scale", "deployment/web", "--replicas=2"]);
    cluster.ready(2);

    // kubectl, at a moment.
    let pods = |moment: &str| cluster.then(moment, &["get", "pods", "-A", "-o", "name"]).lines().count();
    assert_eq!((pods(&one), cluster.get(&["pods"])["items"].as_array().unwrap().len()), (1, 2));
    assert!(cluster.then(&one, &["get", "deployment", "web"]).contains("1/1"));
    assert!(cluster.then(&one, &["describe", "deployment", "web"]).contains("1 desired"));
    assert!(cluster.then(&one, &["get", "deployment", "web", "-o", "yaml"]).contains("\n  replicas: 1\n"));
    assert!(cluster.then(&one, &["explain", "deployment.spec.replicas"]).contains("replicas"));
    assert!(cluster.then(&labelled, &["get", "configmaps", "-l", "app=web", "-o", "name"]).contains("settings"));
    assert_eq!(cluster.then(&one, &["get", "configmaps", "-l", "app=web", "-o", "name"]), "");
    assert!(cluster.then_fails(&one, &["delete", "deployment", "web"]).contains("the past is read-only"));
    assert!(cluster.then_fails("999999999", &["get", "pods"]).contains("is in the future"));
    assert!(cluster.then_fails(&one, &["get", "componentstatuses"]).contains("are not kept"));

    // Who did it, and taking it back.
    let history = cluster.told(&["history", "deploy/web"]);
    assert!(history.contains("spec.replicas 1 → 2") && history.contains("kubernetes-admin"), "{history}");
    let diff = cluster.told(&["diff", "deployment/web", &one]);
    assert!(diff.contains("\n-  replicas: 1\n+  replicas: 2\n"), "{diff}");
    let undone = cluster.told(&["undo", "deployment/web"]);
    assert!(undone.contains("\n-  replicas: 2\n+  replicas: 1\n"), "{undone}");
    cluster.ready(1);
    cluster.k(&["patch", "configmap", "settings", "--type=merge", "-p", r#"{"metadata":{"finalizers":["a.b/c"]}}"#]);
    cluster.k(&["delete", "configmap", "settings", "--wait=false"]);
    assert!(cluster.refused(&["undo", "cm/settings"]).contains("is being deleted"));
    cluster.k(&["patch", "configmap", "settings", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]);
    assert!(cluster.told(&["undelete", "cm/settings"]).contains("made again"));
    assert_eq!(cluster.get(&["configmap", "settings"])["data"]["color"], "red");
    assert!(cluster.refused(&["undelete", "cm/settings"]).contains("nothing to undelete"));
    cluster.k(&["patch", "configmap", "settings", "--type=merge", "-p", r#"{"data":{"color":"blue"}}"#]);
    cluster.told(&["undo", "cm/settings", "--to-revision", &labelled]);
    assert_eq!(cluster.get(&["configmap", "settings"])["data"]["color"], "red");

    // A namespace goes when its controller says so; somebody else asked for it.
    cluster.k(&["create", "namespace", "gone"]);
    cluster.k(&["delete", "namespace", "gone"]);
    let made = cluster.told(&["undelete", "ns/gone"]);
    assert!(made.contains("before kubernetes-admin deleted it"), "{made}");

    // What is stored in another version than it is written in, and what was written only to be stored in another.
    cluster.apply(&stored_in("v1beta1"));
    cluster.k(&["wait", "--for=condition=Established", "crd/widgets.example.com"]);
    let owner = r#"[{"apiVersion": "nosuch.io/v1", "kind": "Nobody", "name": "x", "uid": "u"}]"#;
    cluster.apply("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 1}\n");
    cluster.k(&["delete", "widget", "w"]);
    assert!(cluster.told(&["undelete", "widget/w"]).contains("made again"));
    cluster.k(&["patch", "widget", "w", "--type=merge", "-p", r#"{"spec":{"size":2}}"#]);
    let changed = cluster.revision(&["widget", "w"]);
    // At a moment that knew no such kind, it was not there.
    let diff = cluster.told(&["diff", "widget/w", &one]);
    assert!(diff.contains("(not there)") && diff.contains("\n+  size: 2\n"), "{diff}");
    let refused = cluster.refused(&["undo", "widget/w", "--to-revision", &one]);
    assert!(refused.contains(&format!("was not there at revision {one}")), "{refused}");
    cluster.apply(&stored_in("v1"));
    cluster.k(&["patch", "widget", "w", "--type=merge", "-p", "{}"]);
    assert_ne!(cluster.revision(&["widget", "w"]), changed, "it is stored in the new version");
    let undone = cluster.told(&["undo", "widget/w"]);
    assert!(undone.contains("\n-  size: 2\n+  size: 1\n"), "{undone}");
    cluster.k(&["delete", "--wait=false", "widget", "w"]);
    cluster.k(&["create", "configmap", "owned"]);
    cluster.k(&[
        "patch",
        "configmap",
        "owned",
        "--type=merge",
        "-p",
        &format!(r#"{{"metadata":{{"ownerReferences":{owner}}}}}"#),
    ]);
    cluster.k(&["delete", "configmap", "owned", "--ignore-not-found"]);
    let made = cluster.told(&["undelete", "cm/owned"]);
    assert!(made.contains("its owner nobody/x is gone too"), "{made}");

    // What Secrets hold is not for everybody who looks on.
    cluster.k(&["create", "secret", "generic", "key", "--from-literal=a=one"]);
    let first = cluster.revision(&["secret", "key"]).to_string();
    cluster.k(&["patch", "secret", "key", "--type=merge", "-p", r#"{"stringData":{"a":"two"}}"#]);
    let diff = cluster.told(&["diff", "secret/key", &first]);
    assert!(diff.contains("\n-  a: \"*** (before)\"\n+  a: \"*** (after)\"\n"), "{diff}");
    let diff = cluster.told(&["diff", "secret/key", &first, "--show-secrets"]);
    assert!(diff.contains("\n-  a: b25l\n+  a: dHdv\n"), "{diff}");
    assert!(!cluster.told(&["undo", "secret/key", "--dry-run"]).contains("dHdv"));

    // From a pod to the person who applied its deployment; from its replacement to whoever deleted it.
    let pod = cluster.the_only_pod();
    let why: Value = serde_json::from_str(&cluster.told(&["why", &format!("pod/{pod}"), "-o", "json"])).unwrap();
    let chain = why["items"].as_array().unwrap().iter().find(|item| item["about"] == "created").unwrap();
    let links = chain["links"].as_array().unwrap();
    let of = |link: &Value| link["event"]["resource"]["resource"].as_str().unwrap_or_default().to_owned();
    assert_eq!((of(&links[0]).as_str(), of(&links[1]).as_str()), ("pods", "replicasets.apps"), "{chain:#}");
    let last = links.last().unwrap();
    assert_eq!((of(last).as_str(), &last["event"]["author"]["user"]), ("deployments.apps", &"kubernetes-admin".into()));
    assert_eq!(chain["end"]["reason"], "person");
    cluster.k(&["delete", "pod", &pod]);
    let next = cluster.the_only_pod();
    assert_ne!(next, pod);
    let why = cluster.told(&["why", &format!("pod/{next}")]);
    assert!(why.contains(&format!("delete pods/{pod} -n default by kubernetes-admin")), "{why}");

    // Every write says who and why, but for those of time and observation.
    let output = cluster.told(&["history", &format!("pod/{next}"), "-o", "json"]);
    let told: Value = serde_json::from_str(&output).unwrap();
    assert!(told["items"].as_array().unwrap().iter().all(|event| event["cause"].is_u64()), "{told:#}");
    cluster.k(&["delete", "deployment", "web"]);
}

/// Reads events until one is wanted; the revisions of all, and the process.
fn tail(cluster: &Cluster, from: &str, wanted: &str) -> (Vec<u64>, Process) {
    let arguments = ["tail", "--from", from, "--kubeconfig", ".kontiki/kubeconfig"];
    let mut child = cluster.kontiki(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut revisions = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let process = Process(child);
    loop {
        let line = lines.next().expect("the stream goes on").unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        revisions.push(event["revision"].as_u64().unwrap());
        if event["resource"]["name"] == wanted {
            return (revisions, process);
        }
    }
}

#[test]
fn a_stream_of_events_goes_on_where_it_stopped_also_after_a_restart() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    cluster.k(&["create", "configmap", "first"]);
    // When whoever reads has had enough, it ends by itself, though nothing comes that it could not write.
    let (before, mut process) = tail(&cluster, "0", "first");
    wait("the tail to end", || process.0.try_wait().unwrap().map(drop).ok_or_else(|| "it goes on".to_owned()));
    assert_eq!(before, (1..=*before.last().unwrap()).collect::<Vec<_>>(), "each once, from the first on");
    cluster.k(&["create", "configmap", "second"]);
    succeed(std::process::Command::new("kill").args(["-9", &cluster.pid().to_string()]));
    cluster.up();
    cluster.k(&["create", "configmap", "third"]);
    let last = before.last().unwrap();
    let (after, _process) = tail(&cluster, &last.to_string(), "third");
    assert_eq!(after, (last + 1..=*after.last().unwrap()).collect::<Vec<_>>(), "no gap, no duplicate");
    assert!(cluster.refused(&["tail", "--from", "999999999"]).contains("is in the future"));
}
