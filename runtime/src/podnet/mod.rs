//! Pod networks: a network namespace for each sandbox, and a routed link from it to the host. Knows neither services nor
//! policies: those are nftables' work elsewhere.
//!
//! Each pod has one address and nothing around it. Its link's host end has the node's gateway address (the first of the pod
//! network), the pod's default route points there, and neighbours are entered for good on both ends: no bridge, no ARP.
//!
//! ```text
//! pod    eth0    10.244.0.7/32   default via 10.244.0.1 onlink     10.244.0.1 lladdr ee:ee:ee:ee:ee:ee PERMANENT
//! host   kt…     10.244.0.1/32   10.244.0.7 dev kt… scope link     10.244.0.7 lladdr 0a:58:0a:f4:00:07 PERMANENT
//! ```

mod link;
mod netns;
mod pool;
#[cfg(test)]
mod tests;
mod traffic;

use std::{
    collections::HashSet,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::errno::Errno;
use tokio::net::TcpStream;

use crate::image::Digest;
use link::{End, Netlink};
pub use pool::{AddressPool, Cidr, CidrError, PoolError};
pub use traffic::{Counts, Traffic};

/// The host end of every link; the pods' neighbour entries name it.
const HOST_MAC: [u8; 6] = [0xee; 6];
const POD_LINK: &str = "eth0";
const MTU_DEFAULT: u32 = 1500;
/// `IFALIASZ` without its terminating zero.
const ALIAS_BYTES_MAX: usize = 255;

/// A failure to make or remove a pod network.
#[derive(Debug, thiserror::Error)]
pub enum PodNetError {
    #[error("{what}: not permitted; pod networks need root (CAP_NET_ADMIN and CAP_SYS_ADMIN)")]
    NotPermitted { what: String },
    #[error("{0:?} cannot name a network namespace: it must be a file name")]
    BadId(String),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl PodNetError {
    fn from_io(what: String, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted { what },
            _ => Self::Io { what, source },
        }
    }

    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::from_io(what, source)
    }

    fn sys(what: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        let what = what.into();
        move |errno| Self::from_io(what, errno.into())
    }
}

/// The pod networks of a node. All of it happens in the network namespace of the calling thread.
#[derive(Clone, Debug)]
pub struct PodNetwork {
    netns_dir: PathBuf,
    gateway: Ipv4Addr,
}

impl PodNetwork {
    /// `netns_dir` holds the pins and tells this node's links from another's on the same machine.
    pub fn open(netns_dir: impl Into<PathBuf>, pods: Cidr) -> Result<Self, PodNetError> {
        let netns_dir = netns_dir.into();
        fs::create_dir_all(&netns_dir).map_err(PodNetError::io(format!("making {}", netns_dir.display())))?;
        let netns_dir = fs::canonicalize(&netns_dir).map_err(PodNetError::io("finding the namespaces' directory"))?;
        Ok(Self { netns_dir, gateway: pods.gateway() })
    }

    /// Lets the host forward packets. Idempotent.
    pub fn set_up_host(&self) -> Result<(), PodNetError> {
        set_sysctl("net/ipv4/ip_forward", "1")
    }

    /// Makes a namespace with loopback and a link to the host, and gives the path it is pinned at. What an earlier sandbox of
    /// this id left is replaced. A failure leaves nothing behind.
    pub async fn create(&self, id: &str, address: Ipv4Addr) -> Result<PathBuf, PodNetError> {
        let path = self.path(id)?;
        self.destroy(id).await?;
        match self.make(id, &path, address).await {
            Ok(()) => Ok(path),
            Err(error) => {
                if let Err(second) = self.destroy(id).await {
                    tracing::warn!(id, error = %second, "leftovers of a failed pod network");
                }
                Err(error)
            }
        }
    }

    async fn make(&self, id: &str, path: &Path, address: Ipv4Addr) -> Result<(), PodNetError> {
        let runtime = tokio::runtime::Handle::current();
        let inside = netns::create(path, || {
            let _entered = runtime.enter();
            Netlink::open()
        })?;
        let namespace = fs::File::open(path).map_err(PodNetError::io(format!("opening {}", path.display())))?;
        let outside = Netlink::open()?;
        let mtu = uplink_mtu(&outside).await?;
        let name = self.link_name(id);
        let pod_mac = pod_mac(address);
        let host_end = End { name: &name, mac: HOST_MAC, mtu };
        let pod_end = End { name: POD_LINK, mac: pod_mac, mtu };
        outside.add_veth(&host_end, &pod_end, std::os::fd::AsFd::as_fd(&namespace)).await?;

        let host_link = outside.index(&name).await?;
        outside.set_alias(host_link, &self.alias(id)).await?;
        set_link_sysctls(&name)?;
        outside.add_address(host_link, self.gateway).await?;
        outside.add_neighbour(host_link, address, pod_mac).await?;
        outside.add_host_route(host_link, address).await?;

        let pod_link = inside.index(POD_LINK).await?;
        inside.set_up(inside.index("lo").await?).await?;
        inside.set_up(pod_link).await?;
        inside.add_address(pod_link, address).await?;
        inside.add_neighbour(pod_link, self.gateway, HOST_MAC).await?;
        inside.add_default_route(pod_link, self.gateway).await
    }

    /// Removes the link and lets go of the namespace; what is not there is fine.
    pub async fn destroy(&self, id: &str) -> Result<(), PodNetError> {
        let path = self.path(id)?;
        Netlink::open()?.delete(&self.link_name(id)).await?;
        netns::unpin(&path)
    }

    /// Whether the sandbox's namespace is there, pinned.
    pub fn exists(&self, id: &str) -> bool {
        self.path(id).is_ok_and(|path| netns::is_pinned(&path))
    }

    /// Ids of all namespaces, and of those that were pinned before the machine restarted.
    pub fn list(&self) -> Result<Vec<String>, PodNetError> {
        let what = || format!("listing {}", self.netns_dir.display());
        let entries = fs::read_dir(&self.netns_dir).map_err(PodNetError::io(what()))?;
        let mut ids = Vec::new();
        for entry in entries {
            ids.push(entry.map_err(PodNetError::io(what()))?.file_name().to_string_lossy().into_owned());
        }
        ids.sort();
        Ok(ids)
    }

    /// Removes the namespaces and links of all sandboxes but these; gives the ids that were removed.
    pub async fn sweep(&self, keep: &HashSet<String>) -> Result<Vec<String>, PodNetError> {
        let mut ids: HashSet<String> = self.list()?.into_iter().collect();
        let prefix = self.alias("");
        for (_, alias) in Netlink::open()?.aliases().await? {
            ids.extend(alias.strip_prefix(&prefix).map(str::to_owned));
        }
        let mut swept = Vec::new();
        for id in ids.difference(keep) {
            self.destroy(id).await?;
            swept.push(id.clone());
        }
        swept.sort();
        Ok(swept)
    }

    /// Where the sandbox's namespace is pinned.
    pub fn path(&self, id: &str) -> Result<PathBuf, PodNetError> {
        let is_name = !id.is_empty() && id != "." && id != ".." && !id.contains('/');
        if is_name { Ok(self.netns_dir.join(id)) } else { Err(PodNetError::BadId(id.to_owned())) }
    }

    /// The host end's name, always the same for a sandbox: `kt` and twelve digits, of the fifteen bytes Linux allows.
    pub fn link_name(&self, id: &str) -> String {
        let key = format!("{}\0{id}", self.netns_dir.display());
        format!("kt{}", &Digest::of(key.as_bytes()).hex()[..12])
    }

    /// What has gone through the sandbox's link, if it has one.
    pub fn traffic(&self, id: &str) -> Result<Option<Traffic>, PodNetError> {
        traffic::behind(&self.link_name(id)).map_err(PodNetError::io("reading what links have carried"))
    }

    /// What `ip link` shows at the host end, and by which a sweep knows its own.
    fn alias(&self, id: &str) -> String {
        let mut directory = self.netns_dir.display().to_string();
        if directory.len() + id.len() + 16 > ALIAS_BYTES_MAX {
            directory = Digest::of(directory.as_bytes()).hex().to_owned();
        }
        format!("kontiki:{directory}:{id}")
    }
}

/// Seconds that a listener in a pod has to answer.
const CONNECT_S_MAX: u64 = 10;

/// Connects to `127.0.0.1:port` inside the namespace pinned at `path`: what listens on loopback only is reached too.
pub async fn connect_loopback(path: &Path, port: u16) -> Result<TcpStream, PodNetError> {
    let path = path.to_path_buf();
    let what = format!("connecting to port {port} in the pod");
    let connecting = what.clone();
    let connected = tokio::task::spawn_blocking(move || {
        netns::enter(&path, || {
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            std::net::TcpStream::connect_timeout(&to, Duration::from_secs(CONNECT_S_MAX))
                .map_err(PodNetError::io(connecting))
        })
    });
    let stream = connected.await.map_err(io::Error::other).map_err(PodNetError::io(what.clone()))??;
    stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)).map_err(PodNetError::io(what))
}

/// As CNI's plugins do: locally administered, and readable.
fn pod_mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// Pods should not send packets that the way out cannot carry.
async fn uplink_mtu(netlink: &Netlink) -> Result<u32, PodNetError> {
    // `/proc/net` is the process' main thread's namespace, which need not be ours.
    let routes = fs::read_to_string("/proc/thread-self/net/route").map_err(PodNetError::io("reading the routes"))?;
    match default_route_link(&routes) {
        Some(name) => Ok(netlink.mtu(name).await?.unwrap_or(MTU_DEFAULT)),
        None => Ok(MTU_DEFAULT),
    }
}

/// The link of the default route with the lowest metric.
fn default_route_link(routes: &str) -> Option<&str> {
    let default = |line: &'_ str| -> Option<(u32, String)> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [link, destination, _, _, _, _, metric, mask, ..] = fields[..] else { return None };
        (destination == "00000000" && mask == "00000000").then_some((metric.parse().ok()?, link.to_owned()))
    };
    let name = routes.lines().skip(1).filter_map(default).min()?.1;
    routes.split_whitespace().find(|word| *word == name)
}

fn set_link_sysctls(link: &str) -> Result<(), PodNetError> {
    let conf = format!("net/ipv4/conf/{link}");
    // A service may lead to 127.0.0.1 of the host (the API server): without this, such packets from a pod are dropped.
    // That pods reach nothing else there is nftables' care.
    set_sysctl(&format!("{conf}/route_localnet"), "1")?;
    set_sysctl(&format!("{conf}/forwarding"), "1")?;
    // A pod sends from its own address only.
    set_sysctl(&format!("{conf}/rp_filter"), "1")?;
    // The link-local address would be a way to the host that no policy sees.
    match set_sysctl(&format!("net/ipv6/conf/{link}/disable_ipv6"), "1") {
        Err(PodNetError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn set_sysctl(name: &str, value: &str) -> Result<(), PodNetError> {
    let path = Path::new("/proc/sys").join(name);
    let what = || format!("setting sysctl {} to {value}", name.replace('/', "."));
    // A read-only /proc/sys (in a container) may have the right value already.
    if fs::read_to_string(&path).is_ok_and(|current| current.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(PodNetError::io(what()))
}
