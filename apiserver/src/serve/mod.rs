//! The socket: accepting connections, TLS, HTTP/1.1 and HTTP/2, and ending in order.
mod filter;
mod tls;

use std::{io, sync::Arc};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

pub(crate) use self::tls::{ServerTls, TlsError};
use crate::{authn, handler::Handler, limits, peers::RAFT_PROTOCOL, pki::SERVERS, request::Identity};

/// The identity of a connection's certificate, if it has one. Travels with each of its requests.
#[derive(Clone)]
pub(crate) struct Peer(Option<Arc<Identity>>);

/// Serves until the core's `stopping` is cancelled; then connections finish what they are at.
pub(crate) async fn serve(listener: TcpListener, tls: TlsAcceptor, handler: Arc<Handler>) {
    let stopping = handler.core().stopping.clone();
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    let builder = Arc::new(http_builder());
    let accepting = async {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    refused(&error).await;
                    continue;
                }
            };
            let connection = Connection { tls: tls.clone(), handler: handler.clone(), builder: builder.clone() };
            let stopping = stopping.clone();
            connections.spawn(async move {
                connection.serve(stream, stopping).await;
                drop(place);
            });
        }
    };
    stopping.run_until_cancelled(accepting).await;
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Out of file descriptors and the like: wait for connections to end instead of spinning.
async fn refused(error: &io::Error) {
    let of_the_client = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
    if !of_the_client.contains(&error.kind()) {
        tracing::warn!(%error, "connection not accepted");
        tokio::time::sleep(limits::ACCEPT_PAUSE).await;
    }
}

fn http_builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits::HEADER_TIME_MAX);
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new());
    http2.keep_alive_interval(limits::KEEP_ALIVE_TIME).keep_alive_timeout(limits::KEEP_ALIVE_TIME);
    http2.max_concurrent_streams(limits::STREAMS_PER_CONNECTION_MAX);
    builder
}

struct Connection {
    tls: TlsAcceptor,
    handler: Arc<Handler>,
    builder: Arc<auto::Builder<TokioExecutor>>,
}

impl Connection {
    async fn serve(self, stream: TcpStream, stopping: CancellationToken) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let handshake = tokio::time::timeout(limits::HANDSHAKE_TIME_MAX, self.tls.accept(stream));
        let stream = match stopping.run_until_cancelled(handshake).await {
            None | Some(Err(_)) => return,
            Some(Ok(Err(error))) => {
                tracing::debug!(%error, "TLS handshake failed");
                return;
            }
            Some(Ok(Ok(stream))) => stream,
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let peer = Peer(certificate.and_then(|certificate| authn::identity_of(certificate)).map(Arc::new));
        if stream.get_ref().1.alpn_protocol() == Some(RAFT_PROTOCOL) {
            return self.meet(peer, stream);
        }
        let _counted = self.handler.core().metrics.connection();
        let filter = warp::service(filter::everything(self.handler.clone()));
        let service = filter.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer.clone());
            request
        });
        let io = TokioIo::new(stream);
        let connection = self.builder.serve_connection_with_upgrades(io, TowerToHyperService::new(service));
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(limits::SHUTDOWN_TIME_MAX, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    }

    /// Hands a connection of another server to the log, which ends it; it outlives the serving of the API.
    fn meet(self, Peer(identity): Peer, stream: TlsStream<TcpStream>) {
        let core = self.handler.core();
        match identity.filter(|identity| identity.in_group(SERVERS)) {
            Some(identity) => {
                tracing::debug!(peer = identity.user, "another server connects");
                let log = core.log.clone();
                core.peer_connections.spawn(async move { log.accept_peer(Box::new(stream)).await });
            }
            None => tracing::warn!("a client without a server's certificate asked for the log's protocol: refused"),
        }
    }
}
