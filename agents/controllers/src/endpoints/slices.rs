//! EndpointSlices: the same endpoints, at most a hundred to an object, so that one pod's change stays small. Pure.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::Service,
        discovery::v1::{
            Endpoint as SliceEndpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
        },
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

/// The endpoints that share these ports.
pub struct Group {
    pub ports: Vec<EndpointPort>,
    pub endpoints: Vec<SliceEndpoint>,
}

/// What turns `existing` into slices of the Service's endpoints.
pub fn plan(service: &Service, found: &[Endpoint], existing: &[Arc<EndpointSlice>]) -> Vec<Change> {
    let mut by_ports: BTreeMap<&[Port], Vec<SliceEndpoint>> = BTreeMap::new();
    for one in found {
        by_ports.entry(&one.ports).or_default().push(SliceEndpoint { hints: hints(service, one), ..endpoint(one) });
    }
    if by_ports.is_empty() {
        // An empty slice tells followers that the Service is known and has nobody.
        by_ports.insert(&[], Vec::new());
    }
    let group = |(ports, endpoints): (&[Port], _)| Group { ports: ports.iter().map(port).collect(), endpoints };
    changes(&template(service), by_ports.into_iter().map(group).collect(), existing)
}

/// What turns `existing` into slices like `template` of these groups. A slice keeps its endpoints where it can, so that few
/// objects change.
pub fn changes(template: &EndpointSlice, groups: Vec<Group>, existing: &[Arc<EndpointSlice>]) -> Vec<Change> {
    // Slices of an earlier owner of this name go with it, by their owner reference: nothing is put into them.
    let (mut unused, others): (Vec<&Arc<EndpointSlice>>, Vec<_>) =
        existing.iter().partition(|slice| is_like(slice, template));
    let mut changes: Vec<Change> = others.iter().map(|slice| Change::Delete(slice.name_any())).collect();
    for group in groups {
        let of_group = |slice: &&Arc<EndpointSlice>| slice.ports.as_deref().unwrap_or(&[]) == group.ports.as_slice();
        let (mine, rest): (Vec<_>, Vec<_>) = unused.into_iter().partition(of_group);
        unused = rest;
        changes.extend(fill(template, group, &mine));
    }
    changes.extend(unused.iter().map(|slice| Change::Delete(slice.name_any())));
    changes
}

/// Whether the slice has the template's owner and type of addresses.
fn is_like(slice: &EndpointSlice, template: &EndpointSlice) -> bool {
    let owned =
        template.owner_references().iter().all(|owner| slice.owner_references().iter().any(|one| one.uid == owner.uid));
    owned && slice.address_type == template.address_type
}

fn fill(template: &EndpointSlice, group: Group, existing: &[&Arc<EndpointSlice>]) -> Vec<Change> {
    let key = |endpoint: &SliceEndpoint| {
        (endpoint.addresses.first().cloned(), endpoint.target_ref.as_ref().and_then(|target| target.uid.clone()))
    };
    let mut left: BTreeMap<_, SliceEndpoint> = group.endpoints.into_iter().map(|one| (key(&one), one)).collect();
    let mut kept: Vec<Vec<SliceEndpoint>> = Vec::new();
    for slice in existing {
        let still = slice.endpoints.iter().flatten().filter_map(|old| left.remove(&key(old)));
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
        let (of, wanted) = (&slice.metadata, &template.metadata);
        let annotated = wanted.annotations.is_none() || of.annotations == wanted.annotations;
        let same = slice.endpoints.as_deref().unwrap_or(&[]) == endpoints.as_slice()
            && of.labels == wanted.labels
            && annotated;
        if !same {
            let mut new = (***slice).clone();
            new.endpoints = Some(endpoints);
            new.metadata.labels = wanted.labels.clone();
            new.metadata.annotations = wanted.annotations.clone().or(new.metadata.annotations);
            changes.push(Change::Replace(Box::new(new)));
        }
    }
    let ports = Some(group.ports).filter(|ports| !ports.is_empty());
    let mut first = existing.is_empty();
    loop {
        let batch: Vec<SliceEndpoint> = rest.by_ref().take(ENDPOINTS_MAX).collect();
        if batch.is_empty() && !first {
            return changes;
        }
        first = false;
        let slice = EndpointSlice { endpoints: Some(batch), ports: ports.clone(), ..template.clone() };
        changes.push(Change::Create(Box::new(slice)));
    }
}

/// A Service's slice without endpoints.
fn template(service: &Service) -> EndpointSlice {
    let name = service.name_any();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_LABEL.into(), name.clone());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert("service.kubernetes.io/headless".into(), String::new());
    }
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: service.namespace(),
            labels: Some(labels),
            owner_references: Some(vec![owned_by(service)]),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".to_owned(),
        ..EndpointSlice::default()
    }
}

/// The reference of a slice to what it is made from.
pub fn owned_by<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: owner.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
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
        zone: endpoint.zone.clone(),
        target_ref: Some(endpoint.pod.clone()),
        ..SliceEndpoint::default()
    }
}

/// Whose traffic an endpoint is for, where the Service wants that to stay close (`trafficDistribution`: KEP-4444, KEP-3015).
fn hints(service: &Service, endpoint: &Endpoint) -> Option<EndpointHints> {
    let wanted = service.spec.as_ref()?.traffic_distribution.as_deref()?;
    let (in_zone, on_node) = match wanted {
        "PreferClose" | "PreferSameZone" => (true, false),
        "PreferSameNode" => (true, true),
        _ => (false, false),
    };
    let zone = endpoint.zone.clone().filter(|_| in_zone);
    let node = endpoint.node.clone().filter(|_| on_node);
    (endpoint.ready && (zone.is_some() || node.is_some())).then(|| EndpointHints {
        for_zones: zone.map(|name| vec![ForZone { name }]),
        for_nodes: node.map(|name| vec![ForNode { name }]),
    })
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
    fn traffic_that_is_to_stay_close_finds_hints() {
        let hinted = |wanted: Option<&str>, zone: Option<&str>, ready: bool| {
            let mut service = view::tests::service();
            service.spec.as_mut().unwrap().traffic_distribution = wanted.map(str::to_owned);
            let mut found = found(1);
            (found[0].zone, found[0].ready) = (zone.map(str::to_owned), ready);
            found[0].node = Some("n".to_owned());
            let slices = created(plan(&service, &found, &[]));
            let endpoint = slices[0].endpoints.as_ref().unwrap()[0].clone();
            assert_eq!(endpoint.zone.as_deref(), zone);
            serde_json::to_value(endpoint.hints).unwrap()
        };
        let (zone, node) = (serde_json::json!([{"name": "z"}]), serde_json::json!([{"name": "n"}]));
        for (wanted, at, ready, expected) in [
            (None, Some("z"), true, serde_json::Value::Null),
            (Some("PreferClose"), Some("z"), true, serde_json::json!({"forZones": zone})),
            (Some("PreferSameZone"), Some("z"), true, serde_json::json!({"forZones": zone})),
            (Some("PreferSameZone"), None, true, serde_json::Value::Null),
            (Some("PreferSameNode"), Some("z"), true, serde_json::json!({"forZones": zone, "forNodes": node})),
            (Some("PreferSameNode"), None, true, serde_json::json!({"forNodes": node})),
            (Some("PreferSameNode"), Some("z"), false, serde_json::Value::Null),
        ] {
            assert_eq!(hinted(wanted, at, ready), expected, "{wanted:?} {at:?} {ready}");
        }
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
