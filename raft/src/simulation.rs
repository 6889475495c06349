//! One server below the API for a simulation, which brings its own clock, network and schedule of syncs. No part of the crate's
//! promise to others.

pub use crate::consensus::simulated::{Answer, Replica, ReplicaLimits, Request, Runtime, Surroundings, Tamper, Wire};
pub use crate::consensus::{NodeError, Types};
pub use crate::disk::Flush;
pub use crate::store::{Outcome, Store};

pub use crate::consensus::runtime;
