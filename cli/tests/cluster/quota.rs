//! Quotas with a real kubectl and the controllers: counted, charged, and given back.

use std::{
    fmt::Write as _,
    process::{Child, Stdio},
};

use crate::{
    harness::{Cluster, able, succeed, text, wait},
    servers::Servers,
};

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
"#;

const WIDGET: &str = r#"
apiVersion: example.com/v1
kind: Widget
metadata: {name: NAME}
"#;

const CLAIM: &str = r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
"#;

const CLASS: &str = r#"
apiVersion: storage.k8s.io/v1
kind: VolumeAttributesClass
metadata: {name: fast}
driverName: example.com
parameters: {speed: high}
"#;

impl Cluster {
    /// Waits until the quota `q` tells these numbers as used.
    fn used(&self, expected: &[(&str, &str)]) {
        wait("the quota to be counted", || {
            let quota = self.get(&["quota", "q"]);
            let used = |name: &str| quota["status"]["used"][name].as_str().unwrap_or_default().to_owned();
            let same = expected.iter().all(|(name, amount)| used(name) == *amount);
            if same { Ok(()) } else { Err(format!("{:#}", quota["status"])) }
        });
    }
}

#[test]
fn a_quota_counts_what_is_there_and_what_goes() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    cluster.apply(DEFINITION);
    cluster.k(&["wait", "--for=condition=Established", "crd/widgets.example.com"]);
    cluster.k(&["create", "configmap", "before"]);
    let hard = "--hard=configmaps=3,count/widgets.example.com=1,persistentvolumeclaims=1,requests.storage=1Gi,pods=0";
    cluster.k(&["create", "quota", "q", hard]);
    // The CA that every namespace has, and the one from before.
    cluster.used(&[("configmaps", "2"), ("count/widgets.example.com", "0"), ("pods", "0"), ("requests.storage", "0")]);

    cluster.k(&["create", "configmap", "third"]);
    let refused = cluster.k_fails(&["create", "configmap", "fourth"]);
    assert!(
        refused.contains("exceeded quota: q, requested: configmaps=1, used: configmaps=3, limited: configmaps=3"),
        "{refused}"
    );
    let described = cluster.k(&["describe", "quota", "q"]);
    let line = described.lines().find(|line| line.starts_with("configmaps")).unwrap_or_default();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["configmaps", "3", "3"], "{described}");
    cluster.k(&["delete", "configmap", "third"]);
    cluster.used(&[("configmaps", "2")]);

    cluster.apply(&WIDGET.replace("NAME", "one"));
    cluster.used(&[("count/widgets.example.com", "1")]);
    std::fs::write(cluster.dir.path().join("two.yaml"), WIDGET.replace("NAME", "two")).unwrap();
    let refused = cluster.k_fails(&["apply", "-f", "two.yaml"]);
    assert!(refused.contains("exceeded quota: q"), "{refused}");
    cluster.k(&["delete", "widget", "one"]);
    cluster.used(&[("count/widgets.example.com", "0")]);

    cluster.apply(CLASS);
    cluster.apply(&format!("{CLAIM}  volumeAttributesClassName: fast\n"));
    cluster.used(&[("persistentvolumeclaims", "1"), ("requests.storage", "1Gi")]);
    // The class goes after the claim that names it; nobody uses the claim, so nothing holds it back.
    cluster.k(&["delete", "volumeattributesclass", "fast", "--wait=false"]);
    assert!(cluster.k(&["get", "volumeattributesclasses"]).contains("fast"));
    cluster.k(&["delete", "pvc", "data", "--timeout=60s"]);
    cluster.k(&["wait", "--for=delete", "volumeattributesclass/fast", "--timeout=60s"]);
    cluster.used(&[("persistentvolumeclaims", "0"), ("requests.storage", "0")]);

    cluster.import_busybox("busybox:test");
    let run = ["run", "p", "--image=busybox:test", "--restart=Never", "--command", "--", "/bin/true"];
    let refused = cluster.k_fails(&run);
    let why = "pods \"p\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0";
    assert!(refused.contains(why), "{refused}");
    cluster.k(&["patch", "quota", "q", "--type=merge", "-p", r#"{"spec":{"hard":{"pods":"1"}}}"#]);
    wait("the new bound to hold", || {
        let output = cluster.kubectl(&run).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(text(&output)) }
    });
    // A pod that has ended uses nothing, although it is still there.
    cluster.k(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/p", "--timeout=60s"]);
    cluster.used(&[("pods", "0")]);
    cluster.k(&["get", "pod", "p"]);
    cluster.down();
}

#[test]
fn three_servers_let_in_exactly_as_many_as_there_is_room_for() {
    const WRITERS_EACH: usize = 4;
    const OBJECTS_EACH: usize = 15;
    const ROOM: usize = 100;
    let names = ["a", "b", "c"];
    let servers = Servers::start(&names);
    let kubectl = |server: &str, arguments: &[&str]| succeed(&mut servers.kubectl(server, arguments));
    kubectl("a", &["create", "namespace", "full"]);
    kubectl("a", &["create", "quota", "q", "-n", "full", &format!("--hard=count/secrets={ROOM}")]);
    let used = || kubectl("b", &["get", "quota", "q", "-n", "full", "-o", "jsonpath={.status.used.count/secrets}"]);
    wait("the quota to be counted", || if used() == "0" { Ok(()) } else { Err(used()) });

    let writer = |server: &str, number: usize| -> Child {
        let file = format!("{server}-{number}.yaml");
        let mut manifest = String::new();
        for object in 0..OBJECTS_EACH {
            let name = format!("{server}-{number}-{object}");
            writeln!(manifest, "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: full}}")
                .unwrap();
        }
        std::fs::write(servers.dir.path().join(&file), manifest).unwrap();
        let mut command = servers.kubectl(server, &["create", "--validate=false", "-f", &file]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let running: Vec<Child> =
        names.iter().flat_map(|server| (0..WRITERS_EACH).map(|number| writer(server, number))).collect();
    let mut created = 0;
    for writer in running {
        let output = writer.wait_with_output().unwrap();
        created += String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.ends_with(" created")).count();
        for line in String::from_utf8_lossy(&output.stderr).lines().filter(|line| line.starts_with("Error")) {
            assert!(line.contains("exceeded quota: q"), "{}", text(&output));
        }
    }
    assert_eq!(created, ROOM);
    assert_eq!(used(), ROOM.to_string());
    let secrets = kubectl("c", &["get", "secrets", "-n", "full", "-o", "name"]);
    assert_eq!(secrets.lines().count(), ROOM);
}
