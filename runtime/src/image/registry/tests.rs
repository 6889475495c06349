//! Registries that mean no good, and ones that ask for tokens, on loopback.
#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use serde_json::json;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{interval, timeout},
};

use super::*;

/// More than an unread connection holds on its way.
const ON_ITS_WAY: u64 = 48 << 20;
const SOON: Duration = Duration::from_secs(20);

/// What follows the head of an answer.
enum Body {
    Text(String),
    /// Spaces, as fast as they are taken.
    Endless,
    /// The text, then a space now and then.
    Trickle(Vec<u8>),
}

type Says = (&'static str, String, Body);

/// A request as far as it matters: its path, and what it shows.
struct Asked {
    path: String,
    authorization: Option<String>,
}

/// Serves until it is dropped.
struct Server {
    address: SocketAddr,
    sent: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(says: impl Fn(SocketAddr, &Asked) -> Says + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, sent) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
        let (counted, says) = (sent.clone(), Arc::new(says));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (says, sent) = (says.clone(), counted.clone());
                connections.spawn(async move { answer(stream, |asked| says(address, asked), &sent).await });
            }
        });
        Self { address, sent, _tasks: tasks }
    }

    fn registry(&self, credentials: Option<&Credentials>) -> (Registry, ImageName) {
        let name = ImageName::parse(&format!("{}/team/demo:1", self.address)).unwrap();
        (Registry::new(&name, credentials).unwrap(), name)
    }

    async fn refused(&self) -> String {
        let (registry, name) = self.registry(None);
        let error = timeout(SOON, registry.manifest(&name)).await.unwrap().unwrap_err();
        error.to_string().replace(&self.address.to_string(), "HOST")
    }
}

async fn answer(mut stream: TcpStream, says: impl Fn(&Asked) -> Says, sent: &AtomicU64) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte.into());
    }
    let authorization = head.lines().find_map(|line| line.strip_prefix("authorization: ")).map(str::to_owned);
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let (status, headers, body) = says(&Asked { path, authorization });
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    match body {
        Body::Text(text) => stream.write_all(text.as_bytes()).await.unwrap(),
        Body::Endless => {
            while let Ok(bytes) = stream.write(&[b' '; 1 << 16]).await {
                sent.fetch_add(bytes as u64, SeqCst);
            }
        }
        Body::Trickle(first) => {
            let mut ticks = interval(Duration::from_millis(20));
            let mut written = stream.write_all(&first).await;
            while written.is_ok() {
                ticks.tick().await;
                written = stream.write_all(b" ").await;
            }
        }
    }
}

fn text(text: impl ToString) -> Says {
    ("200 OK", String::new(), Body::Text(text.to_string()))
}

fn bearer(host: SocketAddr) -> Says {
    let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{host}/token?a=b\",service=\"it\"\r\n");
    ("401 Unauthorized", challenge, Body::Text(String::new()))
}

async fn refused_layer(registry: &Registry, size: u64) -> String {
    let layer: Descriptor = serde_json::from_value(json!({"digest": Digest::of(b"layer"), "size": size})).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("blob");
    timeout(SOON, registry.download(&layer, &to, |_| {})).await.unwrap().unwrap_err().to_string()
}

#[tokio::test]
async fn an_endless_manifest_is_read_up_to_its_limit() {
    let server = Server::start(|_, _| ("200 OK", String::new(), Body::Endless)).await;
    assert_eq!(server.refused().await, format!("the manifest is larger than the limit of {MANIFEST_BYTES_MAX} bytes"));
    assert!(server.sent.load(SeqCst) < MANIFEST_BYTES_MAX + ON_ITS_WAY);
}

#[tokio::test]
async fn an_endless_token_is_read_up_to_its_limit() {
    let server = Server::start(|host, asked| match asked.path.starts_with("/token") {
        true => ("200 OK", String::new(), Body::Endless),
        false => bearer(host),
    })
    .await;
    assert_eq!(server.refused().await, format!("the token is larger than the limit of {PULL_TOKEN_BYTES_MAX} bytes"));
    assert!(server.sent.load(SeqCst) < ON_ITS_WAY);
}

#[tokio::test]
async fn an_endless_refusal_is_cut() {
    for status in ["500 Internal Server Error", "404 Not Found", "418 I'm a teapot"] {
        let server = Server::start(move |_, _| (status, String::new(), Body::Endless)).await;
        let error = refused_layer(&server.registry(None).0, 5).await;
        assert!(error.contains(&format!("HTTP status {}", &status[..3])), "{error}");
        assert!(error.len() < 1000 && server.sent.load(SeqCst) < ON_ITS_WAY, "{error}");
    }
}

#[tokio::test]
async fn a_trickle_is_not_waited_for() {
    let pace = Pace { within: Duration::from_millis(300), bytes: 1000 };
    let started = || Body::Trickle(vec![b' '; 100_000]);
    for body in [|| Body::Trickle(Vec::new()), started] {
        for status in ["200 OK", "500 Internal Server Error"] {
            let server = Server::start(move |_, _| (status, String::new(), body())).await;
            let (mut registry, name) = server.registry(None);
            registry.pace = pace;
            let error = timeout(SOON, registry.manifest(&name)).await.unwrap().unwrap_err().to_string();
            match status {
                "200 OK" => assert!(error.contains("manifest broke off: it comes too slowly: "), "{error}"),
                _ => assert!(error.contains("manifest: HTTP status 500"), "{error}"),
            }
            let error = refused_layer(&registry, 1 << 30).await;
            assert!(error.contains("too slowly") || error.contains("HTTP status 500"), "{error}");
        }
    }
    // Not even a head comes.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = ImageName::parse(&format!("{}/demo", listener.local_addr().unwrap())).unwrap();
    let mut registry = Registry::new(&name, None).unwrap();
    registry.pace = pace;
    let error = timeout(SOON, registry.manifest(&name)).await.unwrap().unwrap_err().to_string();
    assert!(error.contains("too slowly: 0 bytes within 0.3 s"), "{error}");
}

#[tokio::test]
async fn tokens_are_fetched_and_fetched_again() {
    let config = "{}";
    let manifest = json!({"schemaVersion": 2, "config": {"digest": Digest::of(config.as_bytes()), "size": 2, "mediaType": ""}, "layers": []});
    let given = Arc::new(AtomicU64::new(0));
    let counted = given.clone();
    let server = Server::start(move |host, asked| {
        // A token is good for one request.
        let good = format!("Bearer t{}", counted.load(SeqCst));
        match (asked.path.as_str(), asked.authorization.as_deref()) {
            ("/token?a=b&scope=repository%3Ateam%2Fdemo%3Apull&service=it", Some("Basic YWRhOnNlY3JldA==")) => {
                text(json!({"access_token": format!("t{}", counted.fetch_add(1, SeqCst) + 1)}))
            }
            (path, _) if path.starts_with("/token") => ("401 Unauthorized", String::new(), Body::Text("secret".into())),
            (path, Some(shown)) if shown == good => {
                if path.contains("/blobs/") {
                    text(config)
                } else {
                    // Used up.
                    counted.fetch_add(1, SeqCst);
                    text(&manifest)
                }
            }
            _ => bearer(host),
        }
    })
    .await;
    let ada = Credentials::Basic { username: "ada".into(), password: "secret".into() };
    let (registry, name) = server.registry(Some(&ada));
    let (_, config, _) = registry.manifest(&name).await.unwrap();
    assert_eq!(registry.config(&config).await.unwrap(), b"{}");
    assert_eq!(given.load(SeqCst), 3);

    let error = server.refused().await;
    assert!(error.contains("authentication failed: HTTP status 401; it does not exist or needs"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[tokio::test]
async fn what_is_shown_stays_with_the_registry() {
    // Where the registry leads to: it asks for a password itself, and is shown nothing.
    let other = Server::start(|_, asked| {
        assert_eq!(asked.authorization, None);
        ("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n".into(), Body::Text(String::new()))
    })
    .await;
    let there = other.address;
    let leads = Server::start(move |_, asked| {
        ("307 Temporary Redirect", format!("Location: http://{there}{}\r\n", asked.path), Body::Text(String::new()))
    })
    .await;
    let ada = Credentials::Basic { username: "ada".into(), password: "secret".into() };
    for credentials in [ada, Credentials::Token("secret".into())] {
        let (registry, name) = leads.registry(Some(&credentials));
        let error = registry.manifest(&name).await.unwrap_err().to_string();
        assert!(error.contains("authorization failed"), "{error}");
        assert_eq!(
            *registry.shown.lock().unwrap(),
            registry.given.clone().filter(|given| matches!(given, Credentials::Token(_)))
        );
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let envelope = |code: &str| json!({"errors": [{"code": code, "message": "no", "detail": {}}]}).to_string();
    let table = [
        ("404 Not Found", envelope("MANIFEST_UNKNOWN"), "not found in registry HOST: manifest: no"),
        ("404 Not Found", "gone".into(), "not found in registry HOST: manifest: HTTP status 404"),
        (
            "403 Forbidden",
            envelope("DENIED"),
            "refused access to HOST/team/demo:1: no; it does not exist or needs credentials",
        ),
        (
            "403 Forbidden",
            "no".into(),
            "refused access to HOST/team/demo:1: HTTP status 403; it does not exist or needs credentials",
        ),
        (
            "401 Unauthorized",
            String::new(),
            "refused access to HOST/team/demo:1: authorization failed; it does not exist or needs credentials",
        ),
        ("429 Too Many Requests", envelope("TOOMANYREQUESTS"), "failed on HOST/team/demo:1: manifest: no"),
        ("503 Service Unavailable", "later".into(), "failed on HOST/team/demo:1: manifest: HTTP status 503: later"),
        ("204 No Content", String::new(), "failed on HOST/team/demo:1: manifest: HTTP status 204: "),
    ];
    for (status, body, expected) in table {
        let server = Server::start(move |_, _| (status, String::new(), Body::Text(body.clone()))).await;
        let error = server.refused().await;
        assert!(error.ends_with(expected), "{status}: {error}");
    }
}
