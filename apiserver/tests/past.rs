//! The past over real connections: paths below `/at/`, history, events, causes, and who is named as the author of what.
#![allow(clippy::unwrap_used)]
mod wire;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, SubsecRound as _, TimeDelta, Utc};
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use kontiki_model::{Head, Key};
use kontiki_raft::{Command, Log, LogConfig, Mutation};
use serde_json::{Value, json};

use wire::{Answer, Client, Running, read};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const OWN: &str = "/apis/kontiki.dev/v1";
/// How long a test waits for what must come.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(20);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

fn map(name: &str, value: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"name": name}}, "data": {"key": value}})
}

fn revision(answer: &Answer) -> u64 {
    answer.json()["metadata"]["resourceVersion"].as_str().unwrap_or_default().parse().unwrap_or_default()
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

async fn sent(client: &mut Client, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let mut request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, content);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    read(client.send(request.body(Full::new(body)).unwrap()).await).await
}

/// The lines of a stream, up to and with the one that is wanted.
async fn lines(client: &mut Client, path: &str, last: impl Fn(&Value) -> bool) -> Vec<Value> {
    lines_as(client, path, &[], last).await
}

async fn lines_as(
    client: &mut Client,
    path: &str,
    headers: &[(&str, &str)],
    last: impl Fn(&Value) -> bool,
) -> Vec<Value> {
    let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    let response = client.send(request.body(Full::new(Bytes::new())).unwrap()).await;
    assert_eq!(response.status(), 200, "{path}");
    let (mut body, mut text, mut lines) = (response.into_body(), Vec::new(), Vec::<Value>::new());
    while !lines.last().is_some_and(&last) {
        let frame = tokio::time::timeout(DEADLINE, body.frame()).await;
        let frame = frame.unwrap_or_else(|_| panic!("nothing after {lines:#?}"));
        text.extend_from_slice(&frame.expect("the stream goes on").unwrap().into_data().unwrap());
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            lines.push(serde_json::from_slice(&line).unwrap());
        }
    }
    lines
}

/// All events after a revision, up to the present.
async fn events(server: &Running, from: u64, query: &str) -> Vec<Value> {
    let mut admin = server.admin().await;
    let mut lines =
        lines(&mut admin, &format!("{OWN}/events?from={from}{query}"), |line| line["type"] == "Progress").await;
    lines.retain(|line| line["revision"].is_u64() && line["type"] != "Progress" && line["type"] != "Begin");
    lines
}

#[test]
fn objects_are_as_they_were() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let first = revision(&admin.post(MAPS, &map("a", "1")).await);
        let then = Utc::now();
        // Times are told in milliseconds: the next write is to have a later one.
        while Utc::now().timestamp_millis() <= then.timestamp_millis() {
            tokio::task::yield_now().await;
        }
        let then = then.to_rfc3339_opts(SecondsFormat::Millis, true);
        let second = revision(&admin.post(MAPS, &map("b", "1")).await);
        let third =
            revision(&sent(&mut admin, "PATCH", &format!("{MAPS}/a"), &[], &json!({"data": {"key": "2"}})).await);
        sent(&mut admin, "DELETE", &format!("{MAPS}/b"), &[], &Value::Null).await;

        let at = |revision: u64| format!("/at/{revision}{MAPS}");
        let got = admin.get(&format!("{}/a", at(second))).await;
        assert_eq!(got.headers["kontiki-revision"], second.to_string());
        assert_eq!((got.json()["data"]["key"].as_str(), revision(&got)), (Some("1"), first));
        assert_eq!(admin.get(&format!("{}/a", at(third))).await.json()["data"]["key"], "2");
        assert_eq!(admin.get(&format!("{}/b", at(first))).await.status, 404);
        assert_eq!(admin.get(&format!("{}/b", at(second))).await.status, 200);

        let listed = admin.get(&at(second)).await;
        assert_eq!((names(&listed.json()), revision(&listed)), (vec!["a", "b"], second));
        assert_eq!(
            names(
                &admin
                    .get(&format!("/at/{third}/api/v1/configmaps?fieldSelector=metadata.namespace%3Ddefault"))
                    .await
                    .json()
            ),
            ["a", "b"]
        );
        assert_eq!(names(&admin.get(&format!("{}?labelSelector=name%3Db", at(third))).await.json()), ["b"]);
        assert_eq!(names(&admin.get(&format!("{}?fieldSelector=metadata.name%3Da", at(third))).await.json()), ["a"]);
        assert_eq!(names(&admin.get(&format!("{}?resourceVersion=0", at(second))).await.json()), ["a", "b"]);
        let by_time = admin.get(&format!("/at/{then}{MAPS}")).await;
        assert_eq!(
            (names(&by_time.json()), by_time.headers["kontiki-revision"].to_str().unwrap()),
            (vec!["a"], first.to_string().as_str())
        );

        let page = admin.get(&format!("{}?limit=1", at(second))).await.json();
        assert_eq!(page["metadata"]["remainingItemCount"], 1, "`b` was there");
        let token = page["metadata"]["continue"].as_str().unwrap();
        let next = admin.get(&format!("{}?limit=1&continue={token}", at(second))).await;
        assert_eq!((names(&page), names(&next.json()), revision(&next)), (vec!["a"], vec!["b"], second));

        let table = admin.get_with(&at(second), "accept", "application/json;as=Table;v=v1;g=meta.k8s.io").await.json();
        assert_eq!((table["kind"].as_str(), table["rows"].as_array().unwrap().len()), (Some("Table"), 2));
        server.stop().await;
    });
}

#[test]
fn the_past_is_not_written_and_moments_that_are_none_are_refused() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let now = revision(&admin.post(MAPS, &map("a", "1")).await);
        let body = map("x", "1");
        for (method, path) in [
            ("POST", format!("/at/{now}{MAPS}")),
            ("PUT", format!("/at/{now}{MAPS}/a")),
            ("PATCH", format!("/at/{now}{MAPS}/a")),
            ("DELETE", format!("/at/{now}{MAPS}/a")),
            ("DELETE", format!("/at/{now}{MAPS}")),
            ("GET", format!("/at/{now}/api/v1/namespaces/default/pods/p/log")),
            ("POST", format!("/at/{now}/api/v1/namespaces/default/pods/p/exec")),
        ] {
            let answer = sent(&mut admin, method, &path, &[], &body).await;
            assert_eq!(
                (answer.status.as_u16(), answer.json()["reason"].as_str()),
                (405, Some("MethodNotAllowed")),
                "{method} {path}"
            );
        }
        assert_eq!(admin.get(&format!("{MAPS}/a")).await.status, 200, "nothing was deleted");
        for (path, code, reason) in [
            (format!("/at/999999{MAPS}"), 400, "BadRequest"),
            (format!("/at/yesterday{MAPS}"), 400, "BadRequest"),
            ("/at/api".to_owned(), 400, "BadRequest"),
            (format!("/at/2999-01-01T00:00:00Z{MAPS}"), 400, "BadRequest"),
            (format!("/at/{now}/api/v1/nosuch"), 404, "NotFound"),
            (format!("/at/{now}{OWN}/events"), 400, "BadRequest"),
            (format!("/at/{now}{OWN}/history{MAPS}/a"), 400, "BadRequest"),
            (format!("/at/{now}/at/{now}{MAPS}"), 404, "NotFound"),
        ] {
            let answer = admin.get(&path).await;
            assert_eq!(answer.status, code, "{path}");
            let told = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
            assert_eq!(told["reason"].as_str().unwrap_or_default(), reason, "{path}");
        }
        for path in ["/api", "/apis", "/api/v1", "/openapi/v2", "/openapi/v3", "/version", "/readyz", "/livez/log"] {
            assert_eq!(admin.get(&format!("/at/{now}{path}")).await.status, 200, "{path}");
        }
        for _ in 0..2 {
            sent(&mut admin, "PATCH", &format!("{MAPS}/a"), &[], &json!({"data": {"key": Utc::now().to_rfc3339()}}))
                .await;
        }
        server.log.compact_history((Utc::now() + chrono::TimeDelta::days(3650)).timestamp_millis()).await.unwrap();
        let gone = admin.get(&format!("/at/{now}{MAPS}/a")).await;
        assert_eq!(
            (gone.status.as_u16(), gone.json()["reason"].as_str()),
            (410, Some("Expired")),
            "{}",
            gone.message()
        );
        assert!(gone.message().contains("history of configmaps begins at revision"), "{}", gone.message());
        assert_eq!(admin.get(&format!("/at/{now}{MAPS}")).await.status, 410);
        server.stop().await;
    });
}

#[test]
fn a_watch_of_the_past_goes_on_into_the_present() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let first = revision(&admin.post(MAPS, &map("a", "1")).await);
        admin.post(MAPS, &map("b", "1")).await;
        sent(&mut admin, "DELETE", &format!("{MAPS}/a"), &[], &Value::Null).await;
        let told = |lines: Vec<Value>| -> Vec<String> {
            let line = |line: &Value| {
                format!("{} {}", line["type"].as_str().unwrap(), line["object"]["metadata"]["name"].as_str().unwrap())
            };
            lines.iter().map(line).collect()
        };
        let path = format!("/at/{first}{MAPS}?watch=true");
        let deleted = |line: &Value| line["type"] == "DELETED";
        assert_eq!(told(lines(&mut admin, &path, deleted).await), ["ADDED a", "ADDED b", "DELETED a"]);
        let mut admin = server.admin().await;
        let from = lines(&mut admin, &format!("{path}&resourceVersion={first}"), deleted).await;
        assert_eq!(told(from), ["ADDED b", "DELETED a"]);
        server.stop().await;
    });
}

/// A log of yesterday: at a time, a map that is 30 seconds old.
async fn yesterday(time: DateTime<Utc>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(LogConfig::new(dir.path().join("log"))).await.unwrap();
    let made = (time - TimeDelta::seconds(30)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let start = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"default","uid":"u","#;
    let body = format!(r#"{start}"creationTimestamp":"{made}"}}}}"#).into_bytes();
    let head = Head { uid: "u".to_owned(), splice: start.len().try_into().unwrap(), ..Head::default() };
    let mutations = vec![Mutation::Put { key: Key::new("configmaps", "default", "a"), head, body }];
    let command = Command { mutations, time_ms: time.timestamp_millis(), ..Command::default() };
    log.propose(command).await.unwrap();
    log.shutdown().await;
    dir
}

#[test]
fn ages_count_to_the_moment_that_is_asked_for() {
    run(async {
        let time = (Utc::now() - TimeDelta::hours(24)).trunc_subsecs(0);
        let server = Running::start_in(yesterday(time).await, "192.0.2.7").await;
        let mut admin = server.admin().await;
        let later = (time + TimeDelta::seconds(60)).to_rfc3339_opts(SecondsFormat::Secs, true);
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let age = |table: &Value| table["rows"][0]["cells"][2].as_str().unwrap().to_owned();
        for (at, expected) in [("/at/1", "30s"), (&format!("/at/{later}"), "90s"), ("", "24h")] {
            let list = admin.get_with(&format!("{at}{MAPS}"), "accept", table).await.json();
            let one = admin.get_with(&format!("{at}{MAPS}/a"), "accept", table).await.json();
            assert_eq!([age(&list), age(&one)], [expected, expected], "{at}");
        }
        sent(&mut admin, "PATCH", &format!("{MAPS}/a"), &[], &json!({"data": {"key": "2"}})).await;
        for (at, expected) in [("/at/1", vec!["ADDED 30s", "MODIFIED 24h"]), ("", vec!["ADDED 24h"])] {
            // A watch keeps its connection for itself.
            let (mut admin, only) = (server.admin().await, "fieldSelector=metadata.name%3Da&timeoutSeconds=1");
            let told = admin.get_with(&format!("{at}{MAPS}?watch=true&{only}"), "accept", table).await.text();
            let told = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let told: Vec<_> =
                told.map(|line| format!("{} {}", line["type"].as_str().unwrap(), age(&line["object"]))).collect();
            assert_eq!(told, expected, "{at}");
        }
        server.stop().await;
    });
}

#[test]
fn the_past_is_told_under_todays_rules() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let secret = json!({"metadata": {"name": "s"}, "data": {"password": "b2xk"}});
        let now = revision(&admin.post("/api/v1/namespaces/default/secrets", &secret).await);
        let token = admin.service_account("robot").await;
        let mut robot = server.bearer(&token).await;
        let mut anonymous = server.client(None).await;
        for path in
            ["/api/v1/namespaces/default/secrets/s", "/api/v1/namespaces/default/secrets", "/api/v1/secrets?watch=1"]
        {
            let (then, today) = (robot.get(&format!("/at/{now}{path}")).await, robot.get(path).await);
            assert_eq!((then.status.as_u16(), then.message()), (403, today.message()), "{path}");
            assert_eq!(anonymous.get(&format!("/at/{now}{path}")).await.status, 403, "{path}");
        }
        let object = "/api/v1/namespaces/default/secrets/s";
        for path in [
            format!("{OWN}/history{object}"),
            format!("{OWN}/why{object}"),
            format!("{OWN}/events"),
            format!("{OWN}/events?resource=secrets"),
        ] {
            assert_eq!(robot.get(&path).await.status, 403, "{path}");
            assert_eq!(anonymous.get(&path).await.status, 403, "{path}");
        }
        assert_eq!(anonymous.get(&format!("/at/{now}/version")).await.status, 200);
        assert_eq!(anonymous.get(&format!("/at/{now}/api")).await.status, 403);
        let scheduler = [("impersonate-user", "system:kube-scheduler")];
        let pods = format!("{OWN}/events?resource=pods&resource=secrets");
        let refused = sent(&mut admin, "GET", &pods, &scheduler, &Value::Null).await;
        assert!(refused.message().contains("cannot watch resource \"secrets\""), "{}", refused.message());
        let path = format!("/at/{now}/api/v1/pods");
        assert_eq!(sent(&mut admin, "GET", &path, &scheduler, &Value::Null).await.status, 200);
        server.stop().await;
    });
}

#[test]
fn a_namespaces_past_is_not_that_of_an_earlier_one_of_its_name() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let (own, secrets) = ("/api/v1/namespaces/dev", "/api/v1/namespaces/dev/secrets");
        let secret = |value: &str| json!({"metadata": {"name": "s"}, "data": {"password": value}});
        let namespace = json!({"metadata": {"name": "dev"}});
        admin.post("/api/v1/namespaces", &namespace).await;
        let former = revision(&admin.post(secrets, &secret("b2xk")).await);
        sent(&mut admin, "DELETE", &format!("{secrets}/s"), &[], &Value::Null).await;
        sent(&mut admin, "DELETE", own, &[], &Value::Null).await;
        let mut dying = admin.get(own).await.json();
        dying["spec"]["finalizers"] = json!([]);
        sent(&mut admin, "PUT", &format!("{own}/finalize"), &[], &dying).await;
        assert_eq!(admin.get(own).await.status, 404);

        let begins = revision(&admin.post("/api/v1/namespaces", &namespace).await);
        let rule =
            json!({"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["namespaces", "secrets"]});
        let role = json!({"metadata": {"name": "reader"}, "rules": [rule]});
        assert_eq!(admin.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await.status, 201);
        let binding = json!({
            "metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "bob"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
        });
        let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/dev/rolebindings";
        assert_eq!(admin.post(bindings, &binding).await.status, 201);
        let today = revision(&admin.post(secrets, &secret("bmV3")).await);
        // What changes the namespace itself is no other namespace.
        sent(&mut admin, "PATCH", own, &[], &json!({"metadata": {"labels": {"a": "b"}}})).await;

        let bob = [("impersonate-user", "bob")];
        let exact = |revision: u64| format!("{secrets}?resourceVersion={revision}&resourceVersionMatch=Exact");
        for (path, code) in [
            (format!("/at/{former}{secrets}"), 410),
            (format!("/at/{former}{secrets}/s"), 410),
            (format!("/at/{former}{own}"), 410),
            (format!("/at/{today}{secrets}?resourceVersion={former}&resourceVersionMatch=Exact"), 410),
            (exact(former), 410),
            (format!("{OWN}/events?namespace=dev&resource=secrets&from={former}"), 410),
            (format!("{OWN}/why{secrets}/s?revision={former}"), 400),
            (format!("/at/{today}{secrets}/s"), 200),
            (format!("/at/{begins}{secrets}"), 200),
            (format!("/at/{today}{own}"), 200),
            (exact(today), 200),
        ] {
            let answer = sent(&mut admin, "GET", &path, &bob, &Value::Null).await;
            assert_eq!(answer.status, code, "{path}: {}", answer.text());
            assert!(!answer.text().contains("b2xk"), "{path}");
        }
        let bobs = |path: String| {
            let server = &server;
            async move {
                let mut client = server.admin().await;
                let told = sent(&mut client, "GET", &path, &bob, &Value::Null).await.text();
                told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
            }
        };
        for (at, from) in [(String::new(), former), (format!("/at/{former}"), 0)] {
            let path = format!("{at}{secrets}?watch=true&resourceVersion={from}&timeoutSeconds=1");
            let lines = bobs(path.clone()).await;
            assert_eq!((&lines[0]["object"]["code"], lines.len()), (&json!(410), 1), "{path}");
        }
        let watched = bobs(format!("{secrets}?watch=true&resourceVersion={begins}&timeoutSeconds=1")).await;
        assert_eq!((&watched[0]["object"]["data"]["password"], watched.len()), (&json!("bmV3"), 1));

        let history = sent(&mut admin, "GET", &format!("{OWN}/history{secrets}/s"), &bob, &Value::Null).await.json();
        let told: Vec<_> = history["items"].as_array().unwrap().iter().map(|item| &item["revision"]).collect();
        assert_eq!((told, &history["floor"], &history["before"]), (vec![&json!(today)], &json!(begins), &Value::Null));
        let mut client = server.admin().await;
        let path = format!("{OWN}/events?namespace=dev&resource=secrets&from=start");
        let answer = lines_as(&mut client, &path, &bob, |line| line["type"] == "Progress").await;
        assert_eq!((&answer[0]["from"], &answer[1]["revision"]), (&json!(begins - 1), &json!(today)));

        // Who may read them everywhere may read them at any time.
        let everywhere = json!({
            "metadata": {"name": "bobs"}, "subjects": [{"kind": "User", "name": "bob"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
        });
        admin.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &everywhere).await;
        let then = sent(&mut admin, "GET", &format!("/at/{former}{secrets}/s"), &bob, &Value::Null).await.json();
        assert_eq!(then["data"]["password"], "b2xk");
        server.stop().await;
    });
}

#[test]
fn every_write_names_its_author_and_its_cause() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        // The controllers would make it.
        admin.service_account("default").await;
        let bootstrap = events(&server, 0, "&resource=namespaces&resource=services").await;
        assert!(bootstrap.iter().all(|event| event["author"]["user"] == "system:apiserver"), "{bootstrap:#?}");
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let node = json!({"metadata": {"name": "n"}});
        let set = json!({
            "metadata": {"name": "rs"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}},
                     "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
        });
        let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
        let service = json!({"metadata": {"name": "svc"}, "spec": {"ports": [{"port": 80}]}});
        let (pods, sets) = ("/api/v1/namespaces/default/pods", "/apis/apps/v1/namespaces/default/replicasets");
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let finalized = json!({"metadata": {"name": "gone"}, "spec": {"finalizers": []}});
        let writes: Vec<(&str, String, Value, &str, usize)> = vec![
            ("POST", MAPS.to_owned(), map("a", "1"), "create", 1),
            ("PUT", format!("{MAPS}/a"), map("a", "2"), "update", 1),
            ("PATCH", format!("{MAPS}/a"), json!({"data": {"key": "3"}}), "patch", 1),
            ("DELETE", format!("{MAPS}/a"), Value::Null, "delete", 1),
            ("POST", MAPS.to_owned(), map("b", "1"), "create", 1),
            ("DELETE", format!("{MAPS}?labelSelector=name%3Db"), Value::Null, "deletecollection", 1),
            ("POST", "/api/v1/nodes".to_owned(), node, "create", 1),
            ("PATCH", "/api/v1/nodes/n/status".to_owned(), ready, "patch/status", 1),
            ("POST", pods.to_owned(), pod, "create", 1),
            ("POST", format!("{pods}/p/binding"), binding, "create/binding", 1),
            ("POST", format!("{pods}/p/eviction"), eviction, "create/eviction", 1),
            ("POST", sets.to_owned(), set, "create", 1),
            ("PATCH", format!("{sets}/rs/scale"), json!({"spec": {"replicas": 3}}), "patch/scale", 1),
            ("PATCH", format!("{sets}/rs/status"), json!({"status": {"replicas": 3}}), "patch/status", 1),
            // The Service, its address and what tells of it.
            ("POST", "/api/v1/namespaces/default/services".to_owned(), service, "create", 3),
            ("DELETE", "/api/v1/namespaces/default/services/svc".to_owned(), Value::Null, "delete", 3),
            ("POST", "/api/v1/namespaces".to_owned(), json!({"metadata": {"name": "gone"}}), "create", 1),
            ("DELETE", "/api/v1/namespaces/gone".to_owned(), Value::Null, "delete", 1),
            ("PUT", "/api/v1/namespaces/gone/finalize".to_owned(), finalized, "update/finalize", 1),
            // A token is given out, nothing is kept of it.
            ("POST", "/api/v1/namespaces/default/serviceaccounts/default/token".to_owned(), json!({}), "create", 0),
        ];
        for (method, path, body, verb, count) in writes {
            let before = server.log.revision();
            let cause = before.to_string();
            let headers = [
                ("user-agent", "tester/1.0"),
                ("kontiki-cause", cause.as_str()),
                ("impersonate-user", "alice"),
                ("impersonate-group", "system:masters"),
            ];
            let answer = sent(&mut admin, method, &path, &headers, &body).await;
            assert!(answer.status.is_success(), "{method} {path}: {}", answer.text());
            let told = events(&server, before, "").await;
            assert_eq!(told.len(), count, "{method} {path}: {told:#?}");
            for event in told {
                let (verb, subresource) = verb.split_once('/').map_or((verb, None), |(verb, part)| (verb, Some(part)));
                let mut expected = json!({
                    "user": "alice", "impersonator": "kubernetes-admin", "userAgent": "tester/1.0", "verb": verb,
                    "requestId": answer.headers["audit-id"].to_str().unwrap(),
                });
                if let Some(subresource) = subresource {
                    expected["subresource"] = subresource.into();
                }
                assert_eq!(event["author"], expected, "{method} {path}");
                assert_eq!(event["cause"], before, "{method} {path}");
            }
        }
        for cause in ["yesterday", "+1", "99999999999"] {
            let refused = sent(&mut admin, "POST", MAPS, &[("kontiki-cause", cause)], &map("x", "1")).await;
            assert_eq!(refused.status, 400, "{}", refused.message());
        }
        server.stop().await;
    });
}

#[test]
fn an_objects_history_is_told_also_after_it_is_gone() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let first = revision(&admin.post(MAPS, &map("a", "1")).await);
        sent(
            &mut admin,
            "PATCH",
            &format!("{MAPS}/a"),
            &[],
            &json!({"data": {"key": "2"}, "metadata": {"labels": {"x": "y"}}}),
        )
        .await;
        sent(&mut admin, "DELETE", &format!("{MAPS}/a"), &[], &Value::Null).await;
        admin.post(MAPS, &map("a", "3")).await;
        let path = format!("{OWN}/history{MAPS}/a");
        let history = admin.get(&path).await.json();
        let items = history["items"].as_array().unwrap();
        let told: Vec<(&str, u64)> =
            items.iter().map(|item| (item["type"].as_str().unwrap(), item["revision"].as_u64().unwrap())).collect();
        assert_eq!(told, [("Created", first + 3), ("Deleted", first + 2), ("Updated", first + 1), ("Created", first)]);
        assert_eq!(
            items[2]["changes"]["fields"],
            json!([
                {"field": "metadata.labels.x", "to": "y"},
                {"field": "data.key"},
            ])
        );
        assert_eq!((&items[2]["previousRevision"], &items[2]["object"]), (&json!(first), &Value::Null));
        assert_ne!(items[0]["resource"]["uid"], items[1]["resource"]["uid"]);
        assert_eq!(items[0]["resource"]["path"], format!("{MAPS}/a"));

        let page = admin.get(&format!("{path}?limit=3&objects=true")).await.json();
        assert_eq!(page["items"][2]["object"]["data"]["key"], "2");
        assert_eq!(page["items"][2]["previous"]["metadata"]["resourceVersion"], first.to_string());
        let rest = admin.get(&format!("{path}?before={}", page["before"])).await.json();
        assert_eq!((rest["items"].as_array().unwrap().len(), &rest["before"]), (1, &Value::Null));
        assert_eq!(admin.get(&format!("{OWN}/history{MAPS}/nosuch")).await.status, 404);
        assert_eq!(admin.get(&format!("{OWN}/history{MAPS}")).await.status, 400);
        assert_eq!(admin.get(&format!("{path}?limit=x")).await.status, 400);
        server.stop().await;
    });
}

#[test]
fn events_come_once_and_in_order_from_wherever_one_stopped() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let start = server.log.revision();
        for number in 0..20 {
            admin.post(MAPS, &map(&format!("m{number}"), "1")).await;
            admin.post("/api/v1/nodes", &json!({"metadata": {"name": format!("n{number}")}})).await;
        }
        let revisions =
            |events: &[Value]| events.iter().map(|event| event["revision"].as_u64().unwrap()).collect::<Vec<_>>();
        let all = events(&server, start, "").await;
        assert_eq!(revisions(&all), (start + 1..=start + 40).collect::<Vec<_>>());
        assert_eq!(revisions(&events(&server, 0, "").await), (1..=start + 40).collect::<Vec<_>>(), "since ever");
        assert_eq!(revisions(&events(&server, start + 33, "").await), (start + 34..=start + 40).collect::<Vec<_>>());
        assert_eq!(events(&server, start, "&resource=nodes").await.len(), 20);
        assert_eq!(events(&server, start, "&resource=nodes&resource=configmaps").await.len(), 40);
        assert_eq!(events(&server, start, "&resource=configmaps&namespace=other").await.len(), 0);
        let event = json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}});
        assert_eq!(admin.post("/api/v1/namespaces/default/events", &event).await.status, 201);
        for spelled in ["events", "events.events.k8s.io"] {
            assert_eq!(events(&server, start, &format!("&resource={spelled}")).await.len(), 1, "{spelled}");
        }
        assert_eq!(admin.get(&format!("{OWN}/events?resource=events.example.com")).await.status, 400);
        assert_eq!(admin.get(&format!("{OWN}/events?timeoutSeconds=soon")).await.status, 400);
        let ended = admin.get(&format!("{OWN}/events?from={start}&resource=nodes&timeoutSeconds=3")).await.text();
        let types: Vec<Value> =
            ended.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].take()).collect();
        assert_eq!((types.first(), types.last()), (Some(&json!("Begin")), Some(&json!("Progress"))), "{ended}");
        assert_eq!(types.iter().filter(|of| *of == "Created").count(), 20, "{ended}");
        assert_eq!(all[0]["object"]["metadata"]["name"], "m0");
        assert_eq!(events(&server, start, "&objects=false").await[0]["object"], Value::Null);

        // Live: what comes after the stream has caught up.
        let mut other = server.admin().await;
        let path = format!("{OWN}/events?resource=configmaps");
        let live =
            tokio::spawn(async move { lines(&mut other, &path, |line| line["resource"]["name"] == "late").await });
        let mut tries = 0;
        while !live.is_finished() {
            tries += 1;
            assert!(tries < 1000, "the event never came");
            sent(&mut admin, "DELETE", &format!("{MAPS}/late"), &[], &Value::Null).await;
            admin.post(MAPS, &map("late", "1")).await;
        }
        let told = live.await.unwrap();
        assert_eq!((told[0]["type"].as_str(), told[0]["cluster"].as_str().map(str::len)), (Some("Begin"), Some(36)));

        server.log.compact_history((Utc::now() + chrono::TimeDelta::days(3650)).timestamp_millis()).await.unwrap();
        let floor = server.log.floor();
        let gone = admin.get(&format!("{OWN}/events?from={start}")).await;
        assert_eq!((gone.status.as_u16(), gone.json()["reason"].as_str()), (410, Some("Expired")));
        assert_eq!(gone.json()["details"]["causes"][0]["message"], floor.to_string());
        let from_start =
            lines(&mut admin, &format!("{OWN}/events?from=start"), |line| line["type"] == "Progress").await;
        assert_eq!(from_start[0]["from"], floor);
        server.stop().await;
    });
}

#[test]
fn why_goes_back_to_the_person_and_hides_what_one_may_not_get() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let controllers = |cause: u64| {
            [
                ("impersonate-user".to_owned(), "system:kube-controller-manager".to_owned()),
                ("kontiki-cause".to_owned(), cause.to_string()),
            ]
        };
        admin.service_account("default").await;
        let secret = json!({"metadata": {"name": "s"}, "data": {"password": "b2xk"}});
        let first = revision(&admin.post("/api/v1/namespaces/default/secrets", &secret).await);
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let headers = controllers(first);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let made = sent(&mut admin, "POST", "/api/v1/namespaces/default/pods", &headers, &pod).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let path = format!("{OWN}/why/api/v1/namespaces/default/pods/p");
        let why = admin.get(&path).await.json();
        let chain = &why["items"][0];
        assert_eq!(
            (chain["about"].as_str(), &chain["end"]),
            (Some("created"), &json!({"reason": "person"})),
            "{why:#}"
        );
        assert_eq!(chain["links"][0]["event"]["revision"], revision(&made));
        assert_eq!(chain["links"][1]["event"]["author"]["user"], "kubernetes-admin");
        assert_eq!(chain["links"][1]["event"]["resource"]["resource"], "secrets");

        let scheduler = [("impersonate-user", "system:kube-scheduler")];
        let why = sent(&mut admin, "GET", &path, &scheduler, &Value::Null).await.json();
        let hidden = json!({"because": "reactedTo", "hidden": true, "event": {"revision": first}});
        assert_eq!(why["items"][0]["links"][1], hidden, "{why:#}");
        let about = admin.get(&format!("{path}?revision={}", revision(&made))).await.json();
        assert_eq!(about["items"][0]["about"], "event");
        assert_eq!(admin.get(&format!("{path}?revision={first}")).await.status, 400);
        server.stop().await;
    });
}

#[test]
fn the_paths_are_listed_and_the_group_is_not_taken_for_resources() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let paths = admin.get("/").await.json()["paths"].to_string();
        for topic in ["events", "history/**", "why/**"] {
            assert!(paths.contains(&format!("\"{OWN}/{topic}\"")), "{paths}");
        }
        assert!(!admin.get("/apis").await.text().contains("kontiki.dev"));
        assert_eq!(admin.call(Method::POST, &format!("{OWN}/events"), "").await.status, 405);
        assert_eq!(admin.get(&format!("{OWN}/nosuch")).await.status, 404);
        let token = admin.service_account("robot").await;
        assert_eq!(server.bearer(&token).await.get(&format!("{OWN}/nosuch")).await.status, 403);
        server.stop().await;
    });
}

/// A definition of Crons with a column for one field.
fn crons(field: &str) -> Value {
    let properties = json!({"spec": {"type": "object", "properties": {field: {"type": "string"}}}});
    let version = json!({
        "name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
        "additionalPrinterColumns": [{"name": field, "type": "string", "jsonPath": format!(".spec.{field}")}],
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "crons.ex.io"},
        "spec": {"group": "ex.io", "scope": "Namespaced", "versions": [version],
            "names": {"kind": "Cron", "plural": "crons", "shortNames": ["cr"]}},
    })
}

#[test]
fn kinds_are_those_of_their_time() {
    run(async {
        const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        const CRONS: &str = "/apis/ex.io/v1/namespaces/default/crons";
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let before = server.log.revision();
        assert_eq!(admin.post(DEFINITIONS, &crons("when")).await.status, 201);
        let cron =
            json!({"apiVersion": "ex.io/v1", "kind": "Cron", "metadata": {"name": "c"}, "spec": {"when": "noon"}});
        let first = revision(&admin.post(CRONS, &cron).await);
        // Another schema, in which the field is not, and then none at all.
        let path = format!("{DEFINITIONS}/crons.ex.io");
        let mut other = admin.get(&path).await.json();
        other["spec"]["versions"] = crons("how")["spec"]["versions"].clone();
        assert_eq!(sent(&mut admin, "PUT", &path, &[], &other).await.status, 200);
        let second = server.log.revision();
        assert_eq!(admin.get(&format!("{CRONS}/c")).await.json()["spec"], json!({}));
        assert_eq!(sent(&mut admin, "DELETE", &path, &[], &Value::Null).await.status, 200);
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while admin.get(CRONS).await.status != 404 {
            assert!(tokio::time::Instant::now() < deadline, "the kind does not go");
            tokio::task::yield_now().await;
        }

        let at = |revision: u64, path: &str| format!("/at/{revision}{path}");
        assert_eq!(admin.get(&at(first, &format!("{CRONS}/c"))).await.json()["spec"], json!({"when": "noon"}));
        assert_eq!(admin.get(&at(second, &format!("{CRONS}/c"))).await.json()["spec"], json!({}));
        assert_eq!(names(&admin.get(&at(first, "/apis/ex.io/v1/crons")).await.json()), ["c"]);
        for (revision, column) in [(first, "when"), (second, "how")] {
            let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
            let table = sent(&mut admin, "GET", &at(revision, CRONS), &table, &Value::Null).await.json();
            assert_eq!(table["columnDefinitions"][1]["name"], column, "{table}");
        }
        // Documents tell of them, and other moments do not.
        let resources = admin.get(&at(first, "/apis/ex.io/v1")).await.json();
        assert_eq!(resources["resources"][0]["shortNames"], json!(["cr"]));
        let schema = admin.get(&at(second, "/openapi/v3/apis/ex.io/v1")).await.text();
        assert!(schema.contains("\"how\"") && !schema.contains("\"when\""), "{schema}");
        for moment in [before, server.log.revision()] {
            assert_eq!(admin.get(&at(moment, CRONS)).await.status, 404);
            assert_eq!(admin.get(&at(moment, "/apis/ex.io/v1")).await.status, 404);
        }
        // Who may not read them today may not read them then.
        let token = admin.service_account("robot").await;
        let mut robot = server.bearer(&token).await;
        assert_eq!(robot.get(&at(first, CRONS)).await.status, 403);
        // What became of them is told to the end.
        let watch = format!("{}?watch=true&resourceVersion={first}", at(first, CRONS));
        let mut watcher = server.admin().await;
        let told = lines(&mut watcher, &watch, |line| line["type"] == "DELETED").await;
        assert_eq!(told.last().unwrap()["object"]["metadata"]["name"], "c");
        let history = admin.get(&format!("{OWN}/history{CRONS}/c")).await.json();
        assert_eq!(history["items"].as_array().unwrap().len(), 2, "{history}");
        assert_eq!(history["items"][0]["resource"]["path"], format!("{CRONS}/c"));
        let told = events(&server, first, "&resource=crons.ex.io").await;
        assert_eq!(told.last().unwrap()["type"], "Deleted", "{told:?}");
        let why = admin.get(&format!("{OWN}/why{CRONS}/c")).await.json();
        assert_eq!(
            (&why["items"][0]["about"], &why["items"][0]["end"]["reason"]),
            (&"deleted".into(), &"person".into()),
            "{why}"
        );
        server.stop().await;
    });
}

#[test]
fn what_may_be_done_is_asked_in_the_past_too() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let attributes = json!({"verb": "get", "resource": "pods"});
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes}});
        let answer = admin.post("/at/1/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["status"]["allowed"]), (201, &json!(true)));
        server.stop().await;
    });
}
