//! `kontiki server`: one server of a cluster of several, until SIGTERM or SIGINT.

mod guard;
pub mod join;
mod rebuild;
mod settings;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, bail};
use kontiki_apiserver::{
    Config, Ipv4Cidr,
    join::{ClusterSettings, JoinRequest, ServerGrant},
    peers::Peers,
    pki::{JoinRole, JoinTokens, Pki, der_digest},
};
use kontiki_raft::{LogConfig, Member, Start};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::settings::{Origin, Settings, must_be_free};
use crate::{
    args::{self, Server},
    control_plane::{self, ControlPlane, Plan, stop_signal},
    layout::Layout,
};

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 6443);
const SERVICE_CIDR: &str = "10.96.0.0/12";
const CLUSTER_DOMAIN: &str = "cluster.local";

pub async fn server(arguments: &Server) -> Result<()> {
    let layout = Layout::open(&arguments.data.data_dir)?;
    let _owner = layout.own()?;
    if !arguments.rebuild.is_empty() {
        rebuild::begin(&arguments.rebuild, &layout).await?;
    }
    let found = Settings::read(&layout)?;
    let listen = arguments.listen.or(found.as_ref().map(|settings| settings.listen)).unwrap_or(LISTEN);
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let bound = listener.local_addr()?;
    let mut settings = match found {
        Some(settings) => resume(arguments, &layout, settings, bound)?,
        None => begin(arguments, &layout, bound).await?,
    };
    // Only now: until here, a signal simply ends the process.
    let stop = stop_signal()?;
    let plan = plan(&layout, &settings, arguments)?;
    settings.begun = true;
    let plane = ControlPlane::open(plan, listener).await?;
    // What is there already needs no room on a full disk.
    if Settings::read_alone(&layout)?.as_ref() != Some(&settings) {
        settings.write(&layout)?;
    }

    let cancel = CancellationToken::new();
    let standing = async {
        let ended = stands(&plane, &layout, &mut settings, &cancel).await;
        cancel.cancel();
        ended
    };
    let stopped = async {
        stop.await;
        info!("stopping");
        plane.log.leave();
        cancel.cancel();
    };
    let (_, controlled, ended) =
        tokio::join!(cancel.run_until_cancelled(stopped), plane.control(cancel.clone()), standing);
    plane.stop().await;
    ended.and(controlled)
}

/// From an empty folder: founds a cluster, or joins one.
async fn begin(arguments: &Server, layout: &Layout, bound: SocketAddr) -> Result<Settings> {
    // What a restore left to be started is a cluster already.
    let founds = arguments.init || (arguments.join.is_empty() && layout.restored().exists());
    if !founds && arguments.join.is_empty() {
        let root = layout.root().display();
        if layout.log().exists() {
            bail!(
                "{root} holds a log, and no {} that says which server's: bring it back from a backup of this folder, or empty the \
                 folder and join the cluster anew. What `kontiki up` made is started by that",
                Settings::FILE
            );
        }
        bail!(
            "there is no server's data in {root}: give --init to found a cluster, or --join <address> --token <token> to join one"
        );
    }
    must_be_free(layout, founds)?;
    let name = name(arguments)?;
    let address = advertised(arguments, bound)?;
    if founds {
        let service_cidr = arguments.service_cidr.clone().unwrap_or_else(|| SERVICE_CIDR.to_owned());
        service_cidr.parse::<Ipv4Cidr>().context("--service-cidr")?;
        let cluster = ClusterSettings { service_cidr, cluster_domain: CLUSTER_DOMAIN.to_owned() };
        let settings = Settings { name, listen: bound, address, origin: Origin::Init, begun: false, cluster };
        settings.write(layout)?;
        layout.forget_restored()?;
        return Ok(settings);
    }
    let token = join::token(arguments.token.as_deref(), JoinRole::Server)?;
    let request = JoinRequest::Server { token: token.to_string(), name: name.clone(), address: address.to_string() };
    let grant: ServerGrant = join::join(&arguments.join, &token, &request).await?;
    Pki::adopt(&layout.pki(), &grant.identity).context("keeping the cluster's identity")?;
    JoinTokens::adopt(&layout.tokens(), [&grant.tokens[0], &grant.tokens[1]]).context("keeping the tokens")?;
    let servers = if grant.servers.is_empty() { arguments.join.clone() } else { grant.servers };
    let origin = Origin::Join { servers, member: false, replaces: None };
    let settings = Settings { name, listen: bound, address, origin, begun: false, cluster: grant.settings };
    // Last: with it there, everything is.
    settings.write(layout)?;
    Ok(settings)
}

/// From a folder with data: flags may repeat what is known, and change where it listens, nothing else.
fn resume(arguments: &Server, layout: &Layout, settings: Settings, bound: SocketAddr) -> Result<Settings> {
    let here = layout.root().display();
    if settings.begun || settings.origin != Origin::Init {
        must_be_whole(layout)?;
    }
    if arguments.init && settings.origin != Origin::Init {
        bail!("--init, but {here} holds a server that joined another one's cluster: start it without --init");
    }
    if !arguments.join.is_empty() {
        if settings.origin == Origin::Init {
            bail!("--join, but {here} holds a server that founded a cluster of its own: give an empty --data-dir");
        }
        let token = join::token(arguments.token.as_deref(), JoinRole::Server)?;
        let pki = Pki::open(&layout.pki())?;
        let ca = CertificateDer::from_pem_slice(pki.ca_pem().as_bytes()).context("reading the CA's certificate")?;
        if token.ca_digest != der_digest(&ca) {
            bail!("--token is another cluster's than the one that {here} belongs to");
        }
    }
    if arguments.name.as_ref().is_some_and(|name| *name != settings.name) {
        bail!("--name: the server in {here} is called {:?}, and the others know it by that", settings.name);
    }
    if arguments.advertise.is_some_and(|address| address != settings.address) {
        bail!(
            "--advertise: the others know the server in {here} as {}; to move it, remove it from the cluster and join anew",
            settings.address
        );
    }
    if arguments.advertise.is_none()
        && leads_to(settings.listen, settings.address)
        && !leads_to(bound, settings.address)
    {
        bail!(
            "--listen: the others find the server in {here} at {}; to move it, remove it from the cluster and join anew. If what comes \
             there is sent on to {bound}, say so by --advertise {}",
            settings.address,
            settings.address
        );
    }
    if arguments.service_cidr.as_ref().is_some_and(|cidr| *cidr != settings.cluster.service_cidr) {
        bail!("--service-cidr: this cluster was founded with {}", settings.cluster.service_cidr);
    }
    Ok(Settings { listen: bound, ..settings })
}

fn plan(layout: &Layout, settings: &Settings, arguments: &Server) -> Result<Plan> {
    let mut config = Config::new(settings.listen, settings.address.ip(), layout.pki());
    config.name = settings.name.clone();
    config.tokens_dir = layout.tokens();
    config.advertise_port = Some(settings.address.port());
    config.service_cidr = settings.cluster.service_cidr.parse().context("the kept service CIDR")?;
    config.cluster_domain = settings.cluster.cluster_domain.clone();
    let peers = Peers::new(Arc::new(Pki::open(&layout.pki())?), &settings.name);
    let log = LogConfig {
        member: Member { name: settings.name.clone(), address: settings.address.to_string() },
        start: match settings.origin {
            Origin::Init => Start::Alone,
            Origin::Join { .. } => Start::Join,
        },
        dial: Some(Arc::new(peers)),
        ..LogConfig::new(layout.log())
    };
    Plan::new(config, log, &arguments.api, arguments.controllers)
}

/// Becomes a member if it is none yet, and then watches that it stays one.
async fn stands(
    plane: &ControlPlane,
    layout: &Layout,
    settings: &mut Settings,
    cancel: &CancellationToken,
) -> Result<()> {
    if let Origin::Join { servers, member: false, replaces } = settings.origin.clone() {
        match cancel.run_until_cancelled(guard::announce(plane, settings, &servers, replaces)).await {
            None => return Ok(()),
            // Who was a member keeps what makes it one: it may try again.
            Some(Err(error)) if replaces.is_some() => return Err(error),
            Some(Err(error)) => {
                // Nothing of a server that the cluster refused may stay: it would start again as one.
                forget(layout);
                return Err(error);
            }
            Some(Ok(())) => {}
        }
        settings.origin = Origin::Join { servers, member: true, replaces: None };
        settings.write(layout)?;
        info!(name = settings.name, "a member of the cluster");
    }
    match cancel.run_until_cancelled(guard::watch(plane, layout, settings)).await {
        None => Ok(()),
        Some(ended) => ended,
    }
}

/// All servers of a cluster have the same of these. Made anew they would be another cluster's, which nobody believes.
fn must_be_whole(layout: &Layout) -> Result<()> {
    let (pki, tokens) = (layout.pki(), layout.tokens());
    let authority = pki.join("ca.crt");
    if !authority.exists() {
        bail!(
            "{} is gone, and with it what the others know this server by: bring it back from a backup of this folder, or empty the \
             folder and join the cluster anew",
            pki.display()
        );
    }
    let keys = ["ca.key", "sa.key", "front-proxy-ca.key", "front-proxy-ca.crt"].map(|name| pki.join(name));
    let tokens = [JoinRole::Server, JoinRole::Agent].map(|role| tokens.join(role.name()));
    match keys.iter().chain(&tokens).find(|path| !path.exists()) {
        None => Ok(()),
        Some(gone) => bail!(
            "{} is gone: all servers of a cluster have the same; copy it from another one, or from a backup of this folder",
            gone.display()
        ),
    }
}

/// The survivor of a lost cluster founds the one that it goes on as: from those that are lost it wants to hear nothing.
pub fn found_anew(layout: &Layout) -> Result<()> {
    match Settings::read_alone(layout)? {
        None => Ok(()),
        Some(settings) => Settings { origin: Origin::Init, ..settings }.write(layout),
    }
}

/// Refuses a folder that is a server's of a cluster of several.
pub fn must_be_no_server(layout: &Layout) -> Result<()> {
    if Settings::file(layout).exists() {
        bail!("{} holds a server of a cluster: `kontiki server` starts it", layout.root().display());
    }
    Ok(())
}

fn forget(layout: &Layout) {
    for path in [Settings::file(layout), layout.log(), layout.pki(), layout.tokens()] {
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        if let Err(error) = removed {
            warn!(path = %path.display(), %error, "was not removed");
        }
    }
}

fn name(arguments: &Server) -> Result<String> {
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => control_plane::host_name().context("give --name")?,
    };
    args::server_name(&name).map_err(|why| anyhow!("--name {name:?}: {why}"))
}

/// Whether who listens so is found at the address.
fn leads_to(listen: SocketAddr, address: SocketAddr) -> bool {
    listen.port() == address.port() && (listen.ip().is_unspecified() || listen.ip() == address.ip())
}

/// Where others reach a server that listens there.
fn advertised(arguments: &Server, bound: SocketAddr) -> Result<SocketAddr> {
    if let Some(address) = arguments.advertise {
        let nowhere = address.ip().is_unspecified() || address.ip().is_multicast() || address.port() == 0;
        if nowhere {
            bail!(
                "--advertise {address}: nobody reaches a server there; it takes an address of this machine, and a port"
            );
        }
        return Ok(address);
    }
    if !bound.ip().is_unspecified() {
        return Ok(bound);
    }
    let address = uplink().context("this machine's own address is not known: give --advertise")?;
    Ok(SocketAddr::new(address, bound.port()))
}

/// The address from which this machine would reach others: that of its default route. Nothing is sent.
fn uplink() -> Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::leads_to;

    #[test]
    fn who_moves_is_found_no_more() {
        let table = [
            ("10.0.0.1:6443", "10.0.0.1:6443", true),
            ("0.0.0.0:6443", "10.0.0.1:6443", true),
            ("0.0.0.0:7443", "10.0.0.1:6443", false),
            ("10.0.0.2:6443", "10.0.0.1:6443", false),
        ];
        for (listen, address, found) in table {
            assert_eq!(leads_to(listen.parse().unwrap(), address.parse().unwrap()), found, "{listen} {address}");
        }
    }
}
