//! The machine asked directly, and lives of pods played against it.

#![allow(clippy::unwrap_used)]

mod ephemeral;
mod lifecycle;
mod renewal;
mod restarts;
mod status;
mod world;
