//! What a machine gets that joins as a node, and what it does not: nothing that makes it somebody else.
#![allow(clippy::unwrap_used)]
mod wire;

use http::Method;
use kontiki_apiserver::{join, pki::NodeKeys};
use serde_json::{Value, json};

use wire::Running;

const NODES: &str = "/api/v1/nodes";

#[test]
fn nobody_gets_a_certificate_for_an_address_that_is_another_s() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let server =
            Running::start_with(dir, "192.0.2.7", |config| config.names = vec!["api.example.com".into()]).await;
        let mut admin = server.admin().await;
        let made = admin.post(NODES, &json!({"metadata": {"name": "there"}})).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let mut node = made.json();
        node["status"]["addresses"] = json!([{"type": "InternalIP", "address": "198.51.100.9"}]);
        let told = admin.call(Method::PUT, &format!("{NODES}/there/status"), node.to_string()).await;
        assert_eq!(told.status, 200, "{}", told.text());

        let range = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/16"]}});
        let made = admin.post("/apis/networking.k8s.io/v1/servicecidrs", &range).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let token = server.api.core().join_tokens.agent.to_string();
        let requests = serde_json::to_value(NodeKeys::make().unwrap().requests().unwrap()).unwrap();
        let table = [
            ("n1", "198.51.100.1", 200, ""),
            // The machine of a server, as far as the connection tells.
            ("n1", "127.0.0.1", 200, ""),
            ("n1", "127.0.0.2", 400, "127.0.0.2 is a server's address: a node has it only if it asks from there"),
            ("n1", "192.0.2.7", 400, "192.0.2.7 is a server's address: a node has it only if it asks from there"),
            // The same in IPv6 clothes, which clients take for the same.
            (
                "n1",
                "::ffff:192.0.2.7",
                400,
                "192.0.2.7 is a server's address: a node has it only if it asks from there",
            ),
            ("n1", "::ffff:10.96.0.1", 400, "10.96.0.1 is a Service's address, not a node's"),
            (
                "n1",
                "::ffff:127.0.0.2",
                400,
                "127.0.0.2 is a server's address: a node has it only if it asks from there",
            ),
            // Of a further range of Services.
            ("n1", "10.97.3.4", 400, "10.97.3.4 is a Service's address, not a node's"),
            ("web.default.svc", "198.51.100.1", 400, "\"web.default.svc\" cannot be a node's name"),
            (
                "web.default.svc.Cluster.local",
                "198.51.100.1",
                400,
                "\"web.default.svc.Cluster.local\" cannot be a node's name",
            ),
            ("n1", "10.96.0.1", 400, "10.96.0.1 is a Service's address, not a node's"),
            ("n1", "0.0.0.0", 400, "0.0.0.0 is no machine's address"),
            ("n1", "224.0.0.1", 400, "224.0.0.1 is no machine's address"),
            ("n1", "255.255.255.255", 400, "255.255.255.255 is no machine's address"),
            // Addresses pass on, and a node that is gone may be told of for long.
            ("n1", "198.51.100.9", 200, ""),
            ("API.example.com", "198.51.100.1", 400, "\"API.example.com\" cannot be a node's name"),
            ("localhost", "198.51.100.1", 400, "\"localhost\" cannot be a node's name"),
        ];
        for (name, address, code, expected) in table {
            let wanted =
                json!({"role": "agent", "token": token, "name": name, "addresses": [address], "requests": requests});
            let answer = server.client(None).await.post(join::PATH, &wanted).await;
            assert_eq!(answer.status, code, "{name} {address}: {}", answer.text());
            if code == 200 {
                assert!(answer.json()["certificates"]["server"].as_str().unwrap().contains("BEGIN CERTIFICATE"));
            } else {
                assert_ne!(answer.json()["message"], Value::Null);
                assert!(answer.message().contains(expected), "{name} {address}: {}", answer.message());
            }
        }
        server.stop().await;
    });
}
