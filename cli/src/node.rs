//! The node agent of this machine, and its way to the API server: in process, no socket between them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use futures::FutureExt as _;
use kontiki_apiserver::{ApiServer, Identity};
use kontiki_informer::Clients;
use kontiki_node::{NodeConfig, NodeTls};
use kontiki_runtime::{Runtime, podnet::Cidr};
use tokio_util::sync::CancellationToken;

use crate::{args::Up, control_plane::host_name, down::runtime_config, layout::Layout};

/// Why this machine or user cannot run containers, or was told not to.
pub fn preflight(arguments: &Up, layout: &Layout) -> Option<String> {
    if arguments.no_node {
        return Some("started with --no-node".to_owned());
    }
    kontiki_node::unable(&layout.node())
}

/// The name this machine registers under.
pub fn name(arguments: &Up) -> Result<String> {
    if let Some(name) = &arguments.node_name {
        return Ok(name.clone());
    }
    host_name().context("give --node-name")
}

/// Runs the agent and the Service network until `cancel`. Containers go on running after it.
pub async fn run(arguments: &Up, layout: &Layout, server: &ApiServer, cancel: CancellationToken) -> Result<()> {
    // Before the default roles are there, an agent could not follow what it needs.
    if cancel.run_until_cancelled(server.ready()).await.is_none() {
        return Ok(());
    }
    let name = name(arguments)?;
    let pod_network: Cidr = arguments.pods.pod_cidr.parse().context("--pod-cidr")?;
    let runtime = Runtime::open(runtime_config(layout, pod_network)).await.context("opening the containers' state")?;
    let identity = Identity {
        user: format!("system:node:{name}"),
        groups: vec!["system:nodes".to_owned(), "system:authenticated".to_owned()],
        ..Identity::default()
    };
    let pki = &server.core().pki;
    let credentials = pki.node(&name, &[arguments.node_address])?;
    let own_ports = vec![server.local_address().port(), arguments.node_port];
    let config = NodeConfig {
        name: name.clone(),
        address: arguments.node_address,
        host_pods_address: if arguments.node_address.is_loopback() {
            pod_network.gateway().into()
        } else {
            arguments.node_address
        },
        kubelet_address: arguments.node_address,
        kubelet_port: arguments.node_port,
        own_ports: own_ports.clone(),
        allowed_unsafe_sysctls: arguments.sysctls.allowed.clone(),
        pod_cidr: Some(arguments.pods.pod_cidr.clone()),
        state_dir: layout.node(),
        tls: NodeTls {
            client_ca: pki.ca_pem().as_bytes().to_vec(),
            certificate: credentials.server.certificate_pem.into_bytes(),
            key: credentials.server.key_pem.into_bytes(),
        },
        cluster_dns: Vec::new(),
        cluster_domain: server.core().config.cluster_domain.clone(),
        api_host: server.core().config.advertise.to_string(),
        api_port: server.local_address().port(),
        labels: BTreeMap::new(),
    };
    let agent = Clients::new(server.in_process(identity.clone()), "kontiki-node").plain();
    let network = Clients::new(server.in_process(identity), "kontiki-network").plain();
    let network = kontiki_network::run(network, name, arguments.pods.pod_cidr.clone(), own_ports, cancel.clone());
    let agent = kontiki_node::run(config, agent, runtime, cancel);
    // One that cannot go on ends the other: half a node looks alive.
    tokio::try_join!(
        agent.map(|ended| ended.context("the node agent ended")),
        network.map(|ended| ended.context("the Service network ended")),
    )?;
    Ok(())
}
