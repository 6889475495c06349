//! Ports of nodes' addresses that lead somewhere already, and so to no Service of type LoadBalancer. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{ContainerPort, Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kontiki_informer::{LISTENING, ObjectKey};
use kube::ResourceExt;

use super::assign::{SERVICE_LABEL, addresses, protocol};
use crate::pods::is_finished;

/// Address, protocol and number.
pub type Port = (Ipv4Addr, String, i32);

/// What the cluster itself is reached by on its nodes: their agents, and the API servers.
pub fn by_cluster(nodes: &[Arc<Node>], slices: &[Arc<EndpointSlice>]) -> BTreeSet<Port> {
    let of_api = slices.iter().filter(|slice| {
        slice.namespace().as_deref() == Some("default")
            && slice.labels().get(SERVICE_LABEL).is_some_and(|of| of == "kubernetes")
    });
    let api: BTreeSet<i32> =
        of_api.flat_map(|slice| slice.ports.iter().flatten().filter_map(|port| port.port)).collect();
    let agent = |node: &Node| Some(node.status.as_ref()?.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref()?.port);
    let of_node = |node: &Arc<Node>| {
        let ports: Vec<i32> = agent(node).into_iter().chain(api.iter().copied()).collect();
        let pairs = addresses(node)
            .into_iter()
            .flat_map(move |address| ports.clone().into_iter().map(move |port| (address, port)));
        pairs.map(|(address, port)| (address, "TCP".to_owned(), port)).collect::<Vec<_>>()
    };
    nodes.iter().flat_map(of_node).collect()
}

/// What listens on the nodes, as they say.
pub fn by_listeners(nodes: &[Arc<Node>]) -> BTreeSet<Port> {
    let of_node = |node: &Arc<Node>| {
        let told = node.annotations().get(LISTENING).map(String::as_str).unwrap_or_default();
        let ports = told.split(',').filter_map(|one| {
            let (port, protocol) = one.split_once('/')?;
            Some((protocol.to_owned(), port.parse::<i32>().ok()?))
        });
        let ports: Vec<(String, i32)> = ports.collect();
        let at = |address| ports.clone().into_iter().map(move |(protocol, port)| (address, protocol, port));
        addresses(node).into_iter().flat_map(at).collect::<Vec<_>>()
    };
    nodes.iter().flat_map(of_node).collect()
}

/// Ports of all nodes, and the Services they lead to, or are asked about.
pub fn node_ports(services: &[Arc<Service>]) -> BTreeMap<(String, i32), ObjectKey> {
    let of_service = |service: &Arc<Service>| {
        let spec = service.spec.clone().unwrap_or_default();
        let asked = spec.health_check_node_port.filter(|port| *port > 0).map(|port| ("TCP".to_owned(), port));
        let ports = spec.ports.into_iter().flatten();
        let led = ports.filter_map(|port| Some((protocol(port.protocol.as_deref()), port.node_port?)));
        let key = ObjectKey::of(&**service);
        led.chain(asked).map(|port| (port, key.clone())).collect::<Vec<_>>()
    };
    services.iter().flat_map(of_service).collect()
}

/// A port of the host that a pod has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    node: String,
    /// `None` on every address of the node.
    address: Option<Ipv4Addr>,
    protocol: String,
    port: i32,
}

/// Ports of its host that a pod has, on the host's own network too.
pub fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = pod.spec.as_ref().filter(|_| !is_finished(pod)) else { return Vec::new() };
    let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) else { return Vec::new() };
    let on_host = spec.host_network == Some(true);
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let of_port = |port: &ContainerPort| {
        let own = on_host.then_some(port.container_port);
        Some(HostPort {
            node: node.to_owned(),
            address: port.host_ip.as_deref().and_then(|ip| ip.parse().ok()).filter(|ip| !Ipv4Addr::is_unspecified(ip)),
            protocol: protocol(port.protocol.as_deref()),
            port: port.host_port.filter(|port| *port > 0).or(own)?,
        })
    };
    containers.flat_map(|container| container.ports.iter().flatten()).filter_map(of_port).collect()
}

/// What pods have of the addresses of their nodes.
pub fn by_pods(nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> BTreeSet<Port> {
    let of_node: BTreeMap<String, Vec<Ipv4Addr>> =
        nodes.iter().map(|node| (node.name_any(), addresses(node))).collect();
    let ports = pods.iter().flat_map(|pod| host_ports(pod)).flat_map(|held| {
        let HostPort { node, address, protocol, port } = held;
        let of_node = of_node.get(&node).into_iter().flatten().copied();
        let at = of_node.filter(move |one| address.is_none_or(|address| address == *one));
        at.map(move |address| (address, protocol.clone(), port)).collect::<Vec<_>>()
    });
    ports.collect()
}
