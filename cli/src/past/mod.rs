//! The commands about the past: what happened to an object, who did it and why, and taking it back. They ask the API; none of
//! them knows a kind.

mod diff;
mod gone;
mod history;
mod names;
mod object;
mod restore;
mod secrets;
mod show;
mod tail;
mod undelete;
mod undo;
mod why;

pub use self::{diff::diff, history::history, tail::tail, undelete::undelete, undo::undo, why::why};
