//! What a Service uses of a quota: the node ports it means to have, and a load balancer.

use kontiki_model::{Quantity, Resources};
use serde_json::Value;

use crate::quota::Measure;
use crate::tree::{at, int, list, text};

pub static MEASURE: Measure = Measure {
    alias: Some("services"),
    usage: |service, _| usage(service),
    is_bounded_by: |name| matches!(name, LOAD_BALANCERS | NODE_PORTS),
    // Its type may change.
    grows_by: str::is_empty,
    ..Measure::COUNT
};

const LOAD_BALANCERS: &str = "services.loadbalancers";
const NODE_PORTS: &str = "services.nodeports";

fn usage(service: &Value) -> Resources {
    let ports = list(service, "/spec/ports");
    let allocates = at(service, "/spec/allocateLoadBalancerNodePorts") != &Value::Bool(false);
    let (balancers, ports) = match text(service, "/spec/type") {
        "NodePort" => (0, ports.len()),
        "LoadBalancer" if allocates => (1, ports.len()),
        "LoadBalancer" => (1, ports.iter().filter(|port| int(port, "/nodePort") != 0).count()),
        _ => (0, 0),
    };
    let ports = i64::try_from(ports).unwrap_or(i64::MAX);
    [(LOAD_BALANCERS, balancers), (NODE_PORTS, ports)]
        .into_iter()
        .map(|(name, number)| (name, Quantity::from_units(number)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_count_by_what_the_type_asks_for() {
        let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30002}]);
        let cases = [
            (json!({"type": "ClusterIP", "ports": ports}), "services.loadbalancers=0,services.nodeports=0"),
            (json!({"type": "NodePort", "ports": ports}), "services.loadbalancers=0,services.nodeports=2"),
            (json!({"type": "LoadBalancer", "ports": ports}), "services.loadbalancers=1,services.nodeports=2"),
            (
                json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports}),
                "services.loadbalancers=1,services.nodeports=1",
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(usage(&json!({"spec": spec})).to_string(), expected, "{spec}");
        }
    }
}
