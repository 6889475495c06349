//! Pod Security as users of kubectl meet it: refusals, warnings, and defaults from a file.

use std::fs;

use serde_json::Value;

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
defaults: {enforce: baseline, warn: restricted, audit: restricted}
exemptions: {namespaces: [free]}
";

const AUDIT: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
rules: [{level: Metadata, verbs: [create], resources: [{group: '', resources: [pods]}]}]
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
    fs::write(folder.join("audit.yaml"), AUDIT).unwrap();
    servers.signal(SERVER, "-TERM");
    let audited = ["--audit-policy-file", "audit.yaml", "--audit-log-path", "audit.log"];
    servers.spawn(SERVER, &[&["--admission-control-config-file", "admission.yaml"][..], &audited].concat());
    servers.wait_ready(SERVER);
    for namespace in ["fresh", "free"] {
        assert!(told(&servers, &["create", "namespace", namespace]).0);
    }
    let (made, said) = run(&servers, "fresh", "after");
    assert!(!made && said.contains(refused), "{said}");
    assert!(run(&servers, "free", "after").0, "an exempt namespace");
    let (made, said) = told(&servers, &["create", "deployment", "web", "-n", "fresh", "--image=x"]);
    assert!(made && said.contains(r#"Warning: would violate PodSecurity "restricted:latest""#), "{said}");
    let recorded = |namespace: &str, key: &str| {
        wait(&format!("{key} of a pod in {namespace} to be recorded"), || {
            let log = fs::read_to_string(folder.join("audit.log")).unwrap_or_default();
            let mut events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let of = |event: &Value| {
                let annotation = &event["annotations"][format!("pod-security.kubernetes.io/{key}")];
                (event["objectRef"]["namespace"] == namespace).then(|| annotation.as_str().map(str::to_owned))?
            };
            events.find_map(|event| of(&event)).ok_or(log)
        })
    };
    assert_eq!(recorded("fresh", "enforce-policy"), "baseline:latest");
    let violations = recorded("fresh", "audit-violations");
    assert!(violations.starts_with(r#"would violate PodSecurity "restricted:latest": privileged"#), "{violations}");
    assert_eq!(recorded("free", "exempt"), "namespace");
}
