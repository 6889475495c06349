//! The storage below Raft for a simulation, which brings its own clock, network and schedule of syncs. No part of the crate's
//! promise to others.

pub use crate::consensus::{LogStore, Types};
pub use crate::disk::Flush;
