//! The server over real TLS connections: who may do what, what the paths answer, what happens at the edges.
#![allow(clippy::unwrap_used)]
mod wire;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use kontiki_apiserver::{Identity, limits, peers};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tower_service::Service as _;

use wire::{Running, read};

const MULTI: usize = 2;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(MULTI).enable_all().build().unwrap();
    runtime.block_on(test);
}

#[test]
fn everybody_is_known_by_certificate_token_or_not_at_all() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let me = admin.post(path, &review).await.json();
        assert_eq!(me["status"]["userInfo"]["username"], "kubernetes-admin");
        assert_eq!(me["status"]["userInfo"]["groups"], json!(["system:masters", "system:authenticated"]));

        let token = admin.service_account("robot").await;
        let robot = server.bearer(&token).await.post(path, &review).await.json();
        assert_eq!(robot["status"]["userInfo"]["username"], "system:serviceaccount:default:robot");

        let mut anonymous = server.client(None).await;
        let refused = anonymous.get("/api/v1/namespaces/default/configmaps").await;
        assert_eq!(refused.status, 403);
        let expected = "configmaps is forbidden: User \"system:anonymous\" cannot list resource \"configmaps\" \
                        in API group \"\" in the namespace \"default\"";
        assert_eq!(refused.message(), expected);
        assert_eq!(refused.json()["details"], json!({"kind": "configmaps"}));
        assert_eq!(
            anonymous.get("/api").await.message(),
            "forbidden: User \"system:anonymous\" cannot get path \"/api\""
        );
        assert_eq!(anonymous.get("/version").await.json()["minor"], "36");
        assert_eq!(anonymous.get("/readyz").await.text(), "ok");

        let refused = server.bearer("nonsense").await.get("/version").await;
        assert_eq!((refused.status, refused.message().as_str()), (StatusCode::UNAUTHORIZED, "Unauthorized"));
        server.stop().await;
    });
}

#[test]
fn a_failure_is_told_in_the_form_and_under_the_name_that_the_client_gives() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let path = "/api/v1/namespaces/default/configmaps/none";
        let plain = admin.get(path).await.text();
        assert!(plain.starts_with("{\"kind\":\"Status\"") && plain.ends_with("}\n"), "{plain}");
        let asked = admin.get(&format!("{path}?pretty=true")).await.text();
        assert!(asked.starts_with("{\n  \"kind\": \"Status\"") && asked.ends_with("}"), "{asked}");
        let person = admin.get_with(path, "user-agent", "curl/8.0").await;
        assert_eq!((person.text(), person.status.as_u16()), (asked, 404));
        let unasked = admin.get_with(&format!("{path}?pretty=false"), "user-agent", "curl/8.0").await.text();
        assert_eq!(unasked, plain);

        let named = admin.get_with(path, "audit-id", "mine-1").await;
        assert_eq!(named.headers["audit-id"], "mine-1");
        for other in ["".to_owned(), "x".repeat(65)] {
            let named = admin.get_with(path, "audit-id", &other).await;
            assert_eq!(named.headers["audit-id"].len(), 36, "{other:?}");
        }
        server.stop().await;
    });
}

#[test]
fn a_token_dies_with_its_account() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let token = admin.service_account("robot").await;
        let mut robot = server.bearer(&token).await;
        assert_eq!(robot.get("/api").await.status, 200);
        let path = "/api/v1/namespaces/default/serviceaccounts/robot";
        assert_eq!(admin.call(Method::DELETE, path, "").await.status, 200);
        assert_eq!(robot.get("/api").await.status, 401);
        // Another account of the same name does not revive it.
        let fresh = admin.service_account("robot").await;
        assert_eq!(robot.get("/api").await.status, 401);
        assert_eq!(server.bearer(&fresh).await.get("/api").await.status, 200);
        server.stop().await;
    });
}

#[test]
fn only_masters_act_as_somebody_else() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let refused = admin.get_with("/api/v1/nodes", "impersonate-user", "alice").await;
        assert_eq!(refused.status, 403);
        assert!(refused.message().starts_with("nodes is forbidden: User \"alice\""), "{}", refused.message());
        assert_eq!(admin.get_with("/api", "impersonate-user", "alice").await.status, 200);
        let token = admin.service_account("robot").await;
        let refused = server.bearer(&token).await.get_with("/api", "impersonate-user", "kubernetes-admin").await;
        assert_eq!(refused.status, 403);
        server.stop().await;
    });
}

#[test]
fn bodies_are_bounded_and_a_refusal_keeps_the_connection() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let path = "/api/v1/namespaces/default/configmaps";
        let large = admin.call(Method::POST, path, vec![b' '; limits::REQUEST_BODY_BYTES_MAX + 1]).await;
        assert_eq!(admin.get("/version").await.status, 200, "on the same connection");
        assert_eq!(
            (large.status, large.json()["reason"].as_str().unwrap()),
            (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge")
        );
        let mut anonymous = server.client(None).await;
        for _ in 0..3 {
            let refused = anonymous.call(Method::POST, path, vec![b' '; 100_000]).await;
            assert_eq!(refused.status, 403, "on the same connection");
        }
        server.stop().await;
    });
}

#[test]
fn large_answers_are_compressed_and_the_same_over_http2() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let plain = admin.get("/openapi/v3/api/v1").await;
        assert!(plain.body.len() > limits::GZIP_BYTES_MIN, "{}", plain.body.len());
        let packed = admin.get_with("/openapi/v3/api/v1", "accept-encoding", "gzip").await;
        assert_eq!(packed.headers[header::CONTENT_ENCODING], "gzip");
        let mut unpacked = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*packed.body), &mut unpacked).unwrap();
        assert_eq!(unpacked, plain.body);
        let other = server.http2("/openapi/v3/api/v1").await;
        assert_eq!((other.status, other.body), (StatusCode::OK, plain.body));
        server.stop().await;
    });
}

#[test]
fn a_head_has_no_body() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        for path in ["/healthz", "/version", "/api/v1", "/nosuch"] {
            let whole = admin.get(path).await;
            let (status, headers, body) = server.http2_head(path).await;
            assert_eq!((status, body.unwrap()), (whole.status, Bytes::new()), "{path}");
            assert_eq!(headers[header::CONTENT_LENGTH], whole.body.len().to_string().as_str(), "{path}");
            let old = admin.call(Method::HEAD, path, "").await;
            assert_eq!((old.status, old.body.len()), (whole.status, 0), "{path}");
        }
        server.stop().await;
    });
}

#[test]
fn documents_carry_tags_and_are_not_sent_twice() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let first = admin.get_with("/apis", "accept", aggregated).await;
        assert_eq!(first.headers[header::CONTENT_TYPE], aggregated);
        assert_eq!(
            (&first.headers[header::VARY], &first.headers[header::CACHE_CONTROL]),
            (&"Accept".parse().unwrap(), &"public".parse().unwrap())
        );
        let tag = first.headers[header::ETAG].clone();
        let request = Request::get("/apis").header(header::ACCEPT, aggregated).header(header::IF_NONE_MATCH, tag);
        let again = wire::read(admin.send(request.body(Full::new(Bytes::new())).unwrap()).await).await;
        assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));

        let protobuf = "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let packed = admin.get_with("/apis", "accept", protobuf).await;
        assert_eq!(packed.headers[header::CONTENT_TYPE], protobuf);
        let read = |bytes: &[u8]| kontiki_schema::builtin().decode_protobuf(bytes).unwrap().value;
        assert_eq!(packed.body[..4], *b"k8s\0");
        for path in ["/api", "/apis", "/apis/apps", "/apis/apps/v1", "/api/v1"] {
            let plain = admin.get(path).await.json();
            let packed = read(&admin.get_with(path, "accept", "application/vnd.kubernetes.protobuf").await.body);
            assert_eq!(packed["kind"], plain["kind"], "{path}");
        }

        let index = admin.get("/openapi/v3").await.json();
        let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
        let known = admin.get(&url).await;
        assert_eq!(known.json()["openapi"], "3.0.0");
        assert_eq!(known.headers[header::CACHE_CONTROL], "public, immutable");
        assert!(known.headers[header::EXPIRES].to_str().unwrap().ends_with(" GMT"));
        let plain = admin.get("/openapi/v3/apis/apps/v1").await;
        assert_eq!(plain.headers[header::CACHE_CONTROL], "no-cache, private");
        assert!(!plain.headers.contains_key(header::EXPIRES));
        let protobuf = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
        for accept in [protobuf, "application/com.github.proto-openapi.spec.v3@v1.0+protobuf,application/json;q=0.1"] {
            let packed = admin.get_with("/openapi/v3/apis/apps/v1", "accept", accept).await;
            assert_eq!(
                (packed.status.as_u16(), &packed.headers[header::CONTENT_TYPE]),
                (200, &protobuf.parse().unwrap())
            );
            assert!(packed.body.starts_with(b"\x0a\x053.0.0"));
        }
        assert_eq!(admin.get_with("/openapi/v3/apis/apps/v1", "accept", "text/html").await.status, 406);
        let former = admin.get("/openapi/v3/apis/apps/v1?hash=00FF").await;
        assert_eq!((former.status, &former.body[..]), (StatusCode::MOVED_PERMANENTLY, &b""[..]));
        assert_eq!(former.headers[header::LOCATION], url.as_str());
        assert_eq!(former.headers[header::ETAG], plain.headers[header::ETAG]);
        let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
        let v2 = admin.get_with("/openapi/v2", "accept", protobuf).await;
        assert_eq!(v2.headers[header::CONTENT_TYPE], "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
        server.stop().await;
    });
}

#[test]
fn what_is_nowhere_is_told_in_two_ways() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        for path in ["/nosuch", "/apis/nosuch.example.org", "/apis/nosuch.example.org/v1/things", "/healthz/nosuch"] {
            let answer = admin.get(path).await;
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (StatusCode::NOT_FOUND, "404 page not found\n"),
                "{path}"
            );
        }
        for path in ["/api/v1/nosuch", "/apis/apps/v9/deployments", "/api/v1/namespaces/a/nodes"] {
            let answer = admin.get(path).await;
            assert_eq!(
                (answer.status, &answer.json()["reason"]),
                (StatusCode::NOT_FOUND, &json!("NotFound")),
                "{path}"
            );
        }
        assert_eq!(admin.call(Method::PUT, "/api/v1/namespaces", "{}").await.status, 405);
        assert_eq!(admin.call(Method::POST, "/version", "{}").await.status, 405);
        server.stop().await;
    });
}

#[test]
fn health_metrics_and_the_list_of_paths() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let verbose = admin.get("/readyz?verbose&exclude=ping&exclude=nosuch").await.text();
        assert!(verbose.starts_with("[+]ping excluded: ok\n[+]log ok\n[+]etcd ok\n"), "{verbose}");
        assert!(
            verbose.contains("no matches for \"nosuch\"") && verbose.ends_with("readyz check passed\n"),
            "{verbose}"
        );
        assert_eq!(admin.get("/livez/log").await.text(), "ok");
        for check in ["etcd", "etcd-readiness", "poststarthook/rbac/bootstrap-roles"] {
            for endpoint in ["healthz", "livez", "readyz"] {
                assert_eq!(admin.get(&format!("/{endpoint}/{check}")).await.text(), "ok", "{check} of {endpoint}");
            }
        }
        let paths = admin.get("/").await.json();
        for path in ["/api", "/apis/", "/apis/apps/v1", "/healthz", "/openapi/v3", "/version"] {
            assert!(paths["paths"].as_array().unwrap().contains(&json!(path)), "{path}");
        }
        let plain = admin.get_with("/metrics", "accept", "text/plain;version=0.0.4;q=0.5,*/*;q=0.1").await;
        assert_eq!(plain.headers[header::CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
        let newer = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5";
        let newer = admin.get_with("/metrics", "accept", newer).await;
        assert_eq!(newer.headers[header::CONTENT_TYPE], "application/openmetrics-text; version=1.0.0; charset=utf-8");
        assert!(newer.text().ends_with("# EOF\n") && !plain.text().contains("# EOF"));
        admin.get("/api/v1/namespaces/default/configmaps/none").await;
        admin.get("/api/v1/namespaces/default/configmaps").await;
        let metrics = admin.get("/metrics").await.text();
        let of_maps = r#"dry_run="",group="",version="v1",resource="configmaps",subresource="""#;
        for line in [
            format!(
                r#"apiserver_request_total{{verb="LIST",{of_maps},scope="namespace",component="apiserver",code="200"}} 1"#
            ),
            format!(
                r#"apiserver_request_total{{verb="GET",{of_maps},scope="resource",component="apiserver",code="404"}} 1"#
            ),
            format!(
                r#"apiserver_request_duration_seconds_bucket{{le="1.0",verb="LIST",{of_maps},scope="namespace",component="apiserver"}} 1"#
            ),
            r#"apiserver_resource_objects{group="",resource="namespaces"}"#.to_owned(),
            r#"kubernetes_build_info{major="1",minor="36","#.to_owned(),
            "process_resident_memory_bytes ".to_owned(),
            "kontiki_raft_is_leader 1".to_owned(),
        ] {
            assert!(metrics.contains(&line), "{line} is not in {metrics}");
        }
        server.log.shutdown().await;
        let failed = server.client(None).await.get("/livez").await;
        assert_eq!(failed.status, 500, "a log that was shut down");
        assert!(failed.text().contains("[-]log failed: reason withheld\n"), "{}", failed.text());
        let peer = server.api.core().pki.peer("b", 7).unwrap();
        let told = server.client(Some(&peer)).await.get("/livez").await.text();
        assert!(told.contains("[-]log failed: ") && !told.contains("withheld"), "{told}");
        server.api.shutdown().await;
    });
}

#[test]
fn the_first_objects_are_there_and_follow_the_server() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            assert_eq!(admin.get(&format!("/api/v1/namespaces/{name}")).await.status, 200, "{name}");
        }
        let service = admin.get("/api/v1/namespaces/default/services/kubernetes").await.json();
        assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
        let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
        let before = admin.get(slice).await.json();
        assert_eq!(before["endpoints"][0]["addresses"], json!(["192.0.2.7"]));
        assert_eq!(before["ports"][0]["port"], server.api.local_address().port());
        let namespace = admin.get("/api/v1/namespaces/default").await.json();
        drop(admin);

        let server = Running::start_in(server.stop().await, "192.0.2.8").await;
        let mut admin = server.admin().await;
        let after = admin.get(slice).await.json();
        assert_eq!(after["endpoints"][0]["addresses"], json!(["192.0.2.8"]));
        assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
        let unchanged = admin.get("/api/v1/namespaces/default").await.json();
        assert_eq!(unchanged["metadata"]["resourceVersion"], namespace["metadata"]["resourceVersion"]);
        server.stop().await;
    });
}

#[test]
fn stopping_ends_watches() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let request = Request::get("/api/v1/configmaps?watch=true").body(Full::new(Bytes::new())).unwrap();
        let watch = admin.send(request).await;
        assert_eq!(watch.status(), 200);
        let reading = tokio::spawn(watch.into_body().collect());
        server.stop().await;
        reading.await.unwrap().unwrap();
    });
}

async fn in_process(server: &Running, user: &str, request: Request<Full<Bytes>>) -> (StatusCode, Value) {
    let identity = Identity { user: user.to_owned(), ..Identity::default() };
    let response = server.api.in_process(identity).call(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[test]
fn the_inside_is_authorized_as_the_outside() {
    run(async {
        let server = Running::start().await;
        let get = |path: &str| Request::get(path).body(Full::new(Bytes::new())).unwrap();
        let (status, pods) = in_process(&server, "system:kube-scheduler", get("/api/v1/pods")).await;
        assert_eq!((status, &pods["kind"]), (StatusCode::OK, &json!("PodList")));
        let (status, refused) = in_process(&server, "system:kube-scheduler", get("/api/v1/secrets")).await;
        assert_eq!((status, &refused["reason"]), (StatusCode::FORBIDDEN, &json!("Forbidden")));
        server.stop().await;
    });
}

#[test]
fn objects_may_come_in_protobuf() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let message = |number: u8, content: &[u8]| [&[number << 3 | 2, content.len() as u8], content].concat();
        let meta = [message(1, b"v1"), message(2, b"ConfigMap")].concat();
        let object =
            [message(1, &message(1, b"pb")), message(2, &[message(1, b"k"), message(2, b"v")].concat())].concat();
        let body = [b"k8s\0".to_vec(), message(1, &meta), message(2, &object)].concat();
        let send = |body: Vec<u8>| {
            let request = Request::post("/api/v1/namespaces/default/configmaps");
            let request = request.header(header::CONTENT_TYPE, "application/vnd.kubernetes.protobuf");
            request.body(Full::new(Bytes::from(body))).unwrap()
        };
        let made = read(admin.send(send(body)).await).await;
        assert_eq!((made.status, &made.json()["data"]), (StatusCode::CREATED, &json!({"k": "v"})));
        let refused = read(admin.send(send(b"{}".to_vec())).await).await;
        assert_eq!((refused.status, &refused.json()["reason"]), (StatusCode::BAD_REQUEST, &json!("BadRequest")));
        server.stop().await;
    });
}

#[test]
fn a_watch_ends_its_connection_in_order_and_a_client_may_leave_it() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let from = server.log.revision();
        let path = "/api/v1/namespaces/default/configmaps";
        for name in ["a", "b"] {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
            assert_eq!(admin.post(path, &object).await.status, 201);
        }
        // One request before it on the same connection, and a watch that ends by itself.
        let mut watcher = server.admin().await;
        assert_eq!(watcher.get("/version").await.status, 200);
        let watch = format!("{path}?watch=true&resourceVersion={from}&timeoutSeconds=1&allowWatchBookmarks=true");
        let told = watcher.get(&watch).await;
        assert_eq!(
            (told.status, &told.headers[header::CONTENT_TYPE]),
            (StatusCode::OK, &"application/json".parse().unwrap())
        );
        assert!(told.headers.contains_key("audit-id") && told.headers.contains_key(header::DATE), "{:?}", told.headers);
        let types: Vec<_> = told.text().lines().map(|line| line[..15].to_owned()).collect();
        assert_eq!(types, [r#"{"type":"ADDED""#, r#"{"type":"ADDED""#, r#"{"type":"BOOKMA"#]);
        // A client that goes is noticed, and the server stops in time with a watch open.
        let request = |path: &str| Request::get(path).body(Full::new(Bytes::new())).unwrap();
        let gone = server.admin().await.send(request(&format!("{path}?watch=true"))).await;
        drop(gone);
        let mut open = server.admin().await;
        let mut stays =
            open.send(request(&format!("{path}?watch=true&resourceVersion={}", server.log.revision()))).await;
        server.stop().await;
        while let Some(frame) = stays.frame().await {
            assert!(frame.is_ok(), "ended in order: {frame:?}");
        }
    });
}

/// Whether the kernel probes the end of a connection between two ports that is the first one's, when nothing is sent.
fn is_probed(from: u16, to: u16) -> bool {
    const KEEP_ALIVE_TIMER: &str = "02:";
    let port = |address: &str| address.rsplit_once(':').map(|(_, port)| u16::from_str_radix(port, 16).unwrap());
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    table.lines().skip(1).any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        (port(fields[1]), port(fields[2])) == (Some(from), Some(to)) && fields[5].starts_with(KEEP_ALIVE_TIMER)
    })
}

#[test]
fn both_ends_of_a_connection_notice_when_the_other_vanishes() {
    run(async {
        let server = Running::start().await;
        let pki = &server.api.core().pki;
        let tls = peers::client_tls(pki.ca_pem(), &pki.admin().unwrap(), &[b"h2"]).unwrap();
        let address = server.api.local_address();
        let stream = peers::connect(&tls, &address.to_string()).await.unwrap();
        let ports = (stream.get_ref().0.local_addr().unwrap().port(), address.port());
        let probed = async {
            // Until the last message of the handshake is acknowledged, another timer runs.
            while !(is_probed(ports.0, ports.1) && is_probed(ports.1, ports.0)) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), probed).await.expect("both are probed");
        server.stop().await;
    });
}

#[test]
fn who_speaks_without_tls_is_told_so() {
    run(async {
        let server = Running::start().await;
        for request in ["GET /api HTTP/1.1\r\nhost: a\r\n\r\n", "DELETE / HTTP/1.0\r\n\r\n"] {
            let mut stream = TcpStream::connect(server.api.local_address()).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request"), "{answer}");
        }
        assert_eq!(server.admin().await.get("/readyz").await.status, 200);
        server.stop().await;
    });
}
