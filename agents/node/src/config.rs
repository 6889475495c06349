//! What a node agent is told when it starts. Only the program's edge reads files, arguments and environment.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

/// Everything a node agent needs to know besides a client and a runtime.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Name of the Node object, and of the machine in its cluster.
    pub name: String,
    /// The machine's address: `InternalIP` of the node, `hostIP` of its pods.
    pub address: IpAddr,
    /// What pods on the machine's own network are told to have: `address`, unless no other pod could reach that.
    pub host_pods_address: IpAddr,
    /// Where the kubelet API listens; 0 takes a free port, which the Node object then tells.
    pub kubelet_address: IpAddr,
    pub kubelet_port: u16,
    /// TCP ports of this machine that the cluster's own parts listen on. No pod gets them as host ports.
    pub own_ports: Vec<u16>,
    /// Kernel parameters that pods may set besides those that harm nobody else: names, or prefixes that end with `*`.
    pub allowed_unsafe_sysctls: Vec<String>,
    /// Addresses of this node's pods; written to the Node object if that has none.
    pub pod_cidr: Option<String>,
    /// Volumes of pods (`pods/`), container logs (`logs/`), seccomp profiles (`seccomp/`).
    pub state_dir: PathBuf,
    pub tls: NodeTls,
    /// Name servers of pods with `dnsPolicy: ClusterFirst`; without any they get the machine's.
    pub cluster_dns: Vec<IpAddr>,
    /// For instance `cluster.local`.
    pub cluster_domain: String,
    /// Host and port of the API server as pods reach it when the cluster has no `kubernetes` Service.
    pub api_host: String,
    pub api_port: u16,
    /// Labels of the Node object besides the well-known ones.
    pub labels: BTreeMap<String, String>,
}

/// Identity of the kubelet API, and who vouches for its clients. All PEM.
/// Members of `kontiki:apiservers` and `system:masters` are answered, by their certificates.
#[derive(Clone)]
pub struct NodeTls {
    /// Certificates that sign the clients'.
    pub client_ca: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl std::fmt::Debug for NodeTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeTls").finish_non_exhaustive()
    }
}
