//! Who may do what. Denied unless a rule allows it: the built-in policy table, and the rules for node agents, which
//! depend on the pods bound to them.
mod node;
mod policy;
mod references;

use kontiki_model::Status;

pub(crate) use self::{
    node::restrict,
    policy::{paths_of, rules_of},
};
use crate::{
    authn::{ANONYMOUS, MASTERS, NODES},
    core::Core,
    failure::{self, Qualified},
    request::Identity,
    route::Target,
};

/// One question to the authorizer.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub identity: &'a Identity,
    pub verb: &'a str,
    pub target: &'a Target,
    /// The field selector of a list or watch: node agents may watch their own pods only.
    pub field_selector: &'a str,
}

/// Its answer. Nothing here denies expressly: what no rule allows is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allowed,
    NoOpinion,
}

/// Judges on this server's own state, which may be behind the leader's. The error is about the server.
pub(crate) fn decide(core: &Core, question: Question<'_>) -> Result<Decision, Status> {
    let identity = question.identity;
    if identity.in_group(MASTERS) || policy::allows(identity, question.verb, question.target) {
        return Ok(Decision::Allowed);
    }
    if let Some(node) = node_name(identity)
        && node::allows(core, node, question)?
    {
        return Ok(Decision::Allowed);
    }
    Ok(Decision::NoOpinion)
}

/// As [`decide`], with Kubernetes' 403 for what is not allowed.
pub(crate) fn authorize(core: &Core, question: Question<'_>) -> Result<(), Status> {
    match decide(core, question)? {
        Decision::Allowed => Ok(()),
        Decision::NoOpinion => Err(denied(question.identity, question.verb, question.target)),
    }
}

/// The refusal of a request: what the user cannot do, where.
pub(crate) fn denied(identity: &Identity, verb: &str, target: &Target) -> Status {
    let user = if identity.user.is_empty() { ANONYMOUS } else { &identity.user };
    match target {
        Target::Path(path) => failure::forbidden_path(&format!("User {user:?} cannot {verb} path {path:?}")),
        Target::Resource(resource) => {
            let what = match resource.subresource.as_str() {
                "" => resource.resource.clone(),
                subresource => format!("{}/{subresource}", resource.resource),
            };
            let place = match resource.namespace.as_str() {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace {namespace:?}"),
            };
            let group = &resource.group;
            let why = format!("User {user:?} cannot {verb} resource {what:?} in API group {group:?} {place}");
            failure::forbidden(Qualified { group, resource: &resource.resource }, &resource.name, &why)
        }
    }
}

/// The node whose agent this is.
pub(crate) fn node_name(identity: &Identity) -> Option<&str> {
    let name = identity.user.strip_prefix("system:node:")?;
    (identity.in_group(NODES) && !name.is_empty()).then_some(name)
}
