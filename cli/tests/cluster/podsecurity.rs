//! Pod Security as users of kubectl meet it: refusals, warnings, and defaults from a file.

use std::fs;

use crate::{
    harness::{text, wait},
    servers::Servers,
};

const SERVER: &str = "one";
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const CONFIG: &str = "apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  path: pod-security.yaml
";
const POD_SECURITY: &str = "apiVersion: pod-security.admission.config.k8s.io/v1
kind: PodSecurityConfiguration
defaults: {enforce: baseline, warn: restricted}
exemptions: {namespaces: [free]}
";

/// Whether kubectl succeeded, and all it said.
fn told(servers: &Servers, arguments: &[&str]) -> (bool, String) {
    let output = servers.kubectl(SERVER, arguments).output().unwrap();
    (output.status.success(), text(&output))
}

fn run(servers: &Servers, namespace: &str, name: &str) -> (bool, String) {
    wait("the service account", || match told(servers, &["get", "serviceaccount", "default", "-n", namespace]) {
        (true, _) => Ok(()),
        (false, said) => Err(said),
    });
    told(servers, &["run", name, "-n", namespace, "--image=x", "--privileged"])
}

#[test]
fn kubectl_tells_what_pod_security_forbids_and_defaults_come_from_a_file() {
    let mut servers = Servers::start(&[SERVER]);
    assert!(run(&servers, "default", "before").0, "nothing is forbidden unless somebody says so");
    let (labelled, said) = told(&servers, &["label", "namespace", "default", &format!("{ENFORCE}=baseline")]);
    assert!(labelled && said.contains("Warning: before: privileged"), "{said}");
    let refused =
        r#"pods "after" is forbidden: violates PodSecurity "baseline:latest": privileged (container "after" must not"#;
    let (made, said) = run(&servers, "default", "after");
    assert!(!made && said.contains(refused), "{said}");
    let (labelled, said) =
        told(&servers, &["label", "namespace", "default", "--overwrite", &format!("{ENFORCE}=bottom")]);
    assert!(!labelled && said.contains("must be one of privileged, baseline, restricted"), "{said}");

    let folder = servers.dir.path().to_owned();
    fs::write(folder.join("admission.yaml"), CONFIG).unwrap();
    fs::write(folder.join("pod-security.yaml"), POD_SECURITY).unwrap();
    servers.signal(SERVER, "-TERM");
    servers.spawn(SERVER, &["--admission-control-config-file", "admission.yaml"]);
    servers.wait_ready(SERVER);
    for namespace in ["fresh", "free"] {
        assert!(told(&servers, &["create", "namespace", namespace]).0);
    }
    let (made, said) = run(&servers, "fresh", "after");
    assert!(!made && said.contains(refused), "{said}");
    assert!(run(&servers, "free", "after").0, "an exempt namespace");
    let (made, said) = told(&servers, &["create", "deployment", "web", "-n", "fresh", "--image=x"]);
    assert!(made && said.contains(r#"Warning: would violate PodSecurity "restricted:latest""#), "{said}");
}
