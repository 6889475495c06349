//! Asks one object so many times, without a socket, as a user whom nothing exempts. For counting instructions:
//! `valgrind --tool=callgrind target/debug/examples/in_process_requests 1000`.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use kontiki_apiserver::{ApiResponse, ApiServer, Config, Identity, InProcess};
use kontiki_raft::{Log, LogConfig};
use tower_service::Service as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let requests: usize = std::env::args().nth(1).ok_or("give a number of requests")?.parse()?;
    let dir = tempfile::tempdir()?;
    let log = Log::open(LogConfig::new(dir.path().join("log"))).await?;
    let config = Config::new("127.0.0.1:0".parse()?, "127.0.0.1".parse()?, dir.path().join("pki"));
    let server = ApiServer::start(config, log.clone()).await?;
    let identity = |user: &str, group: &str| Identity {
        user: user.to_owned(),
        groups: vec![group.to_owned()],
        ..Identity::default()
    };
    let mut admin = server.in_process(identity("admin", "system:masters"));
    let binding = r#"{"metadata": {"name": "jane"}, "subjects": [{"kind": "User", "name": "jane"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}}"#;
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let made = ask(&mut admin, Method::POST, path, binding).await?;
    assert_eq!(made.status(), StatusCode::CREATED);
    let mut jane = server.in_process(identity("jane", "dev"));
    for _ in 0..requests {
        let answer = ask(&mut jane, Method::GET, "/api/v1/namespaces/default?resourceVersion=0", "").await?;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    server.shutdown().await;
    log.shutdown().await;
    Ok(())
}

async fn ask(
    client: &mut InProcess,
    method: Method,
    path: &str,
    body: &'static str,
) -> Result<ApiResponse, Infallible> {
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    let request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap_or_default();
    client.call(request).await
}
