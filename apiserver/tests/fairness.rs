//! Flow schemas and priority levels at work, as their administrators see them.
#![allow(clippy::unwrap_used)]
mod wire;

use std::time::Duration;

use serde_json::{Value, json};

use wire::{Client, Running};

const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
/// How long the condition of a schema may take to come true.
const DEADLINE: Duration = Duration::from_secs(20);

fn schema(name: &str, level: &str, user: &str) -> Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": name},
        "spec": {
            "priorityLevelConfiguration": {"name": level},
            "matchingPrecedence": 50,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{
                "subjects": [{"kind": "User", "user": {"name": user}}],
                "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/version"]}],
            }],
        },
    })
}

fn level(name: &str) -> Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": name},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 10, "limitResponse": {"type": "Reject"}}},
    })
}

/// Waits until a schema's condition says whether its level is missing.
async fn dangles(admin: &mut Client, name: &str, wanted: &str) -> Value {
    let turned = async {
        loop {
            let schema = admin.get(&format!("{GROUP}/flowschemas/{name}")).await.json();
            let condition = &schema["status"]["conditions"][0];
            if condition["status"] == wanted {
                return condition.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, turned).await.expect("the condition turns")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_counts_from_its_acknowledgement_on_and_dangles_without_its_level() {
    let server = Running::start().await;
    let mut admin = server.admin().await;
    let robot = "system:serviceaccount:default:robot";
    let token = admin.service_account("robot").await;
    let mut client = server.bearer(&token).await;
    let of = async |client: &mut Client| {
        let headers = client.get("/version").await.headers;
        ["x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"]
            .map(|name| headers[name].to_str().unwrap().to_owned())
    };
    let uid = async |admin: &mut Client, path: &str| {
        admin.get(&format!("{GROUP}/{path}")).await.json()["metadata"]["uid"].as_str().unwrap().to_owned()
    };
    let before = [
        uid(&mut admin, "flowschemas/service-accounts").await,
        uid(&mut admin, "prioritylevelconfigurations/workload-low").await,
    ];
    assert_eq!(of(&mut client).await, before);

    let made = admin.post(&format!("{GROUP}/flowschemas"), &schema("robots", "robots", robot)).await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    assert_eq!(of(&mut client).await, before, "a schema without a level is as if it were not there");
    let condition = dangles(&mut admin, "robots", "True").await;
    assert_eq!(condition["reason"], "NotFound");
    assert_eq!(
        condition["message"],
        "This FlowSchema references the PriorityLevelConfiguration object named \"robots\" but there is no such object"
    );

    let made = admin.post(&format!("{GROUP}/prioritylevelconfigurations"), &level("robots")).await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    let now =
        [uid(&mut admin, "flowschemas/robots").await, uid(&mut admin, "prioritylevelconfigurations/robots").await];
    assert_eq!(of(&mut client).await, now);
    assert_eq!(dangles(&mut admin, "robots", "False").await["reason"], "Found");
    let dump = admin.get("/debug/api_priority_and_fairness/dump_priority_levels").await.text();
    assert!(dump.lines().any(|line| line.starts_with("robots,")), "{dump}");
    let metrics = admin.get("/metrics").await.text();
    let dispatched =
        "apiserver_flowcontrol_dispatched_requests_total{priority_level=\"robots\",flow_schema=\"robots\"} 1";
    assert!(metrics.contains(dispatched), "{metrics}");
    assert!(metrics.contains("apiserver_flowcontrol_nominal_limit_seats{priority_level=\"robots\"}"), "{metrics}");

    let removed = admin.call(http::Method::DELETE, &format!("{GROUP}/prioritylevelconfigurations/robots"), "").await;
    assert_eq!(removed.status, 200);
    assert_eq!(of(&mut client).await, before);
    dangles(&mut admin, "robots", "True").await;
    server.stop().await;
}
