//! The rules in a kernel: a node, pods and a client outside, each in a network namespace of its own. The machine's network is
//! not touched.
#![allow(clippy::unwrap_used)]

mod agent;
mod routing;

use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::mpsc::{Sender, channel},
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, unshare};

use crate::{
    conntrack::{self, Stale},
    model::{Endpoint, Hint, HostPort, Protocol, Readiness, ServicePort, View},
    nft,
    rules::ruleset,
    ruleset::{change, removal, replacement},
};

const PODS: &str = "10.244.0.0/16";
const CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 5);
const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
const A: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 2);
const B: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 3);
const DEADLINE: Duration = Duration::from_secs(5);
/// For connections that must not come about: they would at once.
const PATIENCE: Duration = Duration::from_millis(300);

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace: a thread that lives in it. Gone with its last thread and socket.
struct Space {
    jobs: Sender<Job>,
    tid: i32,
}

impl Space {
    fn new() -> Self {
        let (jobs, inbox) = channel::<Job>();
        let (report, started) = channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            report.send(nix::unistd::gettid().as_raw()).unwrap();
            inbox.into_iter().for_each(|job| job());
        });
        let space = Self { jobs, tid: started.recv().unwrap() };
        space.ip("link set lo up");
        space
    }

    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, result) = channel();
        self.jobs.send(Box::new(move || answer.send(work()).unwrap())).unwrap();
        result.recv().expect("the work in the namespace failed")
    }

    fn ip(&self, arguments: &str) {
        let arguments = arguments.to_owned();
        self.run(move || {
            let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
            assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        });
    }

    fn sysctl(&self, name: &str, value: &str) {
        let (path, value) = (format!("/proc/sys/net/ipv4/{name}"), value.to_owned());
        self.run(move || fs::write(path, value).unwrap());
    }

    fn nft(&self, script: String) -> String {
        self.run(move || nft::run(&script).unwrap())
    }

    /// Tells every client the server's name and the address it sees.
    fn serve(&self, name: &'static str, port: u16) {
        let listener = self.run(move || TcpListener::bind(("0.0.0.0", port)).unwrap());
        thread::spawn(move || {
            while let Ok((mut stream, client)) = listener.accept() {
                let _ = stream.write_all(format!("{name} {}", client.ip()).as_bytes());
            }
        });
    }

    fn serve_udp(&self, name: &'static str, port: u16) {
        let socket = self.run(move || UdpSocket::bind(("0.0.0.0", port)).unwrap());
        thread::spawn(move || {
            let mut buffer = [0; 16];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&[name.as_bytes(), &buffer[..length]].concat(), client);
            }
        });
    }

    fn ask_within(&self, address: Ipv4Addr, port: u16, patience: Duration) -> io::Result<String> {
        self.run(move || {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::from((address, port)), patience)?;
            stream.set_read_timeout(Some(patience))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })
    }

    #[track_caller]
    fn ask(&self, address: Ipv4Addr, port: u16) -> String {
        self.ask_within(address, port, DEADLINE).unwrap()
    }

    #[track_caller]
    fn refused(&self, address: Ipv4Addr, port: u16) {
        assert_eq!(self.ask_within(address, port, DEADLINE).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    /// The servers that answer in so many tries.
    fn servers(&self, address: Ipv4Addr, port: u16) -> BTreeSet<String> {
        (0..40).map(|_| self.ask(address, port).split(' ').next().unwrap().to_owned()).collect()
    }
}

/// Runs on this thread alone, and so in its namespace.
fn on_this_thread<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A node with two pods, and a client outside.
struct Net {
    node: Space,
    a: Space,
    b: Space,
    outside: Space,
}

impl Net {
    /// `None`, and a word about it, where namespaces cannot be made.
    fn new(test: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("SKIPPED {test}: needs root");
            return None;
        }
        let net = Self { node: Space::new(), a: Space::new(), b: Space::new(), outside: Space::new() };
        net.node.sysctl("ip_forward", "1");
        for (pod, address, link) in [(&net.a, A, "kta"), (&net.b, B, "ktb")] {
            net.node.ip(&format!("link add {link} type veth peer name eth0 netns {}", pod.tid));
            net.node.ip(&format!("addr add {GATEWAY}/32 dev {link}"));
            net.node.ip(&format!("link set {link} up"));
            net.node.ip(&format!("route add {address} dev {link}"));
            net.node.sysctl(&format!("conf/{link}/route_localnet"), "1");
            pod.ip(&format!("addr add {address}/32 dev eth0"));
            pod.ip("link set eth0 up");
            pod.ip(&format!("route add default via {GATEWAY} dev eth0 onlink"));
        }
        net.node.ip(&format!("link add up0 type veth peer name eth0 netns {}", net.outside.tid));
        net.node.ip(&format!("addr add {NODE}/24 dev up0"));
        net.node.ip("link set up0 up");
        net.outside.ip(&format!("addr add {OUTSIDE}/24 dev eth0"));
        net.outside.ip("link set eth0 up");
        net.node.ip(&format!("route add default via {OUTSIDE}"));
        net.a.serve("a", 8080);
        net.b.serve("b", 8080);
        Some(net)
    }

    fn load(&self, view: &View) {
        self.node.nft(replacement(&ruleset(view, PODS)));
    }
}

fn endpoint(address: Ipv4Addr) -> Endpoint {
    let (for_node, for_zone) = (Hint::None, Hint::None);
    Endpoint { address, port: 8080, local: true, readiness: Readiness::Ready, for_node, for_zone }
}

fn service(endpoints: &[Ipv4Addr]) -> ServicePort {
    ServicePort {
        namespace: "default".into(),
        service: "web".into(),
        cluster_ip: CLUSTER_IP,
        protocol: Protocol::Tcp,
        port: 80,
        node_port: Some(30080),
        external_ips: Vec::new(),
        balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        external_local: false,
        internal_local: false,
        affinity_s: None,
        endpoints: endpoints.iter().copied().map(endpoint).collect(),
    }
}

fn view(ports: Vec<ServicePort>) -> View {
    let mut cluster_ips: Vec<Ipv4Addr> = ports.iter().map(|port| port.cluster_ip).collect();
    cluster_ips.dedup();
    View { ports, cluster_ips, ..View::default() }
}

#[test]
fn a_service_answers_pods_the_node_and_clients_outside() {
    let Some(net) = Net::new("a_service_answers_pods_the_node_and_clients_outside") else { return };
    let both = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    net.load(&view(vec![service(&[A, B])]));
    assert_eq!(net.a.servers(CLUSTER_IP, 80), both, "balanced, and a pod may be its own server");
    assert_eq!(net.node.servers(CLUSTER_IP, 80), both);
    assert_eq!(net.outside.servers(NODE, 30080), both);
    assert_eq!(net.node.servers(Ipv4Addr::LOCALHOST, 30080), both);
    assert_eq!(net.a.servers(NODE, 30080), both);

    net.load(&view(vec![service(&[A])]));
    assert_eq!(net.b.ask(CLUSTER_IP, 80), format!("a {B}"), "a pod's address is kept");
    assert_eq!(net.a.ask(CLUSTER_IP, 80), format!("a {GATEWAY}"), "but not to itself");
    assert_eq!(net.outside.ask(NODE, 30080), format!("a {GATEWAY}"));
    net.node.nft(removal());
    assert_eq!(net.node.nft("list tables".into()), "");
}

#[test]
fn what_nobody_serves_is_refused_at_once() {
    let Some(net) = Net::new("what_nobody_serves_is_refused_at_once") else { return };
    net.load(&view(vec![service(&[])]));
    for client in [&net.a, &net.node] {
        client.refused(CLUSTER_IP, 80);
        client.refused(CLUSTER_IP, 81);
    }
    for client in [&net.a, &net.node, &net.outside] {
        client.refused(NODE, 30080);
    }
}

#[test]
fn local_traffic_policies() {
    let Some(net) = Net::new("local_traffic_policies") else { return };
    let mut port = service(&[A, B]);
    port.endpoints[1].local = false;
    port.external_local = true;
    net.load(&view(vec![port.clone()]));
    assert_eq!(net.outside.ask(NODE, 30080), format!("a {OUTSIDE}"), "the client's address is kept");
    assert_eq!(net.outside.servers(NODE, 30080), BTreeSet::from(["a".to_owned()]));
    assert_eq!(net.a.servers(NODE, 30080).len(), 2, "pods are not outside");
    port.endpoints[0].local = false;
    net.load(&view(vec![port.clone()]));
    assert_eq!(net.outside.ask_within(NODE, 30080, PATIENCE).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(net.node.servers(NODE, 30080).len(), 2);
    port.internal_local = true;
    net.load(&view(vec![port]));
    assert_eq!(net.a.ask_within(CLUSTER_IP, 80, PATIENCE).unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn an_endpoint_on_the_node_s_loopback_is_reached_and_nothing_else_there() {
    let Some(net) = Net::new("an_endpoint_on_the_node_s_loopback_is_reached_and_nothing_else_there") else { return };
    let listener = net.node.run(|| TcpListener::bind("127.0.0.1:8080").unwrap());
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(b"api");
        }
    });
    net.a.refused(GATEWAY, 8080);
    net.load(&view(vec![service(&[Ipv4Addr::LOCALHOST])]));
    assert_eq!(net.a.ask(CLUSTER_IP, 80), "api");
    assert_eq!(net.node.ask(CLUSTER_IP, 80), "api");
    net.node.nft(removal());

    // A pod that may change its own routes sends the node packets to 127.0.0.1.
    let victim = net.node.run(|| UdpSocket::bind("127.0.0.1:9999").unwrap());
    net.a.ip("route del local 127.0.0.0/8 dev lo table local");
    net.a.ip("route del local 127.0.0.1 dev lo table local");
    net.a.ip(&format!("route add 127.0.0.1 via {GATEWAY} dev eth0 onlink"));
    let attack = |patience| {
        net.a.run(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"!", "127.0.0.1:9999").unwrap());
        victim.set_read_timeout(Some(patience)).unwrap();
        victim.recv_from(&mut [0; 1])
    };
    assert_eq!(attack(DEADLINE).unwrap().1.ip(), A, "the attack works without the rules");
    net.load(&View::default());
    assert_eq!(attack(PATIENCE).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn pods_go_out_by_the_node_s_address_and_host_ports_come_in() {
    let Some(net) = Net::new("pods_go_out_by_the_node_s_address_and_host_ports_come_in") else { return };
    net.outside.serve("out", 80);
    let host_port =
        |host_ip, host_port| HostPort { protocol: Protocol::Tcp, host_ip, host_port, address: A, port: 8080 };
    let host_ports = vec![host_port(None, 9000), host_port(Some(Ipv4Addr::LOCALHOST), 9001)];
    net.load(&View { host_ports, ..View::default() });
    assert_eq!(net.a.ask(OUTSIDE, 80), format!("out {NODE}"));
    assert_eq!(net.outside.ask(NODE, 9000), format!("a {OUTSIDE}"));
    assert_eq!(net.a.ask(NODE, 9000), format!("a {GATEWAY}"), "also the pod itself");
    assert_eq!(net.node.ask(Ipv4Addr::LOCALHOST, 9001), format!("a {GATEWAY}"));
    net.outside.refused(NODE, 9001);
}

#[test]
fn no_host_port_or_external_address_takes_the_node_s_own_ports() {
    let Some(net) = Net::new("no_host_port_or_external_address_takes_the_node_s_own_ports") else { return };
    net.node.serve("api", 6443);
    let host_ports = vec![HostPort { protocol: Protocol::Tcp, host_ip: None, host_port: 6443, address: A, port: 8080 }];
    let external = |endpoints: &[Ipv4Addr]| ServicePort { port: 6443, external_ips: vec![NODE], ..service(endpoints) };
    let balanced = |endpoints: &[Ipv4Addr]| ServicePort {
        port: 6443,
        balancer_ips: vec![NODE, Ipv4Addr::LOCALHOST],
        source_ranges: vec!["198.51.100.0/24".parse().unwrap()],
        ..service(endpoints)
    };
    for port in [external(&[A]), external(&[]), balanced(&[A]), balanced(&[])] {
        let ports = vec![port];
        net.load(&View { own_ports: vec![6443], host_ports: host_ports.clone(), ..view(ports) });
        for client in [&net.a, &net.node, &net.outside] {
            assert!(client.ask(NODE, 6443).starts_with("api "));
        }
        assert!(net.node.ask(Ipv4Addr::LOCALHOST, 6443).starts_with("api "));
    }
}

#[test]
fn a_balancers_address_answers_those_whom_its_ranges_name() {
    let Some(net) = Net::new("a_balancers_address_answers_those_whom_its_ranges_name") else { return };
    let for_ranges = |ranges: &[&str]| ServicePort {
        balancer_ips: vec![NODE, Ipv4Addr::LOCALHOST],
        source_ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        ..service(&[A])
    };
    net.load(&view(vec![for_ranges(&[])]));
    for client in [&net.b, &net.node, &net.outside] {
        assert!(client.ask(NODE, 80).starts_with("a "));
    }
    assert!(net.node.ask(Ipv4Addr::LOCALHOST, 80).starts_with("a "));
    net.load(&view(vec![for_ranges(&["198.51.100.0/24", &format!("{OUTSIDE}/32")])]));
    assert!(net.outside.ask(NODE, 80).starts_with("a "));
    for client in [&net.b, &net.node] {
        assert_eq!(client.ask_within(NODE, 80, PATIENCE).unwrap_err().kind(), ErrorKind::TimedOut);
    }
    assert!(net.node.ask(NODE, 30080).starts_with("a "), "node ports are for everybody");
}

#[test]
fn a_client_stays_with_its_endpoint_while_other_services_change() {
    let Some(net) = Net::new("a_client_stays_with_its_endpoint_while_other_services_change") else { return };
    let mut affine = service(&[A, B]);
    affine.affinity_s = Some(600);
    let mut other = service(&[A]);
    (other.service, other.cluster_ip, other.node_port) = ("other".into(), Ipv4Addr::new(10, 96, 0, 6), None);
    let first = view(vec![affine.clone()]);
    net.load(&first);
    let chosen = net.a.servers(CLUSTER_IP, 80);
    assert_eq!(chosen.len(), 1);
    let second = view(vec![affine, other]);
    net.node.nft(change(&ruleset(&first, PODS), &ruleset(&second, PODS)));
    assert_eq!(net.a.servers(CLUSTER_IP, 80), chosen);
}

#[test]
fn udp_clients_are_led_to_the_new_endpoint() {
    let Some(net) = Net::new("udp_clients_are_led_to_the_new_endpoint") else { return };
    net.a.serve_udp("a", 8080);
    net.b.serve_udp("b", 8080);
    let udp = |endpoints: &[Ipv4Addr]| view(vec![ServicePort { protocol: Protocol::Udp, ..service(endpoints) }]);
    let client = net.outside.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket
    });
    // Numbered: an answer may be late.
    let ask = |number: u8| {
        client.send_to(&[number], (NODE, 30080)).unwrap();
        let mut answer = [0; 2];
        while answer[1] != number {
            client.recv_from(&mut answer).unwrap();
        }
        char::from(answer[0])
    };
    // A connection from before there is a service, which the kernel remembers.
    client.send_to(&[0], (NODE, 30080)).unwrap();
    let mut before = View::default();
    for (number, endpoints, expected) in [(1, &[A][..], 'a'), (2, &[B], 'b'), (3, &[A], 'a')] {
        let after = udp(endpoints);
        net.load(&after);
        let stale = Stale::between(&before, &after);
        net.node.run(move || conntrack::flush(&stale).unwrap());
        assert_eq!(ask(number), expected);
        before = after;
    }
}

/// Step by step the kernel comes to hold what it would hold had it been loaded at once.
#[test]
fn changes_end_where_a_replacement_does() {
    let Some(net) = Net::new("changes_end_where_a_replacement_does") else { return };
    let variant = |name: &str, last: u8, endpoints: &[Ipv4Addr], affinity_s, external_local| ServicePort {
        service: name.into(),
        cluster_ip: Ipv4Addr::new(10, 96, 0, last),
        node_port: Some(30000 + u16::from(last)),
        affinity_s,
        external_local,
        ..service(endpoints)
    };
    let steps = [
        view(vec![]),
        view(vec![variant("x", 1, &[A, B], None, false), variant("y", 2, &[], None, true)]),
        view(vec![variant("x", 1, &[A, B], Some(60), false), variant("y", 2, &[B], None, true)]),
        view(vec![variant("x", 1, &[B], Some(90), true), variant("z", 2, &[A], None, false)]),
        view(vec![variant("x", 3, &[], None, false)]),
        view(vec![]),
    ];
    let listing = |net: &Net| {
        // Chains are listed in the order they were made.
        let listing = net.node.nft("list table ip kontiki".into()).replace("table ip kontiki {", "").replace("\n}", "");
        let mut parts: Vec<String> = listing.split("\n\n").map(|part| part.trim().to_owned()).collect();
        parts.sort();
        parts.join("\n\n")
    };
    net.load(&steps[0]);
    for pair in steps.windows(2) {
        let (old, new) = (ruleset(&pair[0], PODS), ruleset(&pair[1], PODS));
        net.node.nft(change(&old, &new));
        let changed = listing(&net);
        net.load(&pair[1]);
        assert_eq!(changed, listing(&net));
        net.node.nft(replacement(&old));
        net.node.nft(change(&old, &new));
    }
}
