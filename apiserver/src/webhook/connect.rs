//! A connection to a webhook: one of its addresses, then TLS.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
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

use super::{
    address::ClientConfig,
    limits::{CONNECT_TIME_MAX, NEXT_ADDRESS_DELAY},
    tls,
};

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
        let tls = self.tls.get_or_try_init(|| tls::connector(self.config.ca_bundle.clone())).await?;
        let name = self.config.server_name();
        let name = ServerName::try_from(name.clone()).map_err(|_| DialError(format!("{name:?} is no server name")))?;
        let stream = dial(self.config.place.resolve(&self.log).await?).await?;
        let secured = tls.connect(name, stream).await.map_err(|error| DialError(tls::words(&error)))?;
        Ok(Secured(TokioIo::new(secured)))
    }
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

/// The first of the addresses that takes a connection. One that is silent does not hold up the others.
async fn dial(addresses: Vec<SocketAddr>) -> Result<TcpStream, DialError> {
    let mut left = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failed = None;
    loop {
        match left.next() {
            Some(address) => attempts.push(connect(address)),
            None if attempts.is_empty() => {
                return Err(failed.unwrap_or_else(|| DialError("dial tcp: no address".to_owned())));
            }
            None => {}
        }
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => return Ok(stream),
                Err(error) => _ = failed.get_or_insert(error),
            },
            () = tokio::time::sleep(NEXT_ADDRESS_DELAY), if left.len() > 0 => {}
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, DialError> {
    let connected = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    connected.await.map_err(|error: io::Error| DialError(format!("dial tcp {address}: {}", words(&error))))
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_the_next() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let there = listener.local_addr().unwrap();
        assert_eq!(dial(vec![gone, there]).await.unwrap().peer_addr().unwrap(), there);
        let refused = dial(vec![gone]).await.unwrap_err();
        assert_eq!(refused.0, format!("dial tcp {gone}: connect: connection refused"));
        assert_eq!(dial(Vec::new()).await.unwrap_err().0, "dial tcp: no address");
    }
}
