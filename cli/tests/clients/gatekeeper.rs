//! `kopf` serves admission webhooks: `python/gatekeeper.py`, seen through kubectl.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::{
    harness::{Cluster, Process, succeed, text, wait},
    interpreters::{administrator, python, script},
};

const NAMESPACE: &str = "kopf-webhooks";
const CONFIGURED: &str = "gatekeeper.kopf.kontiki.test";

pub fn judges(cluster: &Cluster) {
    let Some(environment) = python() else { return };
    cluster.k(&["create", "namespace", NAMESPACE]);
    cluster.k(&["apply", "-f", script("python/tickets.yaml").to_str().unwrap()]);
    cluster.k(&["wait", "--for=condition=Established", "crd/tickets.kopf.kontiki.test", "--timeout=60s"]);
    let dir = cluster.dir.path().join(NAMESPACE);
    fs::create_dir(&dir).unwrap();
    let log = dir.join("log");
    let out = fs::File::create(&log).unwrap();
    let mut kopf = administrator(cluster, &environment.join("bin/kopf"));
    let served = certificate(&dir);
    kopf.env("CERTIFICATE", &served.0).env("KEY", served.1).env("AUTHORITY", &served.0);
    kopf.args(["run", "--standalone", "--namespace", NAMESPACE]).arg(script("python/gatekeeper.py"));
    let _operator = Process(kopf.stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap());
    let said = || fs::read_to_string(&log).unwrap_or_default();
    wait("the operator to configure its webhooks", || {
        let kinds = "validatingwebhookconfigurations,mutatingwebhookconfigurations";
        let found = cluster.get(&[kinds])["items"].take();
        let ours = found.as_array().unwrap().iter().filter(|one| one["metadata"]["name"] == CONFIGURED);
        let webhooks = ours.map(|one| one["webhooks"].as_array().map_or(0, Vec::len)).collect::<Vec<_>>();
        if webhooks == [2, 2] { Ok(()) } else { Err(format!("{webhooks:?}\n{}", said())) }
    });

    let tell = |object: Value, flags: &[&str]| {
        let file = dir.join("object.json");
        fs::write(&file, object.to_string()).unwrap();
        // An old kubectl looks at what is required before it asks.
        let create = ["-n", NAMESPACE, "create", "--validate=false", "-o", "json", "-f", file.to_str().unwrap()];
        cluster.kubectl(&[create.as_slice(), flags].concat()).output().unwrap()
    };
    let ticket = |name: &str, spec: Value| json!({"apiVersion": "kopf.kontiki.test/v1", "kind": "Ticket", "metadata": {"name": name}, "spec": spec});
    // Without a seat it would not be valid: what is mutated is judged afterwards.
    let made = told(&tell(ticket("one", json!({})), &[]));
    assert_eq!(made["spec"], json!({"seat": 1}), "{made}\n{}", said());
    assert_eq!(made["metadata"]["annotations"]["sold-to"], "kubernetes-admin", "{made}");
    let refused = tell(ticket("two", json!({"seat": 101})), &[]);
    let refusal = text(&refused);
    assert!(!refused.status.success(), "{refusal}");
    let denied = "denied the request: there are a hundred seats";
    assert!(refusal.contains("admission webhook \"seated.") && refusal.contains(denied), "{refusal}");
    let poor = tell(ticket("three", json!({"seat": 91})), &["--dry-run=server"]);
    assert!(text(&poor).contains("Warning: dry run: the view is poor"), "{}", text(&poor));
    let patch = ["-n", NAMESPACE, "patch", "ticket", "one", "--type=merge", "-p"];
    let patched = |spec: &str| cluster.kubectl(&[patch.as_slice(), &[spec]].concat()).output().unwrap();
    assert!(text(&patched(r#"{"spec":{"seat":91}}"#)).contains("Warning: the view is poor"));
    assert!(text(&patched(r#"{"spec":{"seat":101}}"#)).contains(denied));
    assert_eq!(cluster.get(&["-n", NAMESPACE, "ticket", "one"])["spec"]["seat"], 91);

    // A kind of Kubernetes' own; who has not the label is nobody's business.
    let map = |name: &str, labels: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}});
    assert_eq!(told(&tell(map("ours", json!({"kept-by": "gatekeeper"})), &[]))["data"], json!({"mark": "seen"}));
    assert!(told(&tell(map("other", json!({"kept-by": "nobody"})), &[]))["data"].is_null());
    let delete = ["-n", NAMESPACE, "delete", "configmap", "ours"];
    cluster.k(&["-n", NAMESPACE, "patch", "configmap", "ours", "-p", r#"{"data":{"lock":"yes"}}"#]);
    let refusal = cluster.k_fails(&delete);
    assert!(refusal.contains("denied the request: ours is locked"), "{refusal}");
    cluster.k(&["-n", NAMESPACE, "patch", "configmap", "ours", "-p", r#"{"data":{"lock":null}}"#]);
    cluster.k(&delete);
    for kind in ["validatingwebhookconfiguration", "mutatingwebhookconfiguration"] {
        cluster.k(&["delete", kind, CONFIGURED]);
    }
}

fn told(output: &std::process::Output) -> Value {
    assert!(output.status.success(), "{}", text(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A certificate for the loopback address that vouches for itself, and its key.
fn certificate(dir: &std::path::Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let (certificate, key) = (dir.join("tls.crt"), dir.join("tls.key"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]);
    openssl.args(["-addext", "subjectAltName=DNS:localhost", "-keyout"]).arg(&key).arg("-out").arg(&certificate);
    succeed(&mut openssl);
    (certificate, key)
}
