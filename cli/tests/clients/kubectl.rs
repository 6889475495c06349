//! kubectl in the oldest release that is still met, in one of the middle, and in one whose informers begin with a watch. Each
//! does the same; the newer ones also what the older ones cannot.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
};

use serde_json::{Value, json};

use crate::{
    harness::{Cluster, Process, WAIT_MAX, succeed, text, wait},
    interpreters::{KUBECTL_1_20, KUBECTL_1_32_HELM_3, KUBECTL_1_35_HELM_4, administrator, go, script},
};

pub fn v1_20(cluster: &Cluster) {
    let Some(kubectl) = Kubectl::of(cluster, KUBECTL_1_20, "kubectl-20") else { return };
    kubectl.does_what_all_do();
}

pub fn v1_32(cluster: &Cluster) {
    let Some(kubectl) = Kubectl::of(cluster, KUBECTL_1_32_HELM_3, "kubectl-32") else { return };
    kubectl.does_what_all_do();
    kubectl.does_what_newer_ones_do();
}

pub fn v1_35(cluster: &Cluster) {
    let Some(kubectl) = Kubectl::of(cluster, KUBECTL_1_35_HELM_4, "kubectl-35") else { return };
    kubectl.does_what_all_do();
    kubectl.does_what_newer_ones_do();
    kubectl.begins_informers_with_a_watch();
    kubectl.prunes_what_a_set_lost();
}

struct Kubectl<'a> {
    cluster: &'a Cluster,
    program: PathBuf,
    namespace: &'static str,
}

impl<'a> Kubectl<'a> {
    fn of(cluster: &'a Cluster, package: &str, namespace: &'static str) -> Option<Self> {
        let program = go(package, "kubectl")?;
        let kubectl = Kubectl { cluster, program, namespace };
        kubectl.k(&["create", "namespace", namespace]);
        Some(kubectl)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = administrator(self.cluster, &self.program);
        command.args(["--namespace", self.namespace]).args(arguments);
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn k(&self, arguments: &[&str]) -> String {
        succeed(&mut self.command(arguments))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.k(&[arguments, &["-o", "json"]].concat())).unwrap()
    }

    /// Must end with this code; what it says.
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert_eq!(output.status.code(), Some(code), "{} {arguments:?}: {}", self.namespace, text(&output));
        text(&output)
    }

    /// A file with an object, by a name of its own.
    fn file(&self, name: &str, object: &Value) -> String {
        let file = self.cluster.dir.path().join(format!("{}-{name}.json", self.namespace));
        fs::write(&file, object.to_string()).unwrap();
        file.to_str().unwrap().to_owned()
    }

    fn does_what_all_do(&self) {
        self.applies();
        self.applies_on_the_server();
        self.rolls();
        self.looks();
        self.explains();
        self.watches();
        self.k(&["delete", "deployment", "web", "--timeout", "60s"]);
        self.k(&["wait", "--for=delete", "pods", "--selector", "app=web", "--timeout", "60s"]);
    }

    fn does_what_newer_ones_do(&self) {
        let events = self.k(&["events", "--for", "deployment/web"]);
        assert!(events.contains("ScalingReplicaSet") && events.contains("Deployment/web"), "{events}");
        self.explains_values();
        self.knows_who_asks();
        self.debugs();
        self.has_certificates_signed();
        self.waits_for_values();
    }

    fn applies(&self) {
        let file = script("kubectl/web.yaml");
        let apply = ["apply", "-f", file.to_str().unwrap()];
        assert_eq!(self.k(&apply).matches("created").count(), 3);
        assert_eq!(self.k(&apply).matches("unchanged").count(), 3);
        let settings = self.file("settings", &map("settings", &json!({"colour": "green"})));
        let diff = self.fails(1, &["diff", "-f", &settings]);
        assert!(diff.contains("-  colour: red") && diff.contains("+  colour: green"), "{diff}");
        assert!(self.k(&["apply", "-f", &settings]).contains("configured"));
        self.k(&["diff", "-f", &settings]);
        // Three ways: what somebody else added stays, what is not said any more goes.
        self.k(&["patch", "configmap", "settings", "--type", "merge", "-p", r#"{"data":{"size":"big"}}"#]);
        let settings = self.file("settings", &map("settings", &json!({"shape": "round"})));
        self.k(&["apply", "-f", &settings]);
        assert_eq!(self.json(&["get", "configmap", "settings"])["data"], json!({"shape": "round", "size": "big"}));
    }

    fn applies_on_the_server(&self) {
        let [first, second] = ["a", "b"].map(|value| self.file(value, &map("served", &json!({"key": value}))));
        self.k(&["apply", "--server-side", "--field-manager", "first", "-f", &first]);
        let as_second = ["apply", "--server-side", "--field-manager", "second", "-f", &second];
        let refused = self.fails(1, &as_second);
        assert!(refused.contains(r#"conflict with "first": .data.key"#), "{refused}");
        self.k(&[as_second.as_slice(), &["--force-conflicts"]].concat());
        assert_eq!(self.json(&["get", "configmap", "served"])["data"], json!({"key": "b"}));
    }

    fn rolls(&self) {
        self.k(&["rollout", "status", "deployment/web", "--timeout", "60s"]);
        self.k(&["set", "env", "deployment/web", "ROUND=two"]);
        self.k(&["rollout", "status", "deployment/web", "--timeout", "60s"]);
        let history = self.k(&["rollout", "history", "deployment/web"]);
        assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
        let second = self.k(&["rollout", "history", "deployment/web", "--revision", "2"]);
        assert!(second.contains("ROUND:\ttwo"), "{second}");
        self.k(&["rollout", "undo", "deployment/web"]);
        self.k(&["rollout", "status", "deployment/web", "--timeout", "60s"]);
        let container = &self.json(&["get", "deployment", "web"])["spec"]["template"]["spec"]["containers"][0];
        assert!(container["env"].is_null(), "{container}");
        self.k(&["scale", "deployment/web", "--replicas", "2", "--current-replicas", "1"]);
        self.k(&["wait", "--for=condition=Available", "deployment/web", "--timeout", "60s"]);
        self.k(&["rollout", "status", "deployment/web", "--timeout", "60s"]);
        assert_eq!(self.json(&["get", "deployment", "web"])["status"]["readyReplicas"], 2);
    }

    fn looks(&self) {
        let pods = self.k(&["get", "pods", "--selector", "app=web", "-o", "name"]);
        let pod = pods.lines().next().unwrap().to_owned();
        assert_eq!(self.k(&["logs", &pod]), "started\n");
        assert_eq!(self.k(&["exec", &pod, "--", "/bin/echo", "hello"]), "hello\n");
        let described = self.k(&["describe", &pod]);
        assert!(described.contains("Events:") && described.contains("Scheduled"), "{described}");
        // By when it was seen, which an event of its form tells elsewhere than the others do.
        let scheduled = described.lines().find(|line| line.contains(" Scheduled ")).unwrap_or_default();
        assert!(scheduled.contains("default-scheduler") && !scheduled.contains("<unknown>"), "{described}");
        let events = self.json(&["get", "events.events.k8s.io", "--field-selector", "reason=Scheduled"]);
        let event = &events["items"][0];
        assert_eq!((&event["action"], &event["reportingController"]), (&json!("Binding"), &json!("default-scheduler")));
        assert!(event["eventTime"].is_string() && event["deprecatedCount"].is_null(), "{event}");
        let described = self.k(&["describe", "deployment", "web"]);
        assert!(described.contains("ScalingReplicaSet"), "{described}");
        let node = self.k(&["describe", "node", "here"]);
        assert!(node.contains("Allocated resources:") && node.contains(self.namespace), "{node}");
        let events = self.k(&["get", "events", "--sort-by", ".metadata.creationTimestamp"]);
        assert!(events.contains("deployment/web"), "{events}");
        let top = self.fails(1, &["top", "pods"]);
        assert!(top.contains("Metrics API not available"), "{top}");
        assert!(self.k(&["cluster-info"]).contains("is running at"));
        assert!(self.k(&["api-resources", "--verbs", "list", "-o", "name"]).contains("ingresses.networking.k8s.io"));
        // Whoever is bound to nothing may still look at what everybody may.
        let of = ["--as", "system:serviceaccount:default:nobody", "--as-group", "system:authenticated"];
        let rules = self.k(&[&["auth", "can-i", "--list"], of.as_slice()].concat());
        assert!(
            rules.contains("selfsubjectaccessreviews.authorization.k8s.io") && rules.contains("/version"),
            "{rules}"
        );
        assert_eq!(self.fails(1, &[&["auth", "can-i", "get", "secrets"], of.as_slice()].concat()).trim(), "no");
    }

    fn explains(&self) {
        let tree = self.k(&["explain", "deployment", "--recursive"]);
        assert!(tree.contains("terminationGracePeriodSeconds") && tree.contains("maxUnavailable"), "{tree}");
        let field = self.k(&["explain", "pod.spec.containers.resources.limits"]);
        assert!(field.contains("limits") && field.contains("At most this much."), "{field}");
        for path in ["pod", "pod.spec", "pod.spec.containers.livenessProbe", "deployment.spec.strategy", "configmaps"] {
            let said = self.k(&["explain", path]);
            assert!(said.contains("DESCRIPTION:"), "{said}");
            assert!(!said.contains("<no description>") && !said.contains("<empty>"), "{said}");
        }
    }

    fn explains_values(&self) {
        let field = self.k(&["explain", "pod.spec.restartPolicy"]);
        let values = field.split("ENUM:").nth(1).unwrap_or_else(|| panic!("no values in {field}"));
        assert_eq!(values.split_whitespace().take(3).collect::<Vec<_>>(), ["Always", "Never", "OnFailure"]);
    }

    /// What is told of one map, from its beginning to its end.
    fn watches(&self) {
        let watched = ["get", "configmaps", "--watch-only", "--output-watch-events", "-o"];
        let form = r#"jsonpath={.type} {.object.metadata.name} {.object.data.step}{"\n"}"#;
        let mut child = self.command(&watched).arg(form).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let _child = Process(child);
        let (tell, told) = mpsc::channel();
        thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| drop(tell.send(line))));
        let next = || told.recv_timeout(WAIT_MAX).expect("an event");
        // It says nothing when it begins: what is written until the first event may come before.
        wait("the watch to begin", || {
            self.k(&["create", "configmap", "knock"]);
            self.k(&["delete", "configmap", "knock"]);
            told.try_recv().map_err(|error| error.to_string())
        });
        self.k(&["create", "configmap", "seen", "--from-literal", "step=1"]);
        self.k(&["patch", "configmap", "seen", "-p", r#"{"data":{"step":"2"}}"#]);
        self.k(&["delete", "configmap", "seen"]);
        let of_it = |event: &String| event.contains(" seen ");
        let events: Vec<String> = std::iter::repeat_with(next).filter(of_it).take(3).collect();
        assert_eq!(events, ["ADDED seen 1", "MODIFIED seen 2", "DELETED seen 2"]);
    }

    fn knows_who_asks(&self) {
        let me = self.json(&["auth", "whoami"]);
        assert!(
            me["status"]["userInfo"]["groups"].as_array().unwrap().contains(&json!("system:authenticated")),
            "{me}"
        );
        self.k(&["create", "serviceaccount", "robot"]);
        let token = self.k(&["create", "token", "robot", "--duration", "10m"]);
        let kubeconfig = self.cluster.data().join("kubeconfig");
        // Nothing of the administrator's but where the cluster is and who vouches for it.
        let mut config: Value = serde_json::from_str(&succeed(
            self.command(&["config", "view", "--raw", "-o", "json", "--kubeconfig"]).arg(kubeconfig),
        ))
        .unwrap();
        for user in config["users"].as_array_mut().unwrap() {
            user["user"] = json!({"token": token.trim()});
        }
        let config = self.file("robot", &config);
        let me: Value =
            serde_json::from_str(&self.k(&["--kubeconfig", &config, "auth", "whoami", "-o", "json"])).unwrap();
        assert_eq!(me["status"]["userInfo"]["username"], format!("system:serviceaccount:{}:robot", self.namespace));
        let refused = self.fails(1, &["--kubeconfig", &config, "get", "secrets"]);
        assert!(refused.contains("Error from server (Forbidden): secrets is forbidden"), "{refused}");
    }

    fn debugs(&self) {
        self.k(&[
            "run",
            "stuck",
            "--image",
            "busybox:test",
            "--image-pull-policy",
            "Never",
            "--",
            "/bin/sleep",
            "1000000",
        ]);
        self.k(&[
            "debug",
            "stuck",
            "--image",
            "busybox:test",
            "--container",
            "looker",
            "--attach=false",
            "--",
            "/bin/true",
        ]);
        let spec = &self.json(&["get", "pod", "stuck"])["spec"];
        assert_eq!(spec["ephemeralContainers"][0]["name"], "looker", "{spec}");
        let copy = [
            "debug",
            "stuck",
            "--copy-to",
            "copy",
            "--container",
            "stuck",
            "--attach=false",
            "--",
            "/bin/echo",
            "copied",
        ];
        self.k(&copy);
        wait("the copy to run", || {
            let output = self.output(&["logs", "copy", "--container", "stuck"]);
            if output.stdout.starts_with(b"copied\n") { Ok(()) } else { Err(text(&output)) }
        });
        self.k(&["delete", "pods", "stuck", "copy", "--grace-period", "1", "--timeout", "60s"]);
    }

    fn has_certificates_signed(&self) {
        let key = self.cluster.dir.path().join(format!("{}.key", self.namespace));
        let subject = format!("/CN={}", self.namespace);
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", &subject, "-keyout"]).arg(key);
        let mut base64 = Command::new("base64");
        let request = self.cluster.dir.path().join(format!("{}.csr", self.namespace));
        succeed(openssl.arg("-out").arg(&request));
        let request = succeed(base64.arg("-w0").arg(&request));
        let spec =
            json!({"request": request, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]});
        let kind = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"});
        let mut csr = json!({"metadata": {"name": self.namespace}, "spec": spec});
        csr.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
        self.k(&["create", "-f", &self.file("csr", &csr)]);
        self.k(&["certificate", "approve", self.namespace]);
        let issued = r#"--for=jsonpath={.status.certificate}"#;
        self.k(&["wait", issued, "csr", self.namespace, "--timeout", "60s"]);
        assert!(self.k(&["get", "csr", self.namespace]).contains("Approved,Issued"));
        self.k(&["delete", "csr", self.namespace]);
    }

    fn waits_for_values(&self) {
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                self.k(&["wait", "--for=create", "configmap/late", "--timeout", "60s"]);
                self.k(&["wait", "--for=jsonpath={.data.step}=2", "configmap/late", "--timeout", "60s"]);
            });
            self.k(&["create", "configmap", "late", "--from-literal", "step=1"]);
            self.k(&["patch", "configmap", "late", "-p", r#"{"data":{"step":"2"}}"#]);
            waiting.join().unwrap();
        });
    }

    fn begins_informers_with_a_watch(&self) {
        self.k(&["create", "deployment", "none", "--image", "busybox:test", "--replicas", "0"]);
        let output = self.output(&["rollout", "status", "deployment/none", "--timeout", "60s", "-v", "8"]);
        let said = text(&output);
        assert!(output.status.success() && said.contains("sendInitialEvents=true"), "{said}");
        self.k(&["delete", "deployment", "none"]);
    }

    fn prunes_what_a_set_lost(&self) {
        let apply = |maps: &[&str]| {
            let items: Vec<Value> = maps.iter().map(|name| map(name, &json!({"key": "a"}))).collect();
            let list = self.file("set", &json!({"apiVersion": "v1", "kind": "List", "items": items}));
            let mut command = self.command(&["apply", "--prune", "--applyset", "ours", "-f", &list]);
            succeed(command.env("KUBECTL_APPLYSET", "true"))
        };
        apply(&["kept", "lost"]);
        let said = apply(&["kept"]);
        assert!(said.contains("configmap/lost pruned"), "{said}");
        self.k(&["get", "configmap", "kept"]);
    }
}

fn map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}
