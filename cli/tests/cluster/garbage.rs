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
    cluster.k(&["delete", "configmap", "c"]);
    cluster.k(&["wait", "--for=delete", "widget/two", "--timeout=60s"]);
    cluster.k(&["get", "widget", "one"]);
}
