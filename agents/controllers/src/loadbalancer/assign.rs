//! Which nodes' addresses a Service of type LoadBalancer gets. Pure.
//!
//! There is no machine of its own that balances: each node takes what comes to its own address for the Service's port, so one
//! port of one address serves one Service, and who came first keeps it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
};

use k8s_openapi::{
    api::{
        core::v1::{LoadBalancerIngress, Node, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time},
};
use kontiki_informer::ObjectKey;
use kube::ResourceExt;

use super::taken;

const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// What versions of this cluster's own agents contain.
const AGENT_VERSION: &str = "+kontiki.";
/// In whose name addresses are written.
pub const MANAGER: &str = "kontiki-controllers";
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The addresses of each Service that is to have some, in order. A list that is empty is of one that found none.
pub type Assignment = BTreeMap<ObjectKey, Vec<LoadBalancerIngress>>;

/// What there is to share out, and among whom.
pub struct Cluster<'a> {
    pub services: &'a [Arc<Service>],
    pub nodes: &'a [Arc<Node>],
    /// Where the endpoints of Services are whose traffic stays on its node.
    pub slices: &'a [Arc<EndpointSlice>],
    pub pods: &'a [Arc<Pod>],
}

/// What is given to whom.
pub fn assign(cluster: &Cluster<'_>) -> Assignment {
    let Cluster { services, nodes: all_nodes, slices, pods } = *cluster;
    let known: BTreeSet<String> = all_nodes.iter().flat_map(|node| every_address(node)).collect();
    let ours = |service: &&Arc<Service>| is_balanced(service) && !is_anothers(service, &known);
    let mut balanced: Vec<&Arc<Service>> = services.iter().filter(ours).collect();
    balanced.sort_by_key(|service| rank(service));
    let nodes: Vec<(String, Vec<Ipv4Addr>)> =
        all_nodes.iter().filter(|node| serves(node)).map(|node| (node.name_any(), addresses(node))).collect();
    let mut taken = taken::by_cluster(all_nodes, slices);
    taken.extend(taken::by_listeners(all_nodes));
    taken.extend(taken::by_pods(all_nodes, pods));
    let node_ports = taken::node_ports(services);
    let mut assignment = Assignment::new();
    for service in balanced {
        let wanted = wanted_address(service);
        let (key, ports) = (ObjectKey::of(&**service), ports(service));
        let is_free = |address: &Ipv4Addr, (protocol, port): &(String, i32)| {
            let of_another = node_ports.get(&(protocol.clone(), *port)).is_some_and(|owner| *owner != key);
            !of_another && !taken.contains(&(*address, protocol.clone(), *port))
        };
        let local = stays_local(service).then(|| nodes_of(service, slices));
        let serving = nodes.iter().filter(|(name, _)| local.as_ref().is_none_or(|local| local.contains(name)));
        let candidates: BTreeSet<Ipv4Addr> = serving.flat_map(|(_, addresses)| addresses).copied().collect();
        let free = candidates.into_iter().filter(|address| {
            wanted.as_ref().is_none_or(|wanted| *wanted == address.to_string())
                && ports.iter().all(|port| is_free(address, port))
        });
        let given: Vec<Ipv4Addr> = free.collect();
        for address in &given {
            taken.extend(ports.iter().map(|(protocol, port)| (*address, protocol.clone(), *port)));
        }
        assignment.insert(key, given.into_iter().map(ingress).collect());
    }
    assignment
}

pub fn protocol(named: Option<&str>) -> String {
    named.unwrap_or("TCP").to_owned()
}

/// Whether the cluster's own balancing is asked for; one of a class is somebody else's.
pub fn is_balanced(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    let ours = spec.load_balancer_class.as_deref().unwrap_or_default().is_empty();
    spec.type_.as_deref() == Some("LoadBalancer") && ours && service.metadata.deletion_timestamp.is_none()
}

/// What the Service's status says.
pub fn told(service: &Service) -> &[LoadBalancerIngress] {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default()
}

/// Another balancer has served it: its addresses are no node's, and were not written here. They are ours if they are of a node
/// that is gone.
fn is_anothers(service: &Service, known: &BTreeSet<String>) -> bool {
    let is_known = |one: &LoadBalancerIngress| one.ip.as_ref().is_some_and(|ip| known.contains(ip));
    !told(service).iter().all(is_known) && writer(service).is_some_and(|writer| writer != MANAGER)
}

/// Who has written the addresses.
fn writer(service: &Service) -> Option<&str> {
    let entries = service.metadata.managed_fields.iter().flatten();
    let writes = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref();
        fields.is_some_and(|fields| fields.0.pointer("/f:status/f:loadBalancer/f:ingress").is_some())
    };
    entries.into_iter().find(writes)?.manager.as_deref()
}

/// Whoever has addresses comes before those that wait, and else who is older.
fn rank(service: &Service) -> (bool, Option<Time>, ObjectKey) {
    (told(service).is_empty(), service.creation_timestamp(), ObjectKey::of(service))
}

fn wanted_address(service: &Service) -> Option<String> {
    let spec = service.spec.as_ref()?;
    spec.load_balancer_ip.clone().filter(|address| !address.is_empty())
}

fn ports(service: &Service) -> Vec<(String, i32)> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports.map(|port| (protocol(port.protocol.as_deref()), port.port)).collect()
}

/// Whether its traffic from outside goes to the endpoints of the node where it arrives.
pub fn stays_local(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.external_traffic_policy.as_deref()) == Some("Local")
}

/// Nodes with an endpoint that takes traffic.
fn nodes_of(service: &Service, slices: &[Arc<EndpointSlice>]) -> BTreeSet<String> {
    let own = slices.iter().filter(|slice| {
        slice.namespace() == service.namespace() && slice.labels().get(SERVICE_LABEL) == Some(&service.name_any())
    });
    let endpoints = own.flat_map(|slice| slice.endpoints.iter().flatten());
    let ready = endpoints
        .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true));
    ready.filter_map(|endpoint| endpoint.node_name.clone()).collect()
}

/// Ready, meant for it, and its agent knows of balancers' addresses: those that do tell of their runtime's handlers, older ones of neither.
fn serves(node: &Node) -> bool {
    let status = node.status.clone().unwrap_or_default();
    let version = status.node_info.map(|info| info.kubelet_version).unwrap_or_default();
    let able = version.contains(AGENT_VERSION) && status.runtime_handlers.is_some_and(|handlers| !handlers.is_empty());
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    able && ready && node.metadata.deletion_timestamp.is_none() && !node.labels().contains_key(EXCLUDED)
}

fn every_address(node: &Node) -> impl Iterator<Item = String> {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.clone()).unwrap_or_default();
    addresses.into_iter().map(|one| one.address)
}

/// Those by which the node is reached from outside, or else its own.
pub fn addresses(node: &Node) -> Vec<Ipv4Addr> {
    let of = |type_: &str| {
        let all = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        all.filter(|one| one.type_ == type_).filter_map(|one| one.address.parse().ok()).collect::<Vec<_>>()
    };
    let external = of("ExternalIP");
    if external.is_empty() { of("InternalIP") } else { external }
}

/// What is sent to the address arrives with it: the node itself translates.
fn ingress(address: Ipv4Addr) -> LoadBalancerIngress {
    LoadBalancerIngress {
        ip: Some(address.to_string()),
        ip_mode: Some("VIP".to_owned()),
        ..LoadBalancerIngress::default()
    }
}

#[cfg(test)]
mod tests;
