//! What an idle watcher costs: opens many watches over TLS, each on a connection of its own (or many on one, by HTTP/2), and
//! tells by how much a server's resident memory grew per watch.
//!
//! `cargo run --release -p kontiki-apiserver --example idle_watchers -- <pid> <kubeconfig> [watches] [watches per connection]`

use std::{error::Error, fs, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{net::TcpStream, sync::Semaphore, task::JoinSet};
use tokio_rustls::{TlsConnector, client::TlsStream};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Handshakes under way at once.
const OPENING_MAX: usize = 64;
const SETTLE: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [pid, kubeconfig, rest @ ..] = arguments.as_slice() else {
        return Err("usage: idle_watchers <pid> <kubeconfig> [watches] [watches per connection]".into());
    };
    let number = |position: usize, default: usize| rest.get(position).map_or(Ok(default), |text| text.parse());
    let (watches, each) = (number(0, 10_000)?, number(1, 1)?);
    let text = fs::read_to_string(kubeconfig)?;
    let server: Uri = line(&text, "server")?.parse()?;
    let tls = TlsConnector::from(Arc::new(tls(&text, each > 1)?));
    let before = resident(pid)?;
    let opening = Arc::new(Semaphore::new(OPENING_MAX));
    let mut open = JoinSet::new();
    for _ in 0..watches.div_ceil(each) {
        let (tls, server, opening) = (tls.clone(), server.clone(), opening.clone());
        open.spawn(async move {
            let _place = opening.acquire_owned().await?;
            let stream = connect(&tls, &server).await?;
            if each > 1 { many(stream, &server, each).await } else { one(stream, &server).await }
        });
    }
    let mut held = Vec::new();
    while let Some(watch) = open.join_next().await {
        held.push(watch??);
    }
    tokio::time::sleep(SETTLE).await;
    let after = resident(pid)?;
    let per_watch = after.saturating_sub(before) * 1024 / watches.max(1);
    println!("{watches} watches, {each} per connection: {before} -> {after} KiB resident, {per_watch} bytes each");
    drop(held);
    Ok(())
}

/// What keeps a connection's watches open.
type Held = Box<dyn Send>;

async fn connect(tls: &TlsConnector, server: &Uri) -> Outcome<TlsStream<TcpStream>> {
    let (host, port) = (server.host().ok_or("no host")?.to_owned(), server.port_u16().unwrap_or(443));
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    Ok(tls.connect(ServerName::try_from(host)?, stream).await?)
}

async fn one(stream: TlsStream<TcpStream>, server: &Uri) -> Outcome<Held> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request(server)?).await?;
    let body = first_frame(response).await?;
    Ok(Box::new((sender, driver, body)))
}

async fn many(stream: TlsStream<TcpStream>, server: &Uri, watches: usize) -> Outcome<Held> {
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let mut bodies = Vec::new();
    for _ in 0..watches {
        let response = sender.send_request(request(server)?).await?;
        bodies.push(first_frame(response).await?);
    }
    Ok(Box::new((sender, driver, bodies)))
}

/// The first event has arrived: from then on the watch is idle.
async fn first_frame(response: http::Response<hyper::body::Incoming>) -> Outcome<hyper::body::Incoming> {
    if !response.status().is_success() {
        return Err(format!("the watch was refused: {}", response.status()).into());
    }
    let mut body = response.into_body();
    body.frame().await.ok_or("the watch ended")??;
    Ok(body)
}

fn request(server: &Uri) -> Outcome<Request<Empty<Bytes>>> {
    let path = "/api/v1/namespaces?watch=true&allowWatchBookmarks=true&timeoutSeconds=600";
    let uri: Uri = format!("{server}{path}", server = server.to_string().trim_end_matches('/')).parse()?;
    let host = server.authority().map(ToString::to_string).unwrap_or_default();
    Ok(Request::builder().uri(uri).header("host", host).body(Empty::new())?)
}

fn resident(pid: &str) -> Outcome<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}

fn line<'a>(text: &'a str, name: &str) -> Outcome<&'a str> {
    let found = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
    Ok(found.ok_or_else(|| format!("the kubeconfig has no {name}"))?.trim())
}

fn tls(kubeconfig: &str, http2: bool) -> Outcome<ClientConfig> {
    let field = |name: &str| -> Outcome<Vec<u8>> { Ok(STANDARD.decode(line(kubeconfig, name)?)?) };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&field("certificate-authority-data")?)?)?;
    let pem = field("client-certificate-data")?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&field("client-key-data")?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(config)
}
