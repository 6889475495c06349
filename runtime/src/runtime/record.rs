//! Where a sandbox is on disk, and what is remembered of it there for the next agent.
//!
//! ```text
//! <state>/sandboxes/<id>/sandbox.json          the record, written by the agent
//!                        shim.json, shim.log   the shim's configuration and complaints
//!                        status.json           its containers, written by the shim
//!                        shm/                  a tmpfs, bound to /dev/shm of the containers
//!                        libcontainer/         its state
//!                        containers/<id>/      config.json and the root filesystem's own folder
//!                        images/<name>/        an image that containers see as a volume, and which
//! <run>/<id>.sock                              the shim's socket
//! ```

use std::{
    fs, io,
    net::Ipv4Addr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    error::RuntimeError,
    limits::SOCKET_PATH_BYTES_MAX,
    spec::{SandboxNetwork, SandboxSpec},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub spec: SandboxSpec,
    pub created_ms: i64,
    /// Absent until the shim runs: a record without it is of a sandbox that was never finished.
    pub shim: Option<ShimProcess>,
    pub network_namespace: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShimProcess {
    pub pid: i32,
    /// First process of the shared PID namespace.
    pub pid_namespace_init: Option<i32>,
}

impl Record {
    pub fn address(&self) -> Option<Ipv4Addr> {
        match self.spec.network {
            SandboxNetwork::Host => None,
            SandboxNetwork::Pod { address } => Some(address),
        }
    }
}

/// The paths of one sandbox.
#[derive(Clone, Debug)]
pub struct Places {
    pub folder: PathBuf,
    pub socket: PathBuf,
    /// The sandbox's cgroup, its containers' below it.
    pub cgroup: String,
}

impl Places {
    pub fn record(&self) -> PathBuf {
        self.folder.join("sandbox.json")
    }

    pub fn shim_config(&self) -> PathBuf {
        self.folder.join("shim.json")
    }

    pub fn shim_log(&self) -> PathBuf {
        self.folder.join("shim.log")
    }

    pub fn status(&self) -> PathBuf {
        self.folder.join("status.json")
    }

    pub fn shared_memory(&self) -> PathBuf {
        self.folder.join("shm")
    }

    pub fn libcontainer(&self) -> PathBuf {
        self.folder.join("libcontainer")
    }

    pub fn containers(&self) -> PathBuf {
        self.folder.join("containers")
    }

    pub fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    pub fn images(&self) -> PathBuf {
        self.folder.join("images")
    }

    pub fn image(&self, name: &str) -> PathBuf {
        self.images().join(name)
    }

    pub fn container_cgroup(&self, id: &str) -> String {
        format!("{}/{id}", self.cgroup)
    }

    /// Terminals get sockets beside the shim's own, with a number after its name.
    pub fn check_socket(&self) -> Result<(), RuntimeError> {
        const NUMBER_BYTES: usize = 8;
        match self.socket.as_os_str().len() + NUMBER_BYTES <= SOCKET_PATH_BYTES_MAX {
            true => Ok(()),
            false => Err(RuntimeError::SocketPathTooLong(self.socket.clone())),
        }
    }
}

/// Ids become names of files and cgroups.
pub fn check_id(id: &str) -> Result<(), RuntimeError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let valid = !id.is_empty() && id.len() <= 128 && !id.starts_with('.') && id.bytes().all(allowed);
    if valid { Ok(()) } else { Err(RuntimeError::InvalidId(id.to_owned())) }
}

/// Specs hold secrets: folders are for root alone.
pub fn make_folder(path: &Path) -> Result<(), RuntimeError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(RuntimeError::io("make folder", path))
}

pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RuntimeError> {
    let write = || {
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        fs::write(&new, serde_json::to_vec(value)?)?;
        fs::rename(&new, path)
    };
    write().map_err(RuntimeError::io("write", path))
}

/// `None` when there is no such file.
pub fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>, RuntimeError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(RuntimeError::io("read", path))?,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| RuntimeError::io("read", path)(error.into()))
}
