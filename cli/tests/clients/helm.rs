//! Helm 3 and Helm 4 with one chart, `helm/chart`: Helm 3 merges three ways, Helm 4 applies on the server and waits by watching.

use std::{path::PathBuf, process::Output, thread};

use serde_json::{Value, json};

use crate::{
    harness::{Cluster, succeed, text, wait},
    interpreters::{KUBECTL_1_32_HELM_3, KUBECTL_1_35_HELM_4, administrator, go, script},
};

pub fn three(cluster: &Cluster) {
    let Some((helm, kubectl)) = programs(KUBECTL_1_32_HELM_3) else { return };
    let (namespace, undoing, drift) = ("helm-3", "--atomic", Drift::Overwritten);
    Helm { cluster, helm, kubectl, namespace, undoing, drift }.runs_a_release();
}

pub fn four(cluster: &Cluster) {
    let Some((helm, kubectl)) = programs(KUBECTL_1_35_HELM_4) else { return };
    let (namespace, undoing, drift) = ("helm-4", "--rollback-on-failure", Drift::Refused);
    Helm { cluster, helm, kubectl, namespace, undoing, drift }.runs_a_release();
}

/// A Helm, and a kubectl that knows all that is asked of it.
fn programs(package: &str) -> Option<(PathBuf, PathBuf)> {
    Some((go(package, "helm")?, go(KUBECTL_1_35_HELM_4, "kubectl")?))
}

struct Helm<'a> {
    cluster: &'a Cluster,
    helm: PathBuf,
    kubectl: PathBuf,
    namespace: &'static str,
    /// The flag that takes a failed upgrade back.
    undoing: &'static str,
    drift: Drift,
}

/// What becomes of a field of the chart that somebody else has set meanwhile.
enum Drift {
    Overwritten,
    Refused,
}

impl Helm<'_> {
    fn runs_a_release(&self) {
        self.installs();
        self.tests();
        let word = self.found("secret")["data"]["word"].clone();
        self.shows();
        self.keeps_what_others_added();
        self.only_tries();
        self.meets_what_others_changed();
        self.takes_back_what_fails();
        self.goes_back();
        assert_eq!(self.found("secret")["data"]["word"], word, "each upgrade looks it up");
        self.leaves_what_is_anothers();
        self.uninstalls();
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let mut helm = administrator(self.cluster, &self.helm);
        helm.args(arguments).args(["--namespace", self.namespace]).output().unwrap()
    }

    fn helm(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{} {arguments:?}: {}", self.namespace, text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.helm(&[arguments, &["--output", "json"]].concat())).unwrap()
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(!output.status.success(), "{} {arguments:?} succeeded: {}", self.namespace, text(&output));
        text(&output)
    }

    fn upgrade(&self, more: &[&str]) -> String {
        self.helm(&[&["upgrade", "shop", &chart(), "--wait", "--timeout", "60s"], more].concat())
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let mut kubectl = administrator(self.cluster, &self.kubectl);
        succeed(kubectl.args(["--namespace", self.namespace]).args(arguments))
    }

    fn found(&self, kind: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", kind, "shop", "-o", "json"])).unwrap()
    }

    /// The statuses of the release's revisions, the oldest first.
    fn history(&self) -> Vec<String> {
        let history = self.json(&["history", "shop"]);
        let statuses = history.as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap().to_owned());
        statuses.collect()
    }

    fn installs(&self) {
        let said = thread::scope(|scope| {
            scope.spawn(|| self.carries_out_the_job());
            let chart = chart();
            self.helm(&["install", "shop", &chart, "--create-namespace", "--wait", "--timeout", "60s"])
        });
        assert!(said.contains("STATUS: deployed") && said.contains("shop says first."), "{said}");
        assert_eq!(self.found("deployment")["status"]["readyReplicas"], 1, "it waited");
        let expected = json!({
            "greeting": "first", "revision": "1", "namespace": "not there", "scales": "true", "signs": "true",
            "gateways": "false",
        });
        let mut data = self.found("configmap")["data"].take();
        let kubernetes = data.as_object_mut().unwrap().remove("kubernetes").unwrap();
        assert!(kubernetes.as_str().unwrap().starts_with("v1.36."), "{kubernetes}");
        assert_eq!(data, expected, "the chart looks its namespace up before that is made");
        assert_eq!(self.found("sign")["spec"], json!({"text": "first", "colours": ["black"]}));
        assert_eq!(self.kubectl(&["get", "jobs", "-o", "name"]), "", "hooks that succeeded are removed");
    }

    /// Helm waits for its hook; nothing runs Jobs here, so this says that it was run.
    fn carries_out_the_job(&self) {
        let job = wait("the hook", || {
            let found = self.kubectl(&["get", "jobs", "-o", "json"]);
            let mut found: Value = serde_json::from_str(&found).unwrap();
            if found["items"][0].is_object() { Ok(found["items"][0].take()) } else { Err("no Job".to_owned()) }
        });
        let time = &job["metadata"]["creationTimestamp"];
        let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": time, "lastProbeTime": time, "reason": "CompletionsReached"});
        let conditions = ["SuccessCriteriaMet", "Complete"].map(condition);
        let status = json!({"startTime": time, "completionTime": time, "succeeded": 1, "conditions": conditions});
        let patch = json!({"status": status}).to_string();
        self.kubectl(&["patch", "job", "shop-prepare", "--subresource", "status", "--type", "merge", "-p", &patch]);
    }

    fn tests(&self) {
        let said = self.helm(&["test", "shop", "--logs", "--timeout", "60s"]);
        assert!(said.contains("Succeeded") && said.contains("hello from kontiki"), "{said}");
        // Hooks are nobody's when the release goes.
        self.kubectl(&["delete", "pod", "shop-test"]);
    }

    fn shows(&self) {
        let listed = self.json(&["list"]);
        let of = |member: &str| listed[0][member].as_str().unwrap().to_owned();
        assert_eq!([of("name"), of("revision"), of("status")], ["shop", "1", "deployed"], "{listed}");
        assert_eq!(self.json(&["status", "shop"])["info"]["status"], "deployed");
        let manifest = self.helm(&["get", "manifest", "shop"]);
        assert_eq!(manifest.matches("\nkind: ").count(), 11, "{manifest}");
        assert!(self.helm(&["get", "hooks", "shop"]).contains("shop-prepare"));
    }

    fn keeps_what_others_added(&self) {
        let patch = json!({"metadata": {"labels": {"team": "red"}}, "spec": {"template": {"metadata": {"annotations": {"by": "hand"}}}}});
        self.kubectl(&["patch", "deployment", "shop", "-p", &patch.to_string()]);
        self.upgrade(&["--set", "greeting=second"]);
        let deployment = self.found("deployment");
        assert_eq!(deployment["metadata"]["labels"]["team"], "red", "{deployment}");
        assert_eq!(deployment["spec"]["template"]["metadata"]["annotations"], json!({"by": "hand"}), "{deployment}");
        assert_eq!(greeting(&deployment), "second");
        assert_eq!(self.found("sign")["spec"]["text"], "second");
        assert_eq!(self.json(&["get", "values", "shop"]), json!({"greeting": "second"}));
        assert_eq!(self.history(), ["superseded", "deployed"]);
    }

    fn only_tries(&self) {
        let said = self.helm(&["upgrade", "shop", &chart(), "--dry-run=server", "--set", "greeting=unseen"]);
        assert!(
            said.contains("greeting: unseen") && said.contains(&format!("namespace: {}", self.namespace)),
            "{said}"
        );
        assert_eq!(self.found("configmap")["data"]["greeting"], "second");
        assert_eq!(self.history().len(), 2);
    }

    fn meets_what_others_changed(&self) {
        self.kubectl(&["set", "env", "deployment/shop", "GREETING=edited"]);
        match self.drift {
            Drift::Overwritten => drop(self.upgrade(&["--set", "greeting=third"])),
            Drift::Refused => {
                let said = self.fails(&["upgrade", "shop", &chart(), "--set", "greeting=third"]);
                let field = r#".spec.template.spec.containers[name="web"].env[name="GREETING"].value"#;
                assert!(said.contains("conflict with \"kubectl-set\"") && said.contains(field), "{said}");
                assert_eq!(greeting(&self.found("deployment")), "edited");
                self.upgrade(&["--set", "greeting=third", "--force-conflicts"]);
            }
        }
        assert_eq!(greeting(&self.found("deployment")), "third");
        assert_eq!(self.history().last().unwrap(), "deployed");
    }

    fn takes_back_what_fails(&self) {
        let said =
            self.fails(&["upgrade", "shop", &chart(), "--set", "image=absent:1", self.undoing, "--timeout", "10s"]);
        assert!(said.contains("has been rolled back"), "{said}");
        let deployment = self.found("deployment");
        assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], "busybox:test", "{deployment}");
        assert_eq!(greeting(&deployment), "third");
        let history = self.history();
        assert_eq!(history[history.len() - 2..], ["failed", "deployed"]);
    }

    fn goes_back(&self) {
        self.helm(&["rollback", "shop", "1", "--wait", "--timeout", "60s"]);
        assert_eq!(self.found("configmap")["data"]["greeting"], "first");
        assert_eq!(greeting(&self.found("deployment")), "first");
        assert_eq!(self.found("deployment")["metadata"]["labels"]["team"], "red");
    }

    /// Another release with the same names.
    fn leaves_what_is_anothers(&self) {
        let said = self.fails(&["install", "other", &chart(), "--no-hooks"]);
        let expected = r#"key "meta.helm.sh/release-name" must equal "other": current value is "shop""#;
        assert!(said.contains("cannot be imported into the current release") && said.contains(expected), "{said}");
    }

    fn uninstalls(&self) {
        self.helm(&["uninstall", "shop", "--wait", "--cascade", "foreground", "--timeout", "60s"]);
        let kinds = "deployments,replicasets,pods,services,endpointslices,configmaps,secrets,serviceaccounts,roles,rolebindings,\
                     ingresses,poddisruptionbudgets,horizontalpodautoscalers,jobs,signs";
        // Helm 4 may end early: it takes what its watches have not told yet for gone.
        wait("all that was installed to go", || {
            let left = self.kubectl(&["get", kinds, "-o", "name"]);
            let own = left.lines().eq(["configmap/kube-root-ca.crt", "serviceaccount/default"]);
            if own { Ok(()) } else { Err(left) }
        });
        assert_eq!(self.json(&["list"]), json!([]));
        let gone = self.fails(&["history", "shop"]);
        assert!(gone.contains("release: not found"), "{gone}");
        self.kubectl(&["delete", "namespace", self.namespace, "--wait=false"]);
    }
}

fn chart() -> String {
    script("helm/chart").to_str().unwrap().to_owned()
}

fn greeting(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"]
}
