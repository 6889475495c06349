//! A node agent from start to stop: what runs, in which order it begins, and that it ends together.

use std::{fs, net::SocketAddr, sync::Arc};

use k8s_openapi::api::core::v1::{Node, Service};
use kontiki_informer::{Informer, Recorder, Subscription};
use kontiki_runtime::Runtime;
use kube::{Api, Client, runtime::watcher};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::NodeConfig,
    containers::SharedContainers,
    error::NodeError,
    events::{Events, Severity},
    facts::{Facts, KUBELET_VERSION},
    images, lease,
    node::{NodeContext, Pods},
    node_events,
    objects::ObjectCache,
    pods::Dispatcher,
    probes::Tally,
    pulled::PulledImages,
    register::Registrar,
    runtime::RuntimeContainers,
    server::{self, ServerConfig},
    sysctls::Sysctls,
};

/// Name of this agent in events, as everybody knows it.
const COMPONENT: &str = "kubelet";

/// Runs the node agent until `cancel`; returns early only if it cannot begin. Containers keep running afterwards: the
/// next agent adopts them.
pub async fn run(
    config: NodeConfig,
    client: Client,
    runtime: Runtime,
    cancel: CancellationToken,
) -> Result<(), NodeError> {
    if let Err(error) = kontiki_runtime::spare_agent() {
        warn!(%error, "out of memory, the kernel may end this agent before containers: that takes CAP_SYS_RESOURCE");
    }
    let containers = RuntimeContainers::open(runtime, config.pod_cidr.as_deref()).await?;
    run_with(config, client, Arc::new(containers), cancel).await
}

pub(crate) async fn run_with(
    mut config: NodeConfig,
    client: Client,
    containers: SharedContainers,
    cancel: CancellationToken,
) -> Result<(), NodeError> {
    for folder in ["pods", "logs"] {
        let path = config.state_dir.join(folder);
        fs::create_dir_all(&path).map_err(|source| NodeError::StateDir { path, source })?;
    }
    let sysctls = Sysctls::new(&config.allowed_unsafe_sysctls)?;
    let pulled = PulledImages::open(&config.state_dir)
        .map_err(|source| NodeError::StateDir { path: config.state_dir.clone(), source })?;
    let facts = Arc::new(Facts::read(&config.state_dir).map_err(NodeError::Machine)?);
    let bound = server::bind(&ServerConfig {
        listen: SocketAddr::new(config.kubelet_address, config.kubelet_port),
        client_ca_pem: &config.tls.client_ca,
        certificate_pem: &config.tls.certificate,
        key_pem: &config.tls.key,
    })
    .await?;
    let port = bound.address().port();
    config.own_ports.push(port);
    let stop = cancel.child_token();
    let _stop_on_return = stop.clone().drop_guard();
    let config = Arc::new(config);
    let images_changed = Arc::new(Notify::new());
    let recorder = Recorder::new(client.clone(), COMPONENT, Some(config.name.clone()));
    let own_node = watcher::Config::default().fields(&format!("metadata.name={}", config.name));
    let events = Events::start(recorder, stop.clone());
    let of_node = events.clone();
    let told: Subscription<Node> = Box::new(move |change| node_events::tell(&of_node, change));
    let node = Arc::new(NodeContext {
        events,
        objects: ObjectCache::new(client.clone()),
        services: Informer::<Service>::start(
            Api::all(client.clone()),
            watcher::Config::default(),
            vec![],
            stop.clone(),
        ),
        nodes: Informer::<Node>::start(Api::all(client.clone()), own_node, vec![told], stop.clone()),
        allocatable: facts.allocatable_text(),
        pods: Pods::new(facts.allocatable_text()),
        sysctls,
        images_changed: images_changed.clone(),
        pulled: Arc::new(pulled),
        probes: Tally::default(),
        client: client.clone(),
        config: config.clone(),
        containers: containers.clone(),
        facts: facts.clone(),
    });
    let registrar =
        Registrar { client: client.clone(), config: config.clone(), facts, containers, port, images_changed };
    tokio::select! {
        () = stop.cancelled() => {}
        () = serve(node, registrar, bound, stop.clone()) => {}
    }
    Ok(())
}

async fn serve(node: Arc<NodeContext>, registrar: Registrar, bound: server::Bound, stop: CancellationToken) {
    let registered = registrar.register().await;
    info!(node = node.config.name, port = bound.address().port(), version = KUBELET_VERSION, "node agent started");
    node.events.of_node(&registered, Severity::Normal, "Starting", "Starting kubelet.");
    node.services.synced().await;
    node.nodes.synced().await;
    let collector =
        images::collect_garbage(node.containers.clone(), node.pulled.clone(), node.config.state_dir.clone());
    tokio::join!(
        lease::keep(node.client.clone(), &node.config.name),
        registrar.keep_status(),
        Dispatcher::new(node.clone()).run(stop.clone()),
        bound.serve(node.clone(), stop),
        collector,
    );
}
