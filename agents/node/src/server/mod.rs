//! The kubelet API: logs, exec, attach, port-forward and images, for the API server alone. Identity is the client's
//! certificate; what a user may do was decided before the API server asks.

mod answer;
mod channels;
mod images;
mod log_file;
mod log_stream;
mod portforward;
mod route;
mod streams;
mod tls;

use std::{net::SocketAddr, sync::Arc};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::{
    config::NodeTls,
    error::NodeError,
    limits::{SERVER_CONNECTIONS_MAX, TLS_HANDSHAKE},
    node::NodeContext,
};

/// A bound socket with its TLS identity, not serving yet.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    client_name: String,
}

impl Listener {
    pub fn bind(address: SocketAddr, tls: &NodeTls) -> Result<Listener, NodeError> {
        let listen = || -> std::io::Result<(TcpListener, SocketAddr)> {
            let socket = std::net::TcpListener::bind(address)?;
            socket.set_nonblocking(true)?;
            let bound = socket.local_addr()?;
            Ok((TcpListener::from_std(socket)?, bound))
        };
        let (socket, bound) = listen().map_err(|source| NodeError::Listen { address, source })?;
        let acceptor = tls::acceptor(tls).map_err(NodeError::Tls)?;
        Ok(Listener { socket, address: bound, acceptor, client_name: tls.client_name.clone() })
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Serves until `stop`, then lets go of every connection.
    pub async fn serve(self, node: Arc<NodeContext>, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let free = Arc::new(Semaphore::new(SERVER_CONNECTIONS_MAX));
        let shared = Arc::new((self.acceptor, self.client_name));
        loop {
            let Ok(permit) = free.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (shared, node) = (shared.clone(), node.clone());
                    let work = stop.clone().run_until_cancelled_owned(async move {
                        connection(stream, &shared.0, &shared.1, node).await;
                        drop(permit);
                    });
                    connections.spawn(work);
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(crate::limits::API_RETRY_FIRST).await;
                }
            }
        }
        connections.close();
        connections.wait().await;
    }
}

async fn connection(stream: TcpStream, acceptor: &TlsAcceptor, client_name: &str, node: Arc<NodeContext>) {
    let stream = match tokio::time::timeout(TLS_HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "TLS handshake failed"),
        Err(_) => return debug!("TLS handshake took too long"),
    };
    let client = tls::client(&stream);
    let allowed = client.as_deref() == Some(client_name);
    let service = service_fn(move |request| {
        let node = node.clone();
        let client = client.clone();
        async move {
            let answer = match allowed {
                true => route::route(node, request).await,
                false => answer::forbidden(client.as_deref()),
            };
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    if let Err(error) = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        debug!(%error, "connection ended");
    }
}
