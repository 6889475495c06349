//! What a caller asks of the runtime: sandboxes and containers in OCI words. Knows neither the API nor the cluster.

use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// A pod's shared surroundings: network, IPC and UTS namespaces, a cgroup, one shim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Unique for ever on this machine (the pod's uid).
    pub id: String,
    pub hostname: String,
    pub network: SandboxNetwork,
    /// Limits of the whole sandbox; containers have their own below it.
    pub resources: Resources,
    pub sysctls: BTreeMap<String, String>,
    pub host_pid: bool,
    pub host_ipc: bool,
    /// One PID namespace for all containers, its init owned by the shim.
    pub share_pid: bool,
    /// Opaque to the runtime, given back by `list` (the agent keeps the pod's name here).
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SandboxNetwork {
    Host,
    /// A routed veth with this address.
    Pod {
        address: Ipv4Addr,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    pub cpu_shares: Option<u64>,
    /// CPU time per `cpu_period_us`, in microseconds.
    pub cpu_quota_us: Option<i64>,
    pub cpu_period_us: Option<u64>,
    pub memory_bytes: Option<i64>,
    pub pids: Option<i64>,
    pub oom_score_adj: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Unique in the sandbox, a new one for every restart: `<name>-<attempt>`.
    pub id: String,
    /// Image digest as `ImageStore::resolve` gave it.
    pub image: String,
    /// Full argument vector: entrypoint and arguments already merged with the image's.
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: String,
    pub user: User,
    pub mounts: Vec<Mount>,
    pub resources: Resources,
    pub privileged: bool,
    pub read_only_root: bool,
    pub no_new_privileges: bool,
    pub capabilities_add: Vec<String>,
    pub capabilities_drop: Vec<String>,
    pub seccomp: Seccomp,
    pub stdin: bool,
    pub stdin_once: bool,
    pub tty: bool,
    /// CRI-format log file; its folder exists.
    pub log_path: PathBuf,
    pub stop_signal: Option<String>,
    /// The running container of the sandbox whose processes it is to be among, unless all of the sandbox's share one
    /// PID namespace anyway. It ends with that container.
    pub process_namespace_of: Option<String>,
}

/// The largest number of a user or a group. Above it, setresuid(2) and its kin take -1 for "leave it as it is", which
/// for a container's process is root.
pub const ID_MAX: u32 = i32::MAX as u32;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// `uid`, `uid:gid`, `name`, or empty for the image's own; names are looked up in the image's /etc/passwd.
    pub user: String,
    pub group: Option<u32>,
    pub additional_groups: Vec<u32>,
    /// Only these groups: what the image's /etc/group says of the user does not count.
    pub strict_groups: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    pub source: PathBuf,
    pub destination: PathBuf,
    pub read_only: bool,
    /// What is mounted below the source is read-only, too.
    pub recursive_read_only: bool,
    /// `private`, `rslave` (HostToContainer) or `rshared` (Bidirectional).
    pub propagation: Propagation,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    #[default]
    Private,
    HostToContainer,
    Bidirectional,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Seccomp {
    #[default]
    RuntimeDefault,
    Unconfined,
    Localhost(PathBuf),
}

/// What the shim knows of its sandbox; survives the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SandboxStatus {
    pub id: String,
    pub labels: BTreeMap<String, String>,
    pub address: Option<Ipv4Addr>,
    pub shim_pid: i32,
    pub created_ms: i64,
    /// The shim is gone (crashed, or the machine restarted): its containers are dead.
    pub lost: bool,
    pub containers: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerStatus {
    pub id: String,
    pub image: String,
    pub state: ContainerState,
    pub log_path: PathBuf,
    /// Whose its first process is at its start; shims of earlier versions do not say.
    #[serde(default)]
    pub user: Option<ProcessUser>,
}

/// Numbers that a process has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUser {
    pub uid: u32,
    pub gid: u32,
    /// The primary group and all others.
    pub groups: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ContainerState {
    Created,
    Running { pid: i32, started_ms: i64 },
    Exited { exit_code: i32, signal: Option<i32>, oom_killed: bool, started_ms: i64, finished_ms: i64 },
}
