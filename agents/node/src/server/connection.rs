//! Connections: accepted up to a bound, secured, served, and let go in good order when the server stops.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{backend::Backend, limits, service::Service, socket, tls, verdicts::Verdicts};

pub async fn serve(listener: TcpListener, tls: TlsAcceptor, backend: Arc<dyn Backend>, cancel: CancellationToken) {
    // Connections are cut by their own token: they outlast `cancel` by what they need to end.
    let cut = CancellationToken::new();
    let tasks = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let verdicts = Arc::new(Verdicts::new(backend.node_name()));
    while let Some(Some((stream, peer, permit))) = cancel.run_until_cancelled(accept(&listener, &permits)).await {
        let service = Service::new(backend.clone(), verdicts.clone(), cancel.clone(), tasks.clone());
        let served = serve_connection(stream, peer, tls.clone(), service, cancel.clone());
        let cut = cut.clone();
        tasks.spawn(async move {
            cut.run_until_cancelled_owned(served).await;
            drop(permit);
        });
    }
    tasks.close();
    if tokio::time::timeout(limits::SHUTDOWN_MAX, tasks.wait()).await.is_err() {
        cut.cancel();
        tasks.wait().await;
    }
}

/// Waits for a place, then for a client. `None` when there will be no more.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Some((stream, peer, permit)),
            Err(error) => {
                tracing::warn!(%error, "the node's API cannot accept a connection");
                tokio::time::sleep(limits::ACCEPT_RETRY).await;
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
    service: Service,
    cancel: CancellationToken,
) {
    let secured = async {
        socket::prepare(&stream)?;
        tls.accept(stream).await
    };
    let stream = match tokio::time::timeout(limits::TLS_HANDSHAKE_MAX, secured).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "no TLS"),
        Err(_) => return tracing::debug!(%peer, "no TLS in time"),
    };
    let service = service.called_by(caller(&stream));
    let overdue = overdue(service.clone(), tokio::time::sleep(limits::STRANGER_MAX));
    let service = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits::HEADER_READ_MAX);
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new());
    http2.keep_alive_interval(limits::PROBE_INTERVAL).keep_alive_timeout(limits::PROBE_INTERVAL);
    let mut served = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = overdue => return tracing::debug!(%peer, "a connection without a certificate has had its time"),
        () = cancel.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Comes when a caller that nothing has let in has had its time.
async fn overdue(service: Service, time: impl Future<Output = ()>) {
    time.await;
    if service.is_let_in() {
        std::future::pending().await
    }
}

fn caller(stream: &TlsStream<TcpStream>) -> Option<tls::Caller> {
    let (_, connection) = stream.get_ref();
    tls::caller(connection.peer_certificates()?.first()?)
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future};

    use super::*;
    use crate::server::tests::fake::Fake;

    #[test]
    fn only_strangers_are_cut_off() {
        let master = tls::Caller { user: "somebody".to_owned(), groups: vec!["system:masters".to_owned()] };
        for (caller, token, expected) in [(None, false, true), (None, true, false), (Some(master), false, false)] {
            let service =
                Service::new(Fake::new(), Arc::new(Verdicts::new("n")), CancellationToken::new(), TaskTracker::new());
            let service = service.called_by(caller);
            if token {
                service.let_in();
            }
            assert_eq!(overdue(service, future::ready(())).now_or_never().is_some(), expected, "{token}");
        }
    }
}
