//! Servers that are gone, not ready, or break off: small ones on loopback ports, in plain HTTP.
#![allow(clippy::unwrap_used)]
use std::sync::atomic::{AtomicUsize, Ordering};

use kontiki_apiserver::pki::Pki;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// Answers each request with the next of these texts, then breaks off without one; counts the requests.
async fn server(answers: Vec<&'static str>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        let mut answers = answers.into_iter();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            if stream.read(&mut request).await.unwrap() == 0 {
                continue;
            }
            count.fetch_add(1, Ordering::SeqCst);
            let Some(answer) = answers.next() else { continue };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, asked)
}

const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"a\": 1}";
const NOT_READY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
const REFUSED: &str = "HTTP/1.1 409 Conflict\r\ncontent-length: 16\r\n\r\n{\"message\":\"no\"}";

async fn gone() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A client of these servers, which trust one CA, in this order.
async fn client(urls: &[String]) -> Client {
    let dir = tempfile::tempdir().unwrap();
    let ca = Pki::open(dir.path()).unwrap().ca_path();
    let clusters = urls.iter().enumerate().map(
        |(number, url)| json!({"name": number.to_string(), "cluster": {"server": url, "certificate-authority": ca}}),
    );
    let clusters: Vec<_> =
        clusters.chain([json!({"name": "another", "cluster": {"server": "http://127.0.0.1:1"}})]).collect();
    let file = json!({
        "clusters": clusters,
        "users": [{"name": "me", "user": {"token": "secret"}}],
        "contexts": [{"name": "here", "context": {"cluster": "0", "user": "me", "namespace": "shop"}}],
        "current-context": "here",
    });
    Client::of(serde_json::from_value(file).unwrap()).await.unwrap()
}

#[tokio::test]
async fn another_server_is_asked_when_one_is_gone_or_not_ready_or_breaks_off() {
    let (not_ready, asked) = server(vec![NOT_READY]).await;
    let (good, _) = server(vec![GOOD, GOOD]).await;
    let client = client(&[gone().await, not_ready, good]).await;
    assert_eq!((client.servers.len(), client.namespace.as_str()), (3, "shop"), "another CA is another cluster");
    assert_eq!(client.get("/x").await.unwrap(), json!({"a": 1}));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // The one that answered is asked first from now on, and goes away in the middle of an answer after this.
    assert_eq!(client.get("/x").await.unwrap(), json!({"a": 1}));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_write_that_broke_off_is_not_done_twice() {
    let ((breaking, once), (good, other)) = (server(vec![]).await, server(vec![GOOD, REFUSED]).await);
    let client = client(&[breaking, good]).await;
    let error = client.post("/x", &json!({})).await.unwrap_err();
    assert!(format!("{error:#}").contains("whether it was done is not known"), "{error:#}");
    assert_eq!((once.load(Ordering::SeqCst), other.load(Ordering::SeqCst)), (1, 0));
    assert_eq!(client.get("/x").await.unwrap(), json!({"a": 1}), "a read goes on");
    let refused = client.post("/x", &json!({})).await.unwrap_err();
    let refused = refused.downcast_ref::<Refused>().unwrap();
    assert_eq!((refused.code, refused.message.as_str()), (409, "no"));
}

#[tokio::test]
async fn when_no_server_answers_each_is_named() {
    let (one, two) = (gone().await, gone().await);
    let error = client(&[one.clone(), two.clone()]).await.get("/x").await.unwrap_err().to_string();
    assert!(error.contains(&one) && error.contains(&two), "{error}");
}
