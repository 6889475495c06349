//! The part of Argo CD that reads schemas (`argo/src/argo/main.go`), with the very libraries: gnostic, kube-openapi and structured
//! merge. Argo CD itself is in no registry of packages that tests may use.

use std::{fs, path::Path, process::Stdio};

use serde_json::{Value, json};

use crate::{
    harness::{Cluster, succeed, text},
    interpreters::{administrator, compiled, script},
};

const NAMESPACE: &str = "argo";

pub fn reads_schemas(cluster: &Cluster) {
    let Some(program) = compiled("argo", cluster.dir.path()) else { return };
    cluster.k(&["create", "namespace", NAMESPACE]);
    cluster.k(&["apply", "-f", script("argo/clocks.yaml").to_str().unwrap()]);
    cluster.k(&["wait", "--for=condition=Established", "crd/clocks.argo.kontiki.test", "--timeout=60s"]);
    let container = |name: &str, image: &str| json!({"name": name, "image": image});
    let deployment = |containers: Value| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": {"containers": containers}}},
        })
    };
    let clock = |spec: Value| json!({"apiVersion": "argo.kontiki.test/v1", "kind": "Clock", "spec": spec});
    let cases = json!([
        {
            "kind": "apps/v1/Deployment",
            "live": deployment(json!([container("app", "web:1"), container("sidecar", "proxy:1")])),
            "wanted": deployment(json!([container("app", "web:2")])),
        },
        {
            "kind": "argo.kontiki.test/v1/Clock",
            "live": clock(json!({"hands": [{"name": "hour", "length": 3}], "at": 12, "maker": {"town": "Ulm"}})),
            "wanted": clock(json!({"hands": [{"name": "minute", "length": 5}], "at": "noon", "maker": {"year": 1900}})),
        },
    ]);
    let told = read(cluster, &program, &cases);
    for (kind, name) in [
        ("/v1/Pod", "io.k8s.api.core.v1.Pod"),
        ("apps/v1/Deployment", "io.k8s.api.apps.v1.Deployment"),
        ("autoscaling/v2/HorizontalPodAutoscaler", "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler"),
        (
            "apiextensions.k8s.io/v1/CustomResourceDefinition",
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
        ),
        ("argo.kontiki.test/v1/Clock", "test.kontiki.argo.v1.Clock"),
    ] {
        assert_eq!(told["Kinds"][kind], name, "{kind}");
    }
    // Containers are a list by name; so are hands.
    let merged = &told["Outcomes"][0];
    assert_eq!(
        merged["Merged"]["spec"]["template"]["spec"]["containers"],
        json!([container("app", "web:2"), container("sidecar", "proxy:1")])
    );
    assert_eq!(merged["Modified"], json!([".spec.template.spec.containers[name=\"app\"].image"]));
    assert_eq!((&merged["Added"], &merged["Removed"]), (&json!([]), &json!([])));
    let spec = &told["Outcomes"][1]["Merged"]["spec"];
    let names = spec["hands"].as_array().unwrap().iter().map(|hand| &hand["name"]);
    assert!(names.eq(["hour", "minute"]), "{spec}");
    assert_eq!(
        (&spec["at"], &spec["maker"]),
        (&json!("noon"), &json!({"year": 1900})),
        "an atomic object is one value"
    );
    cluster.k(&["delete", "namespace", NAMESPACE, "--wait=false"]);
}

fn read(cluster: &Cluster, program: &Path, cases: &Value) -> Value {
    let (document, file) = (cluster.dir.path().join("openapi.pb"), cluster.dir.path().join("argo.json"));
    fs::write(&file, cases.to_string()).unwrap();
    let token = cluster.k(&["create", "token", "default", "--namespace", NAMESPACE]);
    let server = cluster.k(&["config", "view", "--minify", "--output", "jsonpath={.clusters[0].cluster.server}"]);
    let mut curl = cluster.netns.command("curl");
    curl.args(["--silent", "--fail", "--insecure", "--header", &format!("Authorization: Bearer {}", token.trim())]);
    curl.args(["--header", "Accept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "--output"]);
    succeed(curl.arg(&document).arg(format!("{}/openapi/v2", server.trim())));
    let mut reader = administrator(cluster, program);
    let output = reader.arg(&file).stdin(Stdio::from(fs::File::open(&document).unwrap())).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}
