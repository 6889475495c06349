//! A seeded, deterministic simulation of a cluster: real consensus, log, state, history and watches, on virtual time, a simulated
//! network and disks that forget what was not synced. One seed derives everything, so a failure is found again by its number.
//!
//! Within: `runtime` (machines and their clocks), `network`, `server` (its disk), `client`, `watcher`, `nemesis`, and `world`, which
//! they share. What happened is in `chronicle`; [`crate::invariants`] judge it. `mutants` are bugs planted to prove that they do.
mod chronicle;
mod client;
mod limits;
mod mutants;
mod nemesis;
mod network;
mod run;
mod runtime;
mod server;
mod watcher;
mod world;

pub use mutants::Mutant;
pub use nemesis::Fault;
pub use run::{Broken, Report, Scenario};
