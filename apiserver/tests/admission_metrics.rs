//! What admission tells of itself at `/metrics`: series that dashboards of other clusters find here too.
#![allow(clippy::unwrap_used)]

mod hook;
mod wire;

use hook::{Hook, Reply, no, patch, yes};
use http::Method;
use serde_json::{Value, json};
use wire::{Client, Running};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";

async fn configure(admin: &mut Client, plural: &str, name: &str, client: Value, policy: &str) {
    let rule = json!({"operations": ["*"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["configmaps"]});
    let webhook = json!({
        "name": name, "clientConfig": client, "rules": [rule], "sideEffects": "None", "failurePolicy": policy,
        "admissionReviewVersions": ["v1"],
    });
    let path = format!("{CONFIGURATIONS}/{plural}");
    let made = admin.post(&path, &json!({"metadata": {"name": name}, "webhooks": [webhook]})).await;
    assert_eq!(made.status, 201, "{}", made.text());
}

async fn create(admin: &mut Client, name: &str) -> u16 {
    admin.post(MAPS, &json!({"metadata": {"name": name}})).await.status.as_u16()
}

/// Whether a series has this value; its labels may stand in any order.
fn has(text: &str, name: &str, labels: &[&str], value: &str) -> bool {
    text.lines().any(|line| {
        let Some((series, told)) = line.rsplit_once(' ') else { return false };
        let rest = series.strip_prefix(name).and_then(|rest| rest.strip_prefix('{')?.strip_suffix('}'));
        let mut found: Vec<&str> = rest.map(|rest| rest.split(',').collect()).unwrap_or_default();
        let mut wanted = labels.to_vec();
        found.sort_unstable();
        wanted.sort_unstable();
        told == value && found == wanted
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_plugins_and_levels_are_counted() {
    let server = Running::start().await;
    let mut admin = server.admin().await;
    let hook = Hook::start(|path, request| match (path, request["name"].as_str()) {
        ("/broken", _) => Reply::Raw(502, String::new()),
        ("/wrong", _) => patch(request, &json!([{"op": "remove", "path": "/none"}])),
        (_, Some("bad")) => no(request, &json!({"code": 418, "message": "no"})),
        _ => yes(request),
    })
    .await;
    let validating = "validatingwebhookconfigurations";
    configure(&mut admin, validating, "judge.example.com", hook.client("/"), "Fail").await;
    assert_eq!((create(&mut admin, "good").await, create(&mut admin, "bad").await), (201, 418));
    let away = json!({"url": "https://127.0.0.1:1/"});
    configure(&mut admin, validating, "away.example.com", away.clone(), "Ignore").await;
    assert_eq!(create(&mut admin, "ignored").await, 201);
    for (plural, name, client) in [
        (validating, "gone.example.com", away),
        (validating, "broken.example.com", hook.client("/broken")),
        ("mutatingwebhookconfigurations", "wrong.example.com", hook.client("/wrong")),
    ] {
        configure(&mut admin, plural, name, client, "Fail").await;
        assert_eq!(create(&mut admin, "none").await, 500, "{name}");
        admin.call(Method::DELETE, &format!("{CONFIGURATIONS}/{plural}/{name}"), "").await;
    }

    admin.service_account("default").await;
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/warn": "restricted"}}});
    let patch =
        http::Request::patch("/api/v1/namespaces/default").header("content-type", "application/merge-patch+json");
    let patched = admin.send(patch.body(http_body_util::Full::from(labels.to_string())).unwrap()).await;
    assert_eq!(wire::read(patched).await.status, 200);
    let pod = |name: &str, privileged: bool| {
        let container = json!({"name": "c", "image": "i", "securityContext": {"privileged": privileged}});
        json!({"metadata": {"name": name}, "spec": {"containers": [container]}})
    };
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(admin.call(Method::POST, pods, pod("a", false).to_string()).await.status, 201);
    assert_eq!(admin.call(Method::POST, pods, pod("b", true).to_string()).await.status, 403);

    let text = admin.get("/metrics").await.text();
    let judge = "name=\"judge.example.com\"";
    let (validating, create) = ("type=\"validating\"", "operation=\"CREATE\"");
    let webhook = "apiserver_admission_webhook_admission_duration_seconds_count";
    let rejections = "apiserver_admission_webhook_rejection_count";
    let calling = "error_type=\"calling_webhook_error\"";
    let plugins = "apiserver_admission_controller_admission_duration_seconds_count";
    let expected: &[(&str, &[&str], &str)] = &[
        (webhook, &[judge, create, validating, "rejected=\"false\""], "4"),
        (webhook, &[judge, create, validating, "rejected=\"true\""], "1"),
        (rejections, &[judge, create, validating, "error_type=\"no_error\"", "rejection_code=\"418\""], "1"),
        (rejections, &["name=\"gone.example.com\"", create, validating, calling, "rejection_code=\"503\""], "1"),
        (rejections, &["name=\"broken.example.com\"", create, validating, calling, "rejection_code=\"502\""], "1"),
        (
            rejections,
            &[
                "name=\"wrong.example.com\"",
                create,
                "type=\"admit\"",
                "error_type=\"apiserver_internal_error\"",
                "rejection_code=\"0\"",
            ],
            "1",
        ),
        ("apiserver_admission_webhook_fail_open_count", &["name=\"away.example.com\"", validating], "3"),
        (plugins, &["name=\"ServiceAccount\"", create, "type=\"admit\"", "rejected=\"false\""], "2"),
        (plugins, &["name=\"DefaultTolerationSeconds\"", create, "type=\"admit\"", "rejected=\"false\""], "2"),
        (
            "apiserver_admission_webhook_request_total",
            &[judge, create, validating, "rejected=\"false\"", "code=\"200\""],
            "4",
        ),
        (plugins, &["name=\"PodSecurity\"", create, "type=\"validate\"", "rejected=\"true\""], "1"),
        (
            "pod_security_evaluations_total",
            &[
                "decision=\"deny\"",
                "policy_level=\"baseline\"",
                "policy_version=\"latest\"",
                "mode=\"enforce\"",
                "request_operation=\"create\"",
                "resource=\"pod\"",
                "subresource=\"\"",
            ],
            "1",
        ),
        (
            "pod_security_evaluations_total",
            &[
                "decision=\"deny\"",
                "policy_level=\"restricted\"",
                "policy_version=\"latest\"",
                "mode=\"warn\"",
                "request_operation=\"create\"",
                "resource=\"pod\"",
                "subresource=\"\"",
            ],
            "1",
        ),
    ];
    for (name, labels, value) in expected {
        let told: Vec<&str> = text.lines().filter(|line| line.starts_with(name)).collect();
        assert!(has(&text, name, labels, value), "{name} {labels:?} {value}: {told:#?}");
    }
    let requests = admin.get("/debug/api_priority_and_fairness/dump_requests?includeRequestDetails=1").await.text();
    let first = requests.lines().next().unwrap_or_default().replace(' ', "");
    assert_eq!(
        first,
        "PriorityLevelName,FlowSchemaName,QueueIndex,RequestIndexInQueue,FlowDistingsher,ArriveTime,InitialSeats,FinalSeats,\
         AdditionalLatency,StartTime,UserName,Verb,APIPath,Namespace,Name,APIVersion,Resource,SubResource"
    );
    let own: Vec<&str> = requests.lines().filter(|line| line.contains("/debug/api_priority_and_fairness")).collect();
    let [own] = own[..] else { panic!("the dump itself is in work: {requests}") };
    let columns: Vec<&str> = own.split(',').map(str::trim).collect();
    assert_eq!((columns[0], columns[2], columns[3], columns[11]), ("exempt", "-1", "-1", "get"));
    server.stop().await;
}
