//! Why a node agent cannot go on.

use std::{io, path::PathBuf};

use crate::{containers::Refusal, server::ServerError};

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("cannot make {path:?}: {source}")]
    StateDir { path: PathBuf, source: io::Error },
    #[error("cannot read the machine's facts: {0}")]
    Machine(String),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("the runtime does not answer: {0}")]
    Runtime(#[source] Refusal),
    #[error("the sysctl {0:?} is not known to be namespaced")]
    Sysctl(String),
    #[error("pod addresses: {0}")]
    Addresses(String),
}
