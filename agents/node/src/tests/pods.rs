//! What users see of their pods.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Cluster, NODE, running};
use crate::containers::Credentials;

fn state(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]
}

fn waits(reason: &'static str) -> impl Fn(&Value) -> bool {
    move |pod| state(pod)["waiting"]["reason"] == reason
}

fn one(extra: Value) -> Value {
    let mut container = json!({"name": "c", "image": "web:1"});
    for (key, value) in extra.as_object().unwrap() {
        container[key] = value.clone();
    }
    json!({"containers": [container]})
}

#[tokio::test]
async fn a_pod_runs_and_is_deleted_without_a_trace() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    cluster.pod("p", one(json!({"env": [
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}, {"name": "AT", "value": "$(IP):80"}]})));
    let pod = cluster.until("p", running).await;
    assert_eq!(pod["status"]["podIP"], "127.0.0.9");
    assert_eq!(pod["status"]["qosClass"], "BestEffort");
    let spec = cluster.runtime.spec("c-0");
    assert_eq!(spec.args, ["/web"]);
    let env = |name: &str| spec.env.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    assert_eq!((env("AT"), env("PATH"), env("HOSTNAME")), (Some("127.0.0.9:80"), Some("/bin"), Some("p")));
    assert_eq!(env("KUBERNETES_SERVICE_HOST"), Some("10.0.0.1"));
    cluster.api.event("Started: Container started").await;
    let expected = [
        "Pulled: Container image \"web:1\" already present on machine and can be accessed by the pod",
        "Created: Container created",
        "Started: Container started",
    ];
    assert_eq!(cluster.api.events(), expected);
    let deletion = json!({"metadata": {"deletionTimestamp": "2026-11-21T08:00:30Z", "deletionGracePeriodSeconds": 30}});
    cluster.api.change("pods", "n", "p", deletion);
    cluster.until("p", Value::is_null).await;
    cluster.api.event("Killing: Stopping container c").await;
    assert_eq!(cluster.runtime.done(), ["create c-0", "signal c-0 15"]);
    assert!(cluster.runtime.is_empty());
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    assert!(!cluster.state_dir.path().join("pods").join(uid).exists());
}

#[tokio::test]
async fn a_killed_agent_changes_nothing_for_running_containers() {
    let cluster = Cluster::new();
    let first = cluster.start();
    cluster.pod("p", one(json!({"readinessProbe": {"exec": {"command": ["ready"]}, "periodSeconds": 1}})));
    let before = cluster.until("p", running).await;
    drop(first);
    let _second = cluster.start();
    // A change to the pod shows that the second agent has taken it over.
    cluster.api.change("pods", "n", "p", json!({"metadata": {"generation": 7}}));
    let after = cluster.until("p", |pod| pod["status"]["observedGeneration"] == 7).await;
    assert_eq!(after["status"]["containerStatuses"], before["status"]["containerStatuses"]);
    assert!(running(&after), "it was ready and stays ready");
    assert_eq!(cluster.runtime.done().iter().filter(|done| !done.starts_with("exec")).count(), 1);
}

#[tokio::test]
async fn a_pod_deleted_while_no_agent_looked_is_ended() {
    let cluster = Cluster::new();
    let first = cluster.start();
    cluster.pod("p", one(json!({})));
    cluster.until("p", running).await;
    drop(first);
    cluster.api.remove("pods", "n", "p");
    cluster.pod("q", one(json!({})));
    let second = cluster.start();
    let pod = cluster.until("q", running).await;
    let own = pod["metadata"]["uid"].as_str().unwrap();
    let folders = || {
        let entries = std::fs::read_dir(cluster.state_dir.path().join("pods")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    second.until("the folder of the deleted pod is gone", || folders() == [own]).await;
    assert!(cluster.runtime.done().contains(&"signal c-0 15".to_owned()));
}

#[tokio::test]
async fn a_missing_config_map_is_told_and_waited_for() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    cluster.pod("p", one(json!({"envFrom": [{"configMapRef": {"name": "m"}}]})));
    let pod = cluster.until("p", waits("CreateContainerConfigError")).await;
    assert_eq!(state(&pod)["waiting"]["message"], "configmap \"m\" not found");
    cluster.api.event("Failed: Error: configmap \"m\" not found").await;
    cluster.api.create("configmaps", json!({"metadata": {"name": "m", "namespace": "n"}, "data": {"A": "1"}}));
    cluster.until("p", running).await;
    assert!(cluster.runtime.spec("c-0").env.contains(&("A".into(), "1".into())));
}

#[tokio::test]
async fn volumes_of_config_maps_follow_their_objects() {
    let cluster = Cluster::new();
    let agent = cluster.start();
    let map = json!({"metadata": {"name": "m", "namespace": "n"}, "data": {"key": "one"}});
    let mut spec = one(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}));
    spec["volumes"] = json!([{"name": "v", "configMap": {"name": "m"}}]);
    cluster.pod("p", spec);
    cluster.api.event("FailedMount: MountVolume.SetUp failed for volume \"v\" : configmap \"m\" not found").await;
    cluster.api.create("configmaps", map);
    cluster.until("p", running).await;
    let mounts = cluster.runtime.spec("c-0").mounts;
    let mount = mounts.iter().find(|mount| mount.destination.ends_with("v")).unwrap();
    assert!(mount.read_only);
    let content = || std::fs::read_to_string(mount.source.join("key")).unwrap();
    assert_eq!(content(), "one");
    cluster.api.change("configmaps", "n", "m", json!({"data": {"key": "two"}}));
    agent.until("the volume has the new content", || content() == "two").await;
}

#[tokio::test]
async fn an_unknown_volume_holds_the_pod_back_with_a_clear_word() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    let mut spec = one(json!({}));
    spec["volumes"] = json!([{"name": "v", "nfs": {"server": "s", "path": "/"}}]);
    cluster.pod("p", spec);
    let pod = cluster.until("p", waits("ContainerCreating")).await;
    assert_eq!(pod["status"]["phase"], "Pending");
    cluster
        .api
        .event("FailedMount: MountVolume.SetUp failed for volume \"v\" : volume source \"nfs\" is not supported")
        .await;
}

#[tokio::test]
async fn images_that_cannot_be_had_are_told_in_kubernetes_words() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    for (name, image, policy, reason, event) in [
        (
            "a",
            "nope:1",
            "IfNotPresent",
            "ErrImagePull",
            "Failed: Failed to pull image \"nope:1\": nope:1 is not in its registry",
        ),
        (
            "b",
            "nope:1",
            "Never",
            "ErrImageNeverPull",
            "ErrImageNeverPull: Container image \"nope:1\" is not present with pull policy of Never",
        ),
        (
            "c",
            "no name",
            "Always",
            "InvalidImageName",
            "InspectFailed: Failed to apply default image tag \"no name\": invalid reference format",
        ),
    ] {
        cluster.pod(name, one(json!({"image": image, "imagePullPolicy": policy})));
        cluster.until(name, waits(reason)).await;
        cluster.api.event(event).await;
        cluster.api.event(&format!("Failed: Error: {reason}")).await;
    }
    cluster.until("a", waits("ImagePullBackOff")).await;
    cluster.api.event("BackOff: Back-off pulling image \"nope:1\"").await;
}

#[tokio::test]
async fn an_image_that_another_ones_secret_got_is_asked_for_anew() {
    let cluster = Cluster::new();
    let agent = cluster.start();
    let secret = |name: &str, password: &str| {
        let auths = json!({"auths": {"docker.io": {"username": "me", "password": password}}});
        let data = json!({".dockerconfigjson": STANDARD.encode(auths.to_string())});
        json!({"metadata": {"name": name, "namespace": "n"}, "data": data})
    };
    for (name, password) in [("own", "secret"), ("other", "guess")] {
        cluster.api.create("secrets", secret(name, password));
    }
    let own = Credentials {
        secret: "own".into(),
        place: "docker.io".into(),
        username: "me".into(),
        password: "secret".into(),
    };
    agent.node.pulled.begin("web:1").unwrap().unwrap().done("sha256:web", Some(&own)).unwrap();
    let pod = |name: &str, policy: &str, secret: &str| {
        let mut spec = one(json!({"imagePullPolicy": policy}));
        spec["imagePullSecrets"] = json!([{"name": secret}]);
        cluster.pod(name, spec);
    };
    pod("own", "IfNotPresent", "own");
    cluster.until("own", running).await;
    pod("other", "IfNotPresent", "other");
    cluster.until("other", waits("ErrImagePull")).await;
    pod("never", "Never", "other");
    cluster.until("never", waits("ErrImageNeverPull")).await;
    let message = "ErrImageNeverPull: Container image \"web:1\" is present with pull policy of Never but does not have the \
                   proper credentials to access the image";
    cluster.api.event(message).await;
}

#[tokio::test]
async fn a_command_that_is_not_in_the_image_is_a_start_error() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    let mut spec = one(json!({"command": ["/missing"]}));
    spec["restartPolicy"] = "Never".into();
    cluster.pod("p", spec);
    let pod = cluster.until("p", |pod| pod["status"]["phase"] == "Failed").await;
    let terminated = &state(&pod)["terminated"];
    assert_eq!((&terminated["reason"], &terminated["exitCode"]), (&json!("StartError"), &json!(128)));
    cluster.pod("q", one(json!({"command": ["/missing"]})));
    cluster.until("q", waits("CrashLoopBackOff")).await;
    cluster.api.event("BackOff: Back-off restarting failed container c in pod q_n(").await;
}

#[tokio::test]
async fn a_failed_liveness_probe_restarts_the_container() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    cluster.runtime.fail("alive");
    let probe = json!({"exec": {"command": ["alive"]}, "periodSeconds": 1, "failureThreshold": 1});
    cluster.pod("p", one(json!({"livenessProbe": probe})));
    let pod = cluster.until("p", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 143);
    cluster.api.event("Unhealthy: Liveness probe failed: output").await;
    cluster.api.event("Killing: Container c failed liveness probe, will be restarted").await;
}

#[tokio::test]
async fn hooks_run_after_the_start_and_before_the_stop() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    let hook = |word: &str| json!({"exec": {"command": [word]}});
    cluster.pod(
        "p",
        one(json!({"lifecycle": {"postStart": hook("hello"), "preStop": hook("bye"), "stopSignal": "SIGINT"}})),
    );
    cluster.until("p", running).await;
    cluster.api.change("pods", "n", "p", json!({"metadata": {"deletionTimestamp": "2026-11-21T08:00:30Z"}}));
    cluster.until("p", Value::is_null).await;
    assert_eq!(cluster.runtime.done(), ["create c-0", "exec c-0 hello", "exec c-0 bye", "signal c-0 2"]);
}

#[tokio::test]
async fn hooks_of_sidecars_do_not_wait_for_the_others_to_stop() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    let sidecar = json!({"name": "s", "image": "web:1", "restartPolicy": "Always",
        "lifecycle": {"preStop": {"exec": {"command": ["bye"]}}}});
    let mut spec = one(json!({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}));
    spec["initContainers"] = json!([sidecar]);
    cluster.pod("p", spec);
    cluster.until("p", running).await;
    let deletion = json!({"metadata": {"deletionTimestamp": "2026-11-21T08:00:30Z", "deletionGracePeriodSeconds": 30}});
    cluster.api.change("pods", "n", "p", deletion);
    cluster.until("p", Value::is_null).await;
    let done = ["create s-0", "create c-0", "exec s-0 bye", "signal c-0 15", "signal s-0 15"];
    assert_eq!(cluster.runtime.done(), done);
}

#[tokio::test]
async fn a_job_completes_and_its_pod_stays() {
    let cluster = Cluster::new();
    let agent = cluster.start();
    let mut spec = one(json!({}));
    spec["restartPolicy"] = "Never".into();
    cluster.pod("p", spec);
    cluster.until("p", running).await;
    cluster.runtime.exit("c-0", 0);
    let pod = cluster.until("p", |pod| pod["status"]["phase"] == "Succeeded").await;
    assert_eq!(state(&pod)["terminated"]["reason"], "Completed");
    agent.until("the sandbox is gone", || cluster.runtime.is_empty()).await;
    assert_eq!(cluster.api.get("pods", "n", "p")["status"], pod["status"]);
}

#[tokio::test]
async fn a_pod_that_does_not_fit_fails() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    cluster.pod("p", one(json!({"resources": {"requests": {"cpu": "1000"}}})));
    let pod = cluster.until("p", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(pod["status"]["reason"], "OutOfcpu");
    assert_eq!(pod["spec"]["nodeName"], NODE);
    cluster.api.event("OutOfcpu: Pod was rejected: Node didn't have enough resource: cpu, requested: 1000000").await;
}

#[tokio::test]
async fn a_pod_that_was_refused_is_not_run_because_its_worker_died() {
    let cluster = Cluster::new();
    cluster.runtime.kill_who_asks();
    let _agent = cluster.start();
    cluster.pod("p", one(json!({"resources": {"requests": {"cpu": "1e21"}}})));
    let pod = cluster.until("p", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(pod["status"]["reason"], "OutOfcpu");
    assert!(cluster.runtime.done().is_empty());
}

#[tokio::test]
async fn a_pod_whose_worker_died_goes_on_and_can_end() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    cluster.pod("p", one(json!({})));
    cluster.until("p", running).await;
    cluster.runtime.kill_who_asks();
    cluster.api.change("pods", "n", "p", json!({"metadata": {"deletionTimestamp": "2026-11-21T08:00:30Z"}}));
    cluster.until("p", Value::is_null).await;
    assert_eq!(cluster.runtime.done(), ["create c-0", "signal c-0 15"]);
}

#[tokio::test]
async fn a_pod_that_asks_for_users_of_its_own_does_not_get_the_machine_s() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    let mut spec = one(json!({}));
    spec["hostUsers"] = false.into();
    cluster.pod("p", spec);
    let why = "can't set `spec.hostUsers: false`, runtime does not support user namespaces";
    cluster.api.event(&format!("FailedCreatePodSandBox: Failed to create pod sandbox: {why}")).await;
    assert!(cluster.runtime.is_empty());
}

#[tokio::test]
async fn a_pod_whose_deletion_is_taken_back_runs_again() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    cluster.pod("p", one(json!({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}})));
    cluster.until("p", running).await;
    let deletion = json!({"metadata": {"deletionTimestamp": "2026-11-21T08:00:30Z", "deletionGracePeriodSeconds": 30}});
    cluster.api.change("pods", "n", "p", deletion);
    cluster.api.event("Killing: Stopping container c").await;
    let restored = json!({"metadata": {"deletionTimestamp": null, "deletionGracePeriodSeconds": null}});
    cluster.api.change("pods", "n", "p", restored);
    let restarted = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] == 1;
    cluster.until("p", |pod| running(pod) && restarted(pod)).await;
}

#[tokio::test]
async fn a_lost_sandbox_is_replaced_and_counted_as_a_restart() {
    let cluster = Cluster::new();
    let _agent = cluster.start();
    cluster.pod("p", one(json!({})));
    cluster.until("p", running).await;
    cluster.runtime.lose();
    let again = |pod: &Value| running(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 1;
    let pod = cluster.until("p", again).await;
    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((&last["reason"], &last["exitCode"]), (&json!("ContainerStatusUnknown"), &json!(137)));
    assert_eq!(cluster.runtime.done(), ["create c-0", "create c-1"]);
}
