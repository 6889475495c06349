//! Admission policies: ValidatingAdmissionPolicy and MutatingAdmissionPolicy, with their bindings.
//!
//! `compiled` is what is kept of one, `state` all of them as the log has them: compiled once when they change, never for a
//! request. `about` is a request as rules and expressions see it, `params` what a binding adds to it, `expressions` runs what was
//! compiled. `validating` and `mutating` are the two sorts, in Kubernetes' order and words. `checking` finds expressions that the
//! kinds they are about do not fit, which `status` writes where controllers run.

mod about;
mod asking;
mod checking;
mod compiled;
mod expressions;
mod limits;
mod mutating;
mod params;
mod patches;
mod state;
mod status;
mod validating;

use std::sync::Arc;

pub(super) use self::{about::About, expressions::Conditions};

use self::{compiled::Hook, state::Sort};
pub(crate) use self::{mutating::mutate, state::Policies, status::keep as keep_statuses, validating::validate};
use super::Attributes;
use crate::rest::{Refusal, read_failed};

/// What is bound, of a sort. Nothing, where the request is about policies and the like, or nobody could take a wrong one back; and
/// nothing for what this server itself writes.
fn hooks(attributes: &Attributes<'_>, sort: Sort) -> Result<Arc<[Hook]>, Refusal> {
    if attributes.kind.decides_writes || attributes.identity.is_this_server() {
        return Ok(Arc::new([]));
    }
    let core = attributes.call.core;
    core.policies.ask(&core.log, |policies| policies.hooks(sort)).map_err(|error| read_failed(&error).into())
}
