//! Who says which field: server-side apply and `metadata.managedFields`.
//!
//! Follows structured-merge-diff on the schema table. From the bottom up: an [`Element`] is one step of a path, a [`FieldSet`]
//! is what somebody says ([`Table::field_set`] is all that an object says), `place` tells how values merge at each place of
//! a type, [`Table::differences`] is what turned one object into another, [`ManagedFields`] is `metadata.managedFields`,
//! and [`FieldManager`] keeps it: [`FieldManager::update`] for any write, [`FieldManager::apply`] for an applied configuration.
//! [`scale`] translates ownership between an object and its Scale, [`last_applied`] takes over from `kubectl apply`.
//!
//! Objects are compared in canonical form, so that an absent member is absent on both sides. Knows no clock: times come in.

mod compare;
mod config;
mod element;
mod entries;
mod fields;
pub mod last_applied;
mod manager;
mod merge;
mod overlay;
mod place;
mod prune;
mod reach;
mod remove;
mod renew;
pub mod scale;
mod set;
mod validate;

pub use compare::Comparison;
pub use config::ConfigError;
pub use element::{Element, Scalar};
pub use entries::{ManagedFields, Manager, Operation, Owned};
pub use manager::{Applied, Change, Conflict, Conflicts, FieldManager, Versions};
pub use place::ItemError;
pub use reach::{ANY, Path, Reach};
pub use set::FieldSet;
pub use validate::validate_manager;

/// Appliers by this name share the configuration that `kubectl apply` keeps in an annotation.
pub const KUBECTL: &str = "kubectl";
/// Who wrote what was there before anybody applied, where that was not kept.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// Who wrote what the oldest of too many updaters wrote.
const ANCIENT_CHANGES: &str = "ancient-changes";
/// Longest name of a manager, and of a subresource that one wrote to.
pub const MANAGER_BYTES_MAX: usize = 128;
const SUBRESOURCE_BYTES_MAX: usize = 256;
/// Entries of updaters that are kept apart.
const UPDATERS_MAX: usize = 10;
