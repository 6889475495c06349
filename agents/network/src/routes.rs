//! Routes to the pods of other nodes: each node's pod network through that node's address. What to have is pure; the kernel is
//! asked through rtnetlink. Nodes must share a link, or the network between them must know these ways already.

use std::{collections::BTreeMap, net::Ipv4Addr};

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Node;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol},
};

/// By this the kernel's routes are known as ours: `ip route show proto 75`.
const PROTOCOL: u8 = 75;

/// A network: its first address, and the length of the prefix.
pub type Network = (Ipv4Addr, u8);

/// Pod networks of other nodes, and the addresses they are reached through.
pub type Routes = BTreeMap<Network, Ipv4Addr>;

/// Why other nodes' pods are not reached.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    #[error("no netlink socket: {0}")]
    Socket(std::io::Error),
    #[error("routes cannot be changed: {0}")]
    Netlink(rtnetlink::Error),
    #[error("no route to {}/{} through {gateway}: {why}", network.0, network.1)]
    Unset { network: Network, gateway: Ipv4Addr, why: rtnetlink::Error },
}

/// The routes that `node` needs. A node without a pod network or an IPv4 InternalIP gets none, and none gets what is not the pods':
/// nodes say themselves which network is theirs.
pub fn routes<'a>(node: &str, pods: Network, nodes: impl IntoIterator<Item = &'a Node>) -> Routes {
    let mut routes = Routes::new();
    for other in nodes {
        if other.metadata.name.as_deref() == Some(node) {
            continue;
        }
        let addresses = other.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let internal = addresses.filter(|address| address.type_ == "InternalIP");
        let Some(gateway) = internal.filter_map(|address| address.address.parse::<Ipv4Addr>().ok()).next() else {
            continue;
        };
        // Two nodes that both say they are on this machine's own loopback reach nobody.
        let Some(network) = other.spec.iter().filter_map(|spec| network(spec.pod_cidr.as_deref()?)).next() else {
            continue;
        };
        if !gateway.is_loopback() && is_within(network, pods) {
            routes.insert(network, gateway);
        }
    }
    routes
}

/// Reads `10.244.0.0/16`; the bits behind the prefix do not count.
pub fn network(cidr: &str) -> Option<Network> {
    let (address, prefix) = cidr.split_once('/')?;
    let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    Some((first(address.parse().ok()?, prefix), prefix))
}

fn first(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

fn is_within((address, prefix): Network, outer: Network) -> bool {
    prefix >= outer.1 && first(address, outer.1) == outer.0
}

/// Brings the kernel's routes to this, and removes those of ours that are not in it. One that is refused keeps no other; the first
/// refusal is told.
pub async fn apply(wanted: &Routes) -> Result<(), RouteError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(RouteError::Socket)?;
    let driver = tokio::spawn(connection);
    let applied = apply_with(&handle, wanted).await;
    driver.abort();
    applied
}

async fn apply_with(handle: &Handle, wanted: &Routes) -> Result<(), RouteError> {
    let present = ours(handle).await.map_err(RouteError::Netlink)?;
    let mut outcome = Ok(());
    for message in &present {
        let stale = read(message).is_none_or(|(network, gateway)| wanted.get(&network) != Some(&gateway));
        if stale {
            let removed = handle.route().del(message.clone()).execute().await;
            outcome = outcome.and(removed.map_err(RouteError::Netlink));
        }
    }
    for (network, gateway) in wanted {
        if present.iter().any(|message| read(message) == Some((*network, *gateway))) {
            continue;
        }
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(network.0, network.1)
            .gateway(*gateway)
            .protocol(RouteProtocol::Other(PROTOCOL))
            .build();
        let set = handle.route().add(route).replace().execute().await;
        let unset = |why| RouteError::Unset { network: *network, gateway: *gateway, why };
        outcome = outcome.and(set.map_err(unset));
    }
    outcome
}

async fn ours(handle: &Handle) -> Result<Vec<RouteMessage>, rtnetlink::Error> {
    let all: Vec<RouteMessage> =
        handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute().try_collect().await?;
    Ok(all.into_iter().filter(|message| message.header.protocol == RouteProtocol::Other(PROTOCOL)).collect())
}

fn read(message: &RouteMessage) -> Option<(Network, Ipv4Addr)> {
    let address = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some((true, *address)),
        RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some((false, *address)),
        _ => None,
    };
    let found: Vec<(bool, Ipv4Addr)> = message.attributes.iter().filter_map(address).collect();
    let of = |destination: bool| found.iter().find(|(is, _)| *is == destination).map(|(_, address)| *address);
    Some(((of(true)?, message.header.destination_prefix_length), of(false)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn other_nodes_pods_are_reached_through_their_nodes() {
        let node = |name: &str, cidr: serde_json::Value, address: serde_json::Value| -> Node {
            serde_json::from_value(json!({
                "apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"podCIDR": cidr},
                "status": {"addresses": [
                    {"type": "Hostname", "address": name},
                    {"type": "InternalIP", "address": "fd00::1"},
                    {"type": "InternalIP", "address": address}]},
            }))
            .unwrap()
        };
        let nodes = [
            node("own", json!("10.244.1.0/24"), json!("192.0.2.1")),
            node("other", json!("10.244.2.0/24"), json!("192.0.2.2")),
            node("without-pods", json!(null), json!("192.0.2.3")),
            node("without-address", json!("10.244.4.0/24"), json!("nowhere")),
            node("loopback", json!("10.244.5.0/24"), json!("127.0.0.1")),
            node("inexact", json!("10.244.6.1/24"), json!("192.0.2.6")),
            node("greedy", json!("0.0.0.0/0"), json!("192.0.2.7")),
            node("elsewhere", json!("10.96.0.0/12"), json!("192.0.2.8")),
        ];
        let expected = [2, 6].map(|n| ((Ipv4Addr::new(10, 244, n, 0), 24), Ipv4Addr::new(192, 0, 2, n)));
        let pods = network("10.244.0.0/16").unwrap();
        assert_eq!(routes("own", pods, &nodes), Routes::from(expected));
    }

    #[test]
    fn networks_are_read_and_compared_by_their_prefix() {
        for (text, expected) in [
            ("10.244.3.9/16", Some((Ipv4Addr::new(10, 244, 0, 0), 16))),
            ("10.244.3.9/32", Some((Ipv4Addr::new(10, 244, 3, 9), 32))),
            ("10.244.3.9/0", Some((Ipv4Addr::UNSPECIFIED, 0))),
            ("10.244.0.0/33", None),
            ("10.244.0.0", None),
            ("fd00::/16", None),
        ] {
            assert_eq!(network(text), expected, "{text}");
        }
        let all = network("0.0.0.0/0").unwrap();
        assert!(is_within(network("10.244.0.0/16").unwrap(), all) && !is_within(all, network("0.0.0.0/1").unwrap()));
    }
}
