//! From a view to rules: the decisions of a service proxy, as kube-proxy makes them. Pure.
//!
//! ```text
//! prerouting, output ─▶ services ─▶ @own-ports    (as if there were no rules)
//!                              ├──▶ @service-ips ─▶ int/… (from pods and the node) ─┐
//!                              └──▶ @node-ports  ─▶ ext/… (from anywhere) ──────────┴▶ all/… or loc/… ─▶ dnat
//! forward, input, output ─▶ unserved ─▶ refuse or drop what no endpoint can take
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
};

use crate::{
    model::{Endpoint, Hint, Protocol, Readiness, ServicePort, View},
    ruleset::{Chain, Map, MapKind, Ruleset},
};

/// The bit by which a packet is remembered until postrouting gives it the node's address; kube-proxy's, too.
const MASQUERADE_MARK: &str = "0x4000";
/// Host ends of pods' links.
const POD_LINKS: &str = "\"kt*\"";
/// Before all else: a pod's host port, or a service's external address, must not cut the cluster's servers and agents off.
const OWN: &str = "fib daddr type local meta l4proto tcp th dport @own-ports return";
/// Before any address is changed: who may not use a balancer's address at all.
const FIREWALL: &str = "ip daddr . meta l4proto . th dport vmap @firewall";
/// Clients that one endpoint remembers.
const AFFINITY_CLIENTS_MAX: u32 = 65_536;

const KEY: &str = "type ipv4_addr . inet_proto . inet_service : verdict;";
const PORT_KEY: &str = "type inet_proto . inet_service : verdict;";

/// The table's content for this view; `pods` is the pod network (`10.244.0.0/16`).
pub fn ruleset(view: &View, pods: &str) -> Ruleset {
    let mut rules = Rules { ruleset: Ruleset::default(), pods, owners: owners(view) };
    rules.base();
    rules.maps(view);
    for port in &view.ports {
        rules.service_port(port);
    }
    rules.ruleset
}

/// Whose an address and port is. Anybody may name any external address: a cluster address is its Service's all the same, then
/// come the addresses that balancers gave out. Of two who are equal the first one has it.
fn owners(view: &View) -> HashMap<String, String> {
    let claims: [fn(&ServicePort) -> Vec<Ipv4Addr>; 3] =
        [|port| vec![port.cluster_ip], |port| port.balancer_ips.clone(), |port| port.external_ips.clone()];
    let mut owners = HashMap::new();
    for claimed in claims {
        for port in &view.ports {
            for address in claimed(port) {
                owners.entry(key(address, port.protocol, port.port)).or_insert_with(|| name(port));
            }
        }
    }
    owners
}

struct Rules<'a> {
    ruleset: Ruleset,
    pods: &'a str,
    owners: HashMap<String, String>,
}

impl Rules<'_> {
    fn chain(&mut self, name: impl Into<String>, hook: Option<&'static str>, rules: Vec<String>) {
        let previous = self.ruleset.chains.insert(name.into(), Chain { hook, rules });
        assert!(previous.is_none(), "chains are named by what is unique to them");
    }

    fn map(&mut self, name: &str, kind: MapKind, declaration: &'static str) {
        self.ruleset.maps.insert(name.to_owned(), Map { kind, declaration, elements: BTreeMap::new() });
    }

    fn element(&mut self, map: &str, key: String, value: impl Into<String>) {
        let map = self.ruleset.maps.get_mut(map).expect("maps are declared first");
        // Two objects may claim one node port or host port; the API server and the scheduler prevent it, and the first one wins here.
        map.elements.entry(key).or_insert_with(|| value.into());
    }

    fn base(&mut self) {
        let pods = self.pods;
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        // A pod's link accepts packets to 127.0.0.0/8, for services whose endpoint is there. What is sent there without being
        // a service's is dropped before any address is changed (CVE-2020-8558).
        let guard = lines(&[
            "iifname != \"lo\" ip daddr 127.0.0.0/8 drop",
            "iifname != \"lo\" ip saddr 127.0.0.0/8 drop",
            OWN,
            FIREWALL,
        ]);
        self.chain("guard", Some("type filter hook prerouting priority raw;"), guard);
        self.chain("guard-output", Some("type filter hook output priority raw;"), lines(&[OWN, FIREWALL]));
        self.chain("nat-prerouting", Some("type nat hook prerouting priority dstnat;"), lines(&["jump services"]));
        self.chain("nat-output", Some("type nat hook output priority -100;"), lines(&["jump services"]));
        let services = lines(&[
            OWN,
            "ip daddr . meta l4proto . th dport vmap @service-ips",
            "fib daddr type local meta l4proto . th dport vmap @node-ports",
            "fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @host-ports-at",
            "fib daddr type local dnat ip to meta l4proto . th dport map @host-ports",
        ]);
        self.chain("services", None, services);
        self.chain("mark-masquerade", None, vec![format!("meta mark set meta mark or {MASQUERADE_MARK}")]);
        let postrouting = vec![
            format!(
                "meta mark and {MASQUERADE_MARK} == {MASQUERADE_MARK} \
                 meta mark set meta mark xor {MASQUERADE_MARK} masquerade fully-random"
            ),
            // A pod that reaches itself through a service must not see its own address as the client's.
            "ip saddr . ip daddr @hairpins masquerade fully-random".to_owned(),
            format!("ip saddr 127.0.0.0/8 oifname {POD_LINKS} masquerade fully-random"),
            // Out of the pod network nobody knows the way back to a pod.
            format!(
                "ip saddr {pods} ip daddr != {{ {pods}, 224.0.0.0/4 }} oifname != \"lo\" oifname != {POD_LINKS} \
                 masquerade fully-random"
            ),
        ];
        self.chain("nat-postrouting", Some("type nat hook postrouting priority srcnat;"), postrouting);
        let unserved = "ct state new jump unserved";
        self.chain("filter-input", Some("type filter hook input priority filter;"), lines(&[unserved]));
        self.chain("filter-output", Some("type filter hook output priority filter;"), lines(&[unserved]));
        // A late answer that connection tracking no longer knows would reach the client from the endpoint's own address, and end
        // the connection that goes on (kubernetes#74839).
        let unknown = ["iifname", "oifname"].map(|link| format!("{link} {POD_LINKS} ct state invalid drop"));
        let forward = unknown.into_iter().chain([unserved.to_owned()]).collect();
        self.chain("filter-forward", Some("type filter hook forward priority filter;"), forward);
        let unserved = lines(&[
            OWN,
            "ip daddr . meta l4proto . th dport vmap @unserved-ips",
            "fib daddr type local meta l4proto . th dport vmap @unserved-ports",
            // An address that is still a service's after the translation: a port that the service does not have.
            "ip daddr @cluster-ips goto refuse",
        ]);
        self.chain("unserved", None, unserved);
        let refuse = lines(&["meta l4proto tcp reject with tcp reset", "reject with icmp port-unreachable"]);
        self.chain("refuse", None, refuse);
    }

    fn maps(&mut self, view: &View) {
        self.map("service-ips", MapKind::Map, KEY);
        self.map("node-ports", MapKind::Map, PORT_KEY);
        self.map("unserved-ips", MapKind::Map, KEY);
        self.map("unserved-ports", MapKind::Map, PORT_KEY);
        self.map("firewall", MapKind::Map, KEY);
        self.map("cluster-ips", MapKind::Set, "type ipv4_addr;");
        self.map("own-ports", MapKind::Set, "type inet_service;");
        self.map("hairpins", MapKind::Set, "type ipv4_addr . ipv4_addr;");
        self.map("host-ports", MapKind::Map, "type inet_proto . inet_service : ipv4_addr . inet_service;");
        self.map(
            "host-ports-at",
            MapKind::Map,
            "type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service;",
        );
        for address in &view.cluster_ips {
            self.element("cluster-ips", address.to_string(), "");
        }
        for port in &view.own_ports {
            self.element("own-ports", port.to_string(), "");
        }
        let local = view.ports.iter().flat_map(|port| &port.endpoints).filter(|endpoint| endpoint.local);
        let with_host_ports = view.host_ports.iter().map(|port| port.address);
        for address in local.map(|endpoint| endpoint.address).chain(with_host_ports) {
            self.element("hairpins", format!("{address} . {address}"), "");
        }
        for port in &view.host_ports {
            let to = format!("{} . {}", port.address, port.port);
            match port.host_ip {
                Some(at) => self.element("host-ports-at", key(at, port.protocol, port.host_port), to),
                None => self.element("host-ports", port_key(port.protocol, port.host_port), to),
            }
        }
    }

    fn service_port(&mut self, port: &ServicePort) {
        let all = close(usable(port.endpoints.iter()));
        let local = usable(port.endpoints.iter().filter(|endpoint| endpoint.local));
        let name = name(port);
        let is_external = port.node_port.is_some() || !port.external_ips.is_empty() || !port.balancer_ips.is_empty();
        let internal = if port.internal_local { &local } else { &all };

        if !all.is_empty() && (!port.internal_local || is_external) {
            self.balance("all", &name, port, &all);
        }
        if !local.is_empty() && (port.internal_local || (is_external && port.external_local)) {
            self.balance("loc", &name, port, &local);
        }
        let address = key(port.cluster_ip, port.protocol, port.port);
        if internal.is_empty() {
            self.element("unserved-ips", address, verdict_without_endpoints(&all));
        } else {
            let target = if port.internal_local { "loc" } else { "all" };
            // Who is not a pod may be anywhere: the answer must come back through this node.
            let rules =
                vec![format!("ip saddr != {} jump mark-masquerade", self.pods), format!("goto {target}/{name}")];
            self.chain(format!("int/{name}"), None, rules);
            self.element("service-ips", address, format!("goto int/{name}"));
        }
        if is_external {
            self.external(port, &name, &all, &local);
            self.firewall(port, &name);
        }
    }

    fn external(&mut self, port: &ServicePort, name: &str, all: &[&Endpoint], local: &[&Endpoint]) {
        let unserved = if port.external_local { local.is_empty() } else { all.is_empty() };
        if !all.is_empty() {
            let mut rules = Vec::new();
            if port.external_local {
                // This node's pods and the node itself are not "external": they get any endpoint.
                rules.push(format!("iifname {POD_LINKS} goto all/{name}"));
                rules.push("fib saddr type local jump mark-masquerade".to_owned());
                rules.push(format!("fib saddr type local goto all/{name}"));
                if !local.is_empty() {
                    rules.push(format!("goto loc/{name}"));
                }
            } else {
                rules.push("jump mark-masquerade".to_owned());
                rules.push(format!("goto all/{name}"));
            }
            self.chain(format!("ext/{name}"), None, rules);
        }
        let addresses = port.external_ips.iter().chain(&port.balancer_ips);
        for address in addresses.map(|address| key(*address, port.protocol, port.port)) {
            if self.owners.get(&address).is_some_and(|owner| owner != name) {
                continue;
            }
            if !all.is_empty() {
                self.element("service-ips", address.clone(), format!("goto ext/{name}"));
            }
            if unserved {
                self.element("unserved-ips", address, verdict_without_endpoints(all));
            }
        }
        if let Some(node_port) = port.node_port {
            let number = port_key(port.protocol, node_port);
            if !all.is_empty() {
                self.element("node-ports", number.clone(), format!("goto ext/{name}"));
            }
            if unserved {
                self.element("unserved-ports", number, verdict_without_endpoints(all));
            }
        }
    }

    /// `loadBalancerSourceRanges`: whoever is in none of them has no business at the balancer's addresses.
    fn firewall(&mut self, port: &ServicePort, name: &str) {
        if port.source_ranges.is_empty() || port.balancer_ips.is_empty() {
            return;
        }
        let allowed = port.source_ranges.iter().map(|range| format!("ip saddr {range} return"));
        let rules = allowed.chain(["drop".to_owned()]).collect();
        self.chain(format!("fw/{name}"), None, rules);
        for address in port.balancer_ips.iter().map(|address| key(*address, port.protocol, port.port)) {
            if self.owners.get(&address).is_some_and(|owner| owner == name) {
                self.element("firewall", address, format!("goto fw/{name}"));
            }
        }
    }

    /// A chain that sends packets to one of the endpoints.
    fn balance(&mut self, kind: &str, name: &str, port: &ServicePort, endpoints: &[&Endpoint]) {
        let protocol = port.protocol;
        let chain = format!("{kind}/{name}");
        let Some(timeout_s) = port.affinity_s else {
            let rule = match endpoints {
                [only] => format!("meta l4proto {protocol} dnat to {}:{}", only.address, only.port),
                several => {
                    let choices: Vec<String> =
                        several.iter().enumerate().map(|(n, e)| format!("{n} : {} . {}", e.address, e.port)).collect();
                    let (count, choices) = (several.len(), choices.join(", "));
                    format!("meta l4proto {protocol} dnat ip to numgen random mod {count} map {{ {choices} }}")
                }
            };
            return self.chain(chain, None, vec![rule]);
        };
        let mut rules = Vec::new();
        let mut choices = Vec::new();
        for (number, endpoint) in endpoints.iter().enumerate() {
            let id = format!("{name}/{}/{}", endpoint.address, endpoint.port);
            // The timeout is in the name: a set's own cannot be changed.
            let set = format!("aff/{timeout_s}/{id}");
            let declaration =
                format!("type ipv4_addr; flags dynamic,timeout; timeout {timeout_s}s; size {AFFINITY_CLIENTS_MAX};");
            self.ruleset.dynamic_sets.insert(set.clone(), declaration);
            rules.push(format!("ip saddr @{set} goto {kind}-end/{id}"));
            choices.push(format!("{number} : goto {kind}-end/{id}"));
            let end = vec![
                format!("update @{set} {{ ip saddr }}"),
                format!("meta l4proto {protocol} dnat to {}:{}", endpoint.address, endpoint.port),
            ];
            self.chain(format!("{kind}-end/{id}"), None, end);
        }
        rules.push(format!("numgen random mod {} vmap {{ {} }}", endpoints.len(), choices.join(", ")));
        self.chain(chain, None, rules);
    }
}

/// The ready ones, or where there are none those that still serve while they end.
fn usable<'a>(endpoints: impl Iterator<Item = &'a Endpoint> + Clone) -> Vec<&'a Endpoint> {
    let of = |readiness| endpoints.clone().filter(move |endpoint| endpoint.readiness == readiness).collect::<Vec<_>>();
    let ready = of(Readiness::Ready);
    if ready.is_empty() { of(Readiness::Ending) } else { ready }
}

/// Of ready endpoints those that are meant for this node, else for its zone: where every one says whom it is for, and some are.
fn close(endpoints: Vec<&Endpoint>) -> Vec<&Endpoint> {
    if endpoints.iter().any(|endpoint| endpoint.readiness != Readiness::Ready) {
        return endpoints;
    }
    let hints: [fn(&Endpoint) -> Hint; 2] = [|endpoint| endpoint.for_node, |endpoint| endpoint.for_zone];
    for hint in hints {
        let all_say = endpoints.iter().all(|endpoint| hint(endpoint) != Hint::None);
        let ours: Vec<&Endpoint> = endpoints.iter().copied().filter(|endpoint| hint(endpoint) == Hint::Ours).collect();
        if all_say && !ours.is_empty() {
            return ours;
        }
    }
    endpoints
}

/// No endpoint anywhere is an answer; none on this node is none of the client's business.
fn verdict_without_endpoints(all: &[&Endpoint]) -> &'static str {
    if all.is_empty() { "goto refuse" } else { "drop" }
}

/// What the chains of a Service's port are called.
fn name(port: &ServicePort) -> String {
    format!("{}/{}/{}/{}", port.namespace, port.service, port.protocol, port.port)
}

fn key(address: Ipv4Addr, protocol: Protocol, port: u16) -> String {
    format!("{address} . {protocol} . {port}")
}

fn port_key(protocol: Protocol, port: u16) -> String {
    format!("{protocol} . {port}")
}

#[cfg(test)]
mod tests;
