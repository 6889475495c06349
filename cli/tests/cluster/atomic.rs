//! `kontiki apply --atomic`, as its users run it: all that is in some files, or nothing.

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::{
    harness::{succeed, text},
    servers::Servers,
};

/// One server, and files for it.
struct Files(Servers);

impl Files {
    fn apply(&self, file: &str, content: &str, flags: &[&str]) -> Command {
        fs::write(self.0.data(file), content).unwrap();
        let mut command = self.0.kontiki(&["apply", "--atomic", "-f", file]);
        command.args(flags).arg("--kubeconfig").arg(self.0.data("a").join("kubeconfig"));
        command
    }

    fn refused(&self, file: &str, content: &str, flags: &[&str]) -> String {
        let output: Output = self.apply(file, content, flags).output().unwrap();
        assert!(!output.status.success(), "{}", text(&output));
        text(&output)
    }

    fn get(&self, what: &[&str]) -> Result<Value, String> {
        let output = self.0.kubectl("a", &[&["get", "-o", "json"], what].concat()).output().unwrap();
        if output.status.success() { Ok(serde_json::from_slice(&output.stdout).unwrap()) } else { Err(text(&output)) }
    }
}

const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gizmos.ex.io}
spec:
  group: ex.io
  scope: Namespaced
  names: {plural: gizmos, singular: gizmo, kind: Gizmo}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
";

#[test]
fn what_is_in_files_is_applied_whole_or_not_at_all() {
    let files = Files(Servers::start(&["a"]));
    let of = |size: &str| {
        format!(
            "apiVersion: ex.io/v1\nkind: Gizmo\nmetadata: {{name: g, namespace: shop}}\nspec: {{size: {size}}}\n---\n{DEFINITION}---\n\
             apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n"
        )
    };
    let said = files.refused("all.yaml", &of("large"), &[]);
    assert!(said.contains("gizmo.ex.io/g (all.yaml, document 1)") && said.contains("spec.size"), "{said}");
    assert!(files.get(&["namespace", "shop"]).unwrap_err().contains("NotFound"));
    let said = succeed(&mut files.apply("all.yaml", &of("3"), &["--dry-run"]));
    assert!(said.contains("gizmo.ex.io/g created (server dry run)"), "{said}");
    assert!(files.get(&["namespace", "shop"]).unwrap_err().contains("NotFound"));
    let said = succeed(&mut files.apply("all.yaml", &of("3"), &[]));
    assert_eq!(said.lines().filter(|line| line.ends_with(" created")).count(), 3, "{said}");
    let revision = |what: &[&str]| {
        let told = files.get(what).unwrap();
        told["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap()
    };
    let gizmo = revision(&["gizmo", "g", "-n", "shop"]);
    assert!(gizmo.abs_diff(revision(&["namespace", "shop"])) < 8, "one step");
    let said = succeed(&mut files.apply("all.yaml", &of("3"), &[]));
    assert!(said.contains("gizmo.ex.io/g unchanged"), "{said}");
    assert_eq!(revision(&["gizmo", "g", "-n", "shop"]), gizmo);

    let item = |name: &str| json!({"metadata": {"name": name}, "data": {"k": "v"}});
    let list =
        |names: [&str; 2]| json!({"kind": "ConfigMapList", "apiVersion": "v1", "items": names.map(item)}).to_string();
    let said = files.refused("list.json", &list(["one", "one"]), &[]);
    assert!(said.matches("configmap/one (list.json)").count() == 2, "{said}");
    let said = succeed(&mut files.apply("list.json", &list(["one", "two"]), &[]));
    assert!(said.contains("configmap/two created"), "{said}");
}

#[test]
fn on_the_servers_side_objects_may_be_large_and_fields_have_owners() {
    let files = Files(Servers::start(&["a"]));
    let large = |value: &str| {
        let data = json!({"large": "x".repeat(300_000), "k": value});
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "large"}, "data": data}).to_string()
    };
    assert!(files.refused("large.json", &large("1"), &[]).contains("Too long"));
    let said = succeed(&mut files.apply("large.json", &large("1"), &["--server-side"]));
    assert!(said.contains("configmap/large created"), "{said}");
    let managers = files.get(&["configmap", "large", "--show-managed-fields"]).unwrap();
    let manager = &managers["metadata"]["managedFields"][0];
    assert_eq!((&manager["manager"], &manager["operation"]), (&json!("kontiki"), &json!("Apply")));
    let patch = r#"{"data":{"k":"2"}}"#;
    succeed(&mut files.0.kubectl("a", &["patch", "configmap", "large", "--type=merge", "-p", patch]));
    let said = files.refused("large.json", &large("3"), &["--server-side"]);
    assert!(said.contains("conflict with \"kubectl-patch\"") && said.contains("large.json"), "{said}");
    succeed(&mut files.apply("large.json", &large("3"), &["--server-side", "--force-conflicts"]));
    assert_eq!(files.get(&["configmap", "large"]).unwrap()["data"]["k"], "3");
}
