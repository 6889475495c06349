//! Pods reached through the API server, and resized while they run.

use std::fs;

use crate::harness::{Cluster, able, wait};

const WEB: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox:test
    command:
    - /bin/sh
    - -c
    - echo '<a href="/other">hello</a>' > /www/index.html; exec /bin/busybox httpd -f -p 8080 -h /www
    ports: [{containerPort: 8080}]
    resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: 200m, memory: 64Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
"#;

/// The memory that the kernel lets the container have.
fn memory_limit(cluster: &Cluster) -> Option<u64> {
    let pods = cluster.cgroups().into_iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let files =
        pods.flat_map(|pod| ["memory.max", "memory.limit_in_bytes"].map(|file| pod.path().join("main-0").join(file)));
    files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).next()
}

#[test]
fn a_pod_is_reached_through_the_api_and_resized_while_it_runs() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    cluster.import_busybox("busybox:test");
    cluster.apply(WEB);
    let pods = "/api/v1/namespaces/default/pods/web";
    let page = wait("the page", || {
        let answer = cluster.kubectl(&["get", "--raw", &format!("{pods}/proxy/")]).output().unwrap();
        let said = String::from_utf8_lossy(&answer.stdout).into_owned();
        if answer.status.success() { Ok(said) } else { Err(String::from_utf8_lossy(&answer.stderr).into_owned()) }
    });
    assert_eq!(page, format!("<a href=\"{pods}/proxy/other\">hello</a>\n"));
    for name in ["web:80", "http:web:http"] {
        let path = format!("/api/v1/namespaces/default/services/{name}/proxy/index.html");
        wait("the page by its Service", || {
            let answer = cluster.kubectl(&["get", "--raw", &path]).output().unwrap();
            let said = String::from_utf8_lossy(&answer.stdout).into_owned();
            if said.contains("hello") { Ok(()) } else { Err(String::from_utf8_lossy(&answer.stderr).into_owned()) }
        });
    }

    assert_eq!(memory_limit(&cluster), Some(64 << 20));
    let patch = r#"{"spec":{"containers":[{"name":"main","resources":{"limits":{"cpu":"300m","memory":"96Mi"}}}]}}"#;
    cluster.k(&["patch", "pod", "web", "--subresource", "resize", "-p", patch]);
    wait("the status to tell it", || {
        let status = cluster.get(&["pod", "web"])["status"]["containerStatuses"][0].clone();
        let told = status["resources"]["limits"]["memory"] == "96Mi" && status["restartCount"] == 0;
        if told { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(memory_limit(&cluster), Some(96 << 20));
    let guaranteed =
        r#"{"spec":{"containers":[{"name":"main","resources":{"requests":{"cpu":"300m","memory":"96Mi"}}}]}}"#;
    let refused = cluster.k_fails(&["patch", "pod", "web", "--subresource", "resize", "-p", guaranteed]);
    assert!(refused.contains("Pod QOS Class may not change as a result of resizing"), "{refused}");
    let never =
        r#"{"spec":{"containers":[{"name":"main","resources":{"requests":{"cpu":"1000"},"limits":{"cpu":"1000"}}}]}}"#;
    cluster.k(&["patch", "pod", "web", "--subresource", "resize", "-p", never]);
    cluster.k(&["wait", "--for=condition=PodResizePending", "pod/web", "--timeout=30s"]);
    let status = cluster.get(&["pod", "web"])["status"].clone();
    let pending =
        status["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "PodResizePending").unwrap();
    assert_eq!(pending["reason"], "Infeasible", "{pending}");
    assert_eq!(status["containerStatuses"][0]["allocatedResources"]["cpu"], "100m");
}
