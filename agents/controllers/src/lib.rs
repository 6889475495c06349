//! Controllers: level-based, each a pure `reconcile(view) -> actions` with a thin loop around it.
//! They reach the cluster through a Kubernetes API only, and so could run against any.

mod adoption;
mod certificates;
mod clusterrole;
mod context;
mod deployment;
mod disruption;
mod endpoints;
mod garbage;
mod ipaddress;
mod loadbalancer;
mod namespace;
mod node;
mod podgc;
mod pods;
mod protection;
mod quota;
mod replicaset;
#[cfg(test)]
mod scripted;
mod serviceaccount;
mod servicecidr;
mod share;
mod time;
mod token;

use std::sync::Arc;

use kontiki_informer::Clients;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use certificates::{CertificateAuthority, Unsigned};
use context::Context;
pub use context::ControllerError;

/// What controllers need to be told.
#[derive(Clone)]
pub struct ControllerConfig {
    /// PEM of the cluster's CA, published to every namespace as ConfigMap `kube-root-ca.crt`.
    pub root_ca: String,
    /// Whether Services of type LoadBalancer get addresses of nodes.
    pub balance: bool,
    /// What signs for Kubernetes' signers.
    pub authority: Arc<dyn CertificateAuthority>,
}

/// Runs every controller until `cancel`; returns when all have stopped.
pub async fn run(clients: Clients, config: ControllerConfig, cancel: CancellationToken) {
    let context = Context::new(clients, config, cancel);
    let mut running = JoinSet::new();
    running.spawn(certificates::run(context.clone()));
    running.spawn(clusterrole::run(context.clone()));
    running.spawn(deployment::run(context.clone()));
    running.spawn(disruption::run(context.clone()));
    running.spawn(endpoints::run(context.clone()));
    running.spawn(garbage::run(context.clone()));
    running.spawn(ipaddress::run(context.clone()));
    if context.config.balance {
        running.spawn(loadbalancer::run(context.clone()));
    }
    running.spawn(namespace::run(context.clone()));
    running.spawn(node::run(context.clone()));
    running.spawn(podgc::run(context.clone()));
    running.spawn(protection::run(context.clone()));
    running.spawn(quota::run(context.clone()));
    running.spawn(replicaset::run(context.clone()));
    running.spawn(serviceaccount::run(context.clone()));
    running.spawn(servicecidr::run(context.clone()));
    running.spawn(token::run(context));
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended {
            // The others go on; the process's supervisor sees the log line.
            tracing::error!(%error, "a controller ended by panic");
        }
    }
}
