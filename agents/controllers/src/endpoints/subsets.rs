//! The Endpoints object: ready and not ready addresses, grouped by the ports they serve. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service};
use kube::{ResourceExt, core::ObjectMeta};

use super::view::{Endpoint, Port};

pub const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
/// Kubernetes' limit of addresses in one Endpoints object; the rest is in the slices.
const ADDRESSES_MAX: usize = 1000;

pub fn object(service: &Service, found: &[Endpoint]) -> Endpoints {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert("service.kubernetes.io/headless".into(), String::new());
    }
    let metadata = ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.namespace(),
        labels: Some(labels),
        ..ObjectMeta::default()
    };
    Endpoints { metadata, subsets: Some(subsets(service, found)).filter(|subsets| !subsets.is_empty()) }
}

/// Whether the stored object says what is wanted.
pub fn same(old: &Endpoints, wanted: &Endpoints) -> bool {
    old.subsets == wanted.subsets && old.metadata.labels == wanted.metadata.labels
}

fn subsets(service: &Service, found: &[Endpoint]) -> Vec<EndpointSubset> {
    // A pod that has none of the ports serves nothing of the Service; one without ports tells of addresses alone.
    let declares = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).is_some_and(|ports| !ports.is_empty());
    let serving = found.iter().filter(|one| !declares || !one.ports.is_empty());
    let mut groups: BTreeMap<&[Port], (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    for endpoint in serving.filter(|one| one.ready || !one.terminating).take(ADDRESSES_MAX) {
        let address = EndpointAddress {
            ip: endpoint.address.clone(),
            hostname: endpoint.hostname.clone(),
            node_name: endpoint.node.clone(),
            target_ref: Some(endpoint.pod.clone()),
        };
        let (ready, not_ready) = groups.entry(&endpoint.ports).or_default();
        if endpoint.ready { ready.push(address) } else { not_ready.push(address) }
    }
    let some = |addresses: Vec<EndpointAddress>| Some(addresses).filter(|addresses| !addresses.is_empty());
    let subset = |(ports, (ready, not_ready)): (&[Port], _)| EndpointSubset {
        addresses: some(ready),
        not_ready_addresses: some(not_ready),
        ports: Some(ports.iter().map(port).collect::<Vec<_>>()).filter(|ports| !ports.is_empty()),
    };
    groups.into_iter().map(subset).collect()
}

fn port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: port.name.clone().filter(|name| !name.is_empty()),
        port: port.number,
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{super::view, *};

    #[test]
    fn a_pod_without_the_services_port_is_no_address() {
        let mut service = view::tests::service();
        let mut pods = [view::tests::pod("a", "10.0.0.1", true, 80)];
        let pod = Arc::get_mut(&mut pods[0]).unwrap();
        pod.spec.as_mut().unwrap().containers.clear();
        assert_eq!(object(&service, &view::endpoints(&service, &pods)).subsets, None);
        service.spec.as_mut().unwrap().ports = None;
        let subsets = object(&service, &view::endpoints(&service, &pods)).subsets.unwrap();
        assert_eq!((subsets.len(), subsets[0].ports.as_ref()), (1, None));
    }

    #[test]
    fn addresses_are_grouped_by_ports_and_readiness() {
        let service = view::tests::service();
        let pods = [
            view::tests::pod("a", "10.0.0.1", true, 80),
            view::tests::pod("b", "10.0.0.2", false, 80),
            view::tests::pod("c", "10.0.0.3", true, 81),
        ];
        let object = object(&service, &view::endpoints(&service, &pods));
        let counts: Vec<(usize, usize, i32)> = object
            .subsets
            .unwrap()
            .iter()
            .map(|subset| {
                let count = |addresses: &Option<Vec<EndpointAddress>>| addresses.as_ref().map_or(0, Vec::len);
                let port = subset.ports.as_ref().unwrap()[0].port;
                (count(&subset.addresses), count(&subset.not_ready_addresses), port)
            })
            .collect();
        assert_eq!(counts, [(1, 1, 80), (1, 0, 81)]);
    }
}
