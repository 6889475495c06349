//! From API words to runtime words: what a pod asks becomes a sandbox and containers. Pure.

mod container;
pub mod resources;
pub mod sandbox;
mod security;

pub use self::{
    container::{Problem, Surroundings, attempt_of, container_name, container_spec, stop_signal},
    sandbox::{LABEL_GRACE_S, LABEL_NAME, LABEL_NAMESPACE, SandboxNeeds, hostname, refuse_hostname, sandbox_spec},
};
