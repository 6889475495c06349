//! Several servers in one process, over streams in memory that can be cut.
#![allow(clippy::unwrap_used)]

mod failover;
mod full_disk;
mod harness;
mod leaving;
mod membership;
mod recovery;
mod replication;
