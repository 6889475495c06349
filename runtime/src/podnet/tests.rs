//! In namespaces of their own: the machine's network is not touched.
#![allow(clippy::unwrap_used)]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::*;

/// Lets go of all that a test pinned, also when it fails.
struct Pins(tempfile::TempDir);

impl Drop for Pins {
    fn drop(&mut self) {
        let pins = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>();
        for path in pins(self.0.path()).into_iter().flat_map(|path| [pins(&path), vec![path]].concat()) {
            let _ = netns::unpin(&path);
        }
    }
}

/// Runs the test on a thread with its own network, as if it were the host's. Says so where it cannot.
fn on_a_host(test: &str, work: impl AsyncFnOnce(PodNetwork) + Send) {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED {test}: needs root");
        return;
    }
    let pins = Pins(tempfile::tempdir().unwrap());
    let netns_dir = pins.0.path().join("netns");
    netns::create(&pins.0.path().join("host"), || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let lo = Netlink::open().unwrap();
            lo.set_up(lo.index("lo").await.unwrap()).await.unwrap();
            let network = PodNetwork::open(&netns_dir, "10.244.0.0/24".parse().unwrap()).unwrap();
            network.set_up_host().unwrap();
            work(network.clone()).await;
            network.sweep(&HashSet::new()).await.unwrap();
            assert_eq!(network.list().unwrap(), Vec::<String>::new());
        });
        Ok(())
    })
    .unwrap();
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, 0, last)
}

/// Listens in the namespace, or in the calling thread's, and tells each client its address.
fn listen(path: Option<&Path>) -> SocketAddr {
    let bind = || Ok(TcpListener::bind("0.0.0.0:0").unwrap());
    let listener = path.map_or_else(bind, |path| netns::enter(path, bind)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut stream, client)) = listener.accept() {
            stream.write_all(client.ip().to_string().as_bytes()).unwrap();
        }
    });
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}

/// Connects from the namespace; gives the address the listener saw.
fn connect(path: Option<&Path>, to: SocketAddr) -> io::Result<String> {
    let connect = || {
        let result = TcpStream::connect_timeout(&to, Duration::from_secs(5)).and_then(|mut stream| {
            let mut seen = String::new();
            stream.read_to_string(&mut seen)?;
            Ok(seen)
        });
        Ok(result)
    };
    path.map_or_else(connect, |path| netns::enter(path, connect)).unwrap()
}

#[test]
fn pods_reach_each_other_and_the_host() {
    on_a_host("pods_reach_each_other_and_the_host", async |network| {
        let a = network.create("pod-a", ip(2)).await.unwrap();
        let b = network.create("pod-b", ip(3)).await.unwrap();
        assert!(network.exists("pod-a") && !network.exists("pod-c"));
        let rp_filter = format!("/proc/sys/net/ipv4/conf/{}/rp_filter", network.link_name("pod-a"));
        assert_eq!(fs::read_to_string(rp_filter).unwrap().trim(), "1", "a pod sends from its own address only");
        let at = |address: Ipv4Addr, socket: SocketAddr| SocketAddr::from((address, socket.port()));

        let in_b = listen(Some(&b));
        assert_eq!(connect(Some(&a), at(ip(3), in_b)).unwrap(), "10.244.0.2");
        assert_eq!(connect(Some(&b), at(ip(3), in_b)).unwrap(), "10.244.0.3");
        assert_eq!(connect(Some(&b), at(Ipv4Addr::LOCALHOST, in_b)).unwrap(), "127.0.0.1");
        assert_eq!(connect(None, at(ip(3), in_b)).unwrap(), "10.244.0.1");
        let mut forwarded = connect_loopback(&b, in_b.port()).await.unwrap();
        let mut seen = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut forwarded, &mut seen).await.unwrap();
        assert_eq!(seen, "127.0.0.1");
        assert!(connect_loopback(&a, in_b.port()).await.is_err(), "nothing listens in the other pod");
        let on_host = listen(None);
        assert_eq!(connect(Some(&a), at(ip(1), on_host)).unwrap(), "10.244.0.2");

        network.destroy("pod-b").await.unwrap();
        network.destroy("pod-b").await.unwrap();
        assert_eq!(network.list().unwrap(), ["pod-a"]);
        // The address is free for another pod at once, and the others still have the way out.
        let c = network.create("pod-c", ip(3)).await.unwrap();
        let in_c = listen(Some(&c));
        assert_eq!(connect(Some(&a), at(ip(3), in_c)).unwrap(), "10.244.0.2");
        assert_eq!(connect(Some(&a), at(ip(1), on_host)).unwrap(), "10.244.0.2");
    });
}

#[test]
fn leftovers_are_swept_and_replaced() {
    on_a_host("leftovers_are_swept_and_replaced", async |network| {
        // Killed before the link, after the link, and a pin that a restart of the machine left as a plain file.
        fs::write(network.path("dead-file").unwrap(), "").unwrap();
        netns::create(&network.path("dead-ns").unwrap(), || Ok(())).unwrap();
        network.create("dead-link", ip(4)).await.unwrap();
        // The kernel takes the link along with its namespace, sooner or later, unless somebody still has that open.
        let _held = fs::File::open(network.path("dead-link").unwrap()).unwrap();
        netns::unpin(&network.path("dead-link").unwrap()).unwrap();
        let living = network.create("living", ip(5)).await.unwrap();
        // Another node of the same machine is left alone.
        let other =
            PodNetwork::open(network.netns_dir.with_file_name("other"), "10.9.0.0/24".parse().unwrap()).unwrap();
        let foreign = other.create("dead-link", "10.9.0.2".parse().unwrap()).await.unwrap();

        let swept = network.sweep(&HashSet::from(["living".to_owned()])).await.unwrap();
        assert_eq!(swept, ["dead-file", "dead-link", "dead-ns"]);
        assert_eq!(network.list().unwrap(), ["living"]);
        let links: Vec<String> =
            Netlink::open().unwrap().aliases().await.unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(links.len(), 2, "{links:?}");
        let in_living = listen(Some(&living));
        assert!(connect(None, SocketAddr::from((ip(5), in_living.port()))).is_ok());
        assert!(netns::is_pinned(&foreign));

        fs::write(network.path("again").unwrap(), "").unwrap();
        network.create("again", ip(6)).await.unwrap();
        assert!(network.exists("again"));
        other.sweep(&HashSet::new()).await.unwrap();
    });
}

#[test]
fn creation_takes_milliseconds() {
    on_a_host("creation_takes_milliseconds", async |network| {
        let started = Instant::now();
        for n in 2..22 {
            network.create(&format!("pod-{n}"), ip(n)).await.unwrap();
        }
        let created = started.elapsed() / 20;
        let started = Instant::now();
        network.sweep(&HashSet::new()).await.unwrap();
        println!("a pod network takes {created:?} to make, {:?} to remove", started.elapsed() / 20);
    });
}

#[test]
fn names_are_short_stable_and_safe() {
    let network = PodNetwork { netns_dir: "/run/kontiki/netns".into(), gateway: ip(1) };
    let name = network.link_name("5f0c0b7e-7d5e-4f43-9a54-5a1f0c0b7e7d");
    assert_eq!(name, "kt66e3b442e044", "stable over releases: links outlive the process");
    assert!(name.len() <= 15);
    for bad in ["", ".", "..", "a/b"] {
        assert!(network.path(bad).is_err(), "{bad}");
    }
    let deep = PodNetwork { netns_dir: "/x".repeat(200).into(), gateway: ip(1) };
    assert!(deep.alias(&"u".repeat(36)).len() <= ALIAS_BYTES_MAX);
}

#[test]
fn the_way_out_is_the_default_route_of_the_lowest_metric() {
    let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                  wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
                  eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                  eth1\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    assert_eq!(default_route_link(routes), Some("eth0"));
    assert_eq!(default_route_link("Iface\n"), None);
}
