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
        core::v1::{LoadBalancerIngress, Node, Service, ServicePort},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kontiki_informer::ObjectKey;
use kube::ResourceExt;

const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The addresses of each Service that is to have some, in order. A list that is empty is of one that found none.
pub type Assignment = BTreeMap<ObjectKey, Vec<LoadBalancerIngress>>;

/// What is given to whom. `slices` tells where the endpoints of Services are whose traffic stays on its node.
pub fn assign(services: &[Arc<Service>], nodes: &[Arc<Node>], slices: &[Arc<EndpointSlice>]) -> Assignment {
    let mut balanced: Vec<&Arc<Service>> = services.iter().filter(|service| is_balanced(service)).collect();
    balanced.sort_by_key(|service| rank(service));
    let all_nodes = nodes;
    let nodes: Vec<(String, Vec<Ipv4Addr>)> =
        nodes.iter().filter(|node| serves(node)).map(|node| (node.name_any(), addresses(node))).collect();
    let mut taken = reserved(all_nodes, slices);
    let node_ports = node_ports(services);
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

/// What the cluster itself is reached by on its nodes: their agents, and the API servers.
fn reserved(nodes: &[Arc<Node>], slices: &[Arc<EndpointSlice>]) -> BTreeSet<(Ipv4Addr, String, i32)> {
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

/// Ports of all nodes, and the Services they lead to.
fn node_ports(services: &[Arc<Service>]) -> BTreeMap<(String, i32), ObjectKey> {
    let ports = services.iter().flat_map(|service| {
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        ports.filter_map(|port| Some(((protocol(port), port.node_port?), ObjectKey::of(&**service))))
    });
    ports.collect()
}

fn protocol(port: &ServicePort) -> String {
    port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())
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
    ports.map(|port| (protocol(port), port.port)).collect()
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

fn serves(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && node.metadata.deletion_timestamp.is_none() && !node.labels().contains_key(EXCLUDED)
}

/// Those by which the node is reached from outside, or else its own.
fn addresses(node: &Node) -> Vec<Ipv4Addr> {
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn object<K: serde::de::DeserializeOwned>(value: Value) -> Arc<K> {
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn service(name: &str, spec: Value) -> Arc<Service> {
        let mut whole = json!({"type": "LoadBalancer", "ports": [{"port": 80}]});
        spec.as_object().unwrap().iter().for_each(|(key, value)| whole[key] = value.clone());
        let metadata = json!({"name": name, "namespace": "a", "creationTimestamp": "2026-01-01T00:00:00Z"});
        object(json!({"metadata": metadata, "spec": whole}))
    }

    fn node(name: &str, addresses: Value, ready: &str, labels: Value) -> Arc<Node> {
        let conditions = json!([{"type": "Ready", "status": ready}]);
        let agent = json!({"kubeletEndpoint": {"Port": 10250}});
        let status = json!({"addresses": addresses, "conditions": conditions, "daemonEndpoints": agent});
        object(json!({"metadata": {"name": name, "labels": labels}, "status": status}))
    }

    fn nodes() -> [Arc<Node>; 4] {
        let internal = |address: &str| json!([{"type": "InternalIP", "address": address}]);
        let both =
            json!([{"type": "InternalIP", "address": "10.1.0.2"}, {"type": "ExternalIP", "address": "192.0.2.2"}]);
        [
            node("one", internal("10.1.0.1"), "True", json!({})),
            node("two", both, "True", json!({})),
            node("out", internal("10.1.0.3"), "True", json!({EXCLUDED: ""})),
            node("dead", internal("10.1.0.4"), "Unknown", json!({})),
        ]
    }

    fn given(services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) -> Vec<String> {
        let assignment = assign(services, &nodes(), slices);
        let show = |(key, all): (ObjectKey, Vec<LoadBalancerIngress>)| {
            let all: Vec<String> =
                all.into_iter().map(|one| format!("{} {}", one.ip.unwrap(), one.ip_mode.unwrap())).collect();
            format!("{}: {}", key.name, all.join(", "))
        };
        assignment.into_iter().map(show).collect()
    }

    #[test]
    fn a_service_gets_the_addresses_of_the_nodes_that_serve() {
        let table = [
            (json!({}), vec!["s: 10.1.0.1 VIP, 192.0.2.2 VIP"]),
            (json!({"loadBalancerIP": "192.0.2.2"}), vec!["s: 192.0.2.2 VIP"]),
            (json!({"loadBalancerIP": "203.0.113.1"}), vec!["s: "]),
            (json!({"loadBalancerClass": "example.com/other"}), vec![]),
            (json!({"type": "NodePort"}), vec![]),
        ];
        for (spec, expected) in table {
            assert_eq!(given(&[service("s", spec.clone())], &[]), expected, "{spec}");
        }
    }

    #[test]
    fn one_port_of_an_address_is_one_services_and_who_has_it_keeps_it() {
        let (old, new) = (service("a", json!({})), service("b", json!({})));
        let other_port = service("c", json!({"ports": [{"port": 80, "protocol": "UDP"}, {"port": 81}]}));
        let all = ["a: 10.1.0.1 VIP, 192.0.2.2 VIP", "b: ", "c: 10.1.0.1 VIP, 192.0.2.2 VIP"];
        assert_eq!(given(&[new.clone(), old.clone(), other_port], &[]), all);
        let mut holder = Service::clone(&new);
        holder.status =
            Some(serde_json::from_value(json!({"loadBalancer": {"ingress": [{"ip": "10.1.0.1"}]}})).unwrap());
        assert_eq!(given(&[old, Arc::new(holder)], &[]), ["a: ", "b: 10.1.0.1 VIP, 192.0.2.2 VIP"]);
    }

    #[test]
    fn what_leads_to_the_cluster_itself_or_to_another_service_is_nobodys() {
        let metadata = json!({"name": "kubernetes", "namespace": "default", "labels": {SERVICE_LABEL: "kubernetes"}});
        let api: Arc<EndpointSlice> =
            object(json!({"metadata": metadata, "addressType": "IPv4", "endpoints": [], "ports": [{"port": 6443}]}));
        let other = service("other", json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30080}]}));
        let all = "s: 10.1.0.1 VIP, 192.0.2.2 VIP";
        let table = [
            (json!({"port": 10250}), "s: "),
            (json!({"port": 6443}), "s: "),
            (json!({"port": 30080}), "s: "),
            (json!({"port": 6443, "protocol": "UDP"}), all),
            (json!({"port": 30081, "nodePort": 30081}), all),
        ];
        for (port, expected) in table {
            let wanted = service("s", json!({"ports": [port]}));
            assert_eq!(given(&[wanted, other.clone()], std::slice::from_ref(&api)), [expected], "{port}");
        }
    }

    #[test]
    fn traffic_that_stays_on_its_node_comes_where_endpoints_are() {
        let slice = |ready: bool| {
            let endpoint = json!({"addresses": ["10.244.0.2"], "nodeName": "one", "conditions": {"ready": ready}});
            let metadata = json!({"name": "x", "namespace": "a", "labels": {SERVICE_LABEL: "s"}});
            object(json!({"metadata": metadata, "addressType": "IPv4", "endpoints": [endpoint]}))
        };
        let local = [service("s", json!({"externalTrafficPolicy": "Local"}))];
        assert_eq!(given(&local, &[slice(true)]), ["s: 10.1.0.1 VIP"]);
        assert_eq!(given(&local, &[slice(false)]), ["s: "]);
    }
}
