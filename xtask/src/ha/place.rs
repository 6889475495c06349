//! Where the machines of the trial cluster are: a network namespace each, on one bridge; or ports of the loopback address, for
//! users who may not make namespaces. Chosen once, kept in a file.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Machine, Role, machines};
use crate::tool::{output, run};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "mode")]
pub enum Place {
    /// `network` is the first three bytes of a /24, whose first address is the host's.
    Namespaces {
        tag: String,
        network: [u8; 3],
    },
    Loopback {
        ports: Vec<u16>,
    },
}

const FILE: &str = "place.json";
const API_PORT: u16 = 6443;
const AGENT_PORT: u16 = 10250;
/// Networks are taken from 10.189.0.0/16: neither pods' nor Services', and nobody's default.
const FIRST: [u8; 2] = [10, 189];

impl Place {
    /// The place of the cluster in this folder, chosen at its first use.
    pub fn choose(dir: &Path) -> Result<Self> {
        let file = &dir.join(FILE);
        if let Ok(text) = fs::read(file) {
            let kept: Place = serde_json::from_slice(&text).with_context(|| format!("reading {}", file.display()))?;
            if matches!(kept, Place::Namespaces { .. }) && !is_root() {
                bail!("this cluster was made by root: run this as root");
            }
            if matches!(&kept, Place::Namespaces { tag: of, .. } if *of != tag(dir)) {
                bail!(
                    "{} was copied or moved from another folder, whose networks it names: remove {}",
                    file.display(),
                    dir.display()
                );
            }
            return Ok(kept);
        }
        let place = if is_root() { Place::namespaces(dir)? } else { Place::loopback()? };
        fs::write(file, serde_json::to_vec_pretty(&place)?).with_context(|| format!("writing {}", file.display()))?;
        Ok(place)
    }

    /// Whether there is a cluster in this folder.
    pub fn is_chosen(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    fn namespaces(dir: &Path) -> Result<Self> {
        let mut routes = Command::new("ip");
        let routes = output(routes.args(["-4", "-j", "route", "show", "table", "all"]))?;
        let routes: Value = serde_json::from_str(&routes)?;
        let taken: Vec<String> = routes
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|route| route["dst"].as_str().map(str::to_owned))
            .collect();
        let free = (0..=255u8).find(|third| !taken.iter().any(|block| overlaps(block, [FIRST[0], FIRST[1], *third])));
        let third = free.context("every network below 10.189.0.0/16 is in use on this machine")?;
        Ok(Place::Namespaces { tag: tag(dir), network: [FIRST[0], FIRST[1], third] })
    }

    fn loopback() -> Result<Self> {
        let sockets: Vec<TcpListener> = machines()
            .iter()
            .filter(|machine| machine.role == Role::Server)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect::<Result<_, _>>()?;
        let ports = sockets.iter().map(|socket| Ok(socket.local_addr()?.port())).collect::<Result<_>>()?;
        Ok(Place::Loopback { ports })
    }

    /// The machines there are: without namespaces, no agents.
    pub fn machines(&self) -> Vec<&'static Machine> {
        let all = machines().iter();
        match self {
            Place::Namespaces { .. } => all.collect(),
            Place::Loopback { .. } => all.filter(|machine| machine.role == Role::Server).collect(),
        }
    }

    pub fn address(&self, machine: &Machine) -> SocketAddr {
        match self {
            Place::Namespaces { network: [a, b, c], .. } => {
                let port = if machine.role == Role::Server { API_PORT } else { AGENT_PORT };
                SocketAddr::from(([*a, *b, *c, machine.host], port))
            }
            Place::Loopback { ports } => {
                let index = machines().iter().position(|one| one.name == machine.name).unwrap_or(0);
                SocketAddr::from((Ipv4Addr::LOCALHOST, ports.get(index).copied().unwrap_or(API_PORT)))
            }
        }
    }

    /// The machine's namespace; empty without.
    pub fn netns(&self, machine: &Machine) -> String {
        match self {
            Place::Namespaces { tag, .. } => format!("kontiki-{tag}-{}", machine.name),
            Place::Loopback { .. } => String::new(),
        }
    }

    /// A command on the machine. `nsenter`, not `ip netns exec`: only the network is another, mounts and cgroups are the host's.
    pub fn command(&self, machine: &Machine, program: &Path) -> Command {
        let netns = self.netns(machine);
        if netns.is_empty() {
            return Command::new(program);
        }
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{netns}")).arg("--").arg(program);
        command
    }

    /// Makes what is missing of a machine's network; what is there is left as it is, cut links too.
    pub fn ensure(&self, machine: &Machine) -> Result<()> {
        let Place::Namespaces { tag, network: [a, b, c] } = self else { return Ok(()) };
        let bridge = &format!("kth{tag}");
        let host = format!("{a}.{b}.{c}.1");
        if !link_exists(bridge) {
            ip(&format!("link add {bridge} type bridge forward_delay 0"))?;
            ip(&format!("address add {host}/24 dev {bridge}"))?;
            ip(&format!("link set {bridge} up"))?;
        }
        let netns = self.netns(machine);
        if Path::new("/run/netns").join(&netns).exists() {
            return Ok(());
        }
        let link = format!("{bridge}{}", machine.host);
        ip(&format!("netns add {netns}"))?;
        if link_exists(&link) {
            ip(&format!("link delete {link}"))?;
        }
        ip(&format!("link add {link} type veth peer name eth0 netns {netns}"))?;
        ip(&format!("link set {link} master {bridge} up"))?;
        ip(&format!("-n {netns} link set lo up"))?;
        ip(&format!("-n {netns} address add {}/24 dev eth0", self.address(machine).ip()))?;
        ip(&format!("-n {netns} link set eth0 up"))?;
        ip(&format!("-n {netns} route add default via {host}"))
    }

    /// Removes namespaces and bridge; what is not there is fine.
    pub fn remove(&self) -> Result<()> {
        let Place::Namespaces { tag, .. } = self else { return Ok(()) };
        let bridge = &format!("kth{tag}");
        for machine in machines() {
            let (netns, link) = (self.netns(machine), format!("{bridge}{}", machine.host));
            // The link first: the kernel would remove it with the namespace, but at its leisure.
            if link_exists(&link) {
                ip(&format!("link delete {link}"))?;
            }
            if Path::new("/run/netns").join(&netns).exists() {
                ip(&format!("netns delete {netns}"))?;
            }
        }
        if link_exists(bridge) { ip(&format!("link delete {bridge}")) } else { Ok(()) }
    }
}

fn ip(arguments: &str) -> Result<()> {
    run(Command::new("ip").args(arguments.split(' ')))
}

fn link_exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

pub fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// Six digits that only this folder has (FNV-1a of its path): two clusters on a machine keep apart.
fn tag(dir: &Path) -> String {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = dir.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step);
    format!("{:06x}", (hash ^ (hash >> 32)) & 0xff_ffff)
}

/// Whether a route's destination (`10.1.0.0/16`, `10.1.2.3`, `default`) lies in a /24 or holds it.
fn overlaps(block: &str, network: [u8; 3]) -> bool {
    let (address, prefix) = block.split_once('/').unwrap_or((block, "32"));
    let (Ok(address), Ok(prefix)) = (address.parse::<Ipv4Addr>(), prefix.parse::<u32>()) else { return false };
    let bits = prefix.min(24);
    let mask = if bits == 0 { 0 } else { u32::MAX << (32 - bits) };
    let wanted = u32::from_be_bytes([network[0], network[1], network[2], 0]);
    prefix > 0 && address.to_bits() & mask == wanted & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_in_use_are_seen() {
        let table = [
            ("default", false),
            ("0.0.0.0/0", false),
            ("10.189.3.0/24", true),
            ("10.189.3.7", true),
            ("10.189.0.0/16", true),
            ("10.0.0.0/8", true),
            ("10.189.4.0/24", false),
            ("192.168.0.0/16", false),
        ];
        for (block, expected) in table {
            assert_eq!(overlaps(block, [10, 189, 3]), expected, "{block}");
        }
    }
}
