//! Certificates from the certificates API: asked for with openssl, approved with kubectl, signed by the cluster, and good for who
//! they say.

use std::{fs, process::Command};

use serde_json::Value;

use crate::{
    harness::{succeed, wait},
    servers::Servers,
};

const SERVER: &str = "one";

/// One server, and what the tests do with it.
struct Cluster(Servers);

impl Cluster {
    fn file(&self, name: &str) -> String {
        self.0.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn k(&self, arguments: &[&str]) -> String {
        succeed(&mut self.0.kubectl(SERVER, arguments))
    }

    fn json(&self, what: &[&str]) -> Value {
        serde_json::from_str(&self.k(&[&["get", "-o", "json"], what].concat())).unwrap()
    }

    /// Makes a key and a request with openssl, and asks a signer.
    fn ask(&self, name: &str, subject: &str, signer: &str, usages: &str, more: &[&str], author: &[&str]) {
        let (key, request) = (self.file(&format!("{name}.key")), self.file(&format!("{name}.csr")));
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", &key, "-out", &request,
        ]);
        succeed(openssl.args(more));
        let encoded = succeed(Command::new("base64").args(["-w0", &request]));
        let manifest = format!(
            "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\nspec:\n  \
             signerName: kubernetes.io/{signer}\n  usages: [{usages}]\n  expirationSeconds: 3600\n  request: {encoded}\n"
        );
        fs::write(self.file("csr.yaml"), manifest).unwrap();
        self.k(&[&["create", "-f", &self.file("csr.yaml")], author].concat());
    }

    fn shown(&self, name: &str, wanted: &str) {
        wait(&format!("{name} to be {wanted}"), || {
            let shown = self.k(&["get", "csr", name, "--no-headers"]);
            if shown.trim_end().ends_with(wanted) { Ok(()) } else { Err(shown) }
        });
    }
}

/// Requests are made by somebody else than who signs them.
fn able() -> bool {
    let able = Command::new("openssl").arg("version").output().is_ok();
    if !able {
        eprintln!("SKIPPED: needs openssl");
    }
    able
}

#[test]
fn a_certificate_is_asked_for_approved_issued_and_good_for_who_it_says() {
    if !able() {
        return;
    }
    let cluster = Cluster(Servers::start(&[SERVER]));
    cluster.ask("jane", "/CN=jane/O=devs/O=ops", "kube-apiserver-client", "client auth", &[], &[]);
    cluster.shown("jane", "Pending");
    cluster.k(&["certificate", "approve", "jane"]);
    cluster.shown("jane", "Approved,Issued");
    let certificate = cluster.json(&["csr", "jane"])["status"]["certificate"].as_str().unwrap().to_owned();
    fs::write(cluster.file("jane.b64"), certificate).unwrap();
    fs::write(cluster.file("jane.crt"), succeed(Command::new("base64").args(["-d", &cluster.file("jane.b64")])))
        .unwrap();
    let ca = cluster.0.data(SERVER).join("pki/ca.crt");
    let ca = ca.to_str().unwrap();
    let said = succeed(Command::new("openssl").args([
        "verify",
        "-purpose",
        "sslclient",
        "-CAfile",
        ca,
        &cluster.file("jane.crt"),
    ]));
    assert!(said.ends_with("OK\n"), "{said}");
    let jane = |arguments: &[&str]| {
        let credentials = [
            "--kubeconfig",
            "/dev/null",
            "--server",
            &format!("https://{}", cluster.0.address(SERVER)),
            "--certificate-authority",
            ca,
            "--client-certificate",
            &cluster.file("jane.crt"),
            "--client-key",
            &cluster.file("jane.key"),
        ];
        let home = cluster.0.dir.path();
        Command::new("kubectl").args(credentials).args(arguments).env("HOME", home).output().unwrap()
    };
    let me = jane(&["auth", "whoami", "-o", "json"]);
    let me: Value = serde_json::from_slice(&me.stdout).unwrap_or_else(|_| panic!("{me:?}"));
    let user = &me["status"]["userInfo"];
    assert_eq!(
        (&user["username"], &user["groups"]),
        (&"jane".into(), &serde_json::json!(["devs", "ops", "system:authenticated"]))
    );
    assert!(!jane(&["get", "pods"]).status.success(), "jane has no role yet");
    cluster.k(&["create", "rolebinding", "ops", "--clusterrole=view", "--group=ops"]);
    assert!(jane(&["get", "pods"]).status.success());
    // What does not fit its signer is not signed, and says why.
    cluster.ask("web", "/CN=web", "kube-apiserver-client", "server auth", &["-addext", "subjectAltName=DNS:web"], &[]);
    cluster.k(&["certificate", "approve", "web"]);
    cluster.shown("web", "Approved,Failed");
    let failed = cluster.json(&["csr", "web"]);
    assert_eq!(failed["status"]["conditions"][1]["message"], "invalid usage for client certificate: server auth");
    // An agent's serving certificate waits for somebody, too.
    let names = ["-addext", "subjectAltName=DNS:n1,IP:10.0.0.1"];
    let usages = "digital signature, key encipherment, server auth";
    cluster.ask("serving", "/O=system:nodes/CN=system:node:n1", "kubelet-serving", usages, &names, &[]);
    cluster.k(&["certificate", "approve", "serving"]);
    cluster.shown("serving", "Approved,Issued");
}

#[test]
fn a_node_agents_own_certificate_is_approved_without_anybody() {
    if !able() {
        return;
    }
    let cluster = Cluster(Servers::start(&[SERVER]));
    let usages = "digital signature, client auth";
    cluster.k(&[
        "create",
        "clusterrolebinding",
        "renewal",
        "--group=system:nodes",
        "--clusterrole=system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
    ]);
    cluster.k(&["create", "clusterrole", "asker", "--verb=create,get,patch", "--resource=certificatesigningrequests"]);
    cluster.k(&["create", "clusterrolebinding", "asker", "--clusterrole=asker", "--user=jo"]);
    let subject = "/O=system:nodes/CN=system:node:n1";
    let node = ["--as=system:node:n1", "--as-group=system:nodes", "--as-group=system:authenticated"];
    cluster.ask("own", subject, "kube-apiserver-client-kubelet", usages, &[], &node);
    cluster.shown("own", "Approved,Issued");
    assert_eq!(cluster.json(&["csr", "own"])["status"]["conditions"][0]["reason"], "AutoApproved");
    // Somebody who is no node waits.
    cluster.ask("other", subject, "kube-apiserver-client-kubelet", usages, &[], &["--as=jo"]);
    cluster.shown("other", "Pending");
}
