//! The loop: follow, wait a moment for more, apply the difference.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kontiki_informer::{Informer, ObjectKey, Subscription};
use kube::{Api, Client, ResourceExt, runtime::watcher};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    conntrack::{self, Stale},
    health,
    model::{Here, View, view},
    nft::{self, NftError},
    routes::{self, RouteError},
    rules::ruleset,
    ruleset::{Ruleset, change, removal, replacement},
};

/// Changes that come within this time are one transaction.
const GATHER: Duration = Duration::from_millis(20);
/// After a failure, and between looks whether somebody else removed the table (`nft flush ruleset`).
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
const RETRY_FIRST: Duration = Duration::from_millis(500);

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Why service addresses are not served.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error(transparent)]
    Nft(#[from] NftError),
    #[error(transparent)]
    Routes(#[from] RouteError),
    #[error("{0:?} is not a pod network: an IPv4 network such as 10.244.0.0/16 is needed")]
    BadPodNetwork(String),
    #[error("the network agent's worker ended: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

/// Keeps this node's nftables and routes as Services, EndpointSlices, this node's pods and the other nodes ask for, until `cancel`.
/// The rules stay when it returns, so that restarting the agent interrupts nothing; `cleanup` removes them. `pod_cidr` is the
/// network of all pods, `own_ports` are those on which this machine's part of the cluster is reached.
/// Fails only where it cannot work at all; afterwards failures are logged and tried again.
pub async fn run(
    client: Client,
    node_name: String,
    pod_cidr: String,
    own_ports: Vec<u16>,
    cancel: CancellationToken,
) -> Result<(), NetworkError> {
    let all_pods = routes::network(&pod_cidr).ok_or_else(|| NetworkError::BadPodNetwork(pod_cidr.clone()))?;
    let mut applier = Applier::start().await?;
    let mut listeners = health::Listeners::default();
    let changed = Arc::new(Notify::new());
    let services: Informer<Service> =
        Informer::start(Api::all(client.clone()), watcher::Config::default(), tell(&changed), cancel.clone());
    let slices: Informer<EndpointSlice> =
        Informer::start(Api::all(client.clone()), watcher::Config::default(), tell(&changed), cancel.clone());
    let nodes: Informer<Node> =
        Informer::start(Api::all(client.clone()), watcher::Config::default(), tell(&changed), cancel.clone());
    let here = watcher::Config::default().fields(&format!("spec.nodeName={node_name}"));
    let pods: Informer<Pod> = Informer::start(Api::all(client), here, tell(&changed), cancel.clone());
    // An incomplete view would cut connections that the rules of before still serve.
    let synced =
        async { services.synced().await && slices.synced().await && pods.synced().await && nodes.synced().await };
    if cancel.run_until_cancelled(synced).await != Some(true) {
        return Ok(());
    }
    while !cancel.is_cancelled() {
        let all_services = services.list(None);
        let node = nodes.get(&ObjectKey::new("", &node_name));
        let zone = node.as_ref().and_then(|node| node.labels().get(ZONE_LABEL)).filter(|zone| !zone.is_empty());
        let view = View {
            own_ports: own_ports.clone(),
            ..view(
                Here { node: &node_name, zone: zone.map(String::as_str) },
                all_services.iter().map(AsRef::as_ref),
                slices.list(None).iter().map(AsRef::as_ref),
                pods.list(None).iter().map(AsRef::as_ref),
            )
        };
        let rules = ruleset(&view, &pod_cidr);
        let routes = routes::routes(&node_name, all_pods, nodes.list(None).iter().map(AsRef::as_ref));
        let checks = health::checks(all_services.iter().map(AsRef::as_ref), &view);
        let applied = applier.apply(view, rules).await;
        // A balancer sends what the rules lead on by then.
        listeners.follow(checks).await;
        let wait = match applied.and(routes::apply(&routes).await.map_err(NetworkError::from)) {
            Ok(()) => CHECK_INTERVAL,
            Err(error) => {
                let wait = applier.back_off();
                tracing::warn!(%error, ?wait, "service addresses or routes were not updated");
                wait
            }
        };
        let next_change = tokio::time::timeout(wait, changed.notified());
        if let Some(Ok(())) = cancel.run_until_cancelled(next_change).await {
            tokio::time::sleep(GATHER).await;
        }
    }
    Ok(())
}

/// Removes every rule and route of this program from the node.
pub async fn cleanup() -> Result<(), NetworkError> {
    blocking(|| nft::run(&removal())).await?;
    Ok(routes::apply(&routes::Routes::new()).await?)
}

fn tell<K>(changed: &Arc<Notify>) -> Vec<Subscription<K>> {
    let changed = changed.clone();
    vec![Box::new(move |_| changed.notify_one())]
}

/// Knows what the kernel has.
struct Applier {
    /// `None`: not known; the next application replaces everything.
    applied: Option<(View, Ruleset)>,
    failures: u32,
}

impl Applier {
    /// Finds out whether nftables can be used at all.
    async fn start() -> Result<Self, NetworkError> {
        blocking(|| nft::run("list tables")).await?;
        // Others' tables are theirs, but the user should know why pods do not reach each other.
        let forward = blocking(|| nft::run("list chain ip filter FORWARD")).await;
        if forward.is_ok_and(|listing| listing.contains("policy drop")) {
            tracing::warn!(
                "this machine's firewall drops forwarded packets (Docker sets that): allow pods, for instance by \
                 `iptables -I FORWARD -i kt+ -j ACCEPT; iptables -I FORWARD -o kt+ -j ACCEPT`"
            );
        }
        Ok(Self { applied: None, failures: 0 })
    }

    async fn apply(&mut self, view: View, new: Ruleset) -> Result<(), NetworkError> {
        let (old_view, old) = self.applied.take().unzip();
        let script = match &old {
            Some(old) if *old == new => CHECK.to_owned(),
            Some(old) => change(old, &new),
            None => replacement(&new),
        };
        match blocking(move || nft::run(&script)).await {
            Ok(_) => {}
            Err(NetworkError::Nft(error)) if old.is_some() => {
                // Somebody changed the table under us.
                tracing::info!(%error, "the table is not as it was left: replacing it");
                let script = replacement(&new);
                blocking(move || nft::run(&script)).await?;
            }
            Err(error) => return Err(error),
        }
        let stale = old_view.map_or_else(|| Stale::since_unknown(&view), |old| Stale::between(&old, &view));
        self.applied = Some((view, new));
        self.failures = 0;
        if !stale.is_empty() {
            forget(stale).await?;
        }
        Ok(())
    }

    fn back_off(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        (RETRY_FIRST * 2_u32.saturating_pow(self.failures.min(16) - 1)).min(CHECK_INTERVAL)
    }
}

/// After the rules: what comes in between is led right already.
async fn forget(stale: Stale) -> Result<(), NetworkError> {
    match tokio::task::spawn_blocking(move || conntrack::flush(&stale)).await? {
        Ok(0) => {}
        Ok(forgotten) => tracing::debug!(forgotten, "UDP connections that the rules lead elsewhere now"),
        // The rules are right; such a client must wait for its connection to time out.
        Err(error) => tracing::warn!(%error, "UDP connections to endpoints that are gone were not forgotten"),
    }
    Ok(())
}

/// Fails where the table is gone.
const CHECK: &str = "list chain ip kontiki services\n";

async fn blocking(work: impl FnOnce() -> Result<String, NftError> + Send + 'static) -> Result<String, NetworkError> {
    Ok(tokio::task::spawn_blocking(work).await??)
}
