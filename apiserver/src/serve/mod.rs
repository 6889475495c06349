//! The socket: accepting connections, TLS, HTTP/1.1 and HTTP/2, and ending in order.
mod connection;
mod endless;
mod filter;
mod tls;

use std::{io, net::IpAddr, sync::Arc};

use futures::FutureExt as _;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use self::connection::Connections;
pub(crate) use self::tls::{ServerTls, TlsError};
use crate::{handler::Handler, limits, request::Identity};

const HTTP2: &[u8] = b"h2";

/// The identity of a connection's certificate, if it has one, and from where it was made. Travels with each of its requests.
#[derive(Clone)]
pub(crate) struct Peer {
    certificate: Option<Arc<Identity>>,
    address: Option<IpAddr>,
}

/// Serves until the core's `stopping` is cancelled; then connections finish what they are at.
pub(crate) async fn serve(listener: TcpListener, tls: TlsAcceptor, handler: Arc<Handler>) {
    let stopping = handler.core().stopping.clone();
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let tasks = TaskTracker::new();
    let connections = Arc::new(Connections::new(tls, handler));
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
            let (connections, stopping) = (connections.clone(), stopping.clone());
            tasks.spawn(async move {
                connections.serve(stream, stopping).await;
                drop(place);
            });
        }
    };
    stopping.run_until_cancelled(accepting).await;
    // Whoever the kernel has let in already is served, too.
    while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
        let (connections, stopping) = (connections.clone(), stopping.clone());
        tasks.spawn(async move { connections.serve(stream, stopping).await });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// Out of file descriptors and the like: wait for connections to end instead of spinning.
async fn refused(error: &io::Error) {
    let of_the_client = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
    if !of_the_client.contains(&error.kind()) {
        tracing::warn!(%error, "connection not accepted");
        tokio::time::sleep(limits::ACCEPT_PAUSE).await;
    }
}
