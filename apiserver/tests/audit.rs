//! The audit file of a server: what a policy selects, as far as it says, in the words that tools for Kubernetes read.
#![allow(clippy::unwrap_used)]
mod wire;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use kontiki_apiserver::audit::{Policy, Rotation, Settings, Target};
use kontiki_model::Key;
use serde_json::{Value, json};

use wire::{Running, read};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- {level: None, users: ['system:apiserver']}
- {level: Metadata, resources: [{group: '', resources: [secrets]}]}
- {level: RequestResponse, resources: [{group: '', resources: [configmaps]}]}
- {level: Metadata, resources: [{group: '', resources: [pods, pods/exec]}]}
- {level: Metadata, nonResourceURLs: [/version]}
";

/// A server that records, to a file in its directory.
async fn start(reads_every: u64) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let target = Target::File(dir.path().join("audit.log"), Rotation::default());
    let settings = Settings { policy: Policy::read(POLICY).unwrap(), target, reads_every };
    Running::start_with(dir, "192.0.2.7", |config| config.audit = Some(settings)).await
}

/// Stops the server; all it has recorded, and the text of it.
async fn recorded(server: Running) -> (Vec<Value>, String) {
    let dir = server.stop().await;
    let text = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), text)
}

/// The events of one request, by its `Audit-Id`.
fn of<'a>(events: &'a [Value], id: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["auditID"] == id).collect()
}

fn stages(events: &[&Value]) -> Vec<String> {
    events.iter().map(|event| event["stage"].as_str().unwrap().to_owned()).collect()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

#[test]
fn requests_are_recorded_as_far_as_the_policy_says() {
    run(async {
        let server = start(1).await;
        let mut admin = server.admin().await;
        let id = |answer: &wire::Answer| answer.headers["audit-id"].to_str().unwrap().to_owned();
        let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": "hunter2-in-the-clear"}});
        let made_secret = id(&admin.post(SECRETS, &secret).await);
        let read_secret = id(&admin.get(&format!("{SECRETS}/s")).await);
        let answer = admin.post(CONFIG_MAPS, &json!({"metadata": {"name": "c"}, "data": {"a": "b"}})).await;
        let (made, map) = (id(&answer), answer.json());
        let deleted = id(&admin.call(Method::DELETE, &format!("{CONFIG_MAPS}/c"), "").await);
        let unseen = id(&admin.get("/api/v1/namespaces").await);
        let watched = id(&admin.get(&format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1")).await);
        let mut anonymous = server.client(None).await;
        let refused = id(&anonymous.get(SECRETS).await);
        let unknown = id(&server.bearer("nonsense").await.get("/version").await);
        let mut admin = server.admin().await;
        let request = Request::get(CONFIG_MAPS).header("impersonate-user", "jane").body(Full::new(Bytes::new()));
        let acted = id(&read(admin.send(request.unwrap()).await).await);
        let key = Key::new("configmaps", "", "c");
        let key = Key { namespace: "default".to_owned(), ..key };
        let logged: Vec<_> = server.log.history(&key, None, 9).unwrap();
        let authors: Vec<_> = logged.iter().map(|event| event.author.request_id.clone()).collect();
        assert_eq!(authors, [deleted.clone(), made.clone()], "the log tells the same writes by the same id");
        let (events, text) = recorded(server).await;

        let secret = of(&events, &made_secret);
        assert_eq!(stages(&secret), ["RequestReceived", "ResponseComplete"]);
        let event = secret[1];
        assert_eq!(
            (&event["level"], &event["verb"], &event["responseStatus"]["code"]),
            (&json!("Metadata"), &json!("create"), &json!(201))
        );
        let reference = json!({"resource": "secrets", "namespace": "default", "name": "s", "apiVersion": "v1"});
        assert_eq!(event["objectRef"], reference);
        assert_eq!(event["user"]["username"], "kubernetes-admin");
        assert_eq!(event["sourceIPs"], json!(["127.0.0.1"]));
        assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "allow");
        assert_eq!(of(&events, &read_secret)[1]["requestURI"], format!("{SECRETS}/s"));
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMi"), "no Secret's content");

        let event = of(&events, &made)[1];
        assert_eq!(event["requestObject"], json!({"metadata": {"name": "c"}, "data": {"a": "b"}}));
        assert_eq!(event["responseObject"]["metadata"]["uid"], map["metadata"]["uid"]);
        assert!(map["metadata"]["managedFields"].is_array() && !text.contains("managedFields"));
        let event = of(&events, &deleted)[1];
        assert_eq!(event["responseStatus"]["status"], "Success", "{event}");

        assert_eq!(of(&events, &unseen), Vec::<&Value>::new());
        assert_eq!(stages(&of(&events, &watched)), ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
        let event = of(&events, &refused)[1];
        assert_eq!(
            (&event["user"]["username"], &event["responseStatus"]["reason"]),
            (&json!("system:anonymous"), &json!("Forbidden"))
        );
        assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "forbid");
        let [event] = of(&events, &unknown)[..] else { panic!("{text}") };
        let status = json!({
            "metadata": {}, "status": "Failure", "message": "Authentication failed, attempted: bearer",
            "reason": "Unauthorized", "code": 401,
        });
        assert_eq!((&event["stage"], &event["responseStatus"]), (&json!("ResponseStarted"), &status));
        let event = of(&events, &acted)[1];
        assert_eq!(
            (&event["user"]["username"], &event["impersonatedUser"]["username"]),
            (&json!("kubernetes-admin"), &json!("jane"))
        );
    });
}

/// A way around the policy would be a way around those who watch the file.
#[test]
fn what_goes_by_other_ways_is_recorded_as_what_it_is() {
    const OWN: &str = "/apis/kontiki.dev/v1";
    run(async {
        let server = start(1).await;
        let mut admin = server.admin().await;
        let id = |answer: &wire::Answer| answer.headers["audit-id"].to_str().unwrap().to_owned();
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}});
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": "hunter2-in-the-clear"},
        });
        let transaction = |operations: Value| json!({"kind": "Transaction", "apiVersion": "kontiki.dev/v1", "operations": operations});
        let both = json!([{"verb": "create", "object": map}, {"verb": "apply", "object": secret}]);
        let done = admin.post(&format!("{OWN}/transactions"), &transaction(both.clone())).await;
        assert_eq!(done.status, 200, "{}", done.text());
        let failed = id(&admin.post(&format!("{OWN}/transactions"), &transaction(both)).await);
        let mut robot = server.bearer(&admin.service_account("robot").await).await;
        let one = json!([{"verb": "create", "object": secret}]);
        let refused = id(&robot.post(&format!("{OWN}/transactions"), &transaction(one)).await);
        let history = id(&admin.get(&format!("{OWN}/history{SECRETS}/s?objects=true")).await);
        let request = Request::get(format!("{OWN}/events?resource=secrets&from=start")).body(Full::default()).unwrap();
        let followed = admin.send(request).await.headers()["audit-id"].to_str().unwrap().to_owned();
        drop(admin);
        let done = id(&done);
        let (events, text) = recorded(server).await;
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMi"), "no Secret's content");

        let told = |id: &str, resource: &str| -> Vec<Value> {
            let of_it = of(&events, id).into_iter().filter(|event| event["objectRef"]["resource"] == resource);
            of_it.cloned().collect()
        };
        let [received, complete] = &told(&done, "configmaps")[..] else { panic!("{text}") };
        assert_eq!((&received["stage"], &complete["stage"]), (&json!("RequestReceived"), &json!("ResponseComplete")));
        assert_eq!((&complete["verb"], &complete["responseStatus"]["code"]), (&json!("create"), &json!(201)));
        assert_eq!((&complete["requestObject"], &complete["responseObject"]["data"]), (&map, &json!({"a": "b"})));
        assert_eq!(complete["annotations"]["authorization.k8s.io/decision"], "allow");
        let [_, complete] = &told(&done, "secrets")[..] else { panic!("{text}") };
        assert_eq!((&complete["verb"], &complete["objectRef"]["name"]), (&json!("patch"), &json!("s")));
        for resource in ["configmaps", "secrets"] {
            let [_, complete] = &told(&failed, resource)[..] else { panic!("{text}") };
            assert_eq!(complete["responseStatus"]["code"], 409, "all of it failed: {complete}");
        }
        let [_, complete] = &told(&refused, "secrets")[..] else { panic!("{text}") };
        assert_eq!(complete["annotations"]["authorization.k8s.io/decision"], "forbid", "{complete}");
        assert_eq!(complete["responseStatus"]["code"], 403);
        let [_, complete] = &told(&history, "secrets")[..] else { panic!("{text}") };
        let reference = json!({"resource": "secrets", "namespace": "default", "name": "s", "apiVersion": "v1"});
        assert_eq!((&complete["verb"], &complete["objectRef"]), (&json!("get"), &reference));
        let [_, complete] = &told(&followed, "secrets")[..] else { panic!("{text}") };
        assert_eq!(complete["verb"], "watch");
    });
}

#[test]
fn what_pod_security_finds_is_recorded() {
    run(async {
        let server = start(1).await;
        let mut admin = server.admin().await;
        let labels = json!({"pod-security.kubernetes.io/audit": "baseline"});
        let namespace = json!({"metadata": {"name": "n", "labels": labels}});
        assert_eq!(admin.post("/api/v1/namespaces", &namespace).await.status, 201);
        let account = json!({"metadata": {"name": "default"}});
        assert_eq!(admin.post("/api/v1/namespaces/n/serviceaccounts", &account).await.status, 201);
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "i"}]},
        });
        let made = admin.post("/api/v1/namespaces/n/pods", &pod).await;
        assert_eq!(made.status, 201, "{:?}", made.body);
        let (events, _) = recorded(server).await;
        let annotations = &of(&events, made.headers["audit-id"].to_str().unwrap())[1]["annotations"];
        assert_eq!(annotations["pod-security.kubernetes.io/enforce-policy"], "privileged:latest");
        let found = "would violate PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)";
        assert_eq!(annotations["pod-security.kubernetes.io/audit-violations"], found);
    });
}

#[test]
fn of_reads_some_are_recorded_and_of_writes_all() {
    run(async {
        let server = start(3).await;
        let mut admin = server.admin().await;
        for number in 0..6 {
            assert_eq!(admin.get(&format!("{SECRETS}?limit=1")).await.status, 200);
            let secret = json!({"metadata": {"name": format!("s{number}")}});
            assert_eq!(admin.post(SECRETS, &secret).await.status, 201);
        }
        let metrics = admin.get("/metrics").await.text();
        assert!(metrics.contains("apiserver_audit_event_total 16"), "{metrics}");
        // By its verb it reads, and what it does nobody knows.
        for _ in 0..4 {
            assert_eq!(admin.get("/api/v1/namespaces/default/pods/none/exec?command=rm").await.status, 404);
        }
        let (events, _) = recorded(server).await;
        let number = |verb: &str| events.iter().filter(|event| event["verb"] == verb).count();
        assert_eq!((number("list"), number("create"), number("get")), (2 * 2, 6 * 2, 4 * 2));
    });
}

#[test]
fn policies_tell_the_audit_what_they_found() {
    run(async {
        let server = start(1).await;
        let mut admin = server.admin().await;
        let group = "/apis/admissionregistration.k8s.io/v1";
        let rule =
            json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]});
        let policy = json!({"metadata": {"name": "p"}, "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "true"}, {"expression": "has(object.data)", "message": "no data"}],
            "auditAnnotations": [{"key": "who", "valueExpression": "request.userInfo.username"}, {"key": "no", "valueExpression": "null"}]}});
        let made = admin.post(&format!("{group}/validatingadmissionpolicies"), &policy).await;
        assert_eq!(made.status, 201);
        let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Audit"]}});
        assert_eq!(admin.post(&format!("{group}/validatingadmissionpolicybindings"), &binding).await.status, 201);
        let answer = admin.post(CONFIG_MAPS, &json!({"metadata": {"name": "c"}})).await;
        let id = answer.headers["audit-id"].to_str().unwrap().to_owned();
        assert_eq!(answer.status, 201);
        let (events, _) = recorded(server).await;
        let annotations = &of(&events, &id)[1]["annotations"];
        assert_eq!((&annotations["p/who"], &annotations["p/no"]), (&json!("kubernetes-admin"), &Value::Null));
        let told = annotations["validation.policy.admission.k8s.io/validation_failure"].as_str().unwrap();
        let failure = json!([{
            "message": "no data", "policy": "p", "binding": "b", "expressionIndex": 1, "validationActions": ["Audit"]}]);
        assert_eq!(serde_json::from_str::<Value>(told).unwrap(), failure);
    });
}
