//! Pod Security as a namespace's labels ask for it: who is refused, who is warned, and what may be said in labels.
#![allow(clippy::unwrap_used)]
mod client;

use client::{Answer, Server};
use kontiki_apiserver::AdmissionConfig;
use serde_json::{Value, json};

const PREFIX: &str = "pod-security.kubernetes.io";
const PRIVILEGED: &str = r#"privileged (container "c" must not set securityContext.privileged=true)"#;

async fn namespace(server: &Server, name: &str, labels: &[(&str, &str)]) -> Answer {
    let labels: serde_json::Map<String, Value> =
        labels.iter().map(|(key, value)| (format!("{PREFIX}/{key}"), (*value).into())).collect();
    server.on("Namespace", "").create(&json!({"metadata": {"name": name, "labels": labels}})).await
}

/// A namespace with its service account.
async fn home(server: &Server, name: &str, labels: &[(&str, &str)]) {
    namespace(server, name, labels).await.expect(201);
    server.on("ServiceAccount", name).create(&json!({"metadata": {"name": "default"}})).await.expect(201);
}

async fn label(server: &Server, name: &str, labels: Value) -> Answer {
    let labels: serde_json::Map<String, Value> =
        labels.as_object().unwrap().iter().map(|(key, value)| (format!("{PREFIX}/{key}"), value.clone())).collect();
    server.on("Namespace", "").name(name).merge(&json!({"metadata": {"labels": labels}})).await
}

fn spec(privileged: bool) -> Value {
    json!({"containers": [{"name": "c", "image": "x", "securityContext": {"privileged": privileged}}]})
}

fn pod(name: &str, privileged: bool) -> Value {
    json!({"metadata": {"name": name}, "spec": spec(privileged)})
}

fn deployment(privileged: bool) -> Value {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": spec(privileged)});
    json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}})
}

fn warnings(answer: &Answer) -> Vec<String> {
    let quoted = |warning: &String| warning.strip_prefix("299 - \"").unwrap().strip_suffix('"').unwrap().to_owned();
    let text = |warning: &String| quoted(warning).replace("\\\"", "\"");
    answer.warnings.iter().map(text).collect()
}

#[tokio::test]
async fn a_pod_that_its_namespace_forbids_is_refused_and_says_why() {
    let server = Server::start().await;
    home(&server, "strict", &[("enforce", "baseline")]).await;
    let refused = server.on("Pod", "strict").create(&pod("p", true)).await;
    assert_eq!(refused.code, 403);
    let expected = format!("pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": {PRIVILEGED}");
    assert_eq!(refused.at("/message"), &json!(expected));
    assert_eq!(refused.at("/details"), &json!({"name": "p", "kind": "pods"}));
    server.on("Pod", "strict").create(&pod("p", false)).await.expect(201);
    // What may be changed of a pod matters only where another container or image would run.
    label(&server, "strict", json!({"enforce": "restricted"})).await.expect(200);
    let labelled = server.on("Pod", "strict").name("p").merge(&json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(labelled.code, 200);
    let image = json!({"spec": {"containers": [{"name": "c", "image": "y"}]}});
    let strategic = "application/strategic-merge-patch+json";
    assert_eq!(server.on("Pod", "strict").name("p").patch(strategic, &image).await.code, 403);
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "x"}]}});
    let call = || server.on("Pod", "strict").name("p").sub("ephemeralcontainers");
    let refused = call().patch(strategic, &debug).await;
    assert_eq!(refused.code, 403, "{:#}", refused.body);
    assert!(refused.at("/message").as_str().unwrap().contains(r#"containers "c", "e""#), "{:#}", refused.body);
    label(&server, "strict", json!({"enforce": "privileged"})).await.expect(200);
    assert_eq!(call().patch(strategic, &debug).await.code, 200);
    server.on("Pod", "strict").create(&pod("q", true)).await.expect(201);
}

#[tokio::test]
async fn who_writes_how_pods_are_made_is_warned_and_not_refused() {
    let server = Server::start().await;
    home(&server, "n", &[("enforce", "baseline"), ("warn", "baseline"), ("warn-version", "v1.30")]).await;
    let told = format!("would violate PodSecurity \"baseline:v1.30\": {PRIVILEGED}");
    let made = server.on("apps/Deployment", "n").create(&deployment(true)).await;
    assert_eq!((made.code, warnings(&made)), (201, vec![told.clone()]));
    let changed = server.on("apps/Deployment", "n").name("d").update(&deployment(false)).await;
    assert_eq!((changed.code, warnings(&changed)), (200, vec![]));
    let cron = json!({"metadata": {"name": "j"}, "spec": {"schedule": "* * * * *",
        "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": spec(true)["containers"]}}}}}});
    assert_eq!(warnings(&server.on("batch/CronJob", "n").create(&cron).await), std::slice::from_ref(&told));
    let template = json!({"metadata": {"name": "t"}, "template": {"spec": spec(true)}});
    assert_eq!(warnings(&server.on("PodTemplate", "n").create(&template).await), [told]);
    // Scaling makes no other pods.
    let scaled =
        server.on("apps/Deployment", "n").name("d").sub("scale").merge(&json!({"spec": {"replicas": 2}})).await;
    assert_eq!((scaled.code, warnings(&scaled)), (200, vec![]));
}

#[tokio::test]
async fn labels_that_say_nothing_are_refused_and_more_forbidden_than_before_is_told_of_the_pods_there() {
    let server = Server::start().await;
    let refused = namespace(&server, "n", &[("enforce", "strict"), ("warn-version", "1.30")]).await;
    assert_eq!(refused.code, 422);
    assert_eq!(
        refused.at("/message"),
        "Namespace \"n\" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of \
         privileged, baseline, restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"1.30\": must be \
         \"latest\" or \"v1.x\"]"
    );
    home(&server, "n", &[]).await;
    for name in ["b", "a"] {
        server.on("Pod", "n").create(&pod(name, true)).await.expect(201);
    }
    server.on("Pod", "n").create(&pod("c", false)).await.expect(201);
    let tightened = label(&server, "n", json!({"enforce": "baseline"})).await;
    assert_eq!(
        (tightened.code, warnings(&tightened)),
        (
            200,
            vec![
                "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\""
                    .to_owned(),
                "a (and 1 other pod): privileged".to_owned(),
            ]
        )
    );
    let unchanged = label(&server, "n", json!({"audit": "restricted"})).await;
    assert_eq!((unchanged.code, warnings(&unchanged)), (200, vec![]));
    assert_eq!(label(&server, "n", json!({"enforce": "x"})).await.code, 422);
}

#[tokio::test]
async fn defaults_hold_where_labels_say_nothing_and_some_are_exempt() {
    let config = "{apiVersion: apiserver.config.k8s.io/v1, kind: AdmissionConfiguration, plugins: [{name: PodSecurity, \
        configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, \
        defaults: {enforce: baseline}, exemptions: {namespaces: [free], runtimeClasses: [vm]}}}]}";
    let config = AdmissionConfig::read(config, &mut |file| panic!("{file}")).unwrap();
    let server = Server::start_with(|settings| settings.admission = config).await;
    assert_eq!(server.on("Pod", "default").create(&pod("p", true)).await.code, 403);
    let exempt = namespace(&server, "free", &[("enforce", "restricted")]).await;
    let told =
        "namespace \"free\" is exempt from Pod Security, and the policy (enforce=restricted:latest) will be ignored";
    assert_eq!((exempt.code, warnings(&exempt)), (201, vec![told.to_owned()]));
    server.on("ServiceAccount", "free").create(&json!({"metadata": {"name": "default"}})).await.expect(201);
    server.on("Pod", "free").create(&pod("p", true)).await.expect(201);
    server
        .on("node.k8s.io/RuntimeClass", "")
        .create(&json!({"metadata": {"name": "vm"}, "handler": "vm"}))
        .await
        .expect(201);
    let mut virtual_machine = pod("q", true);
    virtual_machine["spec"]["runtimeClassName"] = "vm".into();
    server.on("Pod", "default").create(&virtual_machine).await.expect(201);
}
