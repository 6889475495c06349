//! What can go wrong in the runtime, in terms a caller can act on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{image::ImageError, podnet::PodNetError, rootfs::RootfsError};

/// Why a container or a command in it could not be made or started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The command is not in the image or not in `$PATH`.
    CommandNotFound,
    /// The command is there, but may not be executed.
    PermissionDenied,
    /// A mount's source is missing, or it cannot be mounted at its destination.
    BadMount,
    /// A user or group name that the image does not know.
    BadUser,
    /// The spec itself is wrong: no command, an unknown capability, a bad seccomp profile.
    InvalidSpec,
    /// No such sandbox or container.
    NotFound,
    /// The container is in the wrong state for the request.
    WrongState,
    /// What is to be taken away is in use.
    InUse,
    Other,
}

/// A failure as it travels from the helper over the shim to the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
}

impl Failure {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The container or command was refused; the kind says by what.
    #[error("{0}")]
    Container(Failure),
    #[error("no sandbox {0:?}")]
    SandboxNotFound(String),
    #[error("the shim of sandbox {0:?} is gone, its containers are dead: remove the sandbox")]
    SandboxLost(String),
    #[error("{0:?} is no valid id: letters, digits, '-', '_' and '.' only, at most 128")]
    InvalidId(String),
    #[error("socket path {0:?} is too long for a unix socket: choose a shorter run directory")]
    SocketPathTooLong(PathBuf),
    #[error("shim of sandbox {sandbox:?} did not start: {reason}")]
    ShimStart { sandbox: String, reason: String },
    #[error("shim of sandbox {sandbox:?} gave no answer: {reason}")]
    ShimAnswer { sandbox: String, reason: String },
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Network(#[from] PodNetError),
    #[error(transparent)]
    RootFs(#[from] RootfsError),
    #[error("{action} {path:?}: {source}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("another process runs the containers in {0:?} already")]
    InUse(PathBuf),
    #[error("the runtime needs root: {0}")]
    NotPermitted(String),
}

impl RuntimeError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> RuntimeError {
        let path = path.into();
        move |source| RuntimeError::Io { action, path, source }
    }

    /// The kind of a refused container, `None` when the runtime itself failed.
    pub fn failure_kind(&self) -> Option<FailureKind> {
        match self {
            RuntimeError::Container(failure) => Some(failure.kind),
            _ => None,
        }
    }
}

impl From<Failure> for RuntimeError {
    fn from(failure: Failure) -> RuntimeError {
        RuntimeError::Container(failure)
    }
}
