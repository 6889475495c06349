//! What judges a write besides who may write: Kubernetes' admission plugins, in its order. First those that change the object,
//! then, when it is valid, those that only judge it. `rest` calls them within a write's decision, so they see the state that
//! the write is decided on, and what must still hold when it is applied they add to its change.
//!
//! They run again when another write came first: none may do anything but judge.

mod builtin;
mod certificates;
mod config;
mod matching;
mod metrics;
mod namespace;
mod pod_security;
mod policy;
mod quota;
mod ranges;
mod request;
mod webhooks;

use kontiki_kinds::Kind;
use kontiki_model::Status;
use serde_json::Value;

pub(crate) use builtin::{may_give, restrict};
pub use config::{AdmissionConfig, AdmissionConfigError};
pub(crate) use metrics::AdmissionMetrics;
pub(crate) use namespace::NAMESPACES;
pub(crate) use policy::{Policies, keep_statuses};
pub(crate) use quota::{has_quotas, take_over_bounds};
pub(crate) use webhooks::Hooks;

use matching::Objects;
use metrics::{Phase, Step};
use webhooks::Reinvocation;

use crate::{
    failure::{self, Qualified},
    request::Identity,
    rest::{Call, Change, Refusal, View, ownership},
};

/// What is done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
    /// Something is to be reached through the object.
    Connect,
}

/// A write as admission sees it. Objects are given in the form that is stored.
pub(crate) struct Attributes<'a> {
    pub identity: &'a Identity,
    pub operation: Operation,
    /// As the request spells it.
    pub kind: &'a Kind,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// Empty for kinds of the cluster.
    pub namespace: &'a str,
    /// Empty while it is to be chosen.
    pub name: &'a str,
    /// How refusals call the object: its name, or what its name will begin with.
    pub called: &'a str,
    /// The state that the write is decided on.
    pub view: &'a View<'a>,
    pub call: &'a Call<'a>,
}

/// What is to be told to the author besides yes or no.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub warnings: Vec<String>,
}

impl<'a> Attributes<'a> {
    pub fn new(call: &'a Call<'a>, view: &'a View<'a>, operation: Operation, name: &'a str) -> Self {
        Attributes {
            identity: &call.request.identity,
            operation,
            kind: call.kind,
            subresource: call.route.subresource.as_deref().unwrap_or_default(),
            namespace: call.namespace(),
            name,
            called: name,
            view,
            call,
        }
    }

    /// How refusals name the object's kind.
    pub fn resource(&self) -> Qualified<'static> {
        self.call.resource()
    }

    /// Kubernetes' word for what may not be.
    pub fn forbidden(&self, why: &str) -> Status {
        failure::forbidden(self.resource(), self.called, why)
    }

    /// Whether an object itself is about to be made.
    pub fn creates(&self) -> bool {
        self.operation == Operation::Create && self.subresource.is_empty()
    }
}

/// Those that may change the object. There is none where one is deleted.
pub(crate) async fn mutate(
    attributes: &Attributes<'_>,
    object: Option<&mut Value>,
    old: Option<&Value>,
    told: &mut Told,
) -> Result<(), Refusal> {
    change(attributes, object, old, told).await.map_err(|refusal| refusal.beside(&told.warnings))
}

async fn change(
    attributes: &Attributes<'_>,
    mut object: Option<&mut Value>,
    old: Option<&Value>,
    told: &mut Told,
) -> Result<(), Refusal> {
    let step = |name| Step::of(attributes, name, Phase::Admit);
    step("NamespaceLifecycle").ended(namespace::exists(attributes))?;
    step("NodeRestriction").ended(restrict(attributes, object.as_deref(), old))?;
    let mut rounds = Reinvocation::default();
    loop {
        if let Some(object) = &mut object {
            step("LimitRanger").ended(ranges::fill(attributes, object, old))?;
            if attributes.creates() {
                if let Some(default) = attributes.kind.default_class {
                    step(default.plugin).ended(builtin::choose_class(attributes, default, object))?;
                }
                builtin::admit(attributes, object)?;
            }
        }
        configured_changes(attributes, object.as_deref_mut(), old, told, &mut rounds).await?;
        if !rounds.again() {
            break;
        }
    }
    if let (Some(object), Some(before)) = (object, rounds.said()) {
        told.warnings.extend(ownership::settle(object, before));
    }
    Ok(())
}

/// Those that users configured to change objects.
async fn configured_changes(
    attributes: &Attributes<'_>,
    mut object: Option<&mut Value>,
    old: Option<&Value>,
    told: &mut Told,
    rounds: &mut Reinvocation,
) -> Result<(), Refusal> {
    let step = |name| Step::of(attributes, name, Phase::Admit);
    let policies = step("MutatingAdmissionPolicy");
    policies.ended(policy::mutate(attributes, object.as_deref_mut(), old, rounds).await)?;
    step("MutatingAdmissionWebhook").ended(webhooks::mutate(attributes, object, old, told, rounds).await)
}

/// Those that users configured to judge.
async fn configured_judgements(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    told: &mut Told,
) -> Result<(), Refusal> {
    let step = |name| Step::of(attributes, name, Phase::Validate);
    let policies = step("ValidatingAdmissionPolicy");
    policies.ended(policy::validate(attributes, Objects { new: object, old }, told).await)?;
    step("ValidatingAdmissionWebhook").ended(webhooks::validate(attributes, object, old, told).await)
}

/// What is posted to a subresource, or asked of a connection. It is not stored, so only those are asked that users configured;
/// what it does to stored objects is admitted as the write that it is. The answer is what is to be told.
pub(crate) async fn posted(
    call: &Call<'_>,
    operation: Operation,
    name: &str,
    body: &mut Value,
    dry_run: bool,
) -> Result<Vec<String>, Status> {
    let view = View::of(&call.core.log, dry_run);
    let (attributes, mut told) = (Attributes::new(call, &view, operation, name), Told::default());
    let mut rounds = Reinvocation::default();
    let admitted = async {
        loop {
            configured_changes(&attributes, Some(&mut *body), None, &mut told, &mut rounds).await?;
            if !rounds.again() {
                break;
            }
        }
        configured_judgements(&attributes, Some(&*body), None, &mut told).await
    };
    let admitted = admitted.await;
    match admitted.map_err(|refusal| refusal.beside(&told.warnings)) {
        Ok(()) => Ok(told.warnings),
        Err(Refusal::Final(status) | Refusal::Judged(status)) => Err(status),
        Err(Refusal::Raced) => Err(call.modified(name)),
    }
}

/// Those that judge the object as it will be stored.
pub(crate) async fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    told: &mut Told,
    change: &mut Change,
) -> Result<(), Refusal> {
    judge(attributes, object, old, told, change).await.map_err(|refusal| refusal.beside(&told.warnings))
}

async fn judge(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    told: &mut Told,
    change: &mut Change,
) -> Result<(), Refusal> {
    let step = |name| Step::of(attributes, name, Phase::Validate);
    namespace::stays(attributes, change)?;
    if let Some(object) = object {
        step("LimitRanger").ended(ranges::check(attributes, object, old))?;
    }
    step("PodSecurity").ended(pod_security::validate(attributes, object, old, told, change).await)?;
    if let Some(object) = object {
        builtin::review(attributes, object, old)?;
    }
    certificates::decided(attributes, object, old)?;
    configured_judgements(attributes, object, old, told).await?;
    if let Some(object) = object {
        namespace::rebound(attributes, object, old, change)?;
        // Last: nothing is charged for what others refuse, and nobody is waited for in one's turn.
        step("ResourceQuota").ended(quota::charge(attributes, object, old, change).await)?;
    }
    Ok(())
}
