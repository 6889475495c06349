//! What a node does for pods and Services besides running them: addresses for load balancers, endpoints on its own network,
//! figures, files and images as they ask for them, and an end for pods that write too much.

use crate::harness::{Cluster, able, succeed, wait};

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox:test
    command: [/bin/busybox, httpd, -f, -p, "8080", -h, /www]
---
apiVersion: v1
kind: Pod
metadata: {name: host, labels: {app: host}}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox:test
    command: [/bin/busybox, httpd, -f, -p, "8090", -h, /www]
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  terminationGracePeriodSeconds: 600
  containers:
  - name: main
    image: busybox:test
    command: [/bin/busybox, sh, -c, "/bin/busybox dd if=/dev/zero of=/big bs=1M count=3; /bin/busybox sleep 1000"]
    resources: {limits: {ephemeral-storage: 1Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {type: LoadBalancer, loadBalancerClass: example.com/other, selector: {app: web}, ports: [{port: 81, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: host}
spec: {selector: {app: host}, ports: [{port: 80, targetPort: 8090}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
"#;

#[test]
fn a_node_serves_balances_counts_and_evicts() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    cluster.import_busybox("busybox:test");
    cluster.apply(PODS);
    cluster.k(&["wait", "--for=condition=Ready", "pod/web", "pod/host", "--timeout=60s"]);

    let given = wait("an address for the load balancer", || {
        let balancer = cluster.get(&["service", "web"])["status"]["loadBalancer"].clone();
        balancer["ingress"][0]["ip"].as_str().map(str::to_owned).ok_or_else(|| balancer.to_string())
    });
    assert_eq!(given, "127.0.0.1", "a cluster for this machine alone is balanced on it alone");
    assert_eq!(cluster.get(&["service", "other"])["status"]["loadBalancer"], serde_json::json!({}));
    wait("the page by the balancer's address", || {
        let output = cluster.netns.command("curl").args(["--silent", &format!("http://{given}/")]).output().unwrap();
        let page = String::from_utf8_lossy(&output.stdout).into_owned();
        if page.contains("hello") { Ok(()) } else { Err(format!("{page} {:?}", output.status)) }
    });

    let slice = |service: &str| {
        let slices = cluster.get(&["endpointslices", "-l", &format!("kubernetes.io/service-name={service}")]);
        slices["items"][0].clone()
    };
    wait("an endpoint on the host's network", || {
        let slice = slice("host");
        if slice["endpoints"][0]["conditions"]["ready"] == true { Ok(()) } else { Err(slice.to_string()) }
    });
    // Of pods it would be the second in which they became ready, which may be that of an earlier change.
    let made = cluster.get(&["service", "nobody"])["metadata"]["creationTimestamp"].clone();
    let told = slice("nobody")["metadata"]["annotations"]["endpoints.kubernetes.io/last-change-trigger-time"].clone();
    assert_eq!(told, made);
    let address = cluster.get(&["service", "host"])["spec"]["clusterIP"].as_str().unwrap().to_owned();
    wait("the page by the Service", || {
        let fetch = ["exec", "web", "--", "/bin/busybox", "wget", "-qO-", &format!("http://{address}/")];
        let output = cluster.kubectl(&fetch).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    });
    succeed(cluster.netns.command("curl").args(["--silent", "--fail", &format!("http://{address}/")]));

    let metrics = cluster.k(&["get", "--raw", "/api/v1/nodes/here/proxy/metrics/resource"]);
    for wanted in [
        "node_cpu_usage_seconds_total ",
        "container_memory_working_set_bytes{container=\"main\",namespace=\"default\",pod=\"web\"} ",
        "\nscrape_error 0",
    ] {
        assert!(metrics.contains(wanted), "{wanted} is not in {metrics}");
    }
    let token = cluster.k(&["create", "token", "default"]);
    let ask = || {
        let mut curl = cluster.netns.command("curl");
        curl.args(["--silent", "--insecure", "-H", &format!("Authorization: Bearer {}", token.trim())]);
        succeed(curl.arg("https://127.0.0.1:10250/metrics/resource"))
    };
    let user = "system:serviceaccount:default:default";
    assert!(
        ask().contains(&format!("Forbidden (user={user}, verb=get, resource=nodes/here, subresource(s)=[metrics])"))
    );
    cluster.k(&["create", "clusterrole", "figures", "--verb=get", "--resource=nodes/metrics"]);
    cluster.k(&[
        "create",
        "clusterrolebinding",
        "figures",
        "--clusterrole=figures",
        "--serviceaccount=default:default",
    ]);
    wait("figures for whoever may get them", || {
        let said = ask();
        if said.contains("node_cpu_usage_seconds_total ") { Ok(()) } else { Err(said) }
    });
    let summary = cluster.k(&["get", "--raw", "/api/v1/nodes/here/proxy/stats/summary"]);
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert!(summary["node"]["fs"]["usedBytes"].as_u64() > Some(0), "{summary}");

    let status = wait("the end of who writes too much", || {
        let status = cluster.get(&["pod", "writer"])["status"].clone();
        if status["phase"] == "Failed" { Ok(status) } else { Err(status.to_string()) }
    });
    assert_eq!(status["reason"], "Evicted");
    assert_eq!(status["message"], "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ");
    let terminated = &status["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(terminated["exitCode"], 137, "{status}");

    cluster.k(&[
        "patch",
        "pod",
        "web",
        "--subresource=status",
        "-p",
        r#"{"status":{"phase":"Failed","reason":"Told"}}"#,
    ]);
    let status = wait("a pod that was failed by its user to end", || {
        let status = cluster.get(&["pod", "web"])["status"].clone();
        match status["containerStatuses"][0]["state"]["terminated"].is_object() {
            true => Ok(status),
            false => Err(status.to_string()),
        }
    });
    assert_eq!((&status["phase"], &status["reason"]), (&"Failed".into(), &"Told".into()));
}

/// Ends once in a way that restarts all containers; by the marks of its init container it knows which time it is.
const READER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  volumes: [{name: vars, emptyDir: {}}, {name: pages, image: {reference: "busybox:test"}}]
  initContainers:
  - name: init
    image: busybox:test
    command: [/bin/busybox, sh, -c, "echo \"KEY='of a file'\" > /vars/env; echo once >> /vars/rounds"]
    volumeMounts: [{name: vars, mountPath: /vars}]
  containers:
  - name: main
    image: busybox:test
    command:
    - /bin/busybox
    - sh
    - -c
    - |
      echo "$KEY"; /bin/busybox cat /pages/index.html; /bin/busybox touch /pages/x
      [ "$(/bin/busybox wc -l < /vars/rounds)" = 1 ] && exit 88
      exec /bin/busybox sleep 1000
    restartPolicy: Never
    restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [88]}}]
    env: [{name: KEY, valueFrom: {fileKeyRef: {volumeName: vars, path: env, key: KEY}}}]
    volumeMounts: [{name: vars, mountPath: /vars}, {name: pages, mountPath: /pages, subPath: www}]
"#;

#[test]
fn a_pod_has_files_and_images_and_is_restarted_as_a_whole() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    cluster.import_busybox("busybox:test");
    cluster.apply(READER);
    let status = wait("all its containers to run a second time", || {
        let status = cluster.get(&["pod", "reader"])["status"].clone();
        let again = |list: &str| status[list][0]["restartCount"] == 1;
        let runs = status["containerStatuses"][0]["ready"] == true;
        match again("initContainerStatuses") && again("containerStatuses") && runs {
            true => Ok(status),
            false => Err(status.to_string()),
        }
    });
    assert_eq!(status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 88, "{status}");
    let log = cluster.k(&["logs", "reader"]);
    assert!(log.starts_with("of a file\n") && log.contains("hello") && log.contains("Read-only file system"), "{log}");
    let metrics = cluster.k(&["get", "--raw", "/api/v1/nodes/here/proxy/metrics/cadvisor"]);
    assert!(metrics.contains("namespace=\"default\",pod=\"reader\"} "), "{metrics}");
}
