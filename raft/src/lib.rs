//! The log and what is derived from it: state, history, watch, snapshots, membership.
//! Knows keys, heads and bytes; knows no kind, no HTTP, no Kubernetes struct.
pub mod command;
pub mod event;

pub use command::{Author, Command, Expect, Mutation, Precondition, Rejection};
pub use event::{Event, EventKind, Stored};
