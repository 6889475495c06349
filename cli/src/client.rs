//! Asking a cluster's API over HTTPS, as a kubeconfig describes it; another of its servers when one does not answer.
//!
//! A kubeconfig may name several servers of one cluster: those entries below `clusters` that trust the same CA as the
//! current context's. They are tried from the current one on. What may be asked twice (reads, and whatever a server
//! refused with 503 before doing anything) goes on to the next server; a write whose connection broke does not, because
//! nobody knows whether it was done.

pub mod abrupt;
mod connection;
#[cfg(test)]
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tower::BoxError;

use self::connection::{Connection, Server};
use crate::args::ClusterTarget;

/// A body of any length.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// After this time without an answer the next server is tried beside the first.
const STAGGER: Duration = Duration::from_millis(250);
/// A read that is not answered within this time is asked of another server.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
/// Servers give up a write after 60 s: whoever has not answered by then will not.
const WRITE_TIME_MAX: Duration = Duration::from_secs(70);
/// How long servers that say they cannot answer yet (503) are asked again.
const UNAVAILABLE_TIME_MAX: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// A cluster, through whichever of its servers answers.
pub struct Client {
    servers: Vec<Arc<Server>>,
    /// The one that answered last.
    current: AtomicUsize,
    agent: HeaderValue,
    /// Where objects are that are named without a namespace.
    pub namespace: String,
}

/// What is sent along.
pub enum Payload {
    Nothing,
    Bytes {
        content_type: &'static str,
        bytes: Bytes,
    },
    /// Sent as it comes, once: only connecting is tried again.
    Stream {
        content_type: &'static str,
        body: Body,
    },
}

/// What a server said instead of doing it: its Status.
#[derive(Clone, Debug)]
pub struct Refused {
    pub code: u16,
    pub message: String,
}

impl std::error::Error for Refused {}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Client {
    /// A client of the cluster that the arguments name: `--kubeconfig`, else `KUBECONFIG`, else the data folder's.
    pub async fn open(target: &ClusterTarget) -> Result<Client> {
        Client::of(read_kubeconfig(target)?).await
    }

    pub async fn of(kubeconfig: Kubeconfig) -> Result<Client> {
        let options = |cluster| KubeConfigOptions { cluster, ..KubeConfigOptions::default() };
        let first = kube::Config::from_custom_kubeconfig(kubeconfig.clone(), &options(None)).await;
        let first = first.context("understanding the kubeconfig")?;
        let mut servers = vec![Arc::new(Server::new(&first)?)];
        for cluster in &kubeconfig.clusters {
            let options = options(Some(cluster.name.clone()));
            // An entry that makes no sense is another cluster's affair.
            let Ok(other) = kube::Config::from_custom_kubeconfig(kubeconfig.clone(), &options).await else { continue };
            let same = first.root_cert.is_some() && other.root_cert == first.root_cert;
            if same && !other.accept_invalid_certs && !servers.iter().any(|server| server.url == other.cluster_url) {
                servers.push(Arc::new(Server::new(&other)?));
            }
        }
        let agent = HeaderValue::from_static(concat!("kontiki/", env!("CARGO_PKG_VERSION")));
        Ok(Client { servers, current: AtomicUsize::new(0), agent, namespace: first.default_namespace })
    }

    /// The server that answered last.
    pub fn server(&self) -> String {
        self.servers[self.current.load(Ordering::Relaxed) % self.servers.len()].url.to_string()
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        self.json(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.json(Method::POST, path, Some(body)).await
    }

    /// Sends JSON and reads JSON.
    pub async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let payload = match body {
            None => Payload::Nothing,
            Some(value) => {
                Payload::Bytes { content_type: "application/json", bytes: serde_json::to_vec(value)?.into() }
            }
        };
        let response = self.send(method, path, &[], payload).await?;
        let bytes = response.into_body().collect().await.context("reading the answer")?.to_bytes();
        serde_json::from_slice(&bytes).context("the server answered something other than JSON")
    }

    /// The answer to one request, if it is a success; a failure is a [`Refused`]. The body is not read yet.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        payload: Payload,
    ) -> Result<Response<Incoming>> {
        let mut head = HeaderMap::new();
        head.insert(header::USER_AGENT, self.agent.clone());
        head.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            head.insert(name, HeaderValue::from_str(value).with_context(|| format!("header {name}"))?);
        }
        let bytes = match payload {
            Payload::Nothing => Bytes::new(),
            Payload::Bytes { content_type, bytes } => {
                head.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
                bytes
            }
            Payload::Stream { content_type, body } => {
                head.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
                let response = self.connect().await?.send(method, path, head, body).await;
                return succeeded(response.context("the connection broke; whether it was done is not known")?).await;
            }
        };
        self.send_bytes(&method, path, head, bytes).await
    }

    async fn send_bytes(
        &self,
        method: &Method,
        path: &str,
        head: HeaderMap,
        bytes: Bytes,
    ) -> Result<Response<Incoming>> {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let deadline = Instant::now() + UNAVAILABLE_TIME_MAX;
        loop {
            let connection = self.connect().await?;
            let body = Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync();
            let sent = connection.send(method.clone(), path, head.clone(), body);
            let answered = if reads {
                tokio::time::timeout(HEAD_TIME_MAX, sent).await.unwrap_or_else(|_| Err(anyhow!("no answer in time")))
            } else {
                tokio::time::timeout(WRITE_TIME_MAX, sent).await.unwrap_or_else(|_| Err(anyhow!("no answer in time")))
            };
            let again = Instant::now() < deadline;
            match answered {
                Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE && again => {}
                Ok(response) => return succeeded(response).await,
                Err(error) if reads && again => {
                    tracing::debug!(%error, server = self.server(), "asking another server")
                }
                Err(error) if reads => return Err(error.context(format!("asking {}", self.server()))),
                Err(error) => return Err(error.context("the connection broke; whether it was done is not known")),
            }
            self.current.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A connection to the first server that takes one, from the current one on: each gets a head start over the next.
    async fn connect(&self) -> Result<Connection> {
        let start = self.current.load(Ordering::Relaxed);
        let mut order = (0..self.servers.len()).map(|step| (start + step) % self.servers.len());
        let mut failures = Vec::new();
        let mut trying = FuturesUnordered::new();
        loop {
            match order.next() {
                Some(next) => {
                    let server = self.servers[next].clone();
                    trying.push(async move { (next, server.connect().await) }.boxed());
                }
                None if trying.is_empty() => bail!("no server can be reached:\n  {}", failures.join("\n  ")),
                None => {}
            }
            let ended = match order.len() {
                0 => trying.next().await,
                _ => tokio::time::timeout(STAGGER, trying.next()).await.unwrap_or(None),
            };
            match ended {
                Some((answered, Ok(connection))) => {
                    self.current.store(answered, Ordering::Relaxed);
                    return Ok(connection);
                }
                Some((failed, Err(error))) => failures.push(format!("{}: {error:#}", self.servers[failed].url)),
                None => {}
            }
        }
    }
}

/// The files that say where the cluster is and who we are there.
fn read_kubeconfig(target: &ClusterTarget) -> Result<Kubeconfig> {
    let named = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
    let files: Vec<PathBuf> = match (&target.kubeconfig, named) {
        (Some(file), _) => vec![file.clone()],
        // Several files are one, as for kubectl; those that are not there do not count.
        (None, Some(list)) => std::env::split_paths(&list).filter(|path| path.exists()).collect(),
        (None, None) => vec![target.data.data_dir.join("kubeconfig")],
    };
    let mut merged: Option<Kubeconfig> = None;
    for file in &files {
        let read = read_file(file)?;
        merged = Some(match merged {
            None => read,
            Some(before) => before.merge(read).with_context(|| format!("merging {}", file.display()))?,
        });
    }
    merged.context("KUBECONFIG names no file that is there")
}

fn read_file(file: &Path) -> Result<Kubeconfig> {
    let reading = || format!("reading {}", file.display());
    // Its own words for a file that is not there quote twice.
    fs::File::open(file).with_context(reading)?;
    Kubeconfig::read_from(file).with_context(reading)
}

async fn succeeded(response: Response<Incoming>) -> Result<Response<Incoming>> {
    let code = response.status();
    if code.is_success() {
        return Ok(response);
    }
    let bytes = response.into_body().collect().await.context("reading the answer")?.to_bytes();
    let status: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let message = status["message"]
        .as_str()
        .map_or_else(|| format!("{code}: {}", String::from_utf8_lossy(&bytes)), str::to_owned);
    Err(Refused { code: code.as_u16(), message }.into())
}
