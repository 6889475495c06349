//! The scheduler: pure cycles over a snapshot of the cluster, through a Kubernetes API only.

mod choose;
mod cluster;
mod filter;
mod quantity;
mod run;
mod score;
mod storage;
mod view;

pub use run::{SchedulerConfig, run};
