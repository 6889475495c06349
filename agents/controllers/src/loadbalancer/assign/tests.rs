//! Who gets which addresses.
#![allow(clippy::unwrap_used)]
use kontiki_informer::LISTENING;
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
    let status = json!({
        "addresses": addresses, "conditions": conditions, "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": info("v1.36.0+kontiki.0.1.0"), "runtimeHandlers": [{"name": "runc"}],
    });
    object(json!({"metadata": {"name": name, "labels": labels}, "status": status}))
}

fn info(version: &str) -> Value {
    let unset = [
        "architecture",
        "bootID",
        "containerRuntimeVersion",
        "kernelVersion",
        "kubeProxyVersion",
        "machineID",
        "operatingSystem",
        "osImage",
        "systemUUID",
    ];
    let mut info = json!({"kubeletVersion": version});
    unset.iter().for_each(|field| info[field] = "".into());
    info
}

fn nodes() -> [Arc<Node>; 4] {
    let internal = |address: &str| json!([{"type": "InternalIP", "address": address}]);
    let both = json!([{"type": "InternalIP", "address": "10.1.0.2"}, {"type": "ExternalIP", "address": "192.0.2.2"}]);
    [
        node("one", internal("10.1.0.1"), "True", json!({})),
        node("two", both, "True", json!({})),
        node("out", internal("10.1.0.3"), "True", json!({EXCLUDED: ""})),
        node("dead", internal("10.1.0.4"), "Unknown", json!({})),
    ]
}

fn given(services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) -> Vec<String> {
    shared_out(&Cluster { services, nodes: &nodes(), slices, pods: &[] })
}

fn shared_out(cluster: &Cluster<'_>) -> Vec<String> {
    let assignment = assign(cluster);
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
    holder.status = Some(serde_json::from_value(json!({"loadBalancer": {"ingress": [{"ip": "10.1.0.1"}]}})).unwrap());
    assert_eq!(given(&[old, Arc::new(holder)], &[]), ["a: ", "b: 10.1.0.1 VIP, 192.0.2.2 VIP"]);
}

#[test]
fn what_leads_to_the_cluster_itself_or_to_another_service_is_nobodys() {
    let metadata = json!({"name": "kubernetes", "namespace": "default", "labels": {SERVICE_LABEL: "kubernetes"}});
    let api: Arc<EndpointSlice> =
        object(json!({"metadata": metadata, "addressType": "IPv4", "endpoints": [], "ports": [{"port": 6443}]}));
    let ports = json!([{"port": 1, "nodePort": 30080}]);
    let other = service("other", json!({"type": "NodePort", "ports": ports, "healthCheckNodePort": 30082}));
    let all = "s: 10.1.0.1 VIP, 192.0.2.2 VIP";
    let table = [
        (json!({"port": 10250}), "s: "),
        (json!({"port": 6443}), "s: "),
        (json!({"port": 30080}), "s: "),
        (json!({"port": 30082}), "s: "),
        (json!({"port": 6443, "protocol": "UDP"}), all),
        (json!({"port": 30081, "nodePort": 30081}), all),
    ];
    for (port, expected) in table {
        let wanted = service("s", json!({"ports": [port]}));
        assert_eq!(given(&[wanted, other.clone()], std::slice::from_ref(&api)), [expected], "{port}");
    }
}

#[test]
fn a_port_on_which_a_node_listens_stays_its_own() {
    let mut all = nodes();
    let annotations = BTreeMap::from([(LISTENING.to_owned(), "22/TCP,53/UDP,odd".to_owned())]);
    Arc::make_mut(&mut all[0]).metadata.annotations = Some(annotations);
    for (port, expected) in [
        (json!({"port": 22}), "s: 192.0.2.2 VIP"),
        (json!({"port": 22, "protocol": "UDP"}), "s: 10.1.0.1 VIP, 192.0.2.2 VIP"),
        (json!({"port": 53, "protocol": "UDP"}), "s: 192.0.2.2 VIP"),
        (json!({"port": 23}), "s: 10.1.0.1 VIP, 192.0.2.2 VIP"),
    ] {
        let services = [service("s", json!({"ports": [port]}))];
        let told = shared_out(&Cluster { services: &services, nodes: &all, slices: &[], pods: &[] });
        assert_eq!(told, [expected], "{port}");
    }
}

#[test]
fn a_port_of_the_host_that_a_pod_has_stays_the_pod_s() {
    let pod = |spec: Value, port: Value, phase: &str| {
        let mut spec = spec;
        spec["containers"] = json!([{"name": "c", "ports": [port]}]);
        object(json!({"metadata": {"name": "p"}, "spec": spec, "status": {"phase": phase}}))
    };
    let on = |node: &str| json!({"nodeName": node});
    let (both, second) = ("s: 10.1.0.1 VIP, 192.0.2.2 VIP", "s: 192.0.2.2 VIP");
    for (pod, expected) in [
        (pod(on("one"), json!({"containerPort": 8080, "hostPort": 80}), "Running"), second),
        (pod(on("one"), json!({"containerPort": 80, "hostPort": 80, "hostIP": "0.0.0.0"}), "Pending"), second),
        (pod(on("one"), json!({"containerPort": 80, "hostPort": 80, "hostIP": "10.1.0.1"}), "Running"), second),
        (pod(on("one"), json!({"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1"}), "Running"), both),
        (pod(on("one"), json!({"containerPort": 80, "hostPort": 80, "protocol": "UDP"}), "Running"), both),
        (pod(json!({"nodeName": "one", "hostNetwork": true}), json!({"containerPort": 80}), "Running"), second),
        (pod(on("one"), json!({"containerPort": 80}), "Running"), both),
        (pod(on("one"), json!({"containerPort": 80, "hostPort": 80}), "Succeeded"), both),
        (pod(json!({}), json!({"containerPort": 80, "hostPort": 80}), "Pending"), both),
    ] {
        let (services, pods) = ([service("s", json!({}))], [pod]);
        let cluster = Cluster { services: &services, nodes: &nodes(), slices: &[], pods: &pods };
        assert_eq!(shared_out(&cluster), [expected], "{:?}", pods[0]);
    }
}

#[test]
fn what_another_balancer_has_served_is_left_to_it() {
    let told = |address: &str, manager: &str| {
        let fields = json!({"f:status": {"f:loadBalancer": {"f:ingress": {}}}});
        let entry = json!({"manager": manager, "operation": "Update", "subresource": "status", "fieldsV1": fields});
        let mut service = Service::clone(&service("s", json!({})));
        service.metadata.managed_fields = Some(vec![serde_json::from_value(entry).unwrap()]);
        let status = json!({"loadBalancer": {"ingress": [{"ip": address}]}});
        service.status = Some(serde_json::from_value(status).unwrap());
        Arc::new(service)
    };
    let ours = vec!["s: 10.1.0.1 VIP, 192.0.2.2 VIP"];
    for (address, manager, expected) in [
        ("203.0.113.10", "speaker", vec![]),
        ("10.1.0.4", "kubectl-edit", ours.clone()),
        ("203.0.113.10", MANAGER, ours),
    ] {
        assert_eq!(given(&[told(address, manager)], &[]), expected, "{address} by {manager}");
    }
}

#[test]
fn only_nodes_whose_agent_serves_an_address_give_theirs() {
    for (version, handlers, expected) in [
        ("v1.36.0+kontiki.0.1.0", json!([{"name": "runc"}]), "s: 10.1.0.1 VIP"),
        ("v1.36.0+kontiki.0.1.0", Value::Null, "s: "),
        ("v1.36.0", json!([{"name": "runc"}]), "s: "),
    ] {
        let mut node = Node::clone(&nodes()[0]);
        let status = node.status.as_mut().unwrap();
        status.node_info = serde_json::from_value(info(version)).unwrap();
        status.runtime_handlers = serde_json::from_value(handlers.clone()).unwrap();
        let (services, nodes) = ([service("s", json!({}))], [Arc::new(node)]);
        let cluster = Cluster { services: &services, nodes: &nodes, slices: &[], pods: &[] };
        assert_eq!(shared_out(&cluster), [expected], "{version} {handlers}");
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
