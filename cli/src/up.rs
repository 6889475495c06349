//! `kontiki up`: server and node agent in one process, until SIGTERM or SIGINT.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use kontiki_apiserver::{
    ApiServer, Config,
    peers::Peers,
    pki::{Cluster, Pki},
};
use kontiki_raft::{LogConfig, Member};
use kontiki_runtime::podnet::Cidr;
use nix::sys::socket::{setsockopt, sockopt::IpFreebind};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    args::Up,
    control_plane::{ControlPlane, Plan, stop_signal},
    layout::{self, Layout},
    node, server,
};

/// Connections from pods that may wait to be accepted.
const PODS_BACKLOG: u32 = 128;

pub async fn up(arguments: &Up) -> Result<()> {
    let layout = Layout::open(&arguments.data.data_dir)?;
    let _owner = layout.own()?;
    server::must_be_no_server(&layout)?;
    layout.forget_restored()?;
    // Before anything is started: a signal in the middle must find somebody listening.
    let stop = stop_signal()?;
    let listen = arguments.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let plan = plan(arguments, &layout, listener.local_addr()?)?;
    let plane = ControlPlane::open(plan, listener).await?;
    let server = plane.server.clone();
    for_pods(&server)?;
    let url = format!("https://{}", reached_at(server.local_address()));
    let cluster = Cluster { name: "kontiki".to_owned(), url: url.clone() };
    layout::write_private(&layout.kubeconfig(), &server.kubeconfig(&[cluster])?)?;
    info!(%url, kubeconfig = %layout.kubeconfig().display(), "API server started");

    let cancel = CancellationToken::new();
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
    let (_, controlled, ended) =
        tokio::join!(cancel.run_until_cancelled(stopped), plane.control(cancel.clone()), failed);
    plane.stop().await;
    ended.and(controlled)
}

fn plan(arguments: &Up, layout: &Layout, bound: SocketAddr) -> Result<Plan> {
    let pods: Cidr = arguments.pods.pod_cidr.parse().context("--pod-cidr")?;
    let mut config = Config::new(bound, advertised(bound.ip(), pods), layout.pki());
    config.service_cidr = arguments.service_cidr.parse().context("--service-cidr")?;
    config.tokens_dir = layout.tokens();
    config.name = node::name(arguments)?;
    let member = Member { name: config.name.clone(), address: reached_at(bound).to_string() };
    let peers = Peers::new(Arc::new(Pki::open(&layout.pki())?), &config.name);
    let log = LogConfig { member, dial: Some(Arc::new(peers)), ..LogConfig::new(layout.log()) };
    Plan::new(config, log, &arguments.api, true)
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
