//! The node agent: a pure pod state machine with executors for containers, volumes, probes and network around it.

mod admission;
mod agent;
mod allocation;
mod clock;
mod config;
mod containers;
mod disk;
mod downward;
mod env;
mod error;
mod events;
mod eviction;
mod facts;
mod hooks;
mod host_files;
mod images;
mod lease;
mod ledger;
mod keyring;
mod limits;
mod machine;
mod node;
mod objects;
mod pod;
mod pods;
mod preflight;
mod probes;
mod quantity;
mod register;
mod retry;
mod runtime;
mod server;
mod signals;
mod runtime_class;
mod spec;
mod status_patch;
mod sysctls;
#[cfg(test)]
mod tests;
mod tokens;
mod volumes;
mod worker;

pub use agent::run;
pub use config::{NodeConfig, NodeTls};
pub use error::NodeError;
pub use preflight::unable;
