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

/// Pod networks of other nodes, and the addresses they are reached through.
pub type Routes = BTreeMap<(Ipv4Addr, u8), Ipv4Addr>;

/// Why other nodes' pods are not reached.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    #[error("no netlink socket: {0}")]
    Socket(std::io::Error),
    #[error("routes cannot be changed: {0}")]
    Netlink(rtnetlink::Error),
}

/// The routes that `node` needs. A node without a pod network or an IPv4 InternalIP gets none.
pub fn routes<'a>(node: &str, nodes: impl IntoIterator<Item = &'a Node>) -> Routes {
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
        if !gateway.is_loopback() {
            routes.insert(network, gateway);
        }
    }
    routes
}

fn network(cidr: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, prefix) = cidr.split_once('/')?;
    Some((address.parse().ok()?, prefix.parse().ok().filter(|prefix| *prefix <= 32)?))
}

/// Brings the kernel's routes to this, and removes those of ours that are not in it.
pub async fn apply(wanted: &Routes) -> Result<(), RouteError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(RouteError::Socket)?;
    let driver = tokio::spawn(connection);
    let applied = apply_with(&handle, wanted).await;
    driver.abort();
    applied.map_err(RouteError::Netlink)
}

async fn apply_with(handle: &Handle, wanted: &Routes) -> Result<(), rtnetlink::Error> {
    let present = ours(handle).await?;
    for message in &present {
        let stale = read(message).is_none_or(|(network, gateway)| wanted.get(&network) != Some(&gateway));
        if stale {
            handle.route().del(message.clone()).execute().await?;
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
        handle.route().add(route).replace().execute().await?;
    }
    Ok(())
}

async fn ours(handle: &Handle) -> Result<Vec<RouteMessage>, rtnetlink::Error> {
    let all: Vec<RouteMessage> =
        handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute().try_collect().await?;
    Ok(all.into_iter().filter(|message| message.header.protocol == RouteProtocol::Other(PROTOCOL)).collect())
}

fn read(message: &RouteMessage) -> Option<((Ipv4Addr, u8), Ipv4Addr)> {
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
        ];
        let expected = ((Ipv4Addr::new(10, 244, 2, 0), 24), Ipv4Addr::new(192, 0, 2, 2));
        assert_eq!(routes("own", &nodes), Routes::from([expected]));
    }
}
