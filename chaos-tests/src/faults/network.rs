//! The machines' network: a hub namespace with a bridge, one namespace per server, and ways to cut them off.

use std::{
    io,
    net::Ipv4Addr,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::sched::{CloneFlags, setns};

static HUBS: AtomicU32 = AtomicU32::new(0);
const HUB_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 87, 0, 254);

/// Where the clients are. It reaches every server, and no packet leaves it.
pub struct Hub {
    tag: String,
    name: String,
}

/// One server's machine, as far as its network goes; removed when dropped.
pub struct Netns {
    name: String,
    hub: String,
    port: String,
    pub address: Ipv4Addr,
}

impl Hub {
    pub fn new() -> io::Result<Self> {
        let tag = format!("ktf{}-{}", std::process::id(), HUBS.fetch_add(1, Ordering::Relaxed));
        let hub = Hub { name: format!("{tag}-hub"), tag };
        ip(&["netns", "add", &hub.name])?;
        hub.ip("link set lo up")?;
        hub.ip("link add br0 type bridge forward_delay 0")?;
        hub.ip(&format!("address add {HUB_ADDRESS}/24 dev br0"))?;
        hub.ip("link set br0 up")?;
        Ok(hub)
    }

    /// The machine with a number from 1 on.
    pub fn machine(&self, number: u8) -> io::Result<Netns> {
        let name = format!("{}-{number}", self.tag);
        let address = Ipv4Addr::new(10, 87, 0, number);
        let machine = Netns { name, hub: self.name.clone(), port: format!("port{number}"), address };
        ip(&["netns", "add", &machine.name])?;
        let (port, name) = (&machine.port, &machine.name);
        self.ip(&format!("link add {port} type veth peer name eth0 netns {name}"))?;
        self.ip(&format!("link set {port} master br0 up"))?;
        machine.ip("link set lo up")?;
        machine.ip(&format!("address add {address}/24 dev eth0"))?;
        machine.ip("link set eth0 up")?;
        machine.ip(&format!("route add default via {HUB_ADDRESS}"))?;
        Ok(machine)
    }

    /// Moves the calling thread here, for good: what it connects to from now on is reached from the hub.
    pub fn enter(&self) -> io::Result<()> {
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.name))?;
        Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
    }

    fn ip(&self, arguments: &str) -> io::Result<()> {
        ip_in(&self.name, arguments)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        report(ip(&["netns", "delete", &self.name]));
    }
}

impl Netns {
    /// A command that runs inside. Only the network differs, and the process keeps its number.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg("--").arg(program);
        command
    }

    /// Cuts the machine off from everything, or plugs it in again.
    pub fn plug(&self, on: bool) -> io::Result<()> {
        ip_in(&self.hub, &format!("link set {} {}", self.port, if on { "up" } else { "down" }))
    }

    /// From now on nothing from that address arrives here; what leaves here still arrives there.
    pub fn deafen(&self, from: Ipv4Addr) -> io::Result<()> {
        self.nft("add table ip faults")?;
        self.nft("add chain ip faults input { type filter hook input priority 0; }")?;
        self.nft(&format!("add rule ip faults input ip saddr {from} drop"))
    }

    /// Takes all of [`Netns::deafen`] back.
    pub fn listen(&self) -> io::Result<()> {
        self.nft("add table ip faults")?;
        self.nft("delete table ip faults")
    }

    fn nft(&self, rule: &str) -> io::Result<()> {
        succeed(self.command("nft").arg(rule)).map(drop)
    }

    fn ip(&self, arguments: &str) -> io::Result<()> {
        ip_in(&self.name, arguments)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        report(ip(&["netns", "delete", &self.name]));
    }
}

fn ip_in(namespace: &str, arguments: &str) -> io::Result<()> {
    let mut all = vec!["-n", namespace];
    all.extend(arguments.split(' '));
    ip(&all)
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    succeed(Command::new("ip").args(arguments)).map(drop)
}

/// Runs a command to its end; what it said, if it failed.
pub fn succeed(command: &mut Command) -> io::Result<Output> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?} failed with {}: {said}", output.status)))
}

/// What a drop cannot return.
pub fn report(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        eprintln!("cleaning up after a scenario: {error}");
    }
}
