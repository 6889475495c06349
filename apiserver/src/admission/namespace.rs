//! NamespaceLifecycle: nothing new comes into a namespace that is not there, or that is about to go.

use kontiki_model::{Cause, Key, Revision, Status};
use kontiki_raft::Expect;
use serde_json::Value;

use super::Attributes;
use crate::{
    failure::{self, Qualified},
    rest::{Change, Refusal, read_failed},
};

pub const NAMESPACES: Qualified<'static> = Qualified { group: "", resource: "namespaces" };

fn key(attributes: &Attributes<'_>) -> Option<Key> {
    let enters = attributes.creates() && attributes.kind.namespaced;
    enters.then(|| Key::new(NAMESPACES.resource, "", attributes.namespace))
}

/// The namespace must exist and not be terminating.
pub fn exists(attributes: &Attributes<'_>) -> Result<(), Refusal> {
    entered(attributes).map(drop)
}

/// Nor may that have changed since, or change until the write is applied: others may have been asked meanwhile.
pub fn stays(attributes: &Attributes<'_>, change: &mut Change) -> Result<(), Refusal> {
    if let Some((key, revision)) = entered(attributes)? {
        change.expect(&key, Expect::Revision(revision));
    }
    Ok(())
}

/// Whether the namespace is made by the same transaction.
pub fn is_new(attributes: &Attributes<'_>) -> bool {
    attributes.view.is_new(&Key::new(NAMESPACES.resource, "", attributes.namespace))
}

/// What bounds writes in the namespace must stay until this one is applied.
pub fn bounds_stay(attributes: &Attributes<'_>, change: &mut Change) {
    let key = Key::new(NAMESPACES.resource, "", attributes.namespace);
    if let Some((revision, _)) = attributes.view.head(&key) {
        change.expect(&key, Expect::Revision(revision));
    }
}

/// A write that changes what bounds others is a new revision of its namespace, on which those rely: one that was decided before, by a
/// server that has not heard of this one, is decided again.
pub fn rebound(
    attributes: &Attributes<'_>,
    new: &Value,
    old: Option<&Value>,
    change: &mut Change,
) -> Result<(), Refusal> {
    if !(attributes.kind.rebounds)(new, old) {
        return Ok(());
    }
    let key = Key::new(NAMESPACES.resource, "", attributes.namespace);
    let present = attributes.view.get(&key).map_err(|error| read_failed(&error))?;
    change.renew(key, present);
    Ok(())
}

/// The namespace that something new comes into, as it is now.
fn entered(attributes: &Attributes<'_>) -> Result<Option<(Key, Revision)>, Refusal> {
    let Some(key) = key(attributes) else { return Ok(None) };
    match attributes.view.head(&key) {
        None => Err(Refusal::Judged(failure::not_found(NAMESPACES, attributes.namespace))),
        Some((_, head)) if head.deletion.is_some() => Err(Refusal::Judged(terminating(attributes))),
        Some((revision, _)) => Ok(Some((key, revision))),
    }
}

fn terminating(attributes: &Attributes<'_>) -> Status {
    let namespace = attributes.namespace;
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = attributes.forbidden(&why);
    status.details.get_or_insert_default().causes.push(Cause {
        reason: "NamespaceTerminating".to_owned(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".to_owned(),
    });
    status
}
