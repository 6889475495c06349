//! EndpointSlices of Endpoints that users write for a Service without a selector: followers read slices alone. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service},
    discovery::v1::{Endpoint as SliceEndpoint, EndpointConditions, EndpointPort, EndpointSlice},
};
use kube::{ResourceExt, core::ObjectMeta};

use super::{
    MANAGED_BY, SERVICE_LABEL,
    slices::{self, Change, Group},
};

pub const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Endpoints that are only somebody's lock.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Bookkeeping of the Endpoints themselves.
const NOT_COPIED: &[&str] =
    &["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"];
/// Addresses of a subset that are mirrored at the most, as in Kubernetes.
const ADDRESSES_MAX: usize = 1000;

/// Whether slices are made of these Endpoints.
pub fn is_mirrored(service: &Service, endpoints: &Endpoints) -> bool {
    let selects = service.spec.as_ref().is_some_and(|spec| spec.selector.is_some());
    let skipped = endpoints.labels().get(SKIP).is_some_and(|skip| skip == "true");
    !selects && !skipped && !endpoints.annotations().contains_key(LEADER)
}

/// What turns `existing` into slices of the Endpoints, or into nothing.
pub fn plan(endpoints: Option<&Endpoints>, existing: &[Arc<EndpointSlice>]) -> Vec<Change> {
    let Some(endpoints) = endpoints else {
        return existing.iter().map(|slice| Change::Delete(slice.name_any())).collect();
    };
    let of = |family: &str| -> Vec<Arc<EndpointSlice>> {
        existing.iter().filter(|slice| slice.address_type == family).cloned().collect()
    };
    let families = ["IPv4", "IPv6"].into_iter();
    families
        .flat_map(|family| slices::changes(&template(endpoints, family), groups(endpoints, family), &of(family)))
        .collect()
}

fn template(endpoints: &Endpoints, family: &str) -> EndpointSlice {
    let name = endpoints.name_any();
    let mut labels = endpoints.labels().clone();
    labels.insert(SERVICE_LABEL.into(), name.clone());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    let mut annotations: BTreeMap<String, String> = endpoints.annotations().clone();
    annotations.retain(|key, _| !NOT_COPIED.contains(&key.as_str()));
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: endpoints.namespace(),
            labels: Some(labels),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            owner_references: Some(vec![slices::owned_by(endpoints)]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        ..EndpointSlice::default()
    }
}

/// The addresses of one family, by their ports: subsets with the same ports are one group.
fn groups(endpoints: &Endpoints, family: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        let addresses = addresses(subset, family);
        if addresses.is_empty() {
            continue;
        }
        let ports = ports(subset);
        match groups.iter_mut().find(|group| group.ports == ports) {
            Some(group) => group.endpoints.extend(addresses),
            None => groups.push(Group { ports, endpoints: addresses }),
        }
    }
    groups
}

fn addresses(subset: &EndpointSubset, family: &str) -> Vec<SliceEndpoint> {
    let of = |addresses: &Option<Vec<EndpointAddress>>, ready: bool| -> Vec<SliceEndpoint> {
        let addresses = addresses.iter().flatten().filter(|address| family_of(&address.ip) == Some(family));
        addresses.map(|address| endpoint(address, ready)).collect()
    };
    let mut seen = BTreeSet::new();
    let mut all = of(&subset.addresses, true);
    all.extend(of(&subset.not_ready_addresses, false));
    // An address that is told as both is ready.
    all.retain(|endpoint| seen.insert(endpoint.addresses.clone()));
    all.truncate(ADDRESSES_MAX);
    all
}

fn family_of(ip: &str) -> Option<&'static str> {
    match ip.parse().ok()? {
        IpAddr::V4(_) => Some("IPv4"),
        IpAddr::V6(_) => Some("IPv6"),
    }
}

fn endpoint(address: &EndpointAddress, ready: bool) -> SliceEndpoint {
    SliceEndpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..SliceEndpoint::default()
    }
}

fn ports(subset: &EndpointSubset) -> Vec<EndpointPort> {
    let port = |port: &k8s_openapi::api::core::v1::EndpointPort| EndpointPort {
        // An unnamed port is written as the empty name.
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    };
    subset.ports.iter().flatten().map(port).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn endpoints(metadata: &Value, subsets: &Value) -> Endpoints {
        let mut object = json!({"metadata": {"name": "db", "namespace": "a", "uid": "e1"}, "subsets": subsets});
        for (key, value) in metadata.as_object().unwrap() {
            object["metadata"][key] = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    fn database() -> Endpoints {
        let metadata = json!({"labels": {"app": "db"}, "annotations": {NOT_COPIED[1]: "{}", "note": "x"}});
        let subset = json!({
            "addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}],
            "notReadyAddresses": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2", "hostname": "two"}],
            "ports": [{"port": 5432}],
        });
        endpoints(&metadata, &json!([subset]))
    }

    fn created(changes: Vec<Change>) -> Vec<Arc<EndpointSlice>> {
        let created = changes.into_iter().enumerate().map(|(at, change)| match change {
            Change::Create(mut slice) => {
                slice.metadata.name = Some(format!("db-{at}"));
                Arc::new(*slice)
            }
            Change::Replace(_) | Change::Delete(_) => panic!("only creates from nothing"),
        });
        created.collect()
    }

    #[test]
    fn addresses_of_each_family_are_a_slice() {
        let slices = created(plan(Some(&database()), &[]));
        let told: Vec<Value> = slices.iter().map(|slice| serde_json::to_value(&**slice).unwrap()).collect();
        let ports = json!([{"name": "", "port": 5432, "protocol": "TCP"}]);
        let metadata = |name: &str| {
            json!({
                "name": name, "generateName": "db-", "namespace": "a",
                "labels": {"app": "db", (SERVICE_LABEL): "db", (MANAGED_BY): MANAGER}, "annotations": {"note": "x"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Endpoints", "name": "db", "uid": "e1",
                                     "controller": true, "blockOwnerDeletion": true}],
            })
        };
        let slice = |name: &str, family: &str, endpoints: Value| {
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata(name),
                   "addressType": family, "endpoints": endpoints, "ports": ports})
        };
        let four = json!([
            {"addresses": ["192.0.2.1"], "conditions": {"ready": true}},
            {"addresses": ["192.0.2.2"], "conditions": {"ready": false}, "hostname": "two"},
        ]);
        let six = json!([{"addresses": ["2001:db8::1"], "conditions": {"ready": true}}]);
        assert_eq!(told, [slice("db-0", "IPv4", four), slice("db-1", "IPv6", six)]);
    }

    #[test]
    fn a_mirror_follows_and_goes() {
        let slices = created(plan(Some(&database()), &[]));
        assert!(plan(Some(&database()), &slices).is_empty());
        let fewer = endpoints(
            &json!({"labels": {"app": "db"}, "annotations": {"note": "x"}}),
            &json!([
                {"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 5432}]},
            ]),
        );
        let changes = plan(Some(&fewer), &slices);
        assert!(matches!(changes.as_slice(), [Change::Replace(one), Change::Delete(name)]
            if one.endpoints.as_ref().unwrap().len() == 1 && name == "db-1"));
        assert!(plan(None, &slices).iter().all(|change| matches!(change, Change::Delete(_))));
    }

    #[test]
    fn only_what_users_write_for_a_service_without_selector_is_mirrored() {
        let service = |spec: Value| -> Service { serde_json::from_value(json!({"spec": spec})).unwrap() };
        let plain = service(json!({"ports": [{"port": 80}]}));
        assert!(is_mirrored(&plain, &database()));
        assert!(!is_mirrored(&service(json!({"selector": {"app": "db"}})), &database()));
        let skipped = json!({"labels": {SKIP: "true"}});
        assert!(!is_mirrored(&plain, &endpoints(&skipped, &json!([]))));
        let lock = json!({"annotations": {LEADER: "{}"}});
        assert!(!is_mirrored(&plain, &endpoints(&lock, &json!([]))));
    }
}
