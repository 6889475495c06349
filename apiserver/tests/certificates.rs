//! Requests for certificates: who may approve and sign for which signer, and for whom node agents may ask.
#![allow(clippy::unwrap_used)]
mod client;
mod wire;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use client::{Answer, Server};
use http::{Method, Request, header};
use http_body_util::Full;
use kontiki_apiserver::{Identity, pki::Terms};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Value, json};
use wire::{Client, Running, read};

const CSR: &str = "certificates.k8s.io/CertificateSigningRequest";

fn request(name: &str, group: &str) -> String {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.distinguished_name.push(DnType::OrganizationName, group);
    parameters.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

fn asked(name: &str, signer: &str, request: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"signerName": signer, "usages": ["client auth"],
        "request": STANDARD.encode(request)}})
}

fn approval() -> Value {
    json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "Test"}]}})
}

fn message(answer: &Answer) -> &str {
    answer.at("/message").as_str().unwrap()
}

const PATH: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A change by a user who may do what the rules of the role `decider` say.
async fn patch(admin: &mut Client, path: &str, patch: &Value) -> (u16, String) {
    let request = Request::builder().method(Method::PATCH).uri(path).header("impersonate-user", "jo");
    let request = request.header(header::CONTENT_TYPE, "application/merge-patch+json");
    let answer = read(admin.send(request.body(Full::new(patch.to_string().into())).unwrap()).await).await;
    (answer.status.as_u16(), answer.json()["message"].as_str().unwrap_or_default().to_owned())
}

async fn put_rules(admin: &mut Client, signers: &Value) {
    let requests = ["certificatesigningrequests/approval", "certificatesigningrequests/status"];
    let mut rules = json!([{"apiGroups": ["certificates.k8s.io"], "resources": requests, "verbs": ["patch"]}]);
    for (verb, signer) in signers.as_object().unwrap() {
        rules.as_array_mut().unwrap().push(json!({"apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
            "verbs": [verb], "resourceNames": [signer]}));
    }
    let role = json!({"metadata": {"name": "decider"}, "rules": rules});
    let path = format!("{RBAC}/clusterroles/decider");
    assert!(admin.call(Method::PUT, &path, role.to_string()).await.status.is_success());
}

#[test]
fn who_decides_about_a_request_must_be_trusted_with_its_signer() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        const SIGNER: &str = "example.com/clients";
        assert_eq!(admin.post(PATH, &asked("r", SIGNER, &request("jane", "devs"))).await.status, 201);
        put_rules(&mut admin, &json!({})).await;
        let binding = json!({"metadata": {"name": "decider"}, "subjects": [{"kind": "User", "name": "jo"}],
            "roleRef": {"kind": "ClusterRole", "name": "decider"}});
        assert_eq!(admin.post(&format!("{RBAC}/clusterrolebindings"), &binding).await.status, 201);
        let (approvals, statuses) = (format!("{PATH}/r/approval"), format!("{PATH}/r/status"));
        let refused = "certificatesigningrequests.certificates.k8s.io \"r\" is forbidden: user not permitted to";
        let expected = format!("{refused} approve requests with signerName \"example.com/clients\"");
        assert_eq!(patch(&mut admin, &approvals, &approval()).await, (403, expected));
        put_rules(&mut admin, &json!({"approve": SIGNER})).await;
        assert_eq!(patch(&mut admin, &approvals, &approval()).await.0, 200);
        let (usages, asked) = (["client auth".to_owned()], request("jane", "devs"));
        let pem = server.api.core().pki.sign_request(asked.as_bytes(), Terms { usages: &usages, lifetime: None });
        let certificate = json!({"status": {"certificate": STANDARD.encode(pem.unwrap())}});
        let expected = format!("{refused} sign requests with signerName \"example.com/clients\"");
        assert_eq!(patch(&mut admin, &statuses, &certificate).await, (403, expected));
        // A status that decides nothing needs no trust.
        assert_eq!(patch(&mut admin, &statuses, &json!({"metadata": {"labels": {"a": "b"}}})).await.0, 200);
        // A rule may be about all signers of a domain.
        put_rules(&mut admin, &json!({"sign": "example.com/*"})).await;
        assert_eq!(patch(&mut admin, &statuses, &certificate).await.0, 200);
        server.stop().await;
    });
}

#[tokio::test]
async fn a_node_agent_asks_for_itself_alone() {
    let server = Server::start().await;
    let node =
        Identity { user: "system:node:n1".to_owned(), groups: vec!["system:nodes".to_owned()], ..Identity::default() };
    for signer in ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"] {
        let ask = |name: &str, common_name: &str| {
            let asked = asked(name, signer, &request(common_name, "system:nodes"));
            let call = server.on(CSR, "").identity(node.clone());
            async move { call.create(&asked).await }
        };
        let name = signer.rsplit_once('/').unwrap().1;
        ask(name, "system:node:n1").await.expect(201);
        let refused = ask("other", "system:node:n2").await;
        assert_eq!(refused.code, 403);
        assert!(
            message(&refused).ends_with("can only create a node CSR with CN=system:node:n1"),
            "{}",
            message(&refused)
        );
    }
    let free = asked("free", "example.com/any", &request("anybody", "any"));
    server.on(CSR, "").identity(node).create(&free).await.expect(201);
}

#[tokio::test]
async fn nobody_asks_to_be_everybodys_master() {
    let server = Server::start().await;
    let refused = server
        .on(CSR, "")
        .create(&asked("r", "kubernetes.io/kube-apiserver-client", &request("a", "system:masters")))
        .await;
    assert_eq!(refused.code, 403);
    assert!(
        message(&refused)
            .ends_with("use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed")
    );
}
