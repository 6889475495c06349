//! Golden rules: what each kind of Service adds to the table.
#![allow(clippy::unwrap_used)]
use expect_test::{Expect, expect};

use super::*;
use crate::{
    model::{Hint, HostPort},
    ruleset::{change, removal, replacement},
};

const PODS: &str = "10.244.0.0/16";

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn endpoint(address: &str, local: bool, readiness: Readiness) -> Endpoint {
    let (for_node, for_zone) = (Hint::None, Hint::None);
    Endpoint { address: ip(address), port: 8080, local, readiness, for_node, for_zone }
}

fn port(endpoints: Vec<Endpoint>) -> ServicePort {
    ServicePort {
        namespace: "default".into(),
        service: "web".into(),
        cluster_ip: ip("10.96.0.5"),
        protocol: Protocol::Tcp,
        port: 80,
        node_port: None,
        external_ips: Vec::new(),
        balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        external_local: false,
        internal_local: false,
        affinity_s: None,
        endpoints,
    }
}

fn two() -> Vec<Endpoint> {
    vec![endpoint("10.244.0.2", true, Readiness::Ready), endpoint("10.244.1.3", false, Readiness::Ready)]
}

fn view(ports: Vec<ServicePort>) -> View {
    View { cluster_ips: ports.iter().map(|port| port.cluster_ip).collect(), ports, ..View::default() }
}

/// What the view adds to the table of an empty cluster.
fn check(view: &View, expected: Expect) {
    let empty = ruleset(&View::default(), PODS);
    expected.assert_eq(&change(&empty, &ruleset(view, PODS)));
}

#[test]
fn the_table_of_an_empty_cluster() {
    expect![[r#"
        add table ip kontiki
        delete table ip kontiki
        add table ip kontiki
        add set ip kontiki cluster-ips { type ipv4_addr; }
        add map ip kontiki firewall { type ipv4_addr . inet_proto . inet_service : verdict; }
        add set ip kontiki hairpins { type ipv4_addr . ipv4_addr; }
        add map ip kontiki host-ports { type inet_proto . inet_service : ipv4_addr . inet_service; }
        add map ip kontiki host-ports-at { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
        add map ip kontiki node-ports { type inet_proto . inet_service : verdict; }
        add set ip kontiki own-ports { type inet_service; }
        add map ip kontiki service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
        add map ip kontiki unserved-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
        add map ip kontiki unserved-ports { type inet_proto . inet_service : verdict; }
        add chain ip kontiki filter-forward { type filter hook forward priority filter; }
        add chain ip kontiki filter-input { type filter hook input priority filter; }
        add chain ip kontiki filter-output { type filter hook output priority filter; }
        add chain ip kontiki guard { type filter hook prerouting priority raw; }
        add chain ip kontiki guard-output { type filter hook output priority raw; }
        add chain ip kontiki mark-masquerade
        add chain ip kontiki nat-output { type nat hook output priority -100; }
        add chain ip kontiki nat-postrouting { type nat hook postrouting priority srcnat; }
        add chain ip kontiki nat-prerouting { type nat hook prerouting priority dstnat; }
        add chain ip kontiki refuse
        add chain ip kontiki services
        add chain ip kontiki unserved
        add rule ip kontiki filter-forward iifname "kt*" ct state invalid drop
        add rule ip kontiki filter-forward oifname "kt*" ct state invalid drop
        add rule ip kontiki filter-forward ct state new jump unserved
        add rule ip kontiki filter-input ct state new jump unserved
        add rule ip kontiki filter-output ct state new jump unserved
        add rule ip kontiki guard iifname != "lo" ip daddr 127.0.0.0/8 drop
        add rule ip kontiki guard iifname != "lo" ip saddr 127.0.0.0/8 drop
        add rule ip kontiki guard fib daddr type local meta l4proto tcp th dport @own-ports return
        add rule ip kontiki guard ip daddr . meta l4proto . th dport vmap @firewall
        add rule ip kontiki guard-output fib daddr type local meta l4proto tcp th dport @own-ports return
        add rule ip kontiki guard-output ip daddr . meta l4proto . th dport vmap @firewall
        add rule ip kontiki mark-masquerade meta mark set meta mark or 0x4000
        add rule ip kontiki nat-output jump services
        add rule ip kontiki nat-postrouting meta mark and 0x4000 == 0x4000 meta mark set meta mark xor 0x4000 masquerade fully-random
        add rule ip kontiki nat-postrouting ip saddr . ip daddr @hairpins masquerade fully-random
        add rule ip kontiki nat-postrouting ip saddr 127.0.0.0/8 oifname "kt*" masquerade fully-random
        add rule ip kontiki nat-postrouting ip saddr 10.244.0.0/16 ip daddr != { 10.244.0.0/16, 224.0.0.0/4 } oifname != "lo" oifname != "kt*" masquerade fully-random
        add rule ip kontiki nat-prerouting jump services
        add rule ip kontiki refuse meta l4proto tcp reject with tcp reset
        add rule ip kontiki refuse reject with icmp port-unreachable
        add rule ip kontiki services fib daddr type local meta l4proto tcp th dport @own-ports return
        add rule ip kontiki services ip daddr . meta l4proto . th dport vmap @service-ips
        add rule ip kontiki services fib daddr type local meta l4proto . th dport vmap @node-ports
        add rule ip kontiki services fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @host-ports-at
        add rule ip kontiki services fib daddr type local dnat ip to meta l4proto . th dport map @host-ports
        add rule ip kontiki unserved fib daddr type local meta l4proto tcp th dport @own-ports return
        add rule ip kontiki unserved ip daddr . meta l4proto . th dport vmap @unserved-ips
        add rule ip kontiki unserved fib daddr type local meta l4proto . th dport vmap @unserved-ports
        add rule ip kontiki unserved ip daddr @cluster-ips goto refuse
    "#]]
    .assert_eq(&replacement(&ruleset(&View::default(), PODS)));
}

#[test]
fn a_cluster_ip() {
    check(
        &view(vec![port(two())]),
        expect![[r#"
            add chain ip kontiki all/default/web/tcp/80
            add chain ip kontiki int/default/web/tcp/80
            add rule ip kontiki all/default/web/tcp/80 meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.244.0.2 . 8080, 1 : 10.244.1.3 . 8080 }
            add rule ip kontiki int/default/web/tcp/80 ip saddr != 10.244.0.0/16 jump mark-masquerade
            add rule ip kontiki int/default/web/tcp/80 goto all/default/web/tcp/80
            add element ip kontiki cluster-ips { 10.96.0.5 }
            add element ip kontiki hairpins { 10.244.0.2 . 10.244.0.2 }
            add element ip kontiki service-ips { 10.96.0.5 . tcp . 80 : goto int/default/web/tcp/80 }
        "#]],
    );
}

#[test]
fn no_endpoints_are_refused() {
    let mut service = port(vec![endpoint("10.244.0.2", true, Readiness::Not)]);
    service.node_port = Some(30080);
    service.external_ips = vec![ip("203.0.113.7")];
    check(
        &view(vec![service]),
        expect![[r#"
            add element ip kontiki cluster-ips { 10.96.0.5 }
            add element ip kontiki hairpins { 10.244.0.2 . 10.244.0.2 }
            add element ip kontiki unserved-ips { 10.96.0.5 . tcp . 80 : goto refuse, 203.0.113.7 . tcp . 80 : goto refuse }
            add element ip kontiki unserved-ports { tcp . 30080 : goto refuse }
        "#]],
    );
}

#[test]
fn endpoints_that_end_serve_while_there_is_no_other() {
    let ending = endpoint("10.244.0.2", false, Readiness::Ending);
    check(
        &view(vec![port(vec![ending.clone(), endpoint("10.244.0.9", false, Readiness::Not)])]),
        expect![[r#"
            add chain ip kontiki all/default/web/tcp/80
            add chain ip kontiki int/default/web/tcp/80
            add rule ip kontiki all/default/web/tcp/80 meta l4proto tcp dnat to 10.244.0.2:8080
            add rule ip kontiki int/default/web/tcp/80 ip saddr != 10.244.0.0/16 jump mark-masquerade
            add rule ip kontiki int/default/web/tcp/80 goto all/default/web/tcp/80
            add element ip kontiki cluster-ips { 10.96.0.5 }
            add element ip kontiki service-ips { 10.96.0.5 . tcp . 80 : goto int/default/web/tcp/80 }
        "#]],
    );
    let both = vec![ending, endpoint("10.244.0.3", false, Readiness::Ready)];
    check(
        &view(vec![port(both)]),
        expect![[r#"
            add chain ip kontiki all/default/web/tcp/80
            add chain ip kontiki int/default/web/tcp/80
            add rule ip kontiki all/default/web/tcp/80 meta l4proto tcp dnat to 10.244.0.3:8080
            add rule ip kontiki int/default/web/tcp/80 ip saddr != 10.244.0.0/16 jump mark-masquerade
            add rule ip kontiki int/default/web/tcp/80 goto all/default/web/tcp/80
            add element ip kontiki cluster-ips { 10.96.0.5 }
            add element ip kontiki service-ips { 10.96.0.5 . tcp . 80 : goto int/default/web/tcp/80 }
        "#]],
    );
}

#[test]
fn node_ports_and_external_addresses() {
    let mut service = port(two());
    service.node_port = Some(30080);
    service.external_ips = vec![ip("203.0.113.7")];
    check(
        &view(vec![service]),
        expect![[r#"
            add chain ip kontiki all/default/web/tcp/80
            add chain ip kontiki ext/default/web/tcp/80
            add chain ip kontiki int/default/web/tcp/80
            add rule ip kontiki all/default/web/tcp/80 meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.244.0.2 . 8080, 1 : 10.244.1.3 . 8080 }
            add rule ip kontiki ext/default/web/tcp/80 jump mark-masquerade
            add rule ip kontiki ext/default/web/tcp/80 goto all/default/web/tcp/80
            add rule ip kontiki int/default/web/tcp/80 ip saddr != 10.244.0.0/16 jump mark-masquerade
            add rule ip kontiki int/default/web/tcp/80 goto all/default/web/tcp/80
            add element ip kontiki cluster-ips { 10.96.0.5 }
            add element ip kontiki hairpins { 10.244.0.2 . 10.244.0.2 }
            add element ip kontiki node-ports { tcp . 30080 : goto ext/default/web/tcp/80 }
            add element ip kontiki service-ips { 10.96.0.5 . tcp . 80 : goto int/default/web/tcp/80, 203.0.113.7 . tcp . 80 : goto ext/default/web/tcp/80 }
        "#]],
    );
}

#[test]
fn nobody_takes_the_address_of_another_service_by_naming_it() {
    let other = |namespace: &str, cluster_ip: &str| ServicePort {
        namespace: namespace.into(),
        cluster_ip: ip(cluster_ip),
        ..port(two())
    };
    let claims = ["10.96.0.5", "203.0.113.7", "203.0.113.8"].map(ip).to_vec();
    let first = ServicePort { external_ips: claims.clone(), ..other("aaa", "10.96.0.6") };
    let last = ServicePort { external_ips: claims, ..other("zzz", "10.96.0.7") };
    let empty = ServicePort { endpoints: Vec::new(), ..port(two()) };
    let web = ServicePort { balancer_ips: vec![ip("203.0.113.7")], ..empty };
    let ruleset = ruleset(&view(vec![first, web, last]), PODS);
    let told = |map: &str| {
        let elements = ruleset.maps[map].elements.iter();
        elements.map(|(key, to)| format!("{key} : {to}")).collect::<Vec<_>>()
    };
    let int = |address: &str, namespace: &str| format!("{address} . tcp . 80 : goto int/{namespace}/web/tcp/80");
    let expected = [
        int("10.96.0.6", "aaa"),
        int("10.96.0.7", "zzz"),
        "203.0.113.8 . tcp . 80 : goto ext/aaa/web/tcp/80".to_owned(),
    ];
    assert_eq!(told("service-ips"), expected);
    assert_eq!(told("unserved-ips"), ["10.96.0.5 . tcp . 80 : goto refuse", "203.0.113.7 . tcp . 80 : goto refuse"]);
}

#[test]
fn a_balancers_address_is_an_external_one_with_a_fence() {
    let mut service = port(two());
    service.balancer_ips = vec![ip("192.0.2.1")];
    service.source_ranges = vec!["198.51.100.7/24".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
    check(
        &view(vec![service]),
        expect![[r#"
            add chain ip kontiki all/default/web/tcp/80
            add chain ip kontiki ext/default/web/tcp/80
            add chain ip kontiki fw/default/web/tcp/80
            add chain ip kontiki int/default/web/tcp/80
            add rule ip kontiki all/default/web/tcp/80 meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.244.0.2 . 8080, 1 : 10.244.1.3 . 8080 }
            add rule ip kontiki ext/default/web/tcp/80 jump mark-masquerade
            add rule ip kontiki ext/default/web/tcp/80 goto all/default/web/tcp/80
            add rule ip kontiki fw/default/web/tcp/80 ip saddr 198.51.100.0/24 return
            add rule ip kontiki fw/default/web/tcp/80 ip saddr 10.0.0.0/8 return
            add rule ip kontiki fw/default/web/tcp/80 drop
            add rule ip kontiki int/default/web/tcp/80 ip saddr != 10.244.0.0/16 jump mark-masquerade
            add rule ip kontiki int/default/web/tcp/80 goto all/default/web/tcp/80
            add element ip kontiki cluster-ips { 10.96.0.5 }
            add element ip kontiki firewall { 192.0.2.1 . tcp . 80 : goto fw/default/web/tcp/80 }
            add element ip kontiki hairpins { 10.244.0.2 . 10.244.0.2 }
            add element ip kontiki service-ips { 10.96.0.5 . tcp . 80 : goto int/default/web/tcp/80, 192.0.2.1 . tcp . 80 : goto ext/default/web/tcp/80 }
        "#]],
    );
}

#[test]
fn external_traffic_stays_on_the_node() {
    let mut service = port(two());
    service.node_port = Some(30080);
    service.external_local = true;
    check(
        &view(vec![service.clone()]),
        expect![[r#"
            add chain ip kontiki all/default/web/tcp/80
            add chain ip kontiki ext/default/web/tcp/80
            add chain ip kontiki int/default/web/tcp/80
            add chain ip kontiki loc/default/web/tcp/80
            add rule ip kontiki all/default/web/tcp/80 meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.244.0.2 . 8080, 1 : 10.244.1.3 . 8080 }
            add rule ip kontiki ext/default/web/tcp/80 iifname "kt*" goto all/default/web/tcp/80
            add rule ip kontiki ext/default/web/tcp/80 fib saddr type local jump mark-masquerade
            add rule ip kontiki ext/default/web/tcp/80 fib saddr type local goto all/default/web/tcp/80
            add rule ip kontiki ext/default/web/tcp/80 goto loc/default/web/tcp/80
            add rule ip kontiki int/default/web/tcp/80 ip saddr != 10.244.0.0/16 jump mark-masquerade
            add rule ip kontiki int/default/web/tcp/80 goto all/default/web/tcp/80
            add rule ip kontiki loc/default/web/tcp/80 meta l4proto tcp dnat to 10.244.0.2:8080
            add element ip kontiki cluster-ips { 10.96.0.5 }
            add element ip kontiki hairpins { 10.244.0.2 . 10.244.0.2 }
            add element ip kontiki node-ports { tcp . 30080 : goto ext/default/web/tcp/80 }
            add element ip kontiki service-ips { 10.96.0.5 . tcp . 80 : goto int/default/web/tcp/80 }
        "#]],
    );
    service.endpoints.remove(0);
    check(
        &view(vec![service]),
        expect![[r#"
            add chain ip kontiki all/default/web/tcp/80
            add chain ip kontiki ext/default/web/tcp/80
            add chain ip kontiki int/default/web/tcp/80
            add rule ip kontiki all/default/web/tcp/80 meta l4proto tcp dnat to 10.244.1.3:8080
            add rule ip kontiki ext/default/web/tcp/80 iifname "kt*" goto all/default/web/tcp/80
            add rule ip kontiki ext/default/web/tcp/80 fib saddr type local jump mark-masquerade
            add rule ip kontiki ext/default/web/tcp/80 fib saddr type local goto all/default/web/tcp/80
            add rule ip kontiki int/default/web/tcp/80 ip saddr != 10.244.0.0/16 jump mark-masquerade
            add rule ip kontiki int/default/web/tcp/80 goto all/default/web/tcp/80
            add element ip kontiki cluster-ips { 10.96.0.5 }
            add element ip kontiki node-ports { tcp . 30080 : goto ext/default/web/tcp/80 }
            add element ip kontiki service-ips { 10.96.0.5 . tcp . 80 : goto int/default/web/tcp/80 }
            add element ip kontiki unserved-ports { tcp . 30080 : drop }
        "#]],
    );
}

#[test]
fn internal_traffic_stays_on_the_node() {
    let mut service = port(two());
    service.internal_local = true;
    check(
        &view(vec![service.clone()]),
        expect![[r#"
            add chain ip kontiki int/default/web/tcp/80
            add chain ip kontiki loc/default/web/tcp/80
            add rule ip kontiki int/default/web/tcp/80 ip saddr != 10.244.0.0/16 jump mark-masquerade
            add rule ip kontiki int/default/web/tcp/80 goto loc/default/web/tcp/80
            add rule ip kontiki loc/default/web/tcp/80 meta l4proto tcp dnat to 10.244.0.2:8080
            add element ip kontiki cluster-ips { 10.96.0.5 }
            add element ip kontiki hairpins { 10.244.0.2 . 10.244.0.2 }
            add element ip kontiki service-ips { 10.96.0.5 . tcp . 80 : goto int/default/web/tcp/80 }
        "#]],
    );
    service.endpoints.remove(0);
    check(
        &view(vec![service]),
        expect![[r#"
            add element ip kontiki cluster-ips { 10.96.0.5 }
            add element ip kontiki unserved-ips { 10.96.0.5 . tcp . 80 : drop }
        "#]],
    );
}

#[test]
fn clients_stay_with_their_endpoint() {
    let mut service = port(two());
    service.affinity_s = Some(60);
    service.protocol = Protocol::Udp;
    check(
        &view(vec![service]),
        expect![[r#"
            add set ip kontiki aff/60/default/web/udp/80/10.244.0.2/8080 { type ipv4_addr; flags dynamic,timeout; timeout 60s; size 65536; }
            add set ip kontiki aff/60/default/web/udp/80/10.244.1.3/8080 { type ipv4_addr; flags dynamic,timeout; timeout 60s; size 65536; }
            add chain ip kontiki all-end/default/web/udp/80/10.244.0.2/8080
            add chain ip kontiki all-end/default/web/udp/80/10.244.1.3/8080
            add chain ip kontiki all/default/web/udp/80
            add chain ip kontiki int/default/web/udp/80
            add rule ip kontiki all-end/default/web/udp/80/10.244.0.2/8080 update @aff/60/default/web/udp/80/10.244.0.2/8080 { ip saddr }
            add rule ip kontiki all-end/default/web/udp/80/10.244.0.2/8080 meta l4proto udp dnat to 10.244.0.2:8080
            add rule ip kontiki all-end/default/web/udp/80/10.244.1.3/8080 update @aff/60/default/web/udp/80/10.244.1.3/8080 { ip saddr }
            add rule ip kontiki all-end/default/web/udp/80/10.244.1.3/8080 meta l4proto udp dnat to 10.244.1.3:8080
            add rule ip kontiki all/default/web/udp/80 ip saddr @aff/60/default/web/udp/80/10.244.0.2/8080 goto all-end/default/web/udp/80/10.244.0.2/8080
            add rule ip kontiki all/default/web/udp/80 ip saddr @aff/60/default/web/udp/80/10.244.1.3/8080 goto all-end/default/web/udp/80/10.244.1.3/8080
            add rule ip kontiki all/default/web/udp/80 numgen random mod 2 vmap { 0 : goto all-end/default/web/udp/80/10.244.0.2/8080, 1 : goto all-end/default/web/udp/80/10.244.1.3/8080 }
            add rule ip kontiki int/default/web/udp/80 ip saddr != 10.244.0.0/16 jump mark-masquerade
            add rule ip kontiki int/default/web/udp/80 goto all/default/web/udp/80
            add element ip kontiki cluster-ips { 10.96.0.5 }
            add element ip kontiki hairpins { 10.244.0.2 . 10.244.0.2 }
            add element ip kontiki service-ips { 10.96.0.5 . udp . 80 : goto int/default/web/udp/80 }
        "#]],
    );
}

#[test]
fn ports_of_pods_on_the_node() {
    let host_port = |host_ip: Option<&str>, host_port| HostPort {
        protocol: Protocol::Tcp,
        host_ip: host_ip.map(ip),
        host_port,
        address: ip("10.244.0.2"),
        port: 80,
    };
    let view = View { host_ports: vec![host_port(None, 8080), host_port(Some("127.0.0.1"), 9090)], ..View::default() };
    check(
        &view,
        expect![[r#"
            add element ip kontiki hairpins { 10.244.0.2 . 10.244.0.2 }
            add element ip kontiki host-ports { tcp . 8080 : 10.244.0.2 . 80 }
            add element ip kontiki host-ports-at { 127.0.0.1 . tcp . 9090 : 10.244.0.2 . 80 }
        "#]],
    );
}

/// What is applied step by step is what would be applied at once, and nothing that stays is touched.
#[test]
fn changes_touch_only_what_changes() {
    let mut affine = port(two());
    affine.service = "affine".into();
    affine.cluster_ip = ip("10.96.0.6");
    affine.affinity_s = Some(60);
    let before = ruleset(&view(vec![port(two()), affine.clone()]), PODS);
    assert_eq!(change(&before, &before), "");
    affine.endpoints.remove(0);
    let after = ruleset(&view(vec![port(two()), affine]), PODS);
    expect![[r#"
        flush chain ip kontiki all-end/default/affine/tcp/80/10.244.0.2/8080
        flush chain ip kontiki all/default/affine/tcp/80
        add rule ip kontiki all/default/affine/tcp/80 ip saddr @aff/60/default/affine/tcp/80/10.244.1.3/8080 goto all-end/default/affine/tcp/80/10.244.1.3/8080
        add rule ip kontiki all/default/affine/tcp/80 numgen random mod 1 vmap { 0 : goto all-end/default/affine/tcp/80/10.244.1.3/8080 }
        delete chain ip kontiki all-end/default/affine/tcp/80/10.244.0.2/8080
        delete set ip kontiki aff/60/default/affine/tcp/80/10.244.0.2/8080
    "#]]
    .assert_eq(&change(&before, &after));
    let gone = ruleset(&view(vec![port(two())]), PODS);
    expect![[r#"
        delete element ip kontiki cluster-ips { 10.96.0.6 }
        delete element ip kontiki service-ips { 10.96.0.6 . tcp . 80 }
        flush chain ip kontiki all-end/default/affine/tcp/80/10.244.1.3/8080
        flush chain ip kontiki all/default/affine/tcp/80
        flush chain ip kontiki int/default/affine/tcp/80
        delete chain ip kontiki all-end/default/affine/tcp/80/10.244.1.3/8080
        delete chain ip kontiki all/default/affine/tcp/80
        delete chain ip kontiki int/default/affine/tcp/80
        delete set ip kontiki aff/60/default/affine/tcp/80/10.244.1.3/8080
    "#]]
    .assert_eq(&change(&after, &gone));
}

#[test]
fn removal_works_where_there_is_nothing() {
    assert_eq!(removal(), "add table ip kontiki\ndelete table ip kontiki\n");
}

#[test]
fn the_node_s_own_ports_are_left_alone_before_all_else() {
    check(
        &View { own_ports: vec![6443, 10250], ..View::default() },
        expect![[r#"
            add element ip kontiki own-ports { 10250, 6443 }
        "#]],
    );
    let rules = ruleset(&View::default(), PODS);
    for chain in ["services", "unserved"] {
        assert_eq!(rules.chains[chain].rules[0], OWN);
    }
}

#[test]
fn traffic_stays_where_every_ready_endpoint_says_whose_it_is() {
    use Hint::{None, Others, Ours};
    let at = ["10.244.0.2", "10.244.1.3", "10.244.2.4"];
    let used = |hints: [(Hint, Hint); 3], readiness: Readiness| {
        let hinted = at.iter().zip(hints).map(|(address, (for_node, for_zone))| Endpoint {
            for_node,
            for_zone,
            ..endpoint(address, false, readiness)
        });
        let chain = ruleset(&view(vec![port(hinted.collect())]), PODS).chains["all/default/web/tcp/80"].rules.join("");
        at.map(|address| chain.contains(address))
    };
    let all = [true; 3];
    for (hints, expected) in [
        ([(None, None); 3], all),
        ([(Ours, Ours), (Others, Ours), (Others, Others)], [true, false, false]),
        ([(Others, Ours), (Others, Ours), (Others, Others)], [true, true, false]),
        ([(None, Ours), (Ours, Others), (None, Others)], [true, false, false]),
        ([(Ours, Ours), (Others, Ours), (None, None)], all),
        ([(Others, Others); 3], all),
    ] {
        assert_eq!(used(hints, Readiness::Ready), expected, "{hints:?}");
    }
    let told = [(Ours, Ours), (Others, Others), (Others, Others)];
    assert_eq!(used(told, Readiness::Ending), all, "what ends is taken from anywhere");
}
