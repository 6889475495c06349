//! Admission webhooks: whom they are asked about, what their answers do, and what becomes of a write when they fail.
#![allow(clippy::unwrap_used)]

mod client;
mod hook;

use client::{Answer, Server};
use hook::{Hook, Reply, no, patch, yes};
use kontiki_model::{Head, Key};
use kontiki_raft::{Command, Mutation};
use serde_json::{Value, json};

const MUTATING: &str = "admissionregistration.k8s.io/MutatingWebhookConfiguration";
const VALIDATING: &str = "admissionregistration.k8s.io/ValidatingWebhookConfiguration";

fn rule(groups: &[&str], resources: &[&str]) -> Value {
    json!({"operations": ["*"], "apiGroups": groups, "apiVersions": ["*"], "resources": resources})
}

fn config_maps() -> Value {
    rule(&[""], &["configmaps"])
}

/// One webhook of a configuration.
fn webhook(name: &str, client: Value, rule: Value, changed: &Value) -> Value {
    let mut webhook = json!({
        "name": name, "clientConfig": client, "rules": [rule], "sideEffects": "None", "admissionReviewVersions": ["v1"],
    });
    for (member, value) in changed.as_object().unwrap() {
        webhook[member] = value.clone();
    }
    webhook
}

async fn configure(server: &Server, kind: &str, name: &str, webhooks: &[Value]) {
    let configuration = json!({"metadata": {"name": name}, "webhooks": webhooks});
    server.on(kind, "").create(&configuration).await.expect(201);
}

fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "1"}})
}

async fn create(server: &Server, name: &str) -> Answer {
    server.on("ConfigMap", "default").create(&config_map(name)).await
}

fn message(answer: &Answer) -> &str {
    answer.at("/message").as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutating_webhook_changes_what_is_stored() {
    let server = Server::start().await;
    let hook = Hook::start(|_, request| {
        patch(
            request,
            &json!([
                {"op": "add", "path": "/data/b", "value": "2"},
                {"op": "add", "path": "/metadata/labels", "value": {"by": "webhook"}},
                {"op": "add", "path": "/unknown", "value": 1},
            ]),
        )
    })
    .await;
    configure(&server, MUTATING, "m", &[webhook("a.b.c", hook.client("/x"), config_maps(), &json!({}))]).await;
    let query = server.on("ConfigMap", "default").query("fieldManager", "me").query("fieldValidation", "Strict");
    let made = query.create(&config_map("a")).await.expect(201);
    assert_eq!(made["data"], json!({"a": "1", "b": "2"}));
    assert_eq!(made["metadata"]["labels"], json!({"by": "webhook"}));
    assert_eq!(made.get("unknown"), None);
    let [request] = &hook.asked()[..] else { panic!("asked {:?}", hook.asked()) };
    let mut request = request.clone();
    assert_eq!(request["object"]["kind"], "ConfigMap");
    assert_eq!(request["object"]["data"], json!({"a": "1"}));
    for member in ["object", "uid"] {
        request.as_object_mut().unwrap().remove(member);
    }
    let kind = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    let resource = json!({"group": "", "version": "v1", "resource": "configmaps"});
    let expected = json!({
        "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource, "name": "a",
        "namespace": "default", "operation": "CREATE", "userInfo": {"username": "tester", "groups": ["system:masters"]},
        "oldObject": null, "dryRun": false, "options": {
            "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me", "fieldValidation": "Strict",
        },
    });
    assert_eq!(request, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_that_do_not_fit_are_refused() {
    let server = Server::start().await;
    let hook = Hook::start(|_, request| {
        let operation = match request["name"].as_str().unwrap() {
            "type" => json!({"op": "add", "path": "/data", "value": 1}),
            "path" => json!({"op": "remove", "path": "/nowhere/at/all"}),
            "kind" => json!({"op": "replace", "path": "/kind", "value": "Secret"}),
            "namespace" => json!({"op": "replace", "path": "/metadata/namespace", "value": "other"}),
            _ => json!({"op": "wish", "path": "/data"}),
        };
        patch(request, &json!([operation]))
    })
    .await;
    configure(&server, MUTATING, "m", &[webhook("a.b.c", hook.client("/"), config_maps(), &json!({}))]).await;
    for (name, code, expected) in [
        ("type", 500, "Internal error occurred: json: cannot unmarshal number into Go"),
        ("path", 500, "Internal error occurred: "),
        ("kind", 500, "Internal error occurred: ConfigMap in v1 was changed into \"Secret\" in \"v1\""),
        ("namespace", 400, "the namespace of the provided object does not match the namespace sent on the request"),
        ("other", 500, "Internal error occurred: "),
    ] {
        let answer = create(&server, name).await;
        assert_eq!(answer.code, code, "{name}: {:#}", answer.body);
        assert!(message(&answer).starts_with(expected), "{name}: {}", message(&answer));
        assert_eq!(server.on("ConfigMap", "default").name(name).get().await.code, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_says_no_in_its_own_words_and_may_warn() {
    let server = Server::start().await;
    let hook = Hook::start(|_, request| match request["name"].as_str().unwrap() {
        "warned" => Reply::Review(json!({"uid": request["uid"], "allowed": true, "warnings": ["mind the gap", ""]})),
        "both" => Reply::Review(json!({
            "uid": request["uid"], "allowed": false, "status": {"message": "no"}, "warnings": ["not like this"],
        })),
        "silent" => no(request, &Value::Null),
        _ => no(request, &json!({"code": 418, "reason": "Teapot", "message": "short and stout"})),
    })
    .await;
    configure(&server, VALIDATING, "v", &[webhook("a.b.c", hook.client("/"), config_maps(), &json!({}))]).await;
    let refused = create(&server, "refused").await;
    assert_eq!((refused.code, refused.at("/reason")), (418, &json!("Teapot")));
    assert_eq!(message(&refused), "admission webhook \"a.b.c\" denied the request: short and stout");
    let silent = create(&server, "silent").await;
    assert_eq!((silent.code, silent.at("/reason")), (400, &Value::Null));
    assert_eq!(message(&silent), "admission webhook \"a.b.c\" denied the request without explanation");
    let warned = create(&server, "warned").await;
    assert_eq!(warned.warnings, ["299 - \"mind the gap\""]);
    assert_eq!(warned.code, 201);
    let both = create(&server, "both").await;
    assert_eq!((both.code, &both.warnings[..]), (400, &["299 - \"not like this\"".to_owned()][..]));
    assert_eq!(server.on("ConfigMap", "default").name("refused").get().await.code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_cannot_be_asked_fails_the_write_or_is_ignored() {
    let server = Server::start().await;
    let hook = Hook::start(|path, request| match path {
        "/silence" => Reply::Silence,
        "/garbage" => Reply::Raw(200, "garbage".to_owned()),
        "/empty" => Reply::Raw(200, String::new()),
        "/broken" => Reply::Raw(500, "boom".to_owned()),
        "/moved" => Reply::Raw(302, String::new()),
        "/uid" => Reply::Review(json!({"uid": "other", "allowed": true})),
        _ => yes(request),
    })
    .await;
    let stranger = Hook::agreeable().await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let at = |path: &str| format!("https://{}{path}?timeout=1s", hook.address);
    let untrusted = json!({"url": format!("https://{}/", hook.address), "caBundle": stranger.ca});
    let refused = json!({"url": format!("https://{gone}/x"), "caBundle": hook.ca});
    let service = json!({"service": {"namespace": "default", "name": "absent"}, "caBundle": hook.ca});
    let table = [
        (
            hook.client("/silence"),
            format!("failed to call webhook: Post {:?}: context deadline exceeded", at("/silence")),
        ),
        (
            hook.client("/garbage"),
            "failed to call webhook: couldn't get version/kind; json parse error: invalid character 'g' looking for \
             beginning of value"
                .to_owned(),
        ),
        (
            hook.client("/empty"),
            "failed to call webhook: 0-length response with status code: 200 and content type: ".to_owned(),
        ),
        (
            hook.client("/broken"),
            "failed to call webhook: an error on the server (\"boom\") has prevented the request from succeeding"
                .to_owned(),
        ),
        (
            hook.client("/moved"),
            "failed to call webhook: the server responded with the status code 302 but did not return more information"
                .to_owned(),
        ),
        (hook.client("/uid"), "received invalid webhook response: expected response.uid=".to_owned()),
        (
            untrusted,
            format!(
                "failed to call webhook: Post {:?}: tls: failed to verify certificate: x509: certificate signed by unknown authority",
                at("/")
            ),
        ),
        (
            refused,
            format!(
                "failed to call webhook: Post \"https://{gone}/x?timeout=1s\": dial tcp {gone}: connect: connection refused"
            ),
        ),
        (
            service,
            "failed to call webhook: Post \"https://absent.default.svc:443/?timeout=1s\": service \"absent\" not found"
                .to_owned(),
        ),
    ];
    for (index, (client, why)) in table.into_iter().enumerate() {
        for (policy, code) in [("Fail", 500), ("Ignore", 201)] {
            let changed = json!({"failurePolicy": policy, "timeoutSeconds": 1});
            configure(&server, VALIDATING, "v", &[webhook("a.b.c", client.clone(), config_maps(), &changed)]).await;
            let answer = create(&server, &format!("{index}-{}", policy.to_lowercase())).await;
            assert_eq!(answer.code, code, "{why}: {:#}", answer.body);
            if code == 500 {
                let expected = format!("Internal error occurred: failed calling webhook \"a.b.c\": {why}");
                assert!(message(&answer).starts_with(&expected), "{}\nis not\n{expected}", message(&answer));
                assert_eq!(answer.at("/reason"), "InternalError");
            }
            server.on(VALIDATING, "").name("v").delete(&Value::Null).await.expect(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_asked_in_order_and_again_when_others_changed_the_object() {
    let server = Server::start().await;
    // Each notes itself, once.
    let hook = Hook::start(|path, request| {
        let trail = request["object"]["data"]["trail"].as_str().unwrap_or_default();
        match trail.contains(path) {
            true => yes(request),
            false => patch(request, &json!([{"op": "add", "path": "/data/trail", "value": format!("{trail}{path}")}])),
        }
    })
    .await;
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    let one = |name: &str, changed: &Value| {
        webhook(&format!("{name}.b.c"), hook.client(&format!("/{name}")), config_maps(), changed)
    };
    configure(&server, MUTATING, "b", &[one("second", &json!({})), one("third", &json!({}))]).await;
    configure(&server, MUTATING, "a", &[one("first", &again)]).await;
    let made = create(&server, "x").await.expect(201);
    assert_eq!(made["data"]["trail"], "/first/second/third");
    let trails: Vec<Value> = hook.asked().iter().map(|request| request["object"]["data"]["trail"].clone()).collect();
    assert_eq!(trails, [Value::Null, json!("/first"), json!("/first/second"), json!("/first/second/third")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_is_told_and_stores_nothing() {
    let server = Server::start().await;
    let hook = Hook::agreeable().await;
    configure(&server, VALIDATING, "v", &[webhook("a.b.c", hook.client("/"), config_maps(), &json!({}))]).await;
    server.on("ConfigMap", "default").query("dryRun", "All").create(&config_map("a")).await.expect(201);
    assert_eq!(hook.asked()[0]["dryRun"], true);
    assert_eq!(hook.asked()[0]["options"]["dryRun"], json!(["All"]));
    assert_eq!(server.on("ConfigMap", "default").name("a").get().await.code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_deletions_show_what_was_there() {
    let server = Server::start().await;
    let hook = Hook::agreeable().await;
    for name in ["a", "b", "c"] {
        create(&server, name).await.expect(201);
    }
    configure(&server, VALIDATING, "v", &[webhook("a.b.c", hook.client("/"), config_maps(), &json!({}))]).await;
    let one = || server.on("ConfigMap", "default").name("a");
    one().merge(&json!({"data": {"a": "2"}})).await.expect(200);
    one().delete(&json!({"propagationPolicy": "Background"})).await.expect(200);
    server.on("ConfigMap", "default").send("deletecollection").await.expect(200);
    let asked = hook.asked();
    let of = |index: usize, pointer: &str| asked[index].pointer(pointer).cloned().unwrap_or_default();
    assert_eq!(of(0, "/operation"), "UPDATE");
    assert_eq!((of(0, "/object/data/a"), of(0, "/oldObject/data/a")), (json!("2"), json!("1")));
    assert_ne!(of(0, "/oldObject/metadata/resourceVersion"), Value::Null);
    assert_eq!(of(0, "/options/kind"), "UpdateOptions");
    assert_eq!((of(1, "/operation"), of(1, "/object")), (json!("DELETE"), Value::Null));
    assert_eq!(of(1, "/oldObject/data/a"), "2");
    assert_eq!(
        of(1, "/options"),
        json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "propagationPolicy": "Background"})
    );
    let mut rest: Vec<Value> = asked[2..].iter().map(|request| request["name"].clone()).collect();
    rest.sort_by_key(ToString::to_string);
    assert_eq!(rest, ["b", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn subresources_are_matched_by_name_and_shown_as_what_they_are() {
    let server = Server::start().await;
    let hook = Hook::start(|_, request| match request["object"]["kind"].as_str() {
        Some("Scale") => patch(request, &json!([{"op": "replace", "path": "/spec/replicas", "value": 3}])),
        Some("PodExecOptions") => no(request, &json!({"message": "no shell", "code": 403})),
        Some("Eviction" | "Binding") => no(request, &json!({"message": "it stays", "code": 403})),
        _ => yes(request),
    })
    .await;
    let rule = rule(&["*"], &["*/*"]);
    let selected = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}});
    configure(&server, MUTATING, "m", &[webhook("a.b.c", hook.client("/"), rule, &selected)]).await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment =
        json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    server.on("apps/Deployment", "default").create(&deployment).await.expect(201);
    let scale = || server.on("apps/Deployment", "default").name("d").sub("scale");
    let scaled = scale().merge(&json!({"spec": {"replicas": 2}})).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 3);
    let status = server.on("apps/Deployment", "default").name("d").sub("status");
    status.merge(&json!({"status": {"replicas": 1}})).await.expect(200);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    server.on("Pod", "default").create(&pod).await.expect(201);
    let below = |name: &str| server.on("Pod", "default").name("p").sub(name);
    let named = json!({"metadata": {"name": "p", "namespace": "default"}});
    assert_eq!(
        message(&below("eviction").create(&named).await),
        "admission webhook \"a.b.c\" denied the request: it stays"
    );
    let mut binding = named.clone();
    binding["target"] = json!({"kind": "Node", "name": "n"});
    assert_eq!(
        message(&below("binding").create(&binding).await),
        "admission webhook \"a.b.c\" denied the request: it stays"
    );
    let exec = below("exec").query("command", "sh").query("stdin", "true").send("create").await;
    assert_eq!((exec.code, message(&exec)), (403, "admission webhook \"a.b.c\" denied the request: no shell"));
    let asked = hook.asked();
    let told: Vec<String> = asked
        .iter()
        .map(|request| {
            let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
            format!(
                "{} {}/{} {} {}",
                text("/operation"),
                text("/resource/resource"),
                text("/subResource"),
                text("/kind/kind"),
                text("/object/kind"),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "CREATE deployments/- Deployment Deployment",
            "UPDATE deployments/scale Scale Scale",
            "UPDATE deployments/status Deployment Deployment",
            "CREATE pods/- Pod Pod",
            "CREATE pods/eviction Eviction Eviction",
            "CREATE pods/binding Binding Binding",
            "CONNECT pods/exec PodExecOptions PodExecOptions",
        ]
    );
    let options = json!({
        "kind": "PodExecOptions", "apiVersion": "v1", "stdin": true, "stdout": true, "stderr": true, "command": ["sh"],
    });
    assert_eq!(asked[6]["object"], options);
    assert_eq!(asked[1]["oldObject"]["spec"], json!({"replicas": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_may_write_to_the_server_that_asks_it() {
    let server: &'static Server = Box::leak(Box::new(Server::start().await));
    let hook = Hook::start_async(move |_, request| {
        Box::pin(async move {
            if request["name"] == "outer" {
                create(server, "inner").await.expect(201);
            }
            yes(&request)
        })
    })
    .await;
    configure(server, MUTATING, "m", &[webhook("a.b.c", hook.client("/"), config_maps(), &json!({}))]).await;
    configure(server, VALIDATING, "v", &[webhook("d.e.f", hook.client("/"), rule(&["*"], &["*"]), &json!({}))]).await;
    // Validating webhooks are asked as well: the second time, inner is there already.
    server.on(MUTATING, "").name("m").delete(&Value::Null).await.expect(200);
    create(server, "outer").await.expect(201);
    server.on("ConfigMap", "default").name("inner").get().await.expect(200);
    // What configures webhooks is nobody's affair.
    let resources: Vec<Value> = hook.asked().iter().map(|request| request["resource"]["resource"].clone()).collect();
    assert_eq!(resources, ["configmaps", "configmaps"]);
}

/// The name of what a webhook is asked about, and what it is shown of the object's.
fn names(request: &Value) -> (&str, &str) {
    let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    (text("/name"), text("/object/metadata/name"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_generated_behind_those_who_change_the_object() {
    const ATTEMPTS: usize = 8;
    let server: &'static Server = Box::leak(Box::new(Server::start().await));
    let changing = Hook::agreeable().await;
    // Takes each name before whoever asks for it, as often as the object says.
    let judging = Hook::start_async(move |_, request| {
        Box::pin(async move {
            let taken = server.on("ConfigMap", "default").list().await;
            let taken = taken.at("/items").as_array().unwrap().len();
            let wanted = request["object"]["data"]["taken"].as_str().and_then(|wanted| wanted.parse::<usize>().ok());
            if wanted.is_some_and(|wanted| taken < wanted) {
                create(server, names(&request).1).await.expect(201);
            }
            yes(&request)
        })
    })
    .await;
    configure(server, MUTATING, "m", &[webhook("a.b.c", changing.client("/"), config_maps(), &json!({}))]).await;
    let selector = json!({"objectSelector": {"matchLabels": {"asked": "yes"}}});
    configure(server, VALIDATING, "v", &[webhook("d.e.f", judging.client("/"), config_maps(), &selector)]).await;
    let prefixed = |taken: usize| {
        let metadata = json!({"generateName": "base-", "labels": {"asked": "yes"}, "uid": "of-the-client"});
        json!({"metadata": metadata, "data": {"taken": taken.to_string()}})
    };
    let made = server.on("ConfigMap", "default").create(&prefixed(2)).await.expect(201);
    let name = made["metadata"]["name"].as_str().unwrap();
    let seen = changing.asked();
    assert_eq!((names(&seen[0]), seen[0].pointer("/object/metadata/uid")), (("", ""), None));
    assert_eq!(seen.iter().filter(|request| names(request).0.is_empty()).count(), 1);
    let judged = judging.asked();
    assert_eq!(judged.len(), 3);
    assert_eq!(names(&judged[2]), (name, name));
    assert!(name.starts_with("base-") && judged.iter().all(|request| names(request).0 == names(request).1));
    let refused = server.on("ConfigMap", "default").create(&prefixed(100)).await;
    let last = judging.asked().pop().unwrap();
    let name = names(&last).0;
    let words = "already exists, the server was not able to generate a unique name for the object";
    assert_eq!((refused.code, message(&refused)), (409, &*format!("configmaps \"{name}\" {words}")));
    assert_eq!((refused.at("/reason"), refused.at("/details/retryAfterSeconds")), (&json!("AlreadyExists"), &json!(1)));
    assert_eq!(judging.asked().len(), 3 + ATTEMPTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_that_a_webhook_breaks_are_as_before() {
    let server = Server::start().await;
    let hook = Hook::start(|_, request| {
        let (place, value) = match request["name"].as_str().unwrap() {
            "operation" => ("/metadata/managedFields/0/operation", json!("Nonsense")),
            "emptied" => ("/metadata/managedFields", json!([])),
            _ => ("/metadata/managedFields/0/manager", json!("renamed")),
        };
        patch(request, &json!([{"op": "replace", "path": place, "value": value}]))
    })
    .await;
    configure(&server, MUTATING, "m", &[webhook("a.b.c", hook.client("/"), config_maps(), &json!({}))]).await;
    let warning = "299 - \".metadata.managedFields was in an invalid state after admission; this could be caused by an \
                   outdated mutating admission controller; please fix your requests: metadata.managedFields[0].operation: \
                   Invalid value: \\\"Nonsense\\\": must be `Apply` or `Update`\"";
    for (name, manager, warnings) in [
        ("operation", json!("unknown"), vec![warning]),
        ("emptied", Value::Null, vec![]),
        ("other", json!("renamed"), vec![]),
    ] {
        let made = create(&server, name).await;
        assert_eq!(made.warnings, warnings, "{name}");
        assert_eq!(*made.at("/metadata/managedFields/0/manager"), manager, "{name}");
    }
    let changed = server.on("ConfigMap", "default").name("operation").merge(&json!({"data": {"b": "2"}})).await;
    assert_eq!(changed.warnings, [warning]);
    let entry = changed.at("/metadata/managedFields/0");
    assert_eq!((&entry["operation"], &entry["fieldsV1"]["f:data"]["f:b"]), (&json!("Update"), &json!({})));
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_decide_whom_a_webhook_concerns() {
    let server = Server::start().await;
    let hook = Hook::agreeable().await;
    let rule = || rule(&[""], &["configmaps", "namespaces"]);
    let webhooks = [
        webhook("object.b.c", hook.client("/object"), rule(), &json!({"objectSelector": {"matchLabels": {"a": "b"}}})),
        webhook(
            "namespace.b.c",
            hook.client("/ns"),
            rule(),
            &json!({"namespaceSelector": {"matchLabels": {"n": "m"}}}),
        ),
    ];
    configure(&server, VALIDATING, "v", &webhooks).await;
    let asked = |expected: usize| assert_eq!(hook.asked().len(), expected, "{:#?}", hook.asked());
    create(&server, "plain").await.expect(201);
    asked(0);
    let labelled = json!({"metadata": {"name": "labelled", "labels": {"a": "b"}}});
    server.on("ConfigMap", "default").create(&labelled).await.expect(201);
    asked(1);
    server.on("Namespace", "").create(&json!({"metadata": {"name": "m", "labels": {"n": "m"}}})).await.expect(201);
    asked(2);
    assert_eq!(hook.asked()[1]["namespace"], "m");
    server.on("ConfigMap", "m").create(&config_map("plain")).await.expect(201);
    asked(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_decide_whom_a_webhook_concerns() {
    let server = Server::start().await;
    let hook = Hook::agreeable().await;
    let conditions = json!([
        {"name": "named", "expression": "request.name.startsWith('asked')"},
        {"name": "data", "expression": "object.data.a == '1' && request.kind.kind == 'ConfigMap'"},
        {"name": "who", "expression": "authorizer.requestResource.check('create').allowed()"},
    ]);
    let client = || hook.client("/x");
    let asks = webhook("asks.b.c", client(), config_maps(), &json!({"matchConditions": conditions}));
    configure(&server, MUTATING, "m", &[asks]).await;
    create(&server, "other").await.expect(201);
    assert_eq!(hook.asked().len(), 0);
    create(&server, "asked").await.expect(201);
    assert_eq!(hook.asked().len(), 1);
    // What cannot be told counts as a webhook that cannot be asked.
    for (policy, code) in [("Ignore", 201), ("Fail", 403)] {
        let conditions = json!([{"name": "fails", "expression": "object.data.missing == '1'"}]);
        let changed = json!({"matchConditions": conditions, "failurePolicy": policy});
        let name = policy.to_lowercase();
        configure(&server, VALIDATING, &name, &[webhook("fails.b.c", client(), config_maps(), &changed)]).await;
        let answer = create(&server, &name).await;
        assert_eq!(answer.code, code, "{answer:?}");
        if code == 403 {
            let told = format!(
                "configmaps \"{name}\" is forbidden: expression 'object.data.missing == '1'' resulted in error: no such key: \
                 missing"
            );
            assert_eq!(message(&answer), told);
        }
    }
    assert_eq!(hook.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn equivalent_requests_are_shown_in_the_form_that_the_rules_name() {
    let server = Server::start().await;
    let hook = Hook::start(|_, request| {
        patch(
            request,
            &json!([{"op": "add", "path": "/metadata/labels", "value": {"seen": request["kind"]["version"]}}]),
        )
    })
    .await;
    let mut newer = rule(&["autoscaling"], &["horizontalpodautoscalers"]);
    newer["apiVersions"] = json!(["v2"]);
    let exact = json!({"matchPolicy": "Exact"});
    let webhooks = [
        webhook("equal.b.c", hook.client("/equal"), newer.clone(), &json!({})),
        webhook("exact.b.c", hook.client("/exact"), newer, &exact),
    ];
    configure(&server, MUTATING, "m", &webhooks).await;
    let scaler = json!({
        "metadata": {"name": "h"},
        "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
    });
    let made = server.on("autoscaling/HorizontalPodAutoscaler", "default").create(&scaler).await.expect(201);
    assert_eq!(made["apiVersion"], "autoscaling/v1");
    assert_eq!(made["spec"]["targetCPUUtilizationPercentage"], 50);
    assert_eq!(made["metadata"]["labels"], json!({"seen": "v2"}));
    let [request] = &hook.asked()[..] else { panic!("asked {:#?}", hook.asked()) };
    assert_eq!(request["object"]["apiVersion"], "autoscaling/v2");
    assert_eq!(request["object"]["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
    assert_eq!((&request["kind"]["version"], &request["requestKind"]["version"]), (&json!("v2"), &json!("v1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_built_in_looks_again_at_what_a_webhook_added() {
    let server = Server::start().await;
    let sidecar = json!({"op": "add", "path": "/spec/containers/-", "value": {"name": "sidecar", "image": "i"}});
    let hook = Hook::start(move |_, request| patch(request, &json!([sidecar]))).await;
    let pods = rule(&[""], &["pods"]);
    configure(&server, MUTATING, "m", &[webhook("a.b.c", hook.client("/"), pods, &json!({}))]).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = server.on("Pod", "default").create(&pod).await.expect(201);
    assert_eq!(hook.asked().len(), 1);
    let mounts = |index: usize| made["spec"]["containers"][index]["volumeMounts"].clone();
    assert_eq!(mounts(0).as_array().map(Vec::len), Some(1));
    assert_eq!(mounts(1), mounts(0), "of the service account's token");
    assert_eq!(made["spec"]["volumes"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_behind_a_service_is_reached_at_its_ready_endpoints() {
    let server = Server::start().await;
    let hook = Hook::agreeable().await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let service = json!({"metadata": {"name": "hooks"}, "spec": {"ports": [{"name": "https", "port": 8443}]}});
    server.on("Service", "default").create(&service).await.expect(201);
    let client = json!({"service": {"namespace": "default", "name": "hooks", "port": 8443}, "caBundle": hook.ca});
    let changed = json!({"timeoutSeconds": 2});
    configure(&server, VALIDATING, "v", &[webhook("a.b.c", client, config_maps(), &changed)]).await;
    let refused = create(&server, "a").await;
    assert!(message(&refused).ends_with("no endpoints available for service \"hooks\""), "{}", message(&refused));
    for (name, port) in [("dead", gone.port()), ("alive", hook.address.port())] {
        put_slice(&server, name, port).await;
    }
    create(&server, "a").await.expect(201);
    assert_eq!(hook.asked().len(), 1);
}

/// An endpoint on loopback, which the API would not let in: it is what a test has.
async fn put_slice(server: &Server, name: &str, port: u16) {
    let key = Key::new("endpointslices.discovery.k8s.io", "default", name);
    let labels = [("kubernetes.io/service-name".to_owned(), "hooks".to_owned())].into();
    let slice = json!({"ports": [{"name": "https", "port": port}], "endpoints": [{"addresses": ["127.0.0.1"]}]});
    let body = slice.to_string().into_bytes();
    let mutations = vec![Mutation::Put { key, head: Head { labels, ..Head::default() }, body }];
    server.core.log.propose(Command { mutations, ..Command::default() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_may_stand_for_a_name_outside() {
    let server = Server::start().await;
    let hook = Hook::agreeable().await;
    let service = json!({"metadata": {"name": "hooks"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    server.on("Service", "default").create(&service).await.expect(201);
    let port = hook.address.port();
    let client = json!({"service": {"namespace": "default", "name": "hooks", "port": port}, "caBundle": hook.ca});
    configure(&server, VALIDATING, "v", &[webhook("a.b.c", client, config_maps(), &json!({}))]).await;
    create(&server, "a").await.expect(201);
    assert_eq!(hook.asked().len(), 1);
}
