//! A connection to a webhook: one of its addresses, then TLS.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use kontiki_raft::Log;
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, sync::OnceCell};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{address::ClientConfig, limits::CONNECT_TIME_MAX};
use crate::services::{self, Trust};

/// Why there is no connection, as Go says it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DialError(pub String);

/// Makes connections to one webhook.
#[derive(Clone)]
pub struct Connector {
    log: Log,
    config: Arc<ClientConfig>,
    tls: Arc<OnceCell<TlsConnector>>,
}

/// A connection that hyper's client can keep.
pub struct Secured(TokioIo<TlsStream<TcpStream>>);

impl Connector {
    pub fn new(log: Log, config: Arc<ClientConfig>) -> Self {
        Connector { log, config, tls: Arc::new(OnceCell::new()) }
    }

    async fn connect(&self) -> Result<Secured, DialError> {
        let tls = self.tls.get_or_try_init(|| trusting(self.config.clone())).await?;
        let name = self.config.server_name();
        let name = ServerName::try_from(name.clone()).map_err(|_| DialError(format!("{name:?} is no server name")))?;
        let addresses = self.config.place.resolve(&self.log).map_err(|error| DialError(error.to_string()))?;
        let connected = services::connect(&addresses).await;
        let (stream, _) = connected.map_err(|error| DialError(error.to_string()))?;
        let secured = tls.connect(name, stream).await;
        let secured = secured.map_err(|error| DialError(services::no_handshake(&error)))?;
        Ok(Secured(TokioIo::new(secured)))
    }
}

/// TLS that trusts whom the configuration names. Apart: the machine's own authorities are in files.
async fn trusting(config: Arc<ClientConfig>) -> Result<TlsConnector, DialError> {
    let made = tokio::task::spawn_blocking(move || {
        services::client_tls(config.ca_bundle.as_deref().map_or(Trust::System, Trust::Bundle), None)
    });
    let made = made.await.map_err(|error| DialError(error.to_string()))?;
    made.map_err(|error| DialError(error.to_string()))
}

impl tower_service::Service<Uri> for Connector {
    type Response = Secured;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Secured, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    /// The address is the configuration's; the URI says the same.
    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        async move {
            let late = |_| DialError("net/http: TLS handshake timeout".to_owned());
            tokio::time::timeout(CONNECT_TIME_MAX, connector.connect()).await.map_err(late)?
        }
        .boxed()
    }
}

impl Connection for Secured {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Secured {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
