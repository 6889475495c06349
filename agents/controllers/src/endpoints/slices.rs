//! EndpointSlices: the same endpoints, at most a hundred to an object, so that one pod's change stays small. Pure.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::Service,
        discovery::v1::{Endpoint as SliceEndpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Resource, ResourceExt, core::ObjectMeta};

use super::{
    MANAGED_BY, MANAGER, SERVICE_LABEL,
    view::{Endpoint, Port},
};

/// Kubernetes' default of endpoints in a slice.
const ENDPOINTS_MAX: usize = 100;

pub enum Change {
    Create(Box<EndpointSlice>),
    Replace(Box<EndpointSlice>),
    Delete(String),
}

/// What turns `existing` into slices of `found`. A slice keeps its endpoints where it can, so that few objects change.
pub fn plan(service: &Service, found: &[Endpoint], existing: &[Arc<EndpointSlice>]) -> Vec<Change> {
    let mut groups: BTreeMap<&[Port], Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in found {
        groups.entry(&endpoint.ports).or_default().push(endpoint);
    }
    if groups.is_empty() {
        // An empty slice tells followers that the Service is known and has nobody.
        groups.insert(&[], Vec::new());
    }
    // Slices of an earlier Service of this name go with it, by their owner reference: nothing is put into them.
    let (mut unused, of_earlier): (Vec<&Arc<EndpointSlice>>, Vec<_>) = existing
        .iter()
        .partition(|slice| slice.owner_references().iter().any(|owner| Some(&owner.uid) == service.uid().as_ref()));
    let mut changes: Vec<Change> = of_earlier.iter().map(|slice| Change::Delete(slice.name_any())).collect();
    for (ports, endpoints) in groups {
        let ports: Vec<EndpointPort> = ports.iter().map(port).collect();
        let of_group = |slice: &&Arc<EndpointSlice>| slice.ports.as_deref().unwrap_or(&[]) == ports.as_slice();
        let (mine, others): (Vec<_>, Vec<_>) = unused.into_iter().partition(of_group);
        unused = others;
        changes.extend(fill(service, &ports, &endpoints, &mine));
    }
    changes.extend(unused.iter().map(|slice| Change::Delete(slice.name_any())));
    changes
}

fn fill(
    service: &Service,
    ports: &[EndpointPort],
    endpoints: &[&Endpoint],
    existing: &[&Arc<EndpointSlice>],
) -> Vec<Change> {
    let mut left: BTreeMap<(&str, Option<&str>), SliceEndpoint> =
        endpoints.iter().map(|one| ((one.address.as_str(), one.pod.uid.as_deref()), endpoint(one))).collect();
    let mut kept: Vec<Vec<SliceEndpoint>> = Vec::new();
    for slice in existing {
        let still = slice.endpoints.iter().flatten().filter_map(|old| {
            let address = old.addresses.first()?;
            left.remove(&(address.as_str(), old.target_ref.as_ref().and_then(|pod| pod.uid.as_deref())))
        });
        kept.push(still.take(ENDPOINTS_MAX).collect());
    }
    let mut rest = left.into_values();
    for endpoints in &mut kept {
        let room = ENDPOINTS_MAX - endpoints.len();
        endpoints.extend(rest.by_ref().take(room));
    }
    let mut changes = Vec::new();
    for (at, (slice, endpoints)) in existing.iter().zip(kept).enumerate() {
        if endpoints.is_empty() && at > 0 {
            changes.push(Change::Delete(slice.name_any()));
            continue;
        }
        let wanted = object(service, ports, endpoints);
        let same = slice.endpoints.as_deref().unwrap_or(&[]) == wanted.endpoints.as_deref().unwrap_or(&[])
            && slice.metadata.labels == wanted.metadata.labels;
        if !same {
            let mut new = (***slice).clone();
            new.endpoints = wanted.endpoints;
            new.metadata.labels = wanted.metadata.labels;
            changes.push(Change::Replace(Box::new(new)));
        }
    }
    let mut first = existing.is_empty();
    loop {
        let batch: Vec<SliceEndpoint> = rest.by_ref().take(ENDPOINTS_MAX).collect();
        if batch.is_empty() && !first {
            return changes;
        }
        first = false;
        changes.push(Change::Create(Box::new(object(service, ports, batch))));
    }
}

fn object(service: &Service, ports: &[EndpointPort], endpoints: Vec<SliceEndpoint>) -> EndpointSlice {
    let name = service.name_any();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_LABEL.into(), name.clone());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert("service.kubernetes.io/headless".into(), String::new());
    }
    let owner = OwnerReference {
        api_version: Service::api_version(&()).into_owned(),
        kind: Service::kind(&()).into_owned(),
        name: name.clone(),
        uid: service.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: service.namespace(),
            labels: Some(labels),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".to_owned(),
        endpoints: Some(endpoints),
        ports: Some(ports.to_vec()).filter(|ports| !ports.is_empty()),
    }
}

fn endpoint(endpoint: &Endpoint) -> SliceEndpoint {
    SliceEndpoint {
        addresses: vec![endpoint.address.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(endpoint.ready),
            serving: Some(endpoint.serving),
            terminating: Some(endpoint.terminating),
        }),
        hostname: endpoint.hostname.clone(),
        node_name: endpoint.node.clone(),
        target_ref: Some(endpoint.pod.clone()),
        ..SliceEndpoint::default()
    }
}

fn port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: port.name.clone(),
        port: Some(port.number),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::view, *};

    fn found(count: usize) -> Vec<Endpoint> {
        let pods: Vec<_> = (0..count)
            .map(|n| view::tests::pod(&format!("p{n:04}"), &format!("10.0.{}.{}", n / 250, n % 250), true, 80))
            .collect();
        view::endpoints(&view::tests::service(), &pods)
    }

    fn count(slice: &EndpointSlice) -> usize {
        slice.endpoints.as_ref().map_or(0, Vec::len)
    }

    fn created(changes: Vec<Change>) -> Vec<Arc<EndpointSlice>> {
        let created = changes.into_iter().enumerate().map(|(at, change)| match change {
            Change::Create(mut slice) => {
                slice.metadata.name = Some(format!("web-{at}"));
                Arc::new(*slice)
            }
            Change::Replace(_) | Change::Delete(_) => panic!("only creates from nothing"),
        });
        created.collect()
    }

    #[test]
    fn endpoints_are_split_by_hundreds() {
        let slices = created(plan(&view::tests::service(), &found(250), &[]));
        assert_eq!(slices.iter().map(|slice| count(slice)).collect::<Vec<_>>(), [100, 100, 50]);
    }

    #[test]
    fn nothing_changes_when_nothing_changed() {
        let service = view::tests::service();
        let slices = created(plan(&service, &found(150), &[]));
        assert!(plan(&service, &found(150), &slices).is_empty());
    }

    #[test]
    fn a_service_that_replaces_another_of_its_name_has_slices_of_its_own() {
        let mut service = view::tests::service();
        let slices = created(plan(&service, &found(1), &[]));
        service.metadata.uid = Some("s2".to_owned());
        let changes = plan(&service, &found(1), &slices);
        assert!(matches!(changes.as_slice(), [Change::Delete(_), Change::Create(slice)] if count(slice) == 1));
    }

    #[test]
    fn one_more_pod_changes_one_slice() {
        let service = view::tests::service();
        let slices = created(plan(&service, &found(150), &[]));
        let changes = plan(&service, &found(151), &slices);
        assert!(matches!(changes.as_slice(), [Change::Replace(slice)] if count(slice) == 51));
    }

    #[test]
    fn a_service_without_pods_has_one_empty_slice() {
        let service = view::tests::service();
        let slices = created(plan(&service, &[], &[]));
        assert_eq!(slices.iter().map(|slice| count(slice)).collect::<Vec<_>>(), [0]);
        assert!(plan(&service, &[], &slices).is_empty());
    }
}
