//! Why a node agent cannot go on.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::containers::Refusal;

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("cannot make {path:?}: {source}")]
    StateDir { path: PathBuf, source: io::Error },
    #[error("cannot read the machine's facts: {0}")]
    Machine(String),
    #[error("the kubelet API cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the kubelet API's TLS identity is unusable: {0}")]
    Tls(String),
    #[error("the runtime does not answer: {0}")]
    Runtime(#[source] Refusal),
    #[error("pod addresses: {0}")]
    Addresses(String),
}
