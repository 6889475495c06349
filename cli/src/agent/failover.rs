//! An agent's way to the API: one HTTP/2 connection to one server, and to another one when that dies, hangs, or has lost its
//! majority.
//!
//! A connection that is given up ends all that runs on it, watches too: they resume on the next server, from the revision they
//! had. What may be asked twice is asked again; a write whose connection broke is not, for nobody knows whether it was done.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, Uri, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kontiki_apiserver::peers::connect;
use kontiki_informer::Outage;
use kube::client::Body;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service};
use tracing::{debug, info, warn};

use super::reach::Reach;
use crate::client::abrupt::Abrupt;

/// TCP and TLS, together.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// A silent connection is probed after this much silence, and given up when the probe is not answered for as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// How often the server is asked whether it still has a majority behind it, and how long it may take to say so.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
const CHECK_PATIENCE: Duration = Duration::from_secs(3);
/// A write that is not answered in this time is given up; what may be asked twice is asked of another server sooner.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(70);
const READ_TIME_MAX: Duration = Duration::from_secs(10);
/// Rounds through all servers for one request, and the pause between them.
const ROUNDS_MAX: usize = 2;
const ROUND_PAUSE: Duration = Duration::from_millis(300);

/// A tower service for `kube` clients; clones share the connection.
#[derive(Clone)]
pub struct Failover {
    shared: Arc<Shared>,
}

struct Shared {
    tls: TlsConnector,
    state: tokio::sync::Mutex<Current>,
    servers: Mutex<Vec<String>>,
    first: usize,
}

/// The connection in use, and which server of the list it leads to.
struct Current {
    server: String,
    connection: Option<Connection>,
    /// Raised with each connection: who finds one broken must not end its successor.
    generation: u64,
    /// The connection has brought an answer. Over TLS it seems good until then, also to who is not let in.
    proven: bool,
    reach: Reach,
    outage: Outage,
}

struct Connection {
    sender: http2::SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Current {
    fn new(servers: &[String]) -> Self {
        let outage = Outage::new("no server answers this agent; it tries again, now and then", servers.join(", "));
        Current {
            server: String::new(),
            connection: None,
            generation: 0,
            proven: false,
            reach: Reach::default(),
            outage,
        }
    }

    fn fail(&mut self, servers: usize, why: &str) {
        if self.reach.failed(servers, why, Instant::now()) {
            self.outage.failed(&why);
        }
    }
}

/// What hyper says, and what is behind it: a refusal of the certificate is its cause's cause.
fn reason(error: &hyper::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl Failover {
    /// `servers` as `host:port`, tried in turn; `first` says where to begin, counted round.
    pub fn new(tls: TlsConnector, servers: Vec<String>, first: usize) -> Self {
        let state = tokio::sync::Mutex::new(Current::new(&servers));
        let shared = Shared { tls, state, servers: Mutex::new(servers), first };
        Failover { shared: Arc::new(shared) }
    }

    /// The servers as they are now; the one in use is kept while it works.
    pub fn learn(&self, servers: Vec<String>) {
        *self.shared.servers.lock().unwrap_or_else(PoisonError::into_inner) = servers;
    }

    /// Asks the server in use every now and then whether it is still worth asking, and leaves it if not.
    pub async fn check(&self, cancel: CancellationToken) {
        let checking = async {
            loop {
                tokio::time::sleep(CHECK_INTERVAL).await;
                let Ok((sender, generation)) = self.connection(None).await else { continue };
                let request = Request::get("/readyz").body(Full::default()).expect("a constant request");
                match tokio::time::timeout(CHECK_PATIENCE, self.send(sender, request)).await {
                    Ok(Ok(answer)) if answer.status() == StatusCode::OK => {}
                    Ok(Ok(answer)) => self.leave(generation, &format!("it is not ready ({})", answer.status())).await,
                    Ok(Err(error)) => self.leave(generation, &reason(&error)).await,
                    Err(_) => self.leave(generation, "it does not answer").await,
                }
            }
        };
        cancel.run_until_cancelled(checking).await;
    }

    /// A connection that works, to the current server or, in turn, to the next. `not` names a generation that does not.
    async fn connection(&self, not: Option<u64>) -> io::Result<(http2::SendRequest<Full<Bytes>>, u64)> {
        let mut current = self.shared.state.lock().await;
        if let Some(connection) = &current.connection
            && !connection.sender.is_closed()
            && Some(current.generation) != not
        {
            return Ok((connection.sender.clone(), current.generation));
        }
        if let Some(why) = current.reach.pausing(Instant::now()) {
            return Err(io::Error::new(io::ErrorKind::NotConnected, why));
        }
        current.connection = None;
        let servers = self.shared.servers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Agents begin anywhere, so that they do not all sit on the first server, and go on in turn.
        let start = match servers.iter().position(|server| *server == current.server) {
            Some(found) => found + 1,
            None => self.shared.first,
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no server is known");
        for step in 0..servers.len() {
            let server = &servers[start.wrapping_add(step) % servers.len()];
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
            let opened = tokio::time::timeout(CONNECT_TIME_MAX, self.open(server)).await.map_err(late);
            match opened.and_then(|opened| opened) {
                Ok(connection) => {
                    debug!(server, "connected");
                    let sender = connection.sender.clone();
                    current.server.clone_from(server);
                    current.connection = Some(connection);
                    current.generation += 1;
                    current.proven = false;
                    return Ok((sender, current.generation));
                }
                Err(error) => {
                    debug!(server, %error, "no connection");
                    last = io::Error::new(error.kind(), format!("{server}: {error}"));
                }
            }
        }
        // All were tried: as good as so many failures.
        current.fail(1, &last.to_string());
        Err(last)
    }

    async fn open(&self, server: &str) -> io::Result<Connection> {
        let stream = connect(&self.shared.tls, server).await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        builder.keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(KEEP_ALIVE).keep_alive_while_idle(true);
        let (sender, connection) = builder.handshake(TokioIo::new(Abrupt(stream))).await.map_err(io::Error::other)?;
        let server = server.to_owned();
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(server, %error, "connection ended");
            }
        });
        Ok(Connection { sender, driver: driver.abort_handle() })
    }

    /// Gives up a connection, and with it everything that runs on it.
    async fn leave(&self, generation: u64, why: &str) {
        let servers = self.shared.servers.lock().unwrap_or_else(PoisonError::into_inner).len();
        let mut current = self.shared.state.lock().await;
        if current.generation != generation || current.connection.take().is_none() {
            return;
        }
        match current.proven {
            true => warn!(server = current.server, why, "leaving this server"),
            false => {
                let why = format!("{}: {why}", current.server);
                current.fail(servers, &why);
            }
        }
    }

    /// The connection has brought an answer.
    async fn prove(&self, generation: u64) {
        let mut current = self.shared.state.lock().await;
        if current.generation == generation && !current.proven {
            current.proven = true;
            current.reach.answered();
            current.outage.over();
            info!(server = current.server, "connected");
        }
    }

    async fn send(
        &self,
        mut sender: http2::SendRequest<Full<Bytes>>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = format!("https://kubernetes.default.svc{path}").parse::<Uri>().unwrap_or_default();
        sender.ready().await?;
        sender.send_request(request).await
    }

    async fn ask(self, parts: Parts, body: Bytes) -> Result<Response<Incoming>, BoxError> {
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        let patience = if reads { READ_TIME_MAX } else { ANSWER_TIME_MAX };
        let attempts = self.shared.servers.lock().unwrap_or_else(PoisonError::into_inner).len().max(1) * ROUNDS_MAX;
        let mut broken = None;
        for attempt in 1.. {
            let connected = self.connection(broken).await;
            let last = attempt >= attempts;
            let (sender, generation) = match connected {
                Ok(connected) => connected,
                Err(error) if last => return Err(error.into()),
                Err(_) => {
                    tokio::time::sleep(ROUND_PAUSE).await;
                    continue;
                }
            };
            broken = Some(generation);
            let request = Request::from_parts(parts.clone(), Full::new(body.clone()));
            match tokio::time::timeout(patience, self.send(sender, request)).await {
                Ok(Ok(answer)) if answer.status() == StatusCode::SERVICE_UNAVAILABLE && !last => {
                    self.leave(generation, "it answers 503").await;
                    tokio::time::sleep(ROUND_PAUSE).await;
                }
                // It cannot serve, and says why: no proof that it does.
                Ok(Ok(answer)) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => return Ok(answer),
                Ok(Ok(answer)) => {
                    self.prove(generation).await;
                    return Ok(answer);
                }
                // Never sent: as good as not asked.
                Ok(Err(error)) if (reads || error.is_canceled()) && !last => {
                    self.leave(generation, &reason(&error)).await;
                }
                Ok(Err(error)) => {
                    self.leave(generation, &reason(&error)).await;
                    return Err(error.into());
                }
                Err(_) => {
                    self.leave(generation, "it does not answer").await;
                    if !reads || last {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time").into());
                    }
                }
            }
        }
        unreachable!("the last attempt returns")
    }
}

impl Service<Request<Body>> for Failover {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Incoming>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            // An agent's requests are small and in memory: kept, they can be sent again.
            let body = body.collect().await?.to_bytes();
            this.ask(parts, body).await
        })
    }
}
