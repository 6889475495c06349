//! Views of Services, EndpointSlices and pods, as the API server stores them.
#![allow(clippy::unwrap_used)]
use std::slice::from_ref;

use serde_json::{Value, json};

use super::*;

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn service(spec: Value) -> Service {
    object(json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec}))
}

fn slice(ports: Value, endpoints: Value) -> EndpointSlice {
    object(json!({
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
    }))
}

fn seen(services: &[Service], slices: &[EndpointSlice]) -> View {
    view(HERE, services, slices, &[])
}

const HERE: Here<'_> = Here { node: "here", zone: Some("z") };

#[test]
fn ports_find_their_endpoints_by_name_and_protocol() {
    let service = service(json!({
        "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"], "type": "NodePort",
        "externalIPs": ["203.0.113.7", "2001:db8::1"],
        "ports": [
            {"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"},
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "none", "port": 99, "protocol": "TCP"},
        ],
    }));
    let slice = slice(
        json!([{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 5353, "protocol": "UDP"}]),
        json!([{"addresses": ["10.244.0.2"], "conditions": {"ready": true}, "nodeName": "here"}]),
    );
    let view = seen(&[service], &[slice]);
    let ports: Vec<_> = view
        .ports
        .iter()
        .map(|p| (p.protocol, p.port, p.node_port, p.endpoints.first().map(|e| (e.port, e.local))))
        .collect();
    assert_eq!(
        ports,
        [
            (Protocol::Tcp, 80, Some(30080), Some((8080, true))),
            (Protocol::Udp, 53, None, Some((5353, true))),
            (Protocol::Tcp, 99, None, None),
        ]
    );
    assert_eq!(view.ports[0].external_ips, ["203.0.113.7".parse::<Ipv4Addr>().unwrap()]);
    assert_eq!(view.cluster_ips, ["10.96.0.5".parse::<Ipv4Addr>().unwrap()]);
}

#[test]
fn what_needs_no_rules_gets_none() {
    let labelled = |label: &str| -> Service {
        object(json!({
            "metadata": {"name": "x", "namespace": "default", "labels": {label: ""}},
            "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 80}]},
        }))
    };
    let services = [
        service(json!({"clusterIP": "None", "ports": [{"port": 80}]})),
        service(json!({"type": "ExternalName", "externalName": "example.com", "ports": [{"port": 80}]})),
        service(json!({"clusterIP": "fd00::1", "clusterIPs": ["fd00::1"], "ports": [{"port": 80}]})),
        labelled("service.kubernetes.io/service-proxy-name"),
        labelled("service.kubernetes.io/headless"),
    ];
    assert_eq!(seen(&services, &[]), View::default());
}

#[test]
fn a_slice_for_clients_of_a_headless_service_is_not_served() {
    let service = service(json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80}]}));
    let mut slice = slice(json!([{"port": 8080}]), json!([{"addresses": ["10.244.0.2"]}]));
    let endpoints = |slice: &EndpointSlice| seen(from_ref(&service), from_ref(slice)).ports[0].endpoints.len();
    assert_eq!(endpoints(&slice), 1);
    slice.metadata.labels.as_mut().unwrap().insert("service.kubernetes.io/headless".into(), String::new());
    assert_eq!(endpoints(&slice), 0);
}

#[test]
fn conditions_of_endpoints() {
    let table = [
        (json!({}), Readiness::Ready),
        (json!({"ready": true, "serving": true, "terminating": false}), Readiness::Ready),
        (json!({"ready": false, "serving": true, "terminating": true}), Readiness::Ending),
        (json!({"ready": false, "serving": false, "terminating": true}), Readiness::Not),
        (json!({"ready": false, "serving": true, "terminating": false}), Readiness::Not),
        (json!({"ready": false}), Readiness::Not),
        // `publishNotReadyAddresses`: ready even while it ends.
        (json!({"ready": true, "serving": true, "terminating": true}), Readiness::Ready),
    ];
    for (conditions, expected) in table {
        let endpoint: ApiEndpoint = object(json!({"addresses": ["10.0.0.1"], "conditions": conditions}));
        assert_eq!(readiness(&endpoint), expected, "{conditions}");
    }
}

#[test]
fn hints_say_whose_an_endpoint_is() {
    let service = service(json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80}]}));
    let name = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
    for (nodes, zones, expected) in [
        (vec![], vec![], (Hint::None, Hint::None)),
        (vec!["other", "here"], vec!["y"], (Hint::Ours, Hint::Others)),
        (vec!["other"], vec!["z", "y"], (Hint::Others, Hint::Ours)),
    ] {
        let hints = json!({"forNodes": name(&nodes), "forZones": name(&zones)});
        let slice = slice(json!([{"port": 8080}]), json!([{"addresses": ["10.244.0.2"], "hints": hints}]));
        let endpoint = &seen(from_ref(&service), &[slice]).ports[0].endpoints[0];
        assert_eq!((endpoint.for_node, endpoint.for_zone), expected, "{hints}");
    }
}

#[test]
fn an_endpoint_in_two_slices_is_one() {
    let service = service(json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80}]}));
    let of = |ready: bool| {
        slice(json!([{"port": 8080}]), json!([{"addresses": ["10.244.0.2"], "conditions": {"ready": ready}}]))
    };
    let view = seen(&[service], &[of(false), of(true)]);
    assert_eq!(view.ports[0].endpoints.len(), 1);
    assert_eq!(view.ports[0].endpoints[0].readiness, Readiness::Ready);
}

#[test]
fn affinity_and_policies() {
    let spec = |affinity: Value| {
        let mut spec = json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80}], "sessionAffinity": "ClientIP",
            "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local"});
        spec["sessionAffinityConfig"] = affinity;
        seen(&[service(spec)], &[]).ports.remove(0)
    };
    assert_eq!(spec(json!({"clientIP": {"timeoutSeconds": 30}})).affinity_s, Some(30));
    let port = spec(Value::Null);
    assert_eq!((port.affinity_s, port.external_local, port.internal_local), (Some(10_800), true, true));
}

#[test]
fn addresses_of_a_balancer_and_who_may_use_them() {
    let mut service = service(json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80}], "type": "LoadBalancer",
        "loadBalancerSourceRanges": ["10.1.2.3/8", " 0.0.0.0/0", "2001:db8::/32"]}));
    service.status = Some(object(json!({"loadBalancer": {"ingress": [
        {"ip": "192.0.2.1", "ipMode": "VIP"}, {"ip": "192.0.2.2"}, {"ip": "192.0.2.3", "ipMode": "Proxy"},
        {"hostname": "example.com"}]}})));
    let port = seen(&[service], &[]).ports.remove(0);
    assert_eq!(port.balancer_ips, ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<Ipv4Addr>().unwrap()));
    let ranges: Vec<String> = port.source_ranges.iter().map(Network::to_string).collect();
    assert_eq!(ranges, ["10.0.0.0/8", "0.0.0.0/0"]);
}

#[test]
fn host_ports_of_living_pods() {
    let pod = |phase: &str, host_network: bool| -> Pod {
        object(json!({
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"hostNetwork": host_network, "containers": [{"name": "c", "ports": [
                {"containerPort": 80, "hostPort": 8080}, {"containerPort": 81},
                {"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "127.0.0.1"},
                {"containerPort": 82, "hostPort": 8282, "hostIP": "0.0.0.0"},
            ]}]},
            "status": {"phase": phase, "podIP": "10.244.0.2"},
        }))
    };
    let found =
        view(HERE, &[], &[], &[pod("Running", false), pod("Succeeded", false), pod("Running", true)]).host_ports;
    let found: Vec<_> =
        found.iter().map(|p| (p.protocol, p.host_ip.map(|ip| ip.to_string()), p.host_port, p.port)).collect();
    assert_eq!(
        found,
        [
            (Protocol::Tcp, None, 8080, 80),
            (Protocol::Tcp, None, 8282, 82),
            (Protocol::Udp, Some("127.0.0.1".into()), 53, 53),
        ]
    );
}
