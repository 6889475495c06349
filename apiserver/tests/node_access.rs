//! What a node agent may touch, and the way to it: streams and tunnels through `nodes/<name>/proxy`.
#![allow(clippy::unwrap_used)]
mod agent;
mod wire;

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use kontiki_apiserver::{
    audit::{Policy, Rotation, Settings, Target},
    peers,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use agent::register;
use wire::{Client, Running, read};

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

/// Counts bytes, and echoes after a protocol switch.
async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.headers().contains_key(header::UPGRADE) {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut word = [0; 5];
            stream.read_exact(&mut word).await.unwrap();
            word.reverse();
            stream.write_all(&word).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let response =
            Response::builder().status(StatusCode::SWITCHING_PROTOCOLS).header(header::CONNECTION, "Upgrade");
        return Ok(response.header(header::UPGRADE, "reverse").body(Full::default()).unwrap());
    }
    let secrets = ["authorization", "impersonate-user"].iter().any(|name| request.headers().contains_key(*name));
    let target = request.uri().to_string();
    let mut body = request.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    Ok(Response::new(Full::from(json!({"target": target, "bytes": bytes, "secrets": secrets}).to_string())))
}

#[test]
fn bodies_and_tunnels_pass_through_to_the_agent() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::File(dir.path().join("audit.log"), Rotation::default());
        let settings = Settings { policy: Policy::read(POLICY).unwrap(), target, reads_every: 1 };
        let server = Running::start_with(dir, "192.0.2.7", |config| config.audit = Some(settings)).await;
        let pki = &server.api.core().pki;
        let port = agent::serve(pki, "n1", service_fn(answer)).await;
        let mut admin = server.admin().await;
        register(&mut admin, "n1", port).await;
        // Another node that says it is there; and a server that somebody is sent to.
        register(&mut admin, "n2", port).await;
        let other = admin.get("/api/v1/nodes/n2/proxy/echo").await;
        assert_eq!(other.status, 503);
        assert!(other.message().ends_with("it does not show the certificate of node \"n2\""), "{}", other.message());
        let tls = peers::client_tls(pki.ca_pem(), &pki.admin().unwrap(), &[]).unwrap();
        let taken_in = peers::connect(&tls, &format!("127.0.0.1:{port}")).await.unwrap_err();
        assert_eq!(taken_in.kind(), std::io::ErrorKind::PermissionDenied, "{taken_in}");

        let body = Bytes::from(vec![7; 8 << 20]);
        let request = Request::post("/api/v1/nodes/n1/proxy/images?name=a%2Fb").body(Full::new(body)).unwrap();
        let answer = read(admin.send(request).await).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        let expected = json!({"target": "/images?name=a%2Fb", "bytes": 8 << 20, "secrets": false});
        assert_eq!(answer.json(), expected, "beyond the bound of object requests");

        let request = Request::get("/api/v1/nodes/n1/proxy/echo");
        let request = request.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "reverse");
        let response = admin.send(request.body(Full::default()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()[header::UPGRADE], "reverse");
        let id = |headers: &HeaderMap| headers["audit-id"].to_str().unwrap().to_owned();
        let switched = id(response.headers());
        let mut tunnel = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        // It counts, and is not over, for as long as bytes may go.
        let mut other = server.admin().await;
        assert_eq!(long_requests(&mut other).await, 1);
        let meanwhile = id(&other.get("/version").await.headers);
        tunnel.write_all(b"hello").await.unwrap();
        let mut said = Vec::new();
        tunnel.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"olleh");
        drop(tunnel);
        let over = async {
            while long_requests(&mut other).await > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, over).await.expect("what is over does not count");
        let dir = server.stop().await;
        let events = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
        let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let place = |id: &str, stage: &str| {
            events.iter().position(|event| event["auditID"] == *id && event["stage"] == *stage).unwrap()
        };
        let (begun, ended) = (place(&switched, "ResponseStarted"), place(&switched, "ResponseComplete"));
        let between = place(&meanwhile, "ResponseComplete");
        assert!(begun < between && between < ended, "{begun} {between} {ended}");
    });
}

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);
const POLICY: &str = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}";

/// Watches, tunnels and streams that are open, as the server counts them.
async fn long_requests(client: &mut Client) -> u64 {
    let metrics = client.get("/metrics").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let values = text.lines().filter(|line| line.starts_with("apiserver_longrunning_requests{"));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn an_agent_that_is_not_there_is_a_failure_with_its_address() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        // A port that was free a moment ago and is closed again.
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        register(&mut admin, "n1", port).await;
        for name in ["n1".to_owned(), format!("n1:{port}"), format!("https:n1:{port}"), "https:n1:".to_owned()] {
            let answer = admin.get(&format!("/api/v1/nodes/{name}/proxy/healthz")).await;
            assert_eq!(answer.status, 503, "{name}");
            assert!(answer.message().contains(&format!("127.0.0.1:{port}")), "{}", answer.message());
        }
        for name in ["n1:22", "ftp:n1:1", "a:b:c:d"] {
            assert_eq!(admin.get(&format!("/api/v1/nodes/{name}/proxy/healthz")).await.status, 400, "{name}");
        }
        server.stop().await;
    });
}

fn pod(name: &str, node: &str, config_map: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "c", "image": "i", "envFrom": [{"configMapRef": {"name": config_map}}]}],
        },
    })
}

#[test]
fn an_agent_touches_its_own_only() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        admin.service_account("default").await;
        let configs = "/api/v1/namespaces/default/configmaps";
        let pods = "/api/v1/namespaces/default/pods";
        for name in ["mine", "theirs"] {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
            assert_eq!(admin.post(configs, &object).await.status, 201);
        }
        for object in [pod("p1", "n1", "mine"), pod("p2", "n2", "theirs")] {
            let made = admin.post(pods, &object).await;
            assert_eq!(made.status, 201, "{:?}", made.body);
        }
        let credentials = server.api.core().pki.node("n1", &[]).unwrap();
        let mut node = server.client(Some(&credentials.client)).await;
        let cases = [
            (format!("{configs}/mine"), 200),
            (format!("{configs}/theirs"), 403),
            (configs.to_owned(), 403),
            (format!("{configs}?fieldSelector=metadata.name%3Dmine"), 200),
            (format!("{configs}?fieldSelector=metadata.name%3Dtheirs"), 403),
            (format!("{pods}/p1"), 200),
            (format!("{pods}/p2"), 403),
            ("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1".to_owned(), 200),
            ("/api/v1/pods?fieldSelector=spec.nodeName%3Dn2".to_owned(), 403),
            ("/api/v1/pods".to_owned(), 403),
            ("/api/v1/services".to_owned(), 200),
            ("/api/v1/namespaces/default/secrets/any".to_owned(), 403),
        ];
        for (path, code) in cases {
            assert_eq!(node.get(&path).await.status, code, "{path}");
        }
        let lease =
            |name: &str| json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}});
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        assert_eq!(node.post(leases, &lease("n2")).await.status, 403);
        assert_eq!(node.post(leases, &lease("n1")).await.status, 201);
        let uid = |pod: Value| pod["metadata"]["uid"].clone();
        let (own, other) =
            (uid(admin.get(&format!("{pods}/p1")).await.json()), uid(admin.get(&format!("{pods}/p2")).await.json()));
        let token = |name: &str, uid: &Value| json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid}}});
        let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
        assert_eq!(node.post(path, &token("p1", &own)).await.status, 201);
        assert_eq!(node.post(path, &token("p2", &other)).await.status, 403);
        assert_eq!(node.post(path, &json!({})).await.status, 403);

        // For the API server, or for whom the pod's volumes or a rule name, and nobody else.
        let sources = json!([{"serviceAccountToken": {"path": "t", "audience": "vault"}}]);
        let volumes = json!([{"name": "v", "projected": {"sources": sources}}, {"name": "d", "csi": {"driver": "csi.example.com"}}]);
        let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}], "volumes": volumes});
        let p3 = admin.post(pods, &json!({"metadata": {"name": "p3"}, "spec": spec})).await;
        assert_eq!(p3.status, 201, "{}", p3.text());
        let driver =
            json!({"metadata": {"name": "csi.example.com"}, "spec": {"tokenRequests": [{"audience": "store"}]}});
        assert_eq!(admin.post("/apis/storage.k8s.io/v1/csidrivers", &driver).await.status, 201);
        let role = json!({"metadata": {"name": "audiences"}, "rules": [
            {"verbs": ["request-serviceaccounts-token-audience"], "apiGroups": [""], "resources": ["ruled"]}]});
        assert_eq!(admin.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await.status, 201);
        let subjects = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:node:n1"}]);
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "audiences"});
        let binding = json!({"metadata": {"name": "audiences"}, "roleRef": role, "subjects": subjects});
        assert_eq!(admin.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await.status, 201);
        let uid = uid(p3.json());
        for (audiences, code) in [
            (json!([]), 201),
            (json!(["https://kubernetes.default.svc"]), 201),
            (json!(["vault"]), 201),
            (json!(["store"]), 201),
            (json!(["ruled"]), 201),
            (json!(["sts.example.com"]), 403),
            (json!(["vault", "store"]), 403),
        ] {
            let mut request = token("p3", &uid);
            request["spec"]["audiences"] = audiences.clone();
            let answer = node.post(path, &request).await;
            assert_eq!(answer.status, code, "{audiences}: {}", answer.text());
        }
        server.stop().await;
    });
}

#[test]
fn an_agent_reads_its_pods_volumes_and_writes_its_own_devices() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        admin.service_account("default").await;
        let (volumes, storage) = ("/api/v1/persistentvolumes", "/apis/storage.k8s.io/v1/volumeattachments");
        let resource = "/apis/resource.k8s.io/v1";
        let (claims, slices) =
            (format!("{resource}/namespaces/default/resourceclaims"), format!("{resource}/resourceslices"));
        let slice = |name: &str, node: &str| {
            let pool = json!({"name": name, "generation": 1, "resourceSliceCount": 1});
            let spec = json!({"nodeName": node, "driver": "d.example.com", "pool": pool, "devices": []});
            json!({"metadata": {"name": name}, "spec": spec})
        };
        let mut objects = Vec::new();
        for (name, node) in [("mine", "n1"), ("theirs", "n2")] {
            let claimed = json!({"name": "v", "persistentVolumeClaim": {"claimName": name}});
            let mut owner = pod(name, node, "none");
            owner["spec"]["volumes"] = json!([claimed]);
            owner["spec"]["resourceClaims"] = json!([{"name": "c", "resourceClaimName": name}]);
            let volume = json!({"metadata": {"name": name}, "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"},
                "claimRef": {"namespace": "default", "name": name}}});
            let source = json!({"persistentVolumeName": name});
            let attachment =
                json!({"metadata": {"name": name}, "spec": {"attacher": "a", "nodeName": node, "source": source}});
            let request = json!({"name": "r", "exactly": {"deviceClassName": "d"}});
            let claim = json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}});
            objects.extend([
                ("/api/v1/namespaces/default/pods", owner),
                (volumes, volume),
                (storage, attachment),
                (&*claims, claim),
                (&*slices, slice(name, node)),
            ]);
        }
        for (path, object) in objects {
            let made = admin.post(path, &object).await;
            assert_eq!(made.status, 201, "{path}: {}", made.text());
        }
        let credentials = server.api.core().pki.node("n1", &[]).unwrap();
        let mut node = server.client(Some(&credentials.client)).await;
        for path in [volumes, storage, &claims, &slices] {
            assert_eq!(node.get(&format!("{path}/mine")).await.status, 200, "{path}");
            assert_eq!(node.get(&format!("{path}/theirs")).await.status, 403, "{path}");
            assert_eq!(node.get(path).await.status, 403, "{path}");
        }
        for (selector, code) in [("n1", 200), ("n2", 403)] {
            let selected = format!("{slices}?fieldSelector=spec.nodeName%3D{selector}");
            assert_eq!(node.get(&selected).await.status, code, "{selector}");
        }
        assert_eq!(node.post(&slices, &slice("more", "n1")).await.status, 201);
        assert_eq!(node.post(&slices, &slice("stray", "n2")).await.status, 403);
        assert_eq!(node.call(Method::DELETE, &format!("{slices}/theirs"), Bytes::new()).await.status, 403);
        assert_eq!(node.call(Method::DELETE, &format!("{slices}/mine"), Bytes::new()).await.status, 200);
        server.stop().await;
    });
}
