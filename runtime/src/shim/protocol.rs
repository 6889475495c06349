//! What goes over the sockets: agent ⇄ shim (a stream of JSON lines, descriptors beside them) and
//! helper → shim (one JSON message per packet). Knows no transport.

use std::{collections::BTreeMap, path::PathBuf};

use oci_spec::runtime::LinuxCapabilities;
use serde::{Deserialize, Serialize};

use crate::{
    error::Failure,
    seccomp::Filter,
    spec::{ContainerStatus, ProcessUser},
};

/// Written by the agent before the shim starts; the shim's whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShimConfig {
    pub sandbox: String,
    pub hostname: String,
    pub socket: PathBuf,
    /// The last known state, for an agent that finds the shim dead.
    pub status_file: PathBuf,
    /// State folder of libcontainer, one sub-folder per container.
    pub state_dir: PathBuf,
    /// The shim's own cgroup, apart from the containers'.
    pub shim_cgroup: String,
    pub own_ipc: bool,
    pub own_uts: bool,
    pub share_pid: bool,
    pub sysctls: BTreeMap<String, String>,
    /// Where the network sysctls belong.
    pub network_namespace: Option<PathBuf>,
    /// How many files containers may hold open, softly; as many as the agent, if absent.
    pub open_files: Option<u64>,
}

/// The first line on the shim's stdout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ready {
    Listening { pid_namespace_init: Option<i32> },
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Answered by a snapshot now and after every change, until the client leaves.
    Watch,
    Create(CreateRequest),
    Start {
        container: String,
    },
    Kill {
        container: String,
        signal: i32,
    },
    /// Kills what is left of it and forgets it.
    Remove {
        container: String,
    },
    /// With stdin, stdout and stderr as descriptors, or without any for a terminal.
    Exec(ExecRequest),
    /// With stdin, stdout and stderr as descriptors, or the last two (a terminal has no stderr of its own, but needs a
    /// descriptor in its place).
    Attach {
        container: String,
    },
    Resize {
        container: String,
        rows: u16,
        columns: u16,
    },
    /// Kills everything, answers, and exits.
    Shutdown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateRequest {
    pub container: String,
    pub image: String,
    pub bundle: PathBuf,
    pub cgroup: String,
    pub log_path: PathBuf,
    pub stdin: bool,
    pub stdin_once: bool,
    pub tty: bool,
    /// Its processes die with its init.
    pub own_pid_namespace: bool,
    /// Owner of the container's end of its pipes.
    pub uid: u32,
    pub gid: u32,
    /// That owner, with its groups.
    #[serde(default)]
    pub user: Option<ProcessUser>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecRequest {
    pub container: String,
    /// An OCI process, as JSON.
    pub process: serde_json::Value,
    pub tty: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Done(Snapshot),
    Failed(Failure),
    Snapshot(Snapshot),
    /// With the terminal's master as descriptor, when a terminal was asked for.
    ExecStarted {
        pid: i32,
    },
    ExecExited {
        exit_code: i32,
    },
    /// With the terminal's master as descriptor, when the container has one.
    Attached,
}

/// All containers of the shim at one moment; a higher sequence is later.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub sequence: u64,
    pub containers: Vec<ContainerStatus>,
}

/// What a shim asks of the helper it has just started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum HelperRequest {
    Create { container: String, bundle: PathBuf, state_dir: PathBuf, console: Option<PathBuf> },
    Exec { container: String, state_dir: PathBuf, process_file: PathBuf, console: Option<PathBuf> },
}

/// Beside `config.json` in a bundle: the last that happens to a process before it becomes its command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confinement {
    pub filter: Filter,
    pub capabilities: LinuxCapabilities,
    /// The process may not gain privileges any more, so it needs none to install the filter.
    pub no_new_privileges: bool,
}

impl Confinement {
    pub const FILE: &str = "confinement.json";
}

/// What a helper, or the container's init before it becomes the command, says to the shim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// An error somewhere on the way, in the words of the step that failed.
    Trace(String),
    Failed(Failure),
    /// With the terminal's master as descriptor, when there is one.
    Made {
        pid: i32,
    },
}
