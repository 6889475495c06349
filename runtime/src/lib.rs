//! Images, root filesystems, sandboxes and containers through libcontainer; the shim.
//! Speaks OCI and its own spec: knows neither the API nor the cluster.
mod cgroup;
mod device_filter;
mod error;
pub mod image;
mod limits;
pub mod mountinfo;
mod oci;
mod oom;
mod open_files;
pub mod podnet;
pub mod rootfs;
mod runtime;
mod seccomp;
pub mod shim;
pub mod spec;
mod sys;
pub mod tree;

pub use cgroup::{Throttling, Usage};
pub use error::{Failure, FailureKind, RuntimeError};
pub use oom::spare_agent;
pub use open_files::raise_open_files;
pub use runtime::{AttachSession, ExecSession, ExecSpec, Reader, Runtime, RuntimeConfig, Terminal, Writer};
pub use shim::{is_shim_command, shim_main};
pub use sys::restore_default_signals;
