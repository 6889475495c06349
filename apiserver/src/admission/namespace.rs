//! NamespaceLifecycle: nothing new comes into a namespace that is not there, or that is about to go.

use kontiki_model::{Cause, Key, Status};
use kontiki_raft::Expect;

use super::Attributes;
use crate::{
    failure::{self, Qualified},
    rest::{Change, Refusal},
};

pub const NAMESPACES: Qualified<'static> = Qualified { group: "", resource: "namespaces" };

fn key(attributes: &Attributes<'_>) -> Option<Key> {
    let enters = attributes.creates() && attributes.kind.namespaced;
    enters.then(|| Key::new(NAMESPACES.resource, "", attributes.namespace))
}

/// The namespace must exist and not be terminating.
pub fn exists(attributes: &Attributes<'_>) -> Result<(), Refusal> {
    let Some(key) = key(attributes) else { return Ok(()) };
    match attributes.view.head(&key) {
        None => Err(Refusal::Judged(failure::not_found(NAMESPACES, attributes.namespace))),
        Some((_, head)) if head.deletion.is_some() => Err(Refusal::Judged(terminating(attributes))),
        Some(_) => Ok(()),
    }
}

/// Also when the write is applied.
pub fn stays(attributes: &Attributes<'_>, change: &mut Change) {
    let Some(key) = key(attributes) else { return };
    if let Some((revision, _)) = attributes.view.head(&key) {
        change.expect(&key, Expect::Revision(revision));
    }
}

fn terminating(attributes: &Attributes<'_>) -> Status {
    let namespace = attributes.namespace;
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = failure::forbidden(attributes.resource(), attributes.name, &why);
    status.details.get_or_insert_default().causes.push(Cause {
        reason: "NamespaceTerminating".to_owned(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".to_owned(),
    });
    status
}
