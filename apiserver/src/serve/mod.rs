//! The socket: accepting connections, TLS, HTTP/1.1 and HTTP/2, and ending in order.
mod connection;
mod conversation;
mod endless;
mod filter;
mod places;
mod tls;

use std::{io, net::IpAddr, sync::Arc};

use futures::FutureExt as _;
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use self::{connection::Connections, conversation::Conversation, places::Places};
pub(crate) use self::{
    places::{Place, Proved},
    tls::{ServerTls, TlsError},
};
use crate::{authn::Certified, handler::Handler, limits};

const HTTP2: &[u8] = b"h2";

/// Whom a connection's certificate names, if it has one, from where it was made, and its place. Travels with each of its requests.
#[derive(Clone)]
pub(crate) struct Peer {
    certificate: Option<Arc<Certified>>,
    address: Option<IpAddr>,
    place: Arc<Place>,
    /// The certificate had much time left when the connection was made.
    lasting: bool,
}

/// Serves until the core's `stopping` is cancelled; then connections finish what they are at.
pub(crate) async fn serve(listener: TcpListener, tls: TlsAcceptor, handler: Arc<Handler>) {
    let stopping = handler.core().stopping.clone();
    let places = Arc::new(Places::default());
    let open = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX + limits::CLOSING_CONNECTIONS_MAX));
    let unsent = handler.core().fairness.unsent.clone();
    let tasks = TaskTracker::new();
    let connections = Arc::new(Connections::new(tls, handler));
    let serve_one = |stream, open: Option<OwnedSemaphorePermit>| {
        let place = places.take(Conversation::new(unsent.clone()));
        let (connections, stopping) = (connections.clone(), stopping.clone());
        async move {
            connections.serve(stream, place, stopping).await;
            drop(open);
        }
    };
    let accepting = async {
        loop {
            let Ok(open) = open.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => _ = tasks.spawn(serve_one(stream, Some(open))),
                Err(error) => refused(&error, &places).await,
            }
        }
    };
    stopping.run_until_cancelled(accepting).await;
    // Whoever the kernel has let in already is served, too.
    while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
        tasks.spawn(serve_one(stream, None));
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// Out of file descriptors and the like: wait for connections to end instead of spinning.
async fn refused(error: &io::Error, places: &Places) {
    let of_the_client = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
    if !of_the_client.contains(&error.kind()) {
        tracing::warn!(%error, "connection not accepted");
        places.close_eldest();
        tokio::time::sleep(limits::ACCEPT_PAUSE).await;
    }
}
