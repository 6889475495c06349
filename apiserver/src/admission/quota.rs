//! ResourceQuota: what a write uses more than before is charged to the quotas of its namespace, in the same command. The command
//! holds only while those quotas are as they were read, so no two writes are let in for the same room. What is given back, and what
//! is used where nobody was asked, the quota controller counts.

use kontiki_kinds::{
    Kind, by_storage_resource,
    quota::{self, Charge, Look, Tally},
};
use kontiki_model::{Key, Scope};
use kontiki_raft::{Expect, Stored};
use serde_json::Value;

use super::{Attributes, Operation, namespace};
use crate::{
    Core,
    rest::{Change, Refusal, View, object, read_failed},
};

const QUOTAS: &str = "resourcequotas";

/// Whether a namespace has quotas at all.
pub(crate) fn has_quotas(view: &View<'_>, namespace: &str) -> Result<bool, Refusal> {
    Ok(!stored(view, namespace)?.is_empty())
}

fn stored(view: &View<'_>, namespace: &str) -> Result<Vec<Stored>, Refusal> {
    let scope = Scope { resource: QUOTAS.to_owned(), namespace: Some(namespace.to_owned()) };
    view.list(&scope).map_err(|error| read_failed(&error).into())
}

/// What the quota controller does with new bounds, done at once to a quota that a transaction has written: what is there is counted,
/// so that what the transaction goes on to write is charged.
pub(crate) fn take_over_bounds(core: &Core, view: &View<'_>, kind: &Kind, key: &Key) -> Result<Change, Refusal> {
    let mut change = Change::default();
    let Some(written) = view.pending_at(key) else { return Ok(change) };
    // Most kinds bound nothing, and nothing of theirs is parsed.
    if !(kind.rebounds)(&Value::Null, None) {
        return Ok(change);
    }
    let mut quota = object::open(written)?;
    let mut tally = Tally::new(&quota, chrono::Utc::now());
    let kinds = view.kinds(core);
    for counted in kinds.iter().filter(|counted| counted.namespaced && counted.spelling.is_none()) {
        let Some(look) = quota::look(&counted, &quota) else { continue };
        let scope = Scope { resource: counted.storage_resource(), namespace: Some(key.namespace.clone()) };
        let there = view.list(&scope).map_err(|error| read_failed(&error))?;
        match look {
            Look::Number => tally.count(&counted, there.len()),
            Look::Objects => {
                let objects = there.iter().map(object::open).collect::<Result<Vec<_>, _>>()?;
                tally.measure(&counted, &objects);
            }
        }
    }
    if let Some(status) = tally.finish() {
        quota["status"] = status;
        change.put(key, &object::seal(kind, quota)?);
    }
    Ok(change)
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
