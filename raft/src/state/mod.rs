//! What the log means: the pure step from a command to its changes, and the index of live heads.
//! Parses no body, names no kind, reads no clock, draws no random number, does no IO.
mod apply;
mod index;

pub use apply::{After, Change, Heads, apply};
pub use index::{Index, Slot};
