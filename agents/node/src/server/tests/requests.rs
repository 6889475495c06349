//! Who is answered, and what.

use std::{
    io::Write,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;

use super::{
    certificates::Authority,
    client::{Node, read, refusal},
};
use crate::server::limits::REVIEWS_MAX;

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::builder().uri(path).header("host", "node").body(Full::default()).unwrap()
}

#[tokio::test]
async fn only_the_cluster_s_servers_and_masters_are_answered() {
    let node = Node::start().await;
    let answer = node.request(None, get("/healthz")).await.unwrap();
    assert_eq!(answer.headers()["connection"], "close", "a stranger's place is free again at once");
    let (code, text) = read(answer).await;
    assert_eq!((code, text.as_str()), (StatusCode::OK, "ok"));
    for path in ["/pods", "/no/such/path"] {
        let (code, text) = read(node.request(None, get(path)).await.unwrap()).await;
        assert_eq!(refusal(code, &text).0, 401, "{path}");
    }
    for (group, expected) in [("system:nodes", 403), ("kontiki:apiservers", 200), ("system:masters", 200)] {
        let client = node.authority.client("somebody", group);
        let answer = node.request(Some(&client), get("/pods")).await.unwrap();
        assert_eq!(answer.headers().get("connection"), None);
        let (code, _) = read(answer).await;
        assert_eq!(code.as_u16(), expected, "{group}");
    }
    let stranger = Authority::new().client("apiserver-1", "kontiki:apiservers");
    assert!(node.request(Some(&stranger), get("/healthz")).await.is_err(), "signed by another CA");
}

#[tokio::test]
async fn figures_are_for_whoever_shows_a_token_that_may_get_them() {
    let node = Node::start().await;
    let table = [
        ("/metrics/resource", "Bearer reader", 200),
        ("/metrics", "bearer  reader", 200),
        ("/metrics/cadvisor", "Bearer reader", 200),
        ("/metrics/probes", "Bearer reader", 200),
        ("/stats/summary", "Bearer reader", 403),
        ("/metrics/resource", "Bearer somebody", 403),
        ("/metrics/resource", "Bearer forged", 401),
        ("/metrics/resource", "Basic reader", 401),
        ("/metrics/resource", "Bearer ", 401),
        ("/pods", "Bearer reader", 401),
        ("/exec/default/web/app", "Bearer reader", 401),
        ("/no/such/path", "Bearer reader", 401),
    ];
    for (path, shown, expected) in table {
        let mut request = get(path);
        request.headers_mut().insert("authorization", shown.parse().unwrap());
        let (code, text) = read(node.request(None, request).await.unwrap()).await;
        assert_eq!(code.as_u16(), expected, "{path} with {shown}: {text}");
    }
    let request = with_token("/stats/summary", "reader");
    let client = node.authority.client("somebody", "system:nodes");
    let (code, _) = read(node.request(Some(&client), request).await.unwrap()).await;
    assert_eq!(code.as_u16(), 403, "a certificate decides alone");
}

fn with_token(path: &str, token: &str) -> Request<Full<Bytes>> {
    let mut request = get(path);
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

#[tokio::test]
async fn the_api_server_is_asked_about_a_token_once() {
    let node = Node::start().await;
    for (token, code) in [("reader", 200), ("somebody", 403), ("forged", 401)] {
        for _ in 0..3 {
            let answer = node.request(None, with_token("/metrics/resource", token)).await.unwrap();
            assert_eq!(answer.status().as_u16(), code, "{token}");
            let kept = answer.headers().get("connection").is_none();
            assert_eq!(kept, code == 200, "only who is let in keeps a place");
        }
    }
    assert_eq!(node.fake.reviews.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn only_so_many_tokens_are_asked_about_at_a_time() {
    let node = Arc::new(Node::start().await);
    let ask = |token| {
        let node = node.clone();
        async move { node.request(None, with_token("/metrics/resource", token)).await.unwrap() }
    };
    assert_eq!(ask("reader").await.status(), StatusCode::OK);
    for _ in 0..REVIEWS_MAX {
        tokio::spawn(ask("unheard"));
    }
    let asked = async {
        while node.fake.reviews.load(Ordering::SeqCst) <= REVIEWS_MAX {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), asked).await.expect("all are asked about");
    let refused = ask("somebody").await;
    assert_eq!(
        (refused.status(), &refused.headers()["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap())
    );
    assert_eq!(ask("reader").await.status(), StatusCode::OK, "what is known is not asked");
}

#[tokio::test]
async fn what_is_not_there_is_told_as_a_status() {
    let node = Node::start().await;
    let no_path = (404, "NotFound".into(), "the server could not find the requested resource".into());
    assert_eq!(node.refused(Method::GET, "/no/such/path").await, no_path);
    assert_eq!(node.refused(Method::PUT, "/images").await.0, 405);
    let no_pod = (404, "NotFound".into(), "pods \"other\" not found".into());
    assert_eq!(node.refused(Method::GET, "/containerLogs/default/other/app").await, no_pod);
    let waiting = "container \"slow\" in pod \"web\" is waiting to start: ContainerCreating".to_owned();
    assert_eq!(node.refused(Method::GET, "/containerLogs/default/web/slow").await, (400, "BadRequest".into(), waiting));
    assert_eq!(node.refused(Method::GET, "/containerLogs/default/web/app?tailLines=-1").await.0, 422);
}

#[tokio::test]
async fn figures() {
    let node = Node::start().await;
    let (_, pods) = node.get("/pods").await;
    let pods: Value = serde_json::from_str(&pods).unwrap();
    assert_eq!((&pods["kind"], &pods["items"][0]["metadata"]["name"]), (&"PodList".into(), &"web".into()));
    let (_, metrics) = node.get("/metrics").await;
    for line in [
        "kubelet_running_pods 1",
        "kubelet_running_containers{container_state=\"running\"} 1",
        "kubelet_running_containers{container_state=\"waiting\"} 1",
        "kubelet_running_containers{container_state=\"exited\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let (_, summary) = node.get("/stats/summary").await;
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let pod = &summary["pods"][0];
    assert_eq!(summary["node"]["nodeName"], "node-1");
    assert_eq!((&pod["podRef"]["uid"], &pod["memory"]["usageBytes"]), (&"uid-1".into(), &2_000.into()));
    assert_eq!(pod["containers"].as_array().unwrap().len(), 1, "those that run");
    assert_eq!(pod["containers"][0]["memory"]["usageBytes"], 1_000);
    assert_eq!(pod["containers"][0]["rootfs"]["usedBytes"], 300);
    assert_eq!(pod["containers"][0]["logs"]["usedBytes"], 20);
    assert_eq!((&pod["volume"][0]["name"], &pod["volume"][0]["usedBytes"]), (&"scratch".into(), &1_000.into()));
    assert_eq!(pod["ephemeral-storage"]["usedBytes"], 1_320);
    assert_eq!(summary["node"]["memory"]["workingSetBytes"], 2_000);
    assert_eq!(summary["node"]["fs"]["usedBytes"], 30_000);
    let (_, summary) = node.get("/stats/summary?only_cpu_and_memory=true").await;
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!((&summary["node"]["fs"], &summary["pods"][0]["ephemeral-storage"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn resource_metrics_tell_when_they_were_measured() {
    let node = Node::start().await;
    let (_, metrics) = node.get("/metrics/resource").await;
    let of = |wanted: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(wanted)?.strip_prefix(' '));
        let mut parts = line.unwrap_or_else(|| panic!("{wanted} is not in {metrics}")).split(' ');
        (parts.next().unwrap().to_owned(), parts.next().is_some())
    };
    let app = "container=\"app\",namespace=\"default\",pod=\"web\"";
    let web = "namespace=\"default\",pod=\"web\"";
    for (wanted, value, timed) in [
        ("node_cpu_usage_seconds_total".to_owned(), "90.5", true),
        ("node_memory_working_set_bytes".to_owned(), "2000", true),
        (format!("container_cpu_usage_seconds_total{{{app}}}"), "1", true),
        (format!("container_memory_working_set_bytes{{{app}}}"), "500", true),
        (format!("container_start_time_seconds{{{app}}}"), "1767225600", false),
        (format!("pod_cpu_usage_seconds_total{{{web}}}"), "2", true),
        (format!("pod_memory_working_set_bytes{{{web}}}"), "1000", true),
        ("scrape_error".to_owned(), "0", false),
        ("resource_scrape_error".to_owned(), "0", false),
        ("# TYPE container_cpu_usage_seconds_total".to_owned(), "counter", false),
    ] {
        assert_eq!(of(&wanted), (value.to_owned(), timed), "{wanted}");
    }
}

#[tokio::test]
async fn cadvisor_s_metrics_name_what_dashboards_ask_for() {
    let node = Node::start().await;
    let (_, metrics) = node.get("/metrics/cadvisor").await;
    let app =
        "container=\"app\",id=\"/uid-1/app-0\",image=\"demo:1\",name=\"uid-1.app-0\",namespace=\"default\",pod=\"web\"";
    let web = "container=\"\",id=\"/uid-1\",image=\"\",name=\"\",namespace=\"default\",pod=\"web\"";
    for (wanted, value) in [
        (format!("container_memory_working_set_bytes{{{app}}}"), "500"),
        (format!("container_memory_usage_bytes{{{app}}}"), "1000"),
        (format!("container_start_time_seconds{{{app}}}"), "1767225600"),
        (format!("container_memory_working_set_bytes{{{web}}}"), "1000"),
        (format!("container_cpu_usage_seconds_total{{{}}}", app.replace(",id=", ",cpu=\"total\",id=")), "1"),
        ("machine_memory_bytes".to_owned(), "8000"),
        (format!("container_memory_rss{{{app}}}"), "250"),
        (format!("container_cpu_cfs_throttled_seconds_total{{{app}}}"), "2"),
        (
            format!("container_network_receive_bytes_total{{{}}}", web.replace(",name=", ",interface=\"eth0\",name=")),
            "10",
        ),
        (
            format!(
                "container_network_transmit_packets_total{{{}}}",
                web.replace(",name=", ",interface=\"eth0\",name=")
            ),
            "2",
        ),
    ] {
        let line = metrics.lines().find_map(|line| line.strip_prefix(&wanted)?.strip_prefix(' '));
        let line = line.unwrap_or_else(|| panic!("{wanted} is not in {metrics}"));
        assert_eq!(line.split(' ').next(), Some(value), "{wanted}");
    }
    assert!(!metrics.contains(&format!("container_network_receive_bytes_total{{{}", "container=\"app\"")), "{metrics}");
    assert!(metrics.contains("container_cpu_usage_seconds_total{container=\"\",cpu=\"total\",id=\"/\""), "{metrics}");
}

#[tokio::test]
async fn images_come_and_go() {
    let node = Node::start().await;
    let imported = node.ask(Method::POST, "/images?name=demo:1", b"an archive").await;
    let (code, image) = read(imported).await;
    let image: Value = serde_json::from_str(&image).unwrap();
    assert_eq!((code.as_u16(), &image["size"], &image["names"][0]), (201, &10.into(), &"demo:1".into()));
    let (_, images) = node.get("/images").await;
    assert_eq!(serde_json::from_str::<Value>(&images).unwrap(), serde_json::json!([image]));
    let (code, removed) = read(node.ask(Method::DELETE, "/images?name=demo:1", b"").await).await;
    assert_eq!((code.as_u16(), removed.as_str()), (200, r#"{"removed":"demo:1"}"#));

    assert_eq!(node.refused(Method::DELETE, "/images?name=used").await.0, 409);
    assert_eq!(node.refused(Method::DELETE, "/images?name=unknown").await.0, 404);
    assert_eq!(node.refused(Method::DELETE, "/images").await.0, 400);
    let (code, reason, message) = node.refused(Method::POST, "/images?name=demo:1").await;
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    assert_eq!(message, "archive is truncated");
}

fn write(node: &Node, words: &str) {
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(node.fake.log()).unwrap();
    for word in words.split(' ') {
        writeln!(log, "2026-11-21T08:00:00.000000000Z stdout F {word}").unwrap();
    }
}

#[tokio::test]
async fn a_log_is_read_as_asked() {
    let node = Node::start().await;
    write(&node, "one two three");
    let path = "/containerLogs/default/web/app";
    assert_eq!(node.get(path).await, (StatusCode::OK, "one\ntwo\nthree\n".into()));
    assert_eq!(
        node.get(&format!("{path}?tailLines=1&timestamps=true")).await.1,
        "2026-11-21T08:00:00.000000000Z three\n"
    );
    assert_eq!(node.get(&format!("{path}?limitBytes=5")).await.1, "one\nt");
    let (_, _, message) = node.refused(Method::GET, &format!("{path}?previous=true")).await;
    assert_eq!(message, "previous terminated container \"app\" in pod \"web\" not found");
    std::fs::remove_file(node.fake.log()).unwrap();
    assert_eq!(node.get(path).await, (StatusCode::OK, String::new()), "it runs, and has said nothing");
    node.fake.end();
    assert_eq!(node.refused(Method::GET, path).await.0, 404);
}

#[tokio::test]
async fn a_log_is_followed_to_the_container_s_end() {
    let node = Node::start().await;
    write(&node, "one");
    let mut body = node.ask(Method::GET, "/containerLogs/default/web/app?follow=true", b"").await.into_body();
    let mut seen = String::new();
    let mut next = async || {
        let piece = body.frame().await?.unwrap().into_data().unwrap();
        seen.push_str(std::str::from_utf8(&piece).unwrap());
        Some(seen.clone())
    };
    assert_eq!(next().await.unwrap(), "one\n");
    write(&node, "two");
    assert_eq!(next().await.unwrap(), "one\ntwo\n");
    write(&node, "three");
    node.fake.end();
    assert_eq!(next().await.unwrap(), "one\ntwo\nthree\n");
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn a_server_that_stops_ends_what_it_is_doing() {
    let node = Node::start().await;
    write(&node, "one");
    let body = node.ask(Method::GET, "/containerLogs/default/web/app?follow=true", b"").await.into_body();
    node.cancel.cancel();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "one\n");
    node.served.await.unwrap();
}

#[tokio::test]
async fn a_caller_that_vanishes_is_noticed() {
    const KEEP_ALIVE_TIMER: &str = "02:";
    let node = Node::start().await;
    let stream = node.connect(Some(&node.api_server())).await.unwrap();
    let caller = stream.get_ref().0.local_addr().unwrap().port();
    let port = |address: &str| address.rsplit_once(':').map(|(_, port)| u16::from_str_radix(port, 16).unwrap());
    let is_probed = || {
        let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        table.lines().skip(1).any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            port(fields[2]) == Some(caller) && fields[5].starts_with(KEEP_ALIVE_TIMER)
        })
    };
    let probed = async {
        // Until the last message of the handshake is acknowledged, another timer runs.
        while !is_probed() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), probed).await.expect("its silence is probed");
}
