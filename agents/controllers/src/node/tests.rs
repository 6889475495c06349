use serde_json::Value;

use super::*;
use crate::scripted::{self, Asked};

/// A controller that has listed an unreachable node, three ready pods on it, which nothing lets stay, and these other nodes.
/// `answer` gets every other request.
async fn controller(
    others: &[Value],
    answer: impl Fn(&str, &str) -> (u16, Value) + Clone + Send + Sync + 'static,
) -> (Controller, Asked) {
    let list = |kind: &str, items: Vec<Value>| {
        (200, json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": items}))
    };
    let nodes = [&[node("n", "Unknown")], others].concat();
    let (context, asked) = scripted::context(move |method, path| match (method, path) {
        ("GET", "/api/v1/nodes") => list("NodeList", nodes.clone()),
        ("GET", "/api/v1/pods") => list("PodList", ["one", "three", "two"].map(pod).to_vec()),
        ("GET", _) if path.ends_with("/leases") => list("LeaseList", Vec::new()),
        _ => answer(method, path),
    });
    let controller = Controller::new(context);
    assert!(controller.synced().await);
    (controller, asked)
}

fn node(name: &str, ready: &str) -> Value {
    let taint = json!({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"});
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name, "resourceVersion": "7"},
        "spec": {"taints": if ready == "True" { json!([]) } else { json!([taint]) }},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    })
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "a", "uid": name, "resourceVersion": "8"},
        "spec": {"nodeName": "n", "containers": []},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn paths(names: &[&str], end: &str) -> Vec<String> {
    names.iter().map(|name| format!("/api/v1/namespaces/a/pods/{name}{end}")).collect()
}

#[tokio::test]
async fn a_pod_whose_writes_are_refused_keeps_no_other_on_a_dead_node() {
    let (controller, asked) = controller(&[node("other", "True")], |method, path| match method {
        "PATCH" if path.ends_with("/status") && path.contains("/pods/") => scripted::failure(403, "Forbidden", "one"),
        "DELETE" if path.ends_with("/one") => scripted::failure(500, "InternalError", "one"),
        "DELETE" => (200, pod("gone")),
        _ => (200, node("n", "Unknown")),
    })
    .await;
    controller.round(Instant::now(), Timestamp::UNIX_EPOCH);
    assert!(controller.attend(&ObjectKey::new("", "n")).await.is_err());
    let mut told = asked.with("PATCH");
    told.retain(|path| path.contains("/pods/"));
    // Not ready, and driven out.
    assert_eq!(told, paths(&["one", "one", "three", "three", "two", "two"], "/status"));
    assert_eq!(asked.with("DELETE"), paths(&["one", "three", "two"], ""));
}

#[tokio::test]
async fn nobody_leaves_while_no_node_is_ready() {
    let (controller, asked) =
        controller(
            &[],
            |_, path| {
                if path.contains("/pods/") { (200, pod("one")) } else { (200, node("n", "Unknown")) }
            },
        )
        .await;
    controller.round(Instant::now(), Timestamp::UNIX_EPOCH);
    controller.attend(&ObjectKey::new("", "n")).await.unwrap();
    assert!(asked.with("PATCH").contains(&"/api/v1/nodes/n".to_owned()), "the taint that drives out is taken away");
    assert_eq!(asked.with("DELETE"), Vec::<String>::new());
}
