//! What a request may not be: too large, too deep, ambiguous about where it ends, or about what its path means. Each is refused
//! with a proper answer, and the server goes on.
#![allow(clippy::unwrap_used)]
mod wire;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use kontiki_apiserver::limits;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use wire::{Answer, Client, Running, read};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

async fn send(client: &mut Client, method: Method, path: &str, content_type: &str, body: impl Into<Bytes>) -> Answer {
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, content_type);
    read(client.send(request.body(Full::new(body.into())).unwrap()).await).await
}

/// The answers to bytes as they are, up to the end of the connection.
async fn answers(server: &Running, request: &[u8]) -> String {
    let admin = server.api.core().pki.admin().unwrap();
    let mut stream = server.connect(Some(&admin), "http/1.1").await;
    // The server may answer, and close, before it was told everything.
    let _ = stream.write_all(request).await;
    let _ = stream.flush().await;
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told).await;
    String::from_utf8_lossy(&told).into_owned()
}

fn codes(told: &str) -> Vec<&str> {
    told.match_indices("HTTP/1.1 ").map(|(at, found)| &told[at + found.len()..][..3]).collect()
}

#[test]
fn where_a_request_ends_is_never_a_matter_of_opinion() {
    run(async {
        let server = Running::start().await;
        let post = format!(
            "POST {CONFIG_MAPS} HTTP/1.1\r\nHost: k\r\nConnection: close\r\nContent-Type: application/json\r\n"
        );
        let refused = [
            "Content-Length: 2\r\nContent-Length: 30\r\n\r\n{}",
            "Content-Length: 2, 30\r\n\r\n{}",
            "Content-Length: -1\r\n\r\n{}",
            "Content-Length: 0x2\r\n\r\n{}",
            "Content-Length : 2\r\n\r\n{}",
            "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
            "X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
        ];
        for rest in refused {
            let told = answers(&server, format!("{post}{rest}").as_bytes()).await;
            assert_eq!(codes(&told), ["400"], "{rest:?}: {told}");
        }
        // Chunks count where both are told, so a length that hides a request in the body hides nothing.
        let hidden = "2\r\n{}\r\n0\r\n\r\nGET /version HTTP/1.1\r\nHost: k\r\n\r\n";
        let told = answers(
            &server,
            format!("{post}Content-Length: 70\r\nTransfer-Encoding: chunked\r\n\r\n{hidden}").as_bytes(),
        )
        .await;
        assert!(matches!(codes(&told)[..], ["400" | "422"]), "{told}");
        assert!(!told.contains("gitVersion"), "{told}");
        // A chunk that is none.
        let told =
            answers(&server, format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n").as_bytes())
                .await;
        assert!(codes(&told).iter().all(|code| *code == "400"), "{told}");
        let told = answers(&server, b"GET /version HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await;
        assert!(!told.contains("gitVersion"), "{told}");
        assert_eq!(server.admin().await.get("/version").await.status, 200);
        server.stop().await;
    });
}

#[test]
fn heads_of_requests_are_bounded() {
    run(async {
        let server = Running::start().await;
        let head = |name: &str, value: String| {
            format!("GET /version HTTP/1.1\r\nHost: k\r\nConnection: close\r\n{name}: {value}\r\n\r\n")
        };
        let refused = |told: &str, code: &str, reason: &str| {
            assert_eq!(codes(told), [code], "{told}");
            let status: Value = serde_json::from_str(told.split("\r\n\r\n").nth(1).unwrap()).unwrap();
            let expected = (&json!("Status"), &json!(reason), code.to_owned());
            assert_eq!((&status["kind"], &status["reason"], status["code"].to_string()), expected, "{told}");
        };
        let large = limits::HEADER_BYTES_MAX;
        let told = answers(&server, head("x", "v".repeat(large - 100)).as_bytes()).await;
        assert_eq!(codes(&told), ["200"], "{told}");
        let told = answers(&server, head("x", "v".repeat(large)).as_bytes()).await;
        refused(&told, "431", "RequestHeaderFieldsTooLarge");
        let url = |bytes: usize| {
            format!("GET /version?{} HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n", "a".repeat(bytes))
        };
        refused(&answers(&server, url(limits::URI_BYTES_MAX).as_bytes()).await, "414", "RequestURITooLong");
        let many = |number: usize| (0..number).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
        let told = answers(&server, head("x", format!("1\r\n{}y: 1", many(200))).as_bytes()).await;
        assert_eq!(codes(&told), ["200"], "{told}");
        // Heads that nobody sees.
        let told = answers(&server, head("x", "v".repeat(600 * 1024)).as_bytes()).await;
        assert_eq!(codes(&told), ["431"], "{told}");
        let told = answers(&server, head("x", format!("1\r\n{}y: 1", many(1200))).as_bytes()).await;
        assert_eq!(codes(&told), ["431"], "{told}");
        assert_eq!(codes(&answers(&server, url(70 * 1024).as_bytes()).await), ["414"]);
        let over_http2 = async |bytes: usize| server.http2_with("/version", "x", &"v".repeat(bytes)).await;
        assert_eq!(over_http2(large / 2).await.status, StatusCode::OK);
        let told = over_http2(large + 1).await;
        assert_eq!((told.status.as_u16(), &told.json()["reason"]), (431, &json!("RequestHeaderFieldsTooLarge")));
        let raw = limits::RAW_HEADER_BYTES_MAX as usize;
        assert_eq!(over_http2(raw).await.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert_eq!(server.admin().await.get("/version").await.status, 200);
        server.stop().await;
    });
}

#[test]
fn a_request_takes_no_longer_than_its_client_waits() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        assert_eq!(admin.get("/version?timeout=32s").await.status, 200);
        let answer = admin.get("/version?timeout=soon").await;
        let message = "invalid timeout specified in the request URL - time: invalid duration \"soon\"";
        assert_eq!((answer.status.as_u16(), answer.message().as_str()), (400, message));
        // A body that never comes.
        let head = format!("POST {CONFIG_MAPS}?timeout=200ms HTTP/1.1\r\nHost: k\r\nContent-Length: 10\r\n\r\n{{");
        let told = answers(&server, head.as_bytes()).await;
        assert_eq!(codes(&told), ["504"], "{told}");
        let status: Value = serde_json::from_str(told.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let message = "Timeout: request did not complete within the allotted timeout";
        assert_eq!((&status["reason"], &status["message"]), (&json!("Timeout"), &json!(message)));
        server.stop().await;
    });
}

#[test]
fn a_path_means_one_thing() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let page = ["//api/v1/namespaces/default/configmaps", "//version", "/%2e%2e/version", "/version/../api"];
        for path in page {
            let answer = admin.get(path).await;
            assert_eq!((answer.status.as_u16(), answer.text().as_str()), (404, "404 page not found\n"), "{path}");
        }
        let nothing = [
            "/api/v1//namespaces",
            "/api/v1/namespaces//configmaps",
            "/api/v1/namespaces/default/configmaps//kube-root-ca.crt",
            "/api/v1/namespaces/default/../kube-system/configmaps",
            "/api/v1/namespaces/default%2Fconfigmaps",
            "/api/v1/namespaces/default/configmaps/..%2Fsecrets",
            "/api/v1/namespaces/default/configmaps/a%2Fstatus",
        ];
        for path in nothing {
            let answer = admin.get(path).await;
            assert_eq!((answer.status.as_u16(), &answer.json()["reason"]), (404, &json!("NotFound")), "{path}");
        }
        let names = [
            ("/api/v1/namespaces/default/configmaps/..", "Name parameter invalid: \"..\": may not be '..'"),
            ("/api/v1/namespaces/default/configmaps/%2e", "Name parameter invalid: \".\": may not be '.'"),
            ("/api/v1/namespaces/%2e%2e/configmaps", "Name parameter invalid: \"..\": may not be '..'"),
            ("/api/v1/namespaces/default/configmaps/%252e", "Name parameter invalid: \"%2e\": may not contain '%'"),
        ];
        for (path, message) in names {
            let answer = admin.get(path).await;
            assert_eq!((answer.status.as_u16(), answer.message().as_str()), (400, message), "{path}");
        }
        assert_eq!(admin.get("/api/v1/namespaces/%ff").await.status, 400);
        assert_eq!(admin.get("/api/v1/namespaces/").await.json()["kind"], "NamespaceList");
        // What is refused is refused to those who may not ask at all, too.
        let mut anonymous = server.client(None).await;
        for path in page.iter().chain(&nothing) {
            assert_eq!(anonymous.get(path).await.status, 403, "{path}");
        }
        server.stop().await;
    });
}

#[test]
fn bodies_are_bounded_in_what_they_become() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let check = |answer: &Answer, code: u16, part: &str| {
            assert_eq!(answer.status.as_u16(), code, "{part}: {:?}", answer.body);
            assert_eq!(answer.json()["kind"], "Status");
            assert!(answer.message().contains(part), "{}", answer.message());
        };
        let deep = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let answer = admin.call(Method::POST, CONFIG_MAPS, deep(100_000)).await;
        check(&answer, 400, "exceeded max depth");
        let answer = send(&mut admin, Method::POST, CONFIG_MAPS, "application/yaml", "[".repeat(100_000)).await;
        check(&answer, 400, "error converting YAML to JSON: yaml: ");
        let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (name, before) in "bcdefghi".chars().zip("abcdefgh".chars()) {
            bomb.push_str(&format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(",")));
        }
        let answer = send(&mut admin, Method::POST, CONFIG_MAPS, "application/yaml", bomb).await;
        check(&answer, 400, "document contains excessive aliasing");
        let protobuf = "application/vnd.kubernetes.protobuf";
        let answer = send(&mut admin, Method::POST, CONFIG_MAPS, protobuf, &b"k8s\0\x12\xff\xff\xff\xff\x7f"[..]).await;
        check(&answer, 400, "unexpected EOF");

        let made = admin.post(CONFIG_MAPS, &json!({"metadata": {"name": "c"}, "data": {"a": "x".repeat(1000)}})).await;
        assert_eq!(made.status, 201);
        let path = format!("{CONFIG_MAPS}/c");
        let list = |operations: Vec<Value>| Value::from(operations).to_string();
        let (json_patch, merge_patch) = ("application/json-patch+json", "application/merge-patch+json");
        let many = vec![json!({"op": "test", "path": "/kind", "value": "ConfigMap"}); 10_001];
        let answer = send(&mut admin, Method::PATCH, &path, json_patch, list(many)).await;
        check(&answer, 413, "The allowed maximum operations in a JSON patch is 10000, got 10001");
        let copies = (0..60).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/c{n}")}));
        let answer = send(&mut admin, Method::PATCH, &path, json_patch, list(copies.collect())).await;
        check(&answer, 422, "the server rejected our request due to an error in our request");
        let answer = send(&mut admin, Method::PATCH, &path, merge_patch, deep(100_000)).await;
        check(&answer, 400, "exceeded max depth");
        let answer = send(&mut admin, Method::PATCH, &path, "application/json", "{}").await;
        check(&answer, 415, "415: Unsupported Media Type");
        let answer = send(&mut admin, Method::PUT, &path, "text/plain", "{}").await;
        check(&answer, 415, "the body of the request was in an unknown format - accepted media types include: ");
        let answer = send(&mut admin, Method::DELETE, &path, "text/plain", "{}").await;
        check(&answer, 415, "the body of the request was in an unknown format - accepted media types include: ");
        let large = vec![b' '; limits::REQUEST_BODY_BYTES_MAX + 1];
        let answer = send(&mut admin, Method::PATCH, &path, merge_patch, large).await;
        check(&answer, 413, "Request entity too large: limit is 3145728");
        assert_eq!(admin.get(&path).await.status, StatusCode::OK);
        server.stop().await;
    });
}

/// A name that was stored so deep that nobody could read it again would be lost.
#[test]
fn patches_do_not_nest_deeper_than_can_be_read() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let path = "/apis/apps/v1/namespaces/default/deployments";
        let deployment = json!({"metadata": {"name": "d"}, "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        }});
        assert_eq!(admin.post(path, &deployment).await.status, 201);
        let deep = format!("{}1{}", r#"{"a":"#.repeat(120), "}".repeat(120));
        let patch = format!(r#"[{{"op":"add","path":"/spec/template/spec/containers/0/x","value":{deep}}}]"#);
        let answer = send(&mut admin, Method::PATCH, &format!("{path}/d"), "application/json-patch+json", patch).await;
        // Pruned as unknown, or refused as too deep: read again either way.
        assert!(matches!(answer.status.as_u16(), 200 | 422), "{:?}", answer.body);
        assert_eq!(admin.get(&format!("{path}/d")).await.status, 200);
        server.stop().await;
    });
}

#[test]
fn pieces_of_a_large_answer_come_compressed_or_not() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let packed = admin.get_with("/openapi/v2", "accept-encoding", "br, gzip").await;
        assert_eq!(packed.headers[header::CONTENT_ENCODING], "gzip");
        let vary: Vec<_> = packed.headers.get_all(header::VARY).iter().collect();
        assert!(vary.iter().any(|one| *one == "Accept-Encoding"), "{vary:?}");
        // As Kubernetes, which knows no weights: this is no wish for gzip.
        let plain = admin.get_with("/openapi/v2", "accept-encoding", "gzip;q=0").await;
        assert_eq!(plain.headers.get(header::CONTENT_ENCODING), None);
        let small = admin.get_with("/version", "accept-encoding", "gzip").await;
        assert_eq!(small.headers.get(header::CONTENT_ENCODING), None);
        let watch = Request::get(format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1"));
        let watch = watch.header(header::ACCEPT_ENCODING, "gzip").body(Full::new(Bytes::new())).unwrap();
        assert_eq!(admin.send(watch).await.headers().get(header::CONTENT_ENCODING), None);
        server.stop().await;
    });
}
