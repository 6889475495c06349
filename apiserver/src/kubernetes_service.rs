//! The endpoints of the `kubernetes` Service: every server that lives, told by the one that leads.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use futures::future::join_all;
use kontiki_model::Status;
use kontiki_raft::MemberStatus;
use serde_json::{Value, json};

use crate::{bootstrap, core::Core, health, limits};

/// Servers by the port they serve on.
type ByPort = BTreeMap<u16, BTreeSet<IpAddr>>;

/// Looks which servers live for as long as this one leads, and writes it down where it changes.
pub(crate) async fn keep(core: Arc<Core>) {
    let following = async {
        let mut leadership = core.log.leadership();
        let mut failures = BTreeMap::new();
        loop {
            if leadership.wait_for(|now| now.leader).await.is_err() {
                return;
            }
            let living = living(&core, &mut failures).await;
            if let Err(status) = settle(&core, &living).await {
                tracing::warn!(
                    code = status.code,
                    message = status.message,
                    "the kubernetes Service's endpoints are not up to date"
                );
            }
            tokio::time::sleep(limits::SERVER_CHECK_INTERVAL).await;
        }
    };
    core.stopping.run_until_cancelled(following).await;
}

/// Writes the endpoints down now, if this server leads: before it says that it is ready.
pub(crate) async fn first(core: &Arc<Core>) -> Result<(), Status> {
    if !core.log.leadership().borrow().leader {
        return Ok(());
    }
    settle(core, &living(core, &mut BTreeMap::new()).await).await
}

/// The addresses of members that answer; one that fails now and then is kept.
async fn living(core: &Arc<Core>, failures: &mut BTreeMap<u64, u32>) -> Vec<SocketAddr> {
    let members: Vec<MemberStatus> = core.log.members().into_iter().filter(|member| member.voter).collect();
    let states = join_all(members.iter().map(|member| health::of_member(core, member))).await;
    failures.retain(|id, _| members.iter().any(|member| member.id == *id));
    let mut living = Vec::new();
    for (member, state) in members.iter().zip(states) {
        let failed = failures.entry(member.id).or_default();
        *failed = if state.is_ok() { 0 } else { failed.saturating_add(1) };
        if *failed < limits::SERVER_CHECK_FAILURES {
            living.extend(address(core, member));
        }
    }
    living
}

/// Where pods and nodes reach a member. A server alone may be known to itself by an address that only its own machine has.
fn address(core: &Core, member: &MemberStatus) -> Option<SocketAddr> {
    let own = member.id == core.log.node_id();
    let address =
        if own { core.config.advertised().parse().ok()? } else { member.address.parse::<SocketAddr>().ok()? };
    // Nobody but one machine's own network namespace could use it, and Kubernetes refuses such endpoints.
    let usable = !address.ip().is_loopback() && !address.ip().is_unspecified();
    usable.then_some(address)
}

async fn settle(core: &Arc<Core>, living: &[SocketAddr]) -> Result<(), Status> {
    let mut by_port = ByPort::new();
    for address in living {
        by_port.entry(address.port()).or_default().insert(address.ip());
    }
    if by_port.is_empty() {
        return Ok(());
    }
    bootstrap::settle(core, "", "endpoints", endpoints(&by_port), &["subsets"]).await?;
    if let Some(slice) = slice(&by_port) {
        bootstrap::settle(core, "discovery.k8s.io", "endpointslices", slice, &["addressType", "endpoints", "ports"])
            .await?;
    }
    Ok(())
}

/// The Service has no selector, so no controller touches these.
fn endpoints(by_port: &ByPort) -> Value {
    let subsets: Vec<Value> = by_port
        .iter()
        .map(|(port, addresses)| {
            let addresses: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
            json!({"addresses": addresses, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]})
        })
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": subsets,
    })
}

/// A slice is of one port and one family: the largest group is told. Servers of one cluster commonly agree in both.
fn slice(by_port: &ByPort) -> Option<Value> {
    let (port, addresses) = by_port.iter().max_by_key(|(_, addresses)| addresses.len())?;
    let of = |four: bool| addresses.iter().filter(|ip| ip.is_ipv4() == four).collect::<Vec<_>>();
    let four = !of(true).is_empty();
    let endpoints: Vec<Value> =
        of(four).iter().map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
    Some(json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": if four { "IPv4" } else { "IPv6" },
        "endpoints": endpoints,
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }))
}
