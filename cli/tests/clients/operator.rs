//! `kopf` runs an operator on a kind of its own: `python/exhibits.py`, and the definition beside it.

use std::fs;

use serde_json::{Value, json};

use crate::{
    harness::{Cluster, Process, text, wait},
    interpreters::{administrator, python, script},
};

const NAMESPACE: &str = "kopf";

pub fn runs(cluster: &Cluster) {
    let Some(environment) = python() else { return };
    cluster.k(&["create", "namespace", NAMESPACE]);
    cluster.k(&["apply", "-f", script("python/exhibits.yaml").to_str().unwrap()]);
    cluster.k(&["wait", "--for=condition=Established", "crd/exhibits.kopf.kontiki.test", "--timeout=60s"]);
    let log = cluster.dir.path().join("kopf.log");
    let out = fs::File::create(&log).unwrap();
    let mut kopf = administrator(cluster, &environment.join("bin/kopf"));
    kopf.args(["run", "--standalone", "--namespace", NAMESPACE]).arg(script("python/exhibits.py"));
    let _operator = Process(kopf.stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap());
    let said = || fs::read_to_string(&log).unwrap_or_default();

    let exhibit = json!({
        "apiVersion": "kopf.kontiki.test/v1", "kind": "Exhibit", "metadata": {"name": "one", "namespace": NAMESPACE},
        "spec": {"text": "first"},
    });
    let file = cluster.dir.path().join("exhibit.json");
    fs::write(&file, exhibit.to_string()).unwrap();
    cluster.k(&["create", "-f", file.to_str().unwrap()]);
    let shown = |text: &str| {
        wait("the operator to show it", || {
            let map = found(cluster, &["configmap", "one-shown"]).map_err(|error| format!("{error}\n{}", said()))?;
            if map["data"]["text"] == text { Ok(map) } else { Err(format!("{map}\n{}", said())) }
        })
    };
    let map = shown("first");
    let owned = found(cluster, &["exhibit", "one"]).unwrap();
    assert_eq!(map["metadata"]["ownerReferences"][0]["uid"], owned["metadata"]["uid"], "{map}");
    assert_eq!(owned["metadata"]["finalizers"], json!(["kopf.kontiki.test/farewell"]), "{owned}");
    let status = |member: &str, value: Value| {
        wait("the operator to say so", || {
            let status = found(cluster, &["exhibit", "one"])?["status"].take();
            if status[member] == value { Ok(()) } else { Err(format!("{status}\n{}", said())) }
        });
    };
    status("create", json!({"shown": "first"}));
    wait("the operator's event", || {
        let events = found(cluster, &["events"])?;
        let events = events["items"].as_array().into_iter().flatten();
        let mut of_it = events.filter(|event| event["reason"] == "Shown" && event["involvedObject"]["name"] == "one");
        of_it.next().map(drop).ok_or_else(said)
    });

    cluster.k(&["-n", NAMESPACE, "patch", "exhibit", "one", "--type=merge", "-p", r#"{"spec":{"text":"second"}}"#]);
    shown("second");
    status("changed", json!("first -> second"));

    // Only the operator's farewell lets it go; what it owned goes with it.
    cluster.k(&["-n", NAMESPACE, "delete", "exhibit", "one", "--timeout=60s"]);
    assert_eq!(found(cluster, &["configmap", "one-mourned"]).unwrap()["data"]["text"], "second");
    wait("its map to go", || match found(cluster, &["configmap", "one-shown"]) {
        Err(error) if error.contains("NotFound") => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

fn found(cluster: &Cluster, what: &[&str]) -> Result<Value, String> {
    let output = cluster.kubectl(&["-n", NAMESPACE, "get", "-o", "json"]).args(what).output().unwrap();
    if !output.status.success() {
        return Err(text(&output));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}
