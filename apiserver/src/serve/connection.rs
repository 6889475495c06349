//! One connection: its handshake, and HTTP/1.1 or HTTP/2 on it until it ends.
//!
//! Ten thousand of them are idle watches. So what is only needed at the start (the handshake, the handling of a request) lives in
//! boxes that are freed before the watch begins, and the protocol is taken from ALPN instead of being guessed from the first bytes.

use std::{
    convert::Infallible,
    io,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::Utc;
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderValue, Request, StatusCode, Version, header};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kontiki_raft::Proof;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    time::Instant,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use warp::reply::Response;

use super::{
    HTTP2, Peer,
    conversation::{Conversation, Ending},
    endless::{self, Lent},
    filter,
    places::Place,
};
use crate::{
    authn::Certified,
    handler::Handler,
    limits,
    peers::{
        RAFT_PROTOCOL,
        former::{Standing, standing},
    },
    sockets,
};

/// What all connections of a socket share.
pub struct Connections {
    tls: TlsAcceptor,
    handler: Arc<Handler>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    /// Of those without a certificate.
    http2_of_strangers: http2::Builder<TokioExecutor>,
}

/// When a connection is asked to end: as soon as the server stops, but not before its client, which the server has just let in,
/// had time to ask for something. A connection that is closed on a request under way leaves its client not knowing.
struct Leaving {
    stopping: CancellationToken,
    young_until: Instant,
}

impl Leaving {
    async fn due(&self) {
        self.stopping.cancelled().await;
        // Boxed: an idle connection keeps no place for a timer it may never need.
        tokio::time::sleep_until(self.young_until).boxed().await;
    }
}

impl Connections {
    pub fn new(tls: TlsAcceptor, handler: Arc<Handler>) -> Self {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(limits::HEADER_TIME_MAX);
        http1.max_headers(limits::RAW_HEADERS_MAX);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2.timer(TokioTimer::new());
        http2.keep_alive_interval(limits::KEEP_ALIVE_TIME).keep_alive_timeout(limits::KEEP_ALIVE_TIME);
        http2.max_concurrent_streams(limits::STREAMS_PER_CONNECTION_MAX);
        http2.max_header_list_size(limits::RAW_HEADER_BYTES_MAX);
        let mut http2_of_strangers = http2.clone();
        http2_of_strangers.max_concurrent_streams(limits::STREAMS_OF_STRANGERS_MAX);
        Connections { tls, handler, http1, http2, http2_of_strangers }
    }

    /// Serves one connection until its client, or the server, ends it.
    pub async fn serve(&self, stream: TcpStream, place: Place, stopping: CancellationToken) {
        if let Err(error) = sockets::prepare(&stream) {
            tracing::debug!(%error, "neither TCP_NODELAY nor probes");
        }
        let address = stream.peer_addr().ok().map(|address| address.ip());
        let leaving = Leaving { stopping, young_until: Instant::now() + limits::FIRST_REQUEST_TIME };
        let Some(stream) = self.handshake(stream, &leaving, &place.conversation).boxed().await else { return };
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let certificate = certificate.and_then(|certificate| Certified::of(certificate)).map(Arc::new);
        let protocol = session.alpn_protocol().map(<[u8]>::to_vec);
        if protocol.as_deref() == Some(RAFT_PROTOCOL) {
            return self.meet(certificate.as_deref(), stream);
        }
        expect_reading(stream.get_ref().0, true);
        let lasting = certificate.as_ref().is_some_and(|certificate| !certificate.ends_soon());
        let place = Arc::new(place);
        let peer = Peer { certificate, address, place: place.clone(), lasting };
        let _counted = self.handler.core().metrics.connection();
        let ended = match protocol.as_deref() == Some(HTTP2) {
            true => self.http2(stream, peer, leaving).boxed().await.map(|()| None),
            false => self.http1(stream, peer, leaving).boxed().await,
        };
        match ended {
            Ok(None) => {}
            Ok(Some((stream, response))) => {
                let sent = tokio::select! {
                    sent = endless::send(stream, response).boxed() => sent,
                    () = cut_off(&place.conversation) => Ok(()),
                };
                if let Err(error) = sent {
                    tracing::debug!(%error, "a stream ended");
                }
            }
            Err(error) => tracing::debug!(%error, "connection ended"),
        }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        leaving: &Leaving,
        conversation: &Conversation,
    ) -> Option<Box<TlsStream<TcpStream>>> {
        let handshake = async {
            let mut first = [0; 5];
            let seen = stream.peek(&mut first).await?;
            match is_plain(&first[..seen]) {
                true => Err(refuse_plain(stream).await.err().unwrap_or_else(|| io::ErrorKind::InvalidData.into())),
                false => self.tls.accept(stream).await,
            }
        };
        let handshake = tokio::time::timeout(limits::HANDSHAKE_TIME_MAX, handshake);
        let outcome = tokio::select! {
            outcome = handshake => outcome,
            () = leaving.due() => return None,
            _ = conversation.over() => return None,
        };
        match outcome {
            Err(_) => None,
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                None
            }
            Ok(Ok(stream)) => Some(Box::new(stream)),
        }
    }

    /// Hands a connection of another server to the log, which ends it; it outlives the serving of the API.
    fn meet(&self, certificate: Option<&Certified>, stream: Box<TlsStream<TcpStream>>) {
        let (core, now) = (self.handler.core(), Utc::now());
        let left = certificate.map_or(Duration::ZERO, |certificate| certificate.left_at(now));
        let identity = certificate.and_then(|certificate| certificate.identity_at(now));
        let standing = identity.map_or(Standing::Nobody, |identity| standing(core, identity));
        let peer = identity.map_or("", |identity| &identity.user);
        match standing {
            Standing::Heard { node } => {
                tracing::debug!(peer, "another server connects");
                let (log, proof) = (core.log.clone(), Proof { node, left });
                core.peer_connections.spawn(async move { log.accept_peer(stream, Some(proof)).await });
            }
            Standing::Removed => core.log.refuse_peer(&format!("{peer} was removed from the cluster")),
            Standing::Nobody => {
                core.log.refuse_peer(&format!("{peer:?} asked for the log's protocol without a server's certificate"));
            }
        }
    }

    /// Until the connection ends, or an answer without an end takes it.
    async fn http1(
        &self,
        stream: Box<TlsStream<TcpStream>>,
        peer: Peer,
        leaving: Leaving,
    ) -> Result<Option<(Box<TlsStream<TcpStream>>, Response)>, hyper::Error> {
        let (lent, (answer, taken)) = (Lent::new(stream), oneshot::channel());
        let conversation = peer.place.conversation.clone();
        let (service, answer) = (self.service(peer), Arc::new(Mutex::new(Some(answer))));
        let tunnelled = lent.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let may_take = endless::may_take(&request);
            let (answering, answer, tunnelled) = (service.call(request), answer.clone(), tunnelled.clone());
            async move {
                let response = answering.await?;
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    tunnelled.with(|stream| expect_reading(stream.get_ref().0, false));
                }
                if !may_take || !endless::takes(&response) {
                    return Ok::<_, Infallible>(response);
                }
                let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
                let Some(answer) = answer else { return Ok(response) };
                match answer.send(response) {
                    // The connection is dropped now, and this with it.
                    Ok(()) => std::future::pending().await,
                    Err(response) => Ok(response),
                }
            }
            .boxed()
        });
        let connection = self.http1.serve_connection(lent.clone(), service);
        let mut connection = pin!(connection.with_upgrades());
        let mut taken = pin!(taken);
        tokio::select! {
            ended = connection.as_mut() => ended.map(|()| None),
            Ok(response) = taken.as_mut() => Ok(lent.take().map(|stream| (stream, response))),
            () = cut_off(&conversation) => Ok(None),
            () = leaving.due() => {
                // The next request may be on its way. It is answered, as the last one: see `told`.
                let lingering = async {
                    tokio::select! {
                        ended = connection.as_mut() => ended.map(|()| None),
                        Ok(response) = taken.as_mut() => Ok(lent.take().map(|stream| (stream, response))),
                    }
                };
                if let Ok(ended) = tokio::time::timeout(limits::LINGER_TIME, lingering).await {
                    return ended;
                }
                taken.close();
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(limits::SHUTDOWN_TIME_MAX, connection).await.unwrap_or(Ok(())).map(|()| None)
            }
        }
    }

    async fn http2(&self, stream: Box<TlsStream<TcpStream>>, peer: Peer, leaving: Leaving) -> Result<(), hyper::Error> {
        let http2 = if peer.certificate.is_some() { &self.http2 } else { &self.http2_of_strangers };
        let conversation = peer.place.conversation.clone();
        let mut connection = pin!(http2.serve_connection(TokioIo::new(stream), self.service(peer)));
        loop {
            tokio::select! {
                ended = connection.as_mut() => return ended,
                ending = conversation.over() => match ending {
                    Ending::InOrder => connection.as_mut().graceful_shutdown(),
                    Ending::AtOnce => return Ok(()),
                },
                () = leaving.due() => {
                    connection.as_mut().graceful_shutdown();
                    return tokio::time::timeout(limits::SHUTDOWN_TIME_MAX, connection).await.unwrap_or(Ok(()));
                }
            }
        }
    }

    /// Boxed, so that a connection keeps no place for the handling of a request when there is none.
    fn service(
        &self,
        peer: Peer,
    ) -> impl Service<
        Request<Incoming>,
        Response = warp::reply::Response,
        Error = Infallible,
        Future = BoxFuture<'static, Result<warp::reply::Response, Infallible>>,
    > + use<> {
        let filter = warp::service(filter::everything(self.handler.clone()));
        let core = self.handler.core().clone();
        service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            let is_last = peer.is_outlived();
            if is_last {
                peer.place.conversation.end(Ending::InOrder);
            }
            let (version, core) = (request.version(), core.clone());
            let answer = filter.clone().oneshot(request);
            async move { Ok(told(version, answer.await?, is_last || core.is_draining())) }.boxed()
        })
    }
}

/// Until the connection has to end at once. Where it is to end in order, its answers say that they are the last.
async fn cut_off(conversation: &Conversation) {
    while conversation.over().await != Ending::AtOnce {}
}

impl Peer {
    /// Whether the certificate has ended, or will soon and would not when the connection was made: a client that has a newer one
    /// shows that on its next connection.
    fn is_outlived(&self) -> bool {
        let Some(certificate) = &self.certificate else { return false };
        self.lasting && certificate.ends_soon() || certificate.identity_at(Utc::now()).is_none()
    }
}

fn expect_reading(stream: &TcpStream, expected: bool) {
    if let Err(error) = sockets::expect_reading(stream, expected) {
        tracing::debug!(%error, "no time to wait for what is sent");
    }
}

/// The last answer of a connection over HTTP/1.1 says that it is: while the server drains, and for one that is left otherwise. Then no
/// client sends a request into a connection that is being closed. HTTP/2 has GOAWAY for it.
fn told(version: Version, mut response: warp::reply::Response, is_last: bool) -> warp::reply::Response {
    if is_last && version < Version::HTTP_2 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether somebody speaks HTTP without TLS.
fn is_plain(first: &[u8]) -> bool {
    ["GET /", "HEAD ", "POST ", "PUT /", "PATCH", "DELET", "OPTIO"].iter().any(|method| first == method.as_bytes())
}

/// In the words of Go's server. The request is read first: what is left unread would take the answer back.
async fn refuse_plain(mut stream: TcpStream) -> io::Result<()> {
    let mut request = vec![0; 8 * 1024];
    if stream.read(&mut request).await? == 0 {
        return Ok(());
    }
    let answer = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    stream.write_all(answer).await?;
    stream.shutdown().await
}
