//! `kontiki up`: server and node agent in one process, until SIGTERM or SIGINT.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, bail};
use kontiki_apiserver::{ApiServer, Config};
use kontiki_raft::{Log, LogConfig};
use kontiki_runtime::podnet::Cidr;
use nix::sys::socket::{setsockopt, sockopt::IpFreebind};
use tokio::{
    net::TcpSocket,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    args::Up,
    control,
    layout::{self, Layout},
    node,
};

/// Connections from pods that may wait to be accepted.
const PODS_BACKLOG: u32 = 128;

pub async fn up(arguments: &Up) -> Result<()> {
    let layout = Layout::open(&arguments.data.data_dir)?;
    let _owner = layout.own()?;
    // Before anything is started: a signal in the middle must find somebody listening.
    let stop = stop_signal()?;
    let log = Log::open(LogConfig::new(layout.log())).await.context("opening the log")?;
    let pods: Cidr = arguments.pods.pod_cidr.parse().context("--pod-cidr")?;
    let mut config = Config::new(arguments.listen, advertised(arguments.listen.ip(), pods), layout.pki());
    config.service_cidr = arguments.service_cidr.parse().context("--service-cidr")?;
    let server = ApiServer::start(config, log.clone()).await.context("starting the API server")?;
    for_pods(&server)?;
    let url = format!("https://{}", reached_at(server.local_address()));
    layout::write_private(&layout.kubeconfig(), &server.kubeconfig(&url)?)?;
    info!(%url, kubeconfig = %layout.kubeconfig().display(), "API server ready");

    let cancel = CancellationToken::new();
    let root_ca = server.core().pki.ca_pem().to_owned();
    let control = tokio::spawn(controlled(server.clone(), log.clone(), root_ca, cancel.clone()));
    let agent = async {
        match node::preflight(arguments, &layout) {
            None => node::run(arguments, &layout, &server, cancel.clone()).await,
            Some(reason) => {
                warn!(reason, "no node agent on this machine");
                cancel.cancelled().await;
                Ok(())
            }
        }
    };
    let stopped = async {
        stop.await;
        info!("stopping; containers go on running");
        cancel.cancel();
    };
    let failed = async {
        let ended = agent.await;
        if let Err(error) = &ended {
            error!(error = format!("{error:#}"), "the node agent cannot go on");
        }
        // Without its agent the process would look alive and do nothing: it ends, and a supervisor starts it anew.
        cancel.cancel();
        ended
    };
    let (_, ended) = tokio::join!(cancel.run_until_cancelled(stopped), failed);
    let controlled = control.await.context("the controllers ended by panic")?;
    server.shutdown().await;
    log.shutdown().await;
    ended.and(controlled)
}

/// Runs the controllers; ends the process if the log ends under them, for nothing can be written or promised any more.
async fn controlled(server: ApiServer, log: Log, root_ca: String, cancel: CancellationToken) -> Result<()> {
    control::run(server, log, root_ca, cancel.clone()).await;
    if cancel.is_cancelled() {
        return Ok(());
    }
    cancel.cancel();
    bail!("the log has ended; what was logged before says why")
}

/// Where this machine reaches a server that listens there.
fn reached_at(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        let loopback = if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        listen.set_ip(loopback);
    }
    listen
}

/// Where pods reach the API server: where it listens or, if that is the loopback or no address in particular, at their own
/// gateway.
fn advertised(listen: IpAddr, pods: Cidr) -> IpAddr {
    if listen.is_loopback() || listen.is_unspecified() { pods.gateway().into() } else { listen }
}

/// Listens at the pods' gateway too, where that is what is advertised and not listened on already. The address comes and goes with the pods' links, so
/// the socket is bound without it.
fn for_pods(server: &ApiServer) -> Result<()> {
    let config = &server.core().config;
    if config.advertise == config.listen.ip() || config.listen.ip().is_unspecified() {
        return Ok(());
    }
    let address = SocketAddr::new(config.advertise, config.listen.port());
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    setsockopt(&socket, IpFreebind, &true).context("binding to an address that is not there yet")?;
    socket.bind(address).with_context(|| format!("binding to {address}"))?;
    server.also_serve(socket.listen(PODS_BACKLOG)?);
    Ok(())
}

/// Completes at SIGTERM or SIGINT. SIGHUP is ignored: a terminal that closes does not stop a cluster.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hangup.recv() => {}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_addresses_is_reached_at_one_that_exists() {
        let pods: Cidr = "10.244.0.0/24".parse().unwrap();
        let table = [
            ("127.0.0.1:6443", "10.244.0.1", "127.0.0.1:6443"),
            ("0.0.0.0:6443", "10.244.0.1", "127.0.0.1:6443"),
            ("[::]:6443", "10.244.0.1", "[::1]:6443"),
            ("192.0.2.7:6443", "192.0.2.7", "192.0.2.7:6443"),
        ];
        for (listen, advertise, local) in table {
            let listen: SocketAddr = listen.parse().unwrap();
            assert_eq!(advertised(listen.ip(), pods).to_string(), advertise, "{listen}");
            assert_eq!(reached_at(listen).to_string(), local, "{listen}");
        }
    }
}
