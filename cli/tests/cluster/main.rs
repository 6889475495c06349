//! End to end, as users do it: the real binary, a real kubectl, real containers, each cluster in a network namespace of its own.

#![allow(clippy::unwrap_used)]

mod agents;
mod atomic;
mod backup;
mod certificates;
mod conversions;
mod debug;
mod disruptions;
mod encryption;
mod faults;
mod garbage;
mod harness;
#[path = "../../../apiserver/tests/hook/mod.rs"]
mod hook;
mod images;
#[path = "../../../apiserver/tests/issuer/mod.rs"]
mod issuer;
mod lost;
mod newcomer;
mod nodes;
mod oidc;
mod past;
mod podsecurity;
mod printing;
mod quota;
mod reaching;
mod restarts;
mod servers;
