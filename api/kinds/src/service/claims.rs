//! The cluster addresses and node ports a Service must be the only one to hold.

use kontiki_model::{Fault, FaultKind};
use serde_json::{Value, json};

use super::{is_headless, needs_address, needs_health_check_port, needs_node_ports};
use crate::tree::{int, list, text};
use crate::{Claim, Pool};

pub fn claims(service: &Value) -> Vec<Claim> {
    let mut out = Vec::new();
    if needs_address(service) && !is_headless(service) {
        out.push(address(service));
    }
    node_ports(service, &mut out);
    if needs_health_check_port(service) {
        let port = int(service, "/spec/healthCheckNodePort");
        out.push(port_claim("/spec/healthCheckNodePort".to_owned(), "spec.healthCheckNodePort".to_owned(), port));
    }
    out
}

fn address(service: &Value) -> Claim {
    let wanted = Some(text(service, "/spec/clusterIP").to_owned()).filter(|wanted| !wanted.is_empty());
    let detail = wanted.as_ref().map(|wanted| format!("failed to allocate IP {wanted}: ")).unwrap_or_default();
    Claim {
        pool: Pool::ClusterIp,
        pointers: vec!["/spec/clusterIP".to_owned(), "/spec/clusterIPs/0".to_owned()],
        fault: Fault {
            kind: FaultKind::Invalid,
            field: "spec.clusterIPs".to_owned(),
            value: Some(json!(wanted.iter().collect::<Vec<_>>())),
            detail,
        },
        value: wanted,
    }
}

fn port_claim(pointer: String, field: String, port: i64) -> Claim {
    Claim {
        pool: Pool::NodePort,
        pointers: vec![pointer],
        value: (port != 0).then(|| port.to_string()),
        fault: Fault { kind: FaultKind::Invalid, field, value: Some(port.into()), detail: String::new() },
    }
}

/// Ports with the same number (one for TCP, one for UDP) share a node port, and so do those that ask for the same.
fn node_ports(service: &Value, out: &mut Vec<Claim>) {
    let ports = list(service, "/spec/ports");
    let mut groups: Vec<(i64, i64, Claim)> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let (number, node) = (int(port, "/port"), int(port, "/nodePort"));
        if node == 0 && !needs_node_ports(service) {
            continue;
        }
        let pointer = format!("/spec/ports/{index}/nodePort");
        let shares = |(other, taken, _): &&mut (i64, i64, Claim)| *taken == node && (node != 0 || *other == number);
        match groups.iter_mut().find(shares) {
            Some((_, _, claim)) => claim.pointers.push(pointer),
            None => groups.push((number, node, port_claim(pointer, format!("spec.ports[{index}].nodePort"), node))),
        }
    }
    out.extend(groups.into_iter().map(|(_, _, claim)| claim));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(spec: Value) -> Vec<(Pool, Vec<String>, Option<String>)> {
        claims(&json!({ "spec": spec })).into_iter().map(|claim| (claim.pool, claim.pointers, claim.value)).collect()
    }

    fn strings(all: &[&str]) -> Vec<String> {
        all.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn each_type_claims_what_it_needs() {
        let ip = |value: Option<&str>| {
            (Pool::ClusterIp, strings(&["/spec/clusterIP", "/spec/clusterIPs/0"]), value.map(str::to_owned))
        };
        let node =
            |pointers: &[&str], value: Option<&str>| (Pool::NodePort, strings(pointers), value.map(str::to_owned));
        let (first, second) = ("/spec/ports/0/nodePort", "/spec/ports/1/nodePort");
        let cases = [
            (json!({"type": "ClusterIP"}), vec![ip(None)]),
            (
                json!({"type": "ClusterIP", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"]}),
                vec![ip(Some("10.96.0.7"))],
            ),
            (json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]}), vec![]),
            (json!({"type": "ExternalName"}), vec![]),
            (
                json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}, {"port": 80, "protocol": "UDP"}]}),
                vec![ip(None), node(&[first, second], None)],
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 80}, {"port": 81, "nodePort": 30081}]}),
                vec![ip(None), node(&[first], None), node(&[second], Some("30081"))],
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}, {"port": 80, "nodePort": 30080}]}),
                vec![ip(None), node(&[first, second], Some("30080"))],
            ),
            (
                json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]}),
                vec![ip(None)],
            ),
            (
                json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]}),
                vec![ip(None), node(&[first], None), node(&["/spec/healthCheckNodePort"], None)],
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(summary(spec.clone()), expected, "{spec}");
        }
    }

    #[test]
    fn a_chosen_value_is_written_everywhere_it_belongs() {
        let mut service =
            json!({"spec": {"type": "NodePort", "ports": [{"port": 80}, {"port": 80, "protocol": "UDP"}]}});
        let all = claims(&service);
        all[0].write(&mut service, "10.96.0.9");
        all[1].write(&mut service, "30123");
        assert_eq!(
            service["spec"],
            json!({
                "type": "NodePort",
                "ports": [{"port": 80, "nodePort": 30123}, {"port": 80, "protocol": "UDP", "nodePort": 30123}],
                "clusterIP": "10.96.0.9",
                "clusterIPs": ["10.96.0.9"],
            })
        );
    }
}
