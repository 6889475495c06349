//! Faults on real processes: three `kontiki server`s, each in a network namespace of its own, are killed, paused, cut off and
//! starved of disk while clients write, read and watch; what the clients saw is checked afterwards.
//!
//! Nothing here knows Raft or the store: the servers are asked as any client asks them, over HTTPS.
pub mod client;
pub mod limits;
pub mod network;
pub mod scenarios;
pub mod servers;
pub mod storm;
pub mod verdict;

pub use client::{Answer, Client};
pub use network::{Hub, Netns};
pub use servers::{Disk, Server, Servers};
pub use storm::{Storm, StormPlan};
pub use verdict::Verdict;
