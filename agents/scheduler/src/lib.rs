//! The scheduler: pure cycles over a snapshot of the cluster, through a Kubernetes API only.

mod cluster;
mod filter;
mod quantity;
mod run;
mod score;
mod storage;

pub use run::{SchedulerConfig, run};
