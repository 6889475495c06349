//! End to end, as users do it: the real binary, a real kubectl, real containers, each cluster in a network namespace of its own.

#![allow(clippy::unwrap_used)]

mod agents;
mod backup;
mod certificates;
mod encryption;
mod faults;
mod harness;
mod images;
mod lost;
mod newcomer;
mod past;
mod podsecurity;
mod quota;
mod reaching;
mod restarts;
mod servers;
