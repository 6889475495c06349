//! `kontiki agent`: node agent and Service network as a process of their own, for a machine that is no server.

mod failover;
mod reach;
mod settings;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use http::StatusCode;
use k8s_openapi::api::core::v1::Endpoints;
use kontiki_apiserver::{
    join::{AgentGrant, JoinRequest},
    peers::{Question, ask, client_tls},
    pki::{JoinRole, NodeKeys, NodePki},
};
use kontiki_informer::{Clients, Informer};
use kontiki_node::{NodeConfig, NodeTls};
use kontiki_runtime::{Runtime, podnet::Cidr};
use kube::{Api, runtime::watcher};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{failover::Failover, settings::AgentSettings};
use crate::{
    args::Agent,
    control_plane::{host_name, stop_signal},
    detach::node_readiness,
    down::runtime_config,
    layout::Layout,
    server::join,
};

const JOIN_PATH: &str = "/apis/kontiki.dev/v1/join";
const JOIN_PATIENCE: Duration = Duration::from_secs(10);
/// How often the certificates' ends are looked at, and how soon again after a renewal failed.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(12 * 3600);
const RENEWAL_RETRY: Duration = Duration::from_secs(60);

pub async fn agent(arguments: &Agent) -> Result<()> {
    let layout = Layout::open(&arguments.data.data_dir)?;
    let _owner = layout.own()?;
    if let Some(reason) = kontiki_node::unable(&layout.node()) {
        bail!("this machine cannot run containers: {reason}");
    }
    let pki = NodePki::open(&layout.pki())?;
    let settings = match AgentSettings::read(&layout)? {
        Some(settings) => resume(arguments, &layout, settings)?,
        None => begin(arguments, &layout, &pki).await?,
    };
    // Only now: until here, a signal simply ends the process.
    let stop = stop_signal()?;
    let cancel = CancellationToken::new();
    let stopped = async {
        stop.await;
        info!("stopping; containers go on running");
        cancel.cancel();
    };
    let worked = async {
        let ended = work(&layout, settings, &pki, &cancel).await;
        cancel.cancel();
        ended
    };
    tokio::join!(cancel.run_until_cancelled(stopped), worked).1
}

/// `None` once this agent's node is Ready; else what is missing.
pub async fn readiness(layout: &Layout) -> Result<Option<String>> {
    let pki = NodePki::open(&layout.pki())?;
    let (Some(settings), Some(ca), Some(credentials)) =
        (AgentSettings::read(layout)?, pki.ca_pem()?, pki.credentials()?)
    else {
        return Ok(Some("the agent has not joined".to_owned()));
    };
    let failover = Failover::new(client_tls(&ca, &credentials.client, &[b"h2"])?, settings.servers, 0);
    node_readiness(Clients::new(failover, "kontiki-agent").plain(), &settings.name).await
}

/// How the runtime of this folder's agent is opened, if there is one.
pub fn pod_network(layout: &Layout) -> Result<Option<Cidr>> {
    let settings = AgentSettings::read(layout)?;
    settings.map(|settings| settings.pod_cidr.parse().context("the kept pod network")).transpose()
}

async fn begin(arguments: &Agent, layout: &Layout, pki: &NodePki) -> Result<AgentSettings> {
    if arguments.join.is_empty() {
        bail!(
            "there is no agent's data in {}: give --join <address> --token <token> to join a cluster",
            layout.root().display()
        );
    }
    for path in [layout.log(), layout.root().join("server.json"), layout.pki().join("ca.key")] {
        if path.exists() {
            bail!("{} holds a server's data: give another --data-dir", layout.root().display());
        }
    }
    let token = join::token(arguments.token.as_deref(), JoinRole::Agent)?;
    let name = arguments.name.clone().map_or_else(host_name, Ok).context("give --name")?;
    let address = match arguments.node_address {
        Some(address) => address,
        None => {
            towards(&arguments.join[0]).await.context("this machine's address is not known: give --node-address")?
        }
    };
    let pod_cidr = arguments.pod_cidr.clone().context("an agent needs --pod-cidr, which no other machine has")?;
    pod_cidr.parse::<Cidr>().context("--pod-cidr")?;
    arguments.cluster_cidr.parse::<Cidr>().context("--cluster-cidr")?;
    let keys = NodeKeys::make()?;
    let request = JoinRequest::Agent {
        token: token.to_string(),
        name: name.clone(),
        addresses: vec![address],
        requests: keys.requests()?,
    };
    let grant: AgentGrant = join::join(&arguments.join, &token, &request).await?;
    pki.keep(&grant.ca_certificate, &keys, &grant.certificates)?;
    let settings = AgentSettings {
        name,
        address,
        port: arguments.node_port,
        pod_cidr,
        cluster_cidr: arguments.cluster_cidr.clone(),
        allowed_unsafe_sysctls: arguments.sysctls.allowed.clone(),
        cluster: grant.settings,
        servers: if grant.servers.is_empty() { arguments.join.clone() } else { grant.servers },
    };
    settings.write(layout)?;
    Ok(settings)
}

/// Flags may repeat what is known; servers that are named are asked first.
fn resume(arguments: &Agent, layout: &Layout, mut settings: AgentSettings) -> Result<AgentSettings> {
    let here = layout.root().display();
    if arguments.name.as_ref().is_some_and(|name| *name != settings.name) {
        bail!("--name: the agent in {here} is called {:?}", settings.name);
    }
    if arguments.node_address.is_some_and(|address| address != settings.address) {
        bail!("--node-address: the agent in {here} has the address {} in its certificate", settings.address);
    }
    if arguments.pod_cidr.as_ref().is_some_and(|cidr| *cidr != settings.pod_cidr) {
        bail!("--pod-cidr: pods of the agent in {here} have addresses in {}", settings.pod_cidr);
    }
    let mut servers = arguments.join.clone();
    servers.extend(settings.servers.iter().filter(|server| !arguments.join.contains(server)).cloned());
    settings.servers = servers;
    if !arguments.sysctls.allowed.is_empty() {
        settings.allowed_unsafe_sysctls = arguments.sysctls.allowed.clone();
    }
    Ok(settings)
}

/// Runs the agent, anew after its certificates were renewed; containers go on meanwhile.
async fn work(layout: &Layout, mut settings: AgentSettings, pki: &NodePki, cancel: &CancellationToken) -> Result<()> {
    while !cancel.is_cancelled() {
        let term = cancel.child_token();
        let run = run(layout, &mut settings, pki, term.clone());
        let renewed = renew(layout, pki, term.clone());
        let (ended, ()) = tokio::join!(run, renewed);
        ended?;
    }
    Ok(())
}

async fn run(layout: &Layout, settings: &mut AgentSettings, pki: &NodePki, cancel: CancellationToken) -> Result<()> {
    // Whoever ends first takes the other along.
    let _ends = cancel.clone().drop_guard();
    let ca = pki.ca_pem()?.context("the cluster's CA is missing: remove the data folder and join anew")?;
    let credentials = pki.credentials()?.context("the node's certificates are missing: join anew")?;
    let tls = client_tls(&ca, &credentials.client, &[b"h2"])?;
    let failover = Failover::new(tls, settings.servers.clone(), somewhere(&settings.name));
    let network: Cidr = settings.pod_cidr.parse().context("--pod-cidr")?;
    let runtime = Runtime::open(runtime_config(layout, network)).await.context("opening the containers' state")?;
    let first: Option<SocketAddr> = settings.servers.first().and_then(|server| server.parse().ok());
    let own_ports = own_ports(settings);
    let config = NodeConfig {
        name: settings.name.clone(),
        address: settings.address,
        host_pods_address: settings.address,
        kubelet_address: settings.address,
        kubelet_port: settings.port,
        own_ports: own_ports.clone(),
        allowed_unsafe_sysctls: settings.allowed_unsafe_sysctls.clone(),
        pod_cidr: Some(settings.pod_cidr.clone()),
        state_dir: layout.node(),
        tls: NodeTls {
            client_ca: ca.into_bytes(),
            certificate: credentials.server.certificate_pem.into_bytes(),
            key: credentials.server.key_pem.into_bytes(),
        },
        cluster_dns: Vec::new(),
        cluster_domain: settings.cluster.cluster_domain.clone(),
        api_host: first.map(|server| server.ip().to_string()).unwrap_or_default(),
        api_port: first.map_or(6443, |server| server.port()),
        labels: BTreeMap::new(),
    };
    let client = Clients::new(failover.clone(), "kontiki-node").plain();
    let proxy = Clients::new(failover.clone(), "kontiki-network").plain();
    let learning = learn(failover.clone(), proxy.clone(), layout, settings.clone(), cancel.clone());
    let (name, pods) = (settings.name.clone(), settings.cluster_cidr.clone());
    let network = kontiki_network::run(proxy, name, pods, own_ports, cancel.clone());
    let agent = kontiki_node::run(config, client, runtime, cancel.clone());
    let checking = failover.check(cancel.clone());
    let first_to_end = async {
        tokio::select! {
            ended = agent => ended.context("the node agent ended"),
            ended = network => ended.context("the Service network ended"),
        }
    };
    let ended = async {
        let ended = first_to_end.await;
        cancel.cancel();
        ended
    };
    let (ended, learnt, ()) = tokio::join!(ended, learning, checking);
    *settings = learnt;
    ended
}

/// Where this machine's agent listens, and a server if there is one on it.
fn own_ports(settings: &AgentSettings) -> Vec<u16> {
    let servers = settings.servers.iter().filter_map(|server| server.parse::<SocketAddr>().ok());
    let here = servers.filter(|server| server.ip() == settings.address).map(|server| server.port());
    here.chain([settings.port]).collect()
}

/// A number that differs from node to node.
fn somewhere(name: &str) -> usize {
    name.bytes().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)))
}

/// Keeps the list of servers true, from the endpoints of the `kubernetes` Service; gives back what was known last.
async fn learn(
    failover: Failover,
    client: kube::Client,
    layout: &Layout,
    mut settings: AgentSettings,
    cancel: CancellationToken,
) -> AgentSettings {
    let (told, mut changes) = mpsc::unbounded_channel();
    let api: Api<Endpoints> = Api::namespaced(client, "default");
    let one = watcher::Config::default().fields("metadata.name=kubernetes");
    let tell = move |change: &kontiki_informer::Change<Endpoints>| {
        if let Some(endpoints) = &change.new {
            // Nobody listens when the agent ends.
            _ = told.send(servers_of(endpoints));
        }
    };
    let _informer = Informer::start(api, one, vec![Box::new(tell)], cancel.clone());
    while let Some(Some(servers)) = cancel.run_until_cancelled(changes.recv()).await {
        // Those that are not there at the moment may be back when the others are not.
        let mut all = servers;
        all.extend(settings.servers.iter().filter(|known| !all.contains(known)).cloned().collect::<Vec<_>>());
        all.truncate(SERVERS_MAX);
        if all == settings.servers {
            continue;
        }
        failover.learn(all.clone());
        settings.servers = all;
        if let Err(error) = settings.write(layout) {
            warn!(%error, "the servers were not written down");
        }
    }
    settings
}

/// Servers that an agent remembers, former ones included.
const SERVERS_MAX: usize = 16;

fn servers_of(endpoints: &Endpoints) -> Vec<String> {
    let mut servers = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        for port in subset.ports.iter().flatten() {
            for address in subset.addresses.iter().flatten() {
                let Ok(ip) = address.ip.parse::<IpAddr>() else { continue };
                let Ok(port) = u16::try_from(port.port) else { continue };
                servers.push(SocketAddr::new(ip, port).to_string());
            }
        }
    }
    servers
}

/// Has the certificates renewed in time; cancels the term when there are new ones.
async fn renew(layout: &Layout, pki: &NodePki, term: CancellationToken) {
    let renewing = async {
        loop {
            let pause = match renewed(layout, pki).await {
                Ok(true) => return,
                Ok(false) => RENEWAL_INTERVAL,
                Err(error) => {
                    warn!(error = format!("{error:#}"), "the node's certificates were not renewed");
                    RENEWAL_RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    if term.run_until_cancelled(renewing).await.is_some() {
        info!("the node's certificates were renewed: beginning anew with them");
        term.cancel();
    }
}

async fn renewed(layout: &Layout, pki: &NodePki) -> Result<bool> {
    if !pki.wants_renewal()? {
        return Ok(false);
    }
    let settings = AgentSettings::read(layout)?.context("the agent's settings are gone")?;
    let (Some(ca), Some(credentials)) = (pki.ca_pem()?, pki.credentials()?) else { bail!("no certificates to renew") };
    let tls = client_tls(&ca, &credentials.client, &[b"http/1.1"])?;
    let keys = NodeKeys::make()?;
    let request = JoinRequest::Agent {
        token: String::new(),
        name: settings.name,
        addresses: vec![settings.address],
        requests: keys.requests()?,
    };
    let body = serde_json::to_value(&request)?;
    let mut last = "no server is known".to_owned();
    for server in &settings.servers {
        match ask(&tls, Question::post(server, JOIN_PATH, &body, JOIN_PATIENCE)).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                let grant: AgentGrant = serde_json::from_slice(&answer.body).context("reading the renewal")?;
                pki.keep(&grant.ca_certificate, &keys, &grant.certificates)?;
                return Ok(true);
            }
            Ok(answer) => last = format!("{server}: {}", join::message(&answer)),
            Err(error) => last = format!("{server}: {error}"),
        }
    }
    bail!("{last}")
}

/// The address from which this machine reaches a server. Nothing is sent.
async fn towards(server: &str) -> Result<IpAddr> {
    let mut found = tokio::net::lookup_host(server).await.with_context(|| format!("looking for {server}"))?;
    let server = found.next().with_context(|| format!("{server} has no address"))?;
    let any: SocketAddr = if server.is_ipv4() { "0.0.0.0:0".parse()? } else { "[::]:0".parse()? };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    Ok(socket.local_addr()?.ip())
}
