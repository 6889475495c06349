//! Simulation, fault injection on real processes, history checkers, reports.
//!
//! Two seeded simulations: [`cluster`], of several servers on virtual time, a simulated network and disks that forget; and
//! [`simulation`], of one server on a real disk, every answer of which is compared with a model. Everything random is drawn from
//! one seed, so a failure is found again by its number. [`faults`] does the same to real processes.
pub mod cluster;
pub mod crash;
pub mod faults;
pub mod invariants;
pub mod linearizability;
pub mod model;
pub mod plan;
pub mod simulation;

pub use simulation::{Outcome, Simulation};
