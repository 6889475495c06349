//! Who may do what: RBAC's roles and bindings, and for node agents what depends on the pods bound to them. What nothing
//! allows is denied.
//!
//! `rule` is one rule, `rbac` all roles and bindings by who is bound, kept as the log has it by `crate::follow`. `defaults`
//! are the roles of every cluster, `reconcile` writes them. What a path says too little about is judged where objects are
//! written: `escalation` keeps anybody from giving what they do not hold, `restriction` keeps nodes to what is theirs.
mod audience;
mod cover;
mod defaults;
mod escalation;
mod impersonation;
mod node;
mod parameters;
mod rbac;
mod reconcile;
mod references;
mod restriction;
mod rule;

use kontiki_model::Status;

pub(crate) use self::{
    escalation::{Giving, check as check_escalation},
    impersonation::check as check_impersonation,
    rbac::{Rbac, told},
    reconcile::run as reconcile_defaults,
    restriction::{Writing, check as check_restriction, check_token},
    rule::Rule,
};
use crate::{
    authn::{ANONYMOUS, MASTERS, NODES},
    core::{Core, unreadable},
    failure::{self, Qualified},
    limits,
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

/// Its answer. Nothing here denies expressly: what is not allowed is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    pub allowed: bool,
    /// Which rule allowed it, or what stood in the way of judging; often nothing.
    pub reason: String,
}

impl Decision {
    fn allowed(reason: String) -> Self {
        Decision { allowed: true, reason }
    }

    fn no_opinion(reason: String) -> Self {
        Decision { allowed: false, reason }
    }
}

/// What somebody may do in a namespace, as far as rules tell.
pub(crate) struct Holding {
    pub rules: Vec<Rule>,
    /// Why there may be more.
    pub incomplete: Vec<String>,
}

/// Judges on this server's own state, which may be behind the leader's. The error is about the server.
pub(crate) fn decide(core: &Core, question: Question<'_>) -> Result<Decision, Status> {
    let Question { identity, verb, target, .. } = question;
    if identity.in_group(MASTERS) {
        return Ok(Decision::allowed(String::new()));
    }
    let mut reasons = Vec::new();
    if let Some(node) = node_name(identity) {
        let decision = node::decide(core, node, question)?;
        if decision.allowed {
            return Ok(decision);
        }
        reasons.push(decision.reason);
    }
    let of_paths = matches!(target, Target::Path(_));
    let decision = ask(core, of_paths, |rbac| rbac.decide(identity, verb, target))?;
    if decision.allowed {
        return Ok(decision);
    }
    reasons.push(decision.reason);
    reasons.retain(|reason| !reason.is_empty());
    Ok(Decision::no_opinion(reasons.join("\n")))
}

/// As [`decide`], with Kubernetes' 403 for what is not allowed.
pub(crate) fn authorize(core: &Core, question: Question<'_>) -> Result<(), Status> {
    enforce(core, question, &decide(core, question)?)
}

/// The answer to a question as what it means for who asks.
pub(crate) fn enforce(core: &Core, question: Question<'_>, decision: &Decision) -> Result<(), Status> {
    let Question { identity, verb, target, .. } = question;
    if decision.allowed {
        return Ok(());
    }
    // A role that allows it is about to be written: no refusal that a joining server should take to heart.
    if !core.is_bootstrapped() && defaults::index().decide(identity, verb, target).allowed {
        let message = "the roles that every cluster has are not there yet";
        return Err(failure::unavailable(message, limits::RETRY_AFTER_S));
    }
    Err(denied(identity, verb, target, &decision.reason))
}

/// Everything that an identity may do in a namespace (empty: in the cluster alone).
pub(crate) fn holding(core: &Core, identity: &Identity, namespace: &str) -> Result<Holding, Status> {
    let held = ask(core, false, |rbac| rbac.held(identity, namespace))?;
    let mut incomplete = Vec::new();
    if node_name(identity).is_some() {
        incomplete.push("node authorizer does not support user rule resolution".to_owned());
    }
    incomplete.extend(held.absent);
    Ok(Holding { rules: held.rules, incomplete })
}

/// Before the log is known, and for paths before the first roles are written, the roles count that every cluster has: somebody
/// must be able to ask whether this server lives.
fn ask<T>(core: &Core, of_paths: bool, question: impl FnOnce(&Rbac) -> T) -> Result<T, Status> {
    if !core.is_caught_up() || (of_paths && !core.is_bootstrapped()) {
        return Ok(question(defaults::index()));
    }
    core.rbac.ask(&core.log, question).map_err(|error| unreadable(&error))
}

/// The refusal of a request: what the user cannot do, where.
pub(crate) fn denied(identity: &Identity, verb: &str, target: &Target, reason: &str) -> Status {
    let user = if identity.user.is_empty() { ANONYMOUS } else { &identity.user };
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    match target {
        Target::Path(path) => failure::forbidden_path(&format!("User {user:?} cannot {verb} path {path:?}{because}")),
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
            let why = format!("User {user:?} cannot {verb} resource {what:?} in API group {group:?} {place}{because}");
            failure::forbidden(Qualified { group, resource: &resource.resource }, &resource.name, &why)
        }
    }
}

/// The node whose agent this is.
pub(crate) fn node_name(identity: &Identity) -> Option<&str> {
    let name = identity.user.strip_prefix("system:node:")?;
    (identity.in_group(NODES) && !name.is_empty()).then_some(name)
}
