//! The node's own HTTPS API, which the API server calls: logs, exec, attach, port-forward, images, figures.
//! It sees the node through [`Backend`] alone, and starts, stops and decides nothing. Whom it answers is settled by the
//! client's certificate, or for figures by the API server's word about a token; what a user may do besides, the API server has decided
//! before it asks.

mod access;
mod backend;
mod body;
mod connection;
mod failure;
mod figures;
mod images;
mod limits;
mod logs;
mod node;
mod query;
mod route;
mod service;
mod socket;
mod spdy;
mod streams;
mod target;
mod tls;
mod usage;
mod verdicts;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub use access::Verdict;
use backend::Backend;

/// Identity and address of the server. All PEM.
pub struct ServerConfig<'a> {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Signs the certificates of those who may call.
    pub client_ca_pem: &'a [u8],
    pub certificate_pem: &'a [u8],
    pub key_pem: &'a [u8],
}

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("the node's API cannot use its {what}: {reason}")]
    Tls { what: &'static str, reason: String },
    #[error("the node's API cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
}

/// A server that has its address and waits to be served.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    tls: TlsAcceptor,
}

/// Takes the address. Nothing is answered before [`Bound::serve`].
pub async fn bind(config: &ServerConfig<'_>) -> Result<Bound, ServerError> {
    let tls = tls::acceptor(config)?;
    let failed = |source| ServerError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Bound { listener, address, tls })
}

impl Bound {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `cancel`; then requests in work get a moment to end, and everything is let go.
    pub async fn serve(self, backend: Arc<dyn Backend>, cancel: CancellationToken) {
        connection::serve(self.listener, self.tls, backend, cancel).await;
    }
}
