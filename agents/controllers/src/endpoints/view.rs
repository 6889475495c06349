//! What a Service's selection of pods comes to: addresses with resolved ports. Pure.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{ObjectReference, Pod, Service},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{Resource, ResourceExt};

use super::has_address;
use crate::pods;

/// One port as the endpoint serves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    pub name: Option<String>,
    pub number: i32,
    pub protocol: String,
    pub app_protocol: Option<String>,
}

/// One pod behind a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub address: String,
    /// May get new connections: ready (or the Service publishes all) and not terminating.
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    pub node: Option<String>,
    /// Where its node is, as far as that is known.
    pub zone: Option<String>,
    pub hostname: Option<String>,
    pub pod: ObjectReference,
    pub ports: Vec<Port>,
}

pub fn has_selector(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    spec.type_.as_deref() != Some("ExternalName") && spec.selector.as_ref().is_some_and(|selector| !selector.is_empty())
}

pub fn selects(service: &Service, pod: &Pod) -> bool {
    let Some(selector) = service.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else { return false };
    !selector.is_empty() && selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
}

/// Whether a change of a pod leaves its endpoint as it was.
pub fn same_endpoint(old: &Pod, new: &Pod) -> bool {
    let facts = |pod: &Pod| {
        let status = pod.status.as_ref();
        (
            status.and_then(|status| status.pod_ip.clone()),
            pods::is_ready(pod),
            pods::is_finished(pod),
            pod.metadata.deletion_timestamp.is_some(),
            pod.metadata.labels.clone(),
            pod.metadata.uid.clone(),
        )
    };
    facts(old) == facts(new)
}

/// The latest change of what the endpoints follow from: what they react to.
pub fn newest(service: &Service, selected: &[Arc<Pod>]) -> Option<String> {
    let pods = selected.iter().map(|pod| pod.resource_version());
    let revisions = pods.chain([service.resource_version()]).filter_map(|version| version?.parse::<u64>().ok());
    revisions.max().map(|revision| revision.to_string())
}

pub fn endpoints(service: &Service, selected: &[Arc<Pod>]) -> Vec<Endpoint> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let publish_all = spec.publish_not_ready_addresses == Some(true);
    let mut found: Vec<Endpoint> = selected
        .iter()
        .filter(|pod| has_address(pod))
        .map(|pod| {
            let terminating = pod.metadata.deletion_timestamp.is_some();
            let serving = pods::is_ready(pod);
            let pod_spec = pod.spec.as_ref();
            let in_subdomain = pod_spec.and_then(|spec| spec.subdomain.as_deref()) == service.metadata.name.as_deref();
            Endpoint {
                address: pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default(),
                ready: publish_all || (serving && !terminating),
                serving,
                terminating,
                node: pod_spec.and_then(|spec| spec.node_name.clone()),
                zone: None,
                hostname: pod_spec.and_then(|spec| spec.hostname.clone()).filter(|_| in_subdomain),
                pod: ObjectReference {
                    kind: Some(Pod::kind(&()).into_owned()),
                    namespace: pod.namespace(),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                    ..ObjectReference::default()
                },
                ports: ports(service, pod),
            }
        })
        .collect();
    found.sort_by(|a, b| (&a.address, &a.pod.name).cmp(&(&b.address, &b.pod.name)));
    found
}

/// The Service's ports as this pod serves them; a named port that the pod lacks is left out.
fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let declared = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    let resolved = declared.into_iter().flatten().filter_map(|port| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        let number = match &port.target_port {
            None => port.port,
            Some(IntOrString::Int(0)) => port.port,
            Some(IntOrString::Int(number)) => *number,
            Some(IntOrString::String(name)) => named_port(pod, name, &protocol)?,
        };
        // An unnamed port is written as the empty name.
        let name = Some(port.name.clone().unwrap_or_default());
        Some(Port { name, number, protocol, app_protocol: port.app_protocol.clone() })
    });
    let mut ports: Vec<Port> = resolved.collect();
    ports.sort();
    ports
}

fn named_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars =
        spec.init_containers.iter().flatten().filter(|init| init.restart_policy.as_deref() == Some("Always"));
    spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten()).find_map(|port| {
        let same_protocol = port.protocol.as_deref().unwrap_or("TCP") == protocol;
        (port.name.as_deref() == Some(name) && same_protocol).then_some(port.container_port)
    })
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;

    pub fn service() -> Service {
        let value = json!({
            "metadata": {"name": "web", "namespace": "a", "uid": "s1", "labels": {"tier": "front"}},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
        });
        serde_json::from_value(value).unwrap()
    }

    pub fn pod(name: &str, ip: &str, ready: bool, port: i32) -> Arc<Pod> {
        let value = json!({
            "metadata": {"name": name, "namespace": "a", "uid": name, "labels": {"app": "web"}},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port}]}]},
            "status": {"phase": "Running", "podIP": ip,
                       "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        });
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn endpoints_react_to_the_latest_change_of_the_service_or_a_pod() {
        let at = |version: &str| json!({"metadata": {"resourceVersion": version}});
        let service = |version| serde_json::from_value::<Service>(at(version)).unwrap();
        let pods = ["9", "12"].map(|version| Arc::new(serde_json::from_value::<Pod>(at(version)).unwrap()));
        assert_eq!(newest(&service("10"), &pods).as_deref(), Some("12"));
        assert_eq!(newest(&service("13"), &pods).as_deref(), Some("13"));
        assert_eq!(newest(&service("7"), &[]).as_deref(), Some("7"));
    }

    #[test]
    fn named_ports_are_resolved_per_pod() {
        let found = endpoints(&service(), &[pod("b", "10.0.0.2", true, 8081), pod("a", "10.0.0.1", false, 8080)]);
        let facts: Vec<_> = found.iter().map(|one| (one.address.as_str(), one.ready, one.ports[0].number)).collect();
        assert_eq!(facts, [("10.0.0.1", false, 8080), ("10.0.0.2", true, 8081)]);
    }

    #[test]
    fn a_pod_without_the_named_port_serves_nothing() {
        let mut service = service();
        service.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].target_port =
            Some(IntOrString::String("other".into()));
        assert_eq!(endpoints(&service, &[pod("a", "10.0.0.1", true, 80)])[0].ports, []);
    }

    #[test]
    fn finished_pods_and_pods_without_address_are_no_endpoints() {
        let mut finished = (*pod("a", "10.0.0.1", true, 80)).clone();
        finished.status.as_mut().unwrap().phase = Some("Succeeded".into());
        assert_eq!(endpoints(&service(), &[Arc::new(finished), pod("b", "", true, 80)]), []);
    }

    #[test]
    fn a_terminating_pod_serves_but_is_not_ready() {
        let mut leaving = (*pod("a", "10.0.0.1", true, 80)).clone();
        leaving.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
        let found = endpoints(&service(), &[Arc::new(leaving)]);
        assert_eq!((found[0].ready, found[0].serving, found[0].terminating), (false, true, true));
    }
}
