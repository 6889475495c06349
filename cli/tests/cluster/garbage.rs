//! Garbage collection with a real kubectl: dependents of every kind, those that a definition has just made too.

use serde_json::json;

use crate::harness::{Cluster, able, wait};

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

impl Cluster {
    /// A widget that two ConfigMaps own.
    fn owned(&self, name: &str, owners: [&str; 2]) {
        let owner = |name: &str| {
            let uid = self.get(&["configmap", name])["metadata"]["uid"].clone();
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid})
        };
        let metadata = json!({"name": name, "ownerReferences": owners.map(owner)});
        self.apply(&json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata}).to_string());
    }

    /// Waits until these own the widget.
    fn owners(&self, name: &str, expected: &[&str]) {
        wait("the widget to have its owners", || {
            let widget = self.get(&["widget", name]);
            let owners = widget["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            let owners: Vec<_> = owners.iter().map(|owner| owner["name"].as_str().unwrap_or_default()).collect();
            if owners == expected { Ok(()) } else { Err(format!("{owners:?}")) }
        });
    }
}

#[test]
fn custom_objects_lose_owners_that_are_gone_and_go_with_the_last() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    for name in ["a", "b", "c"] {
        cluster.k(&["create", "configmap", name]);
    }
    cluster.apply(DEFINITION);
    cluster.k(&["wait", "--for=condition=Established", "crd/widgets.example.com"]);
    cluster.owned("one", ["a", "b"]);
    cluster.k(&["delete", "configmap", "a"]);
    cluster.owners("one", &["b"]);
    cluster.owned("two", ["b", "c"]);
    cluster.k(&["delete", "configmap", "b", "--cascade=orphan"]);
    cluster.owners("one", &[]);
    cluster.owners("two", &["c"]);
    cluster.k(&["delete", "configmap", "c", "--as=cas", "--as-group=system:masters"]);
    cluster.k(&["wait", "--for=delete", "widget/two", "--timeout=60s"]);
    cluster.k(&["get", "widget", "one"]);
    // Who deleted the owner asked for it, not who changed it before.
    let arguments = ["why", "widget/two", "--kubeconfig", ".kontiki/kubeconfig"];
    let why = cluster.kontiki(&arguments).output().unwrap();
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(why.contains("which cas (by "), "{why}");
}

/// A definition that serves one version and still knows the other.
fn served(version: &str) -> String {
    let version = |name: &str| {
        let served = name == version;
        json!({"name": name, "served": served, "storage": served, "schema": {"openAPIV3Schema": {"type": "object"}}})
    };
    let names = json!({"plural": "gadgets", "singular": "gadget", "kind": "Gadget"});
    let versions = ["v1beta1", "v1"].map(version);
    let spec = json!({"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions});
    let metadata = json!({"name": "gadgets.example.com"});
    let kind = "CustomResourceDefinition";
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec}).to_string()
}

#[test]
fn dependents_go_with_an_owner_whose_version_changed_and_global_ones_stay() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    cluster.apply(&served("v1beta1"));
    cluster.k(&["wait", "--for=condition=Established", "crd/gadgets.example.com"]);
    cluster
        .apply(&json!({"apiVersion": "example.com/v1beta1", "kind": "Gadget", "metadata": {"name": "g"}}).to_string());
    cluster.apply(&served("v1"));
    wait("the other version to be served", || {
        let asked = cluster.kubectl(&["get", "gadgets.v1.example.com", "g"]).output().unwrap();
        if asked.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&asked.stderr).into_owned()) }
    });
    let uid = cluster.get(&["gadgets.v1.example.com", "g"])["metadata"]["uid"].clone();
    let owner = json!([{"apiVersion": "example.com/v1", "kind": "Gadget", "name": "g", "uid": uid}]);
    let of = |name: &str| json!({"name": name, "ownerReferences": owner});
    cluster.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": of("dependent")}).to_string());
    let (group, kind) = ("rbac.authorization.k8s.io/v1", "ClusterRole");
    cluster.apply(&json!({"apiVersion": group, "kind": kind, "metadata": of("global"), "rules": []}).to_string());
    wait("the mistake in the ClusterRole to be told", || {
        let told = cluster.k(&["get", "events", "--field-selector", "reason=OwnerRefInvalidNamespace", "-o", "name"]);
        if told.is_empty() { Err("no event".to_owned()) } else { Ok(()) }
    });
    cluster.k(&["delete", "gadgets.v1.example.com", "g", "--wait=false"]);
    cluster.k(&["wait", "--for=delete", "configmap/dependent", "--timeout=60s"]);
    cluster.k(&["get", "clusterrole", "global"]);
}

#[test]
fn what_pods_use_stays_until_the_last_of_their_namespace_is_gone() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    cluster.k(&["create", "namespace", "going"]);
    cluster.k(&["-n", "going", "create", "configmap", "used"]);
    let held = json!({"name": "held", "namespace": "going", "finalizers": ["example.com/hold"]});
    let spec = json!({"containers": [{"name": "c", "image": "none:1"}], "nodeSelector": {"none": "such"}});
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": held, "spec": spec}).to_string());
    cluster.k(&["delete", "namespace", "going", "--wait=false"]);
    wait("the namespace to say what is left", || {
        let namespace = cluster.get(&["namespace", "going"]);
        let conditions = namespace["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let remaining = conditions.iter().find(|condition| condition["type"] == "NamespaceContentRemaining");
        match remaining.map(|condition| condition["message"].as_str().unwrap_or_default()) {
            Some("Some resources are remaining: pods. has 1 resource instances") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert!(!cluster.get(&["-n", "going", "pod", "held"])["metadata"]["deletionTimestamp"].is_null());
    for kept in ["used", "kube-root-ca.crt"] {
        assert!(cluster.get(&["-n", "going", "configmap", kept])["metadata"]["deletionTimestamp"].is_null());
    }
    cluster.k(&["-n", "going", "patch", "pod", "held", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]);
    cluster.k(&["wait", "--for=delete", "namespace/going", "--timeout=60s"]);
}
