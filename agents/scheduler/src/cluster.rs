//! The scheduler's view: nodes with what is left on them. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kontiki_informer::ObjectKey;
use kube::ResourceExt;

use crate::quantity::{self, Amounts};

/// Pods a node takes when it does not say.
const PODS_DEFAULT: i64 = 110;

/// A port of the host that a pod holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub address: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let any = |address: &str| address.is_empty() || address == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (any(&self.address) || any(&other.address) || self.address == other.address)
    }
}

/// One node and what it holds.
#[derive(Clone, Debug)]
pub struct NodeState {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    pub allocatable: Amounts,
    /// As `allocatable`, but sums: they may be more than fits in one amount.
    pub used: BTreeMap<String, i128>,
    pub pods: i64,
    pub ports: Vec<HostPort>,
}

/// A pod as far as its place on a node is concerned.
#[derive(Clone, Debug, PartialEq)]
struct Placed {
    node: String,
    requests: Amounts,
    ports: Vec<HostPort>,
}

/// All nodes, kept up to date change by change.
#[derive(Default)]
pub struct Cluster {
    nodes: BTreeMap<String, NodeState>,
    placed: HashMap<ObjectKey, Placed>,
}

impl Cluster {
    pub fn put_node(&mut self, node: &Node) {
        let name = node.name_any();
        let spec = node.spec.clone().unwrap_or_default();
        let status = node.status.as_ref();
        let mut allocatable =
            quantity::amounts(status.and_then(|status| status.allocatable.as_ref().or(status.capacity.as_ref())));
        allocatable.entry("pods".into()).or_insert(PODS_DEFAULT);
        let mut state = NodeState {
            name: name.clone(),
            labels: node.labels().clone(),
            taints: spec.taints.unwrap_or_default(),
            unschedulable: spec.unschedulable.unwrap_or(false),
            allocatable,
            used: BTreeMap::new(),
            pods: 0,
            ports: Vec::new(),
        };
        match self.nodes.remove(&name) {
            Some(old) => (state.used, state.pods, state.ports) = (old.used, old.pods, old.ports),
            None => self.placed.values().filter(|placed| placed.node == name).for_each(|placed| state.take(placed)),
        }
        self.nodes.insert(name, state);
    }

    pub fn remove_node(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// Notes where a pod is; finished pods hold nothing. Says whether this made room for others.
    pub fn put_pod(&mut self, pod: &Pod) -> bool {
        let key = ObjectKey::of(pod);
        let spec = pod.spec.as_ref();
        let node = spec.and_then(|spec| spec.node_name.clone()).filter(|node| !node.is_empty() && !is_finished(pod));
        match node {
            Some(node) => self.place(key, Placed { node, requests: quantity::requests(pod), ports: host_ports(pod) }),
            None => self.remove_pod(&key),
        }
    }

    /// Counts a pod where the scheduler just put it, before the stream says so.
    pub fn assume(&mut self, pod: &Pod, node: &str) {
        let requests = quantity::requests(pod);
        self.place(ObjectKey::of(pod), Placed { node: node.to_owned(), requests, ports: host_ports(pod) });
    }

    /// Forgets a pod; says whether this made room for others.
    pub fn remove_pod(&mut self, key: &ObjectKey) -> bool {
        self.give_up(key).is_some()
    }

    /// Frees what a pod holds; says on which node.
    pub fn give_up(&mut self, key: &ObjectKey) -> Option<String> {
        let old = self.placed.remove(key)?;
        if let Some(node) = self.nodes.get_mut(&old.node) {
            node.give_back(&old);
        }
        Some(old.node)
    }

    fn place(&mut self, key: ObjectKey, placed: Placed) -> bool {
        if self.placed.get(&key) == Some(&placed) {
            return false;
        }
        let made_room = self.remove_pod(&key);
        if let Some(node) = self.nodes.get_mut(&placed.node) {
            node.take(&placed);
        }
        self.placed.insert(key, placed);
        made_room
    }

    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &NodeState> {
        self.nodes.values()
    }
}

impl NodeState {
    fn take(&mut self, placed: &Placed) {
        for (name, value) in &placed.requests {
            *self.used.entry(name.clone()).or_insert(0) += i128::from(*value);
        }
        self.pods += 1;
        self.ports.extend(placed.ports.iter().cloned());
    }

    fn give_back(&mut self, placed: &Placed) {
        for (name, value) in &placed.requests {
            *self.used.entry(name.clone()).or_insert(0) -= i128::from(*value);
        }
        self.pods -= 1;
        for port in &placed.ports {
            if let Some(at) = self.ports.iter().position(|held| held == port) {
                self.ports.swap_remove(at);
            }
        }
    }

    /// What is left of a resource.
    pub fn free(&self, resource: &str) -> i128 {
        i128::from(*self.allocatable.get(resource).unwrap_or(&0)) - self.used.get(resource).unwrap_or(&0)
    }
}

/// The ports of the host a pod wants.
pub fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let sidecars =
        spec.init_containers.iter().flatten().filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            Some(HostPort {
                address: port.host_ip.clone().unwrap_or_default(),
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                port: number,
            })
        })
        .collect()
}

/// Ended for good: it holds nothing any more.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// A pod that waits for a place and is meant for this scheduler.
pub fn is_waiting(pod: &Arc<Pod>, scheduler: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let unassigned = spec.node_name.as_deref().unwrap_or("").is_empty();
    let ours = spec.scheduler_name.as_deref().unwrap_or(scheduler) == scheduler;
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    unassigned && ours && !gated && pod.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;

    pub fn node(name: &str, cpu: &str) -> Node {
        let value = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "3"}},
        });
        serde_json::from_value(value).unwrap()
    }

    pub fn pod(name: &str, node: &str, cpu: &str) -> Pod {
        let value = json!({
            "metadata": {"name": name, "namespace": "a"},
            "spec": {"nodeName": node, "containers": [
                {"name": "c", "resources": {"requests": {"cpu": cpu}}, "ports": [{"containerPort": 80, "hostPort": 80}]},
            ]},
        });
        serde_json::from_value(value).unwrap()
    }

    fn free(cluster: &Cluster) -> (i128, i64, usize) {
        let node = cluster.nodes().next().unwrap();
        (node.free("cpu"), node.pods, node.ports.len())
    }

    #[test]
    fn no_sum_of_requests_makes_a_full_node_look_empty() {
        let mut cluster = Cluster::default();
        cluster.put_node(&node("n", "1"));
        for name in ["a", "b", "c"] {
            cluster.put_pod(&pod(name, "n", "9223372036854775807"));
        }
        assert_eq!(free(&cluster), (1000 - 3 * i128::from(i64::MAX), 3, 3));
        for name in ["a", "b", "c"] {
            cluster.remove_pod(&ObjectKey::new("a", name));
        }
        assert_eq!(free(&cluster), (1000, 0, 0));
    }

    #[test]
    fn pods_take_and_give_back_in_any_order() {
        let mut cluster = Cluster::default();
        cluster.put_pod(&pod("early", "n", "100m"));
        cluster.put_node(&node("n", "1"));
        assert_eq!(free(&cluster), (900, 1, 1));
        cluster.assume(&pod("late", "", "200m"), "n");
        cluster.put_pod(&pod("late", "n", "200m"));
        assert_eq!(free(&cluster), (700, 2, 2));
        cluster.put_node(&node("n", "2"));
        assert_eq!(free(&cluster), (1700, 2, 2));
        assert!(cluster.remove_pod(&ObjectKey::new("a", "early")));
        assert!(!cluster.remove_pod(&ObjectKey::new("a", "early")));
        assert_eq!(free(&cluster), (1800, 1, 1));
        let mut finished = pod("late", "n", "200m");
        finished.status = serde_json::from_value(json!({"phase": "Succeeded"})).unwrap();
        cluster.put_pod(&finished);
        assert_eq!(free(&cluster), (2000, 0, 0));
    }
}
