//! One declaration per kind, and the list of all of them.
pub mod kind;

pub use kind::{Claim, Column, Deletion, Field, Kind, NameRule, Pool, Retention, Subresource};

/// Every kind this server knows, in alphabetical order of `(group, resource)`.
pub static KINDS: &[&Kind] = &[];
