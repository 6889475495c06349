//! ResourceQuota: what a write uses more than before is charged to the quotas of its namespace, in the same command. The command
//! holds only while those quotas are as they were read, so no two writes are let in for the same room. What is given back, and what
//! is used where nobody was asked, the quota controller counts.

use kontiki_kinds::{
    by_storage_resource,
    quota::{self, Charge},
};
use kontiki_model::Scope;
use kontiki_raft::{Expect, Stored};
use serde_json::Value;

use super::{Attributes, Operation, namespace};
use crate::rest::{Change, Refusal, View, object, read_failed};

const QUOTAS: &str = "resourcequotas";

/// Whether a namespace has quotas at all.
pub(crate) fn has_quotas(view: &View<'_>, namespace: &str) -> Result<bool, Refusal> {
    Ok(!stored(view, namespace)?.is_empty())
}

fn stored(view: &View<'_>, namespace: &str) -> Result<Vec<Stored>, Refusal> {
    let scope = Scope { resource: QUOTAS.to_owned(), namespace: Some(namespace.to_owned()) };
    view.list(&scope).map_err(|error| read_failed(&error).into())
}

/// The quotas that bound anything of the object's kind.
fn concerned(attributes: &Attributes<'_>) -> Result<Vec<(Stored, Value)>, Refusal> {
    let mut found = Vec::new();
    for stored in stored(attributes.view, attributes.namespace)? {
        let quota = object::open(&stored)?;
        if quota::concerns(&quota, attributes.kind) {
            found.push((stored, quota));
        }
    }
    Ok(found)
}

/// Whether this write may use more than there was.
fn grows(attributes: &Attributes<'_>) -> bool {
    let Some(measure) = attributes.kind.measure.filter(|_| !attributes.namespace.is_empty()) else { return false };
    match attributes.operation {
        Operation::Create => attributes.creates(),
        Operation::Update => (measure.grows_by)(attributes.subresource),
        Operation::Delete | Operation::Connect => false,
    }
}

/// Waits for the write's turn where a quota is concerned: from here to the commit no other write of this server is charged to
/// the same quotas.
pub async fn charge(
    attributes: &Attributes<'_>,
    new: &Value,
    old: Option<&Value>,
    change: &mut Change,
) -> Result<(), Refusal> {
    let Attributes { kind, call, view, namespace, .. } = *attributes;
    if !grows(attributes) {
        return Ok(());
    }
    // Before it is asked which quotas there are. What is new relies on its namespace anyhow.
    if old.is_some() {
        namespace::bounds_stay(attributes, change);
    }
    if concerned(attributes)?.is_empty() {
        return Ok(());
    }
    view.take_turn(&call.core.turns, namespace).await?;
    let (stored, quotas): (Vec<_>, Vec<_>) = concerned(attributes)?.into_iter().unzip();
    // A status tells what has happened, whether it was allowed or not.
    let is_fact = attributes.subresource == "status";
    let write = Charge { kind, new, old, is_fact, now: chrono::Utc::now() };
    let statuses = quota::charge(&quotas, &write).map_err(|why| Refusal::Judged(attributes.forbidden(&why)))?;
    let declared = by_storage_resource(QUOTAS).expect("quotas are a kind of the list");
    for ((stored, mut quota), status) in stored.into_iter().zip(quotas).zip(statuses) {
        // A new object also relies on quotas that do not know yet what is used: from when they do, it is charged to them.
        if old.is_none() || status.is_some() {
            change.expect(&stored.key, Expect::Revision(stored.revision));
        }
        if let Some(status) = status {
            quota["status"] = status;
            change.put(&stored.key, &object::seal(declared, quota)?);
        }
    }
    Ok(())
}
