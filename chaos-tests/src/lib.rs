//! Simulation, fault injection on real processes, history checkers, reports.
//!
//! Here so far: a seeded simulation of one server's log, state, history and watches on a real disk, with restarts and crashes.
//! Everything random is drawn from one seed, so a failure is found again by its number.
pub mod crash;
pub mod faults;
pub mod invariants;
pub mod linearizability;
pub mod model;
pub mod plan;
pub mod simulation;

pub use simulation::{Outcome, Simulation};
