//! Custom objects from one version to another. Where versions differ in their name alone, this server does it itself (`object`);
//! where a webhook does it, it is asked here, before anything is rendered or sealed, in batches, and with no lock held.
//!
//! What a webhook said of some bytes is remembered by their digest, within bounds: a list that is read again costs no call, and
//! however many watch an object in one version, each of its changes is converted once.

mod cache;
mod forms;
mod review;

use std::borrow::Cow;

use kontiki_kinds::{Custom, Kind, KindRef};
use kontiki_model::Status;
use kontiki_raft::Stored;
use serde_json::Value;
use uuid::Uuid;

use super::{
    limits::{CONVERSION_BATCH_BYTES, CONVERSION_BATCH_OBJECTS},
    object::{self, Sealed, text},
};
use crate::{
    Core, failure,
    webhook::{self, ClientConfig},
};
use review::{Question, ReviewVersion};

pub(crate) use cache::Conversions;
pub use forms::Forms;

/// The webhook that turns one version of a kind into another, if one does.
fn webhook_of(kind: &Kind) -> Option<&Value> {
    kind.custom.as_ref().and_then(|custom| custom.conversion_webhook.as_ref())
}

/// Whether a webhook must be asked before a stored object can be told.
pub fn is_needed(kind: &Kind, stored: &Stored) -> bool {
    webhook_of(kind).is_some() && !stored.body.starts_with(object::prefix(kind).as_bytes())
}

/// Whether objects of a kind may need a webhook at all.
pub fn is_possible(kind: &Kind) -> bool {
    webhook_of(kind).is_some()
}

/// Turns stored objects into the version of the kind, those that are not in it; then they can be told.
pub async fn prepare(core: &Core, kind: &Kind, items: &mut [Stored]) -> Result<(), Status> {
    if !is_possible(kind) {
        return Ok(());
    }
    let mut left = Vec::new();
    for (index, item) in items.iter_mut().enumerate().filter(|(_, item)| is_needed(kind, item)) {
        match core.conversions.find(kind, item) {
            Some(converted) => *item = converted,
            None => left.push(index),
        }
    }
    let mut left = left.as_slice();
    while !left.is_empty() {
        let (batch, rest) = left.split_at(batch_length(left.iter().map(|index| items[*index].body.len())));
        left = rest;
        let objects = batch.iter().map(|index| serde_json::from_slice(&items[*index].body));
        let objects = objects.collect::<Result<Vec<Value>, _>>().map_err(failure::internal)?;
        let converted = convert(core, kind, objects, &kind.group_version()).await?;
        for (index, converted) in batch.iter().zip(converted) {
            let told = object::told_from(kind, &items[*index], converted)?;
            core.conversions.keep(kind, &items[*index], &told);
            items[*index] = told;
        }
    }
    Ok(())
}

/// Stored objects as the kind tells them, heads and all: what a webhook converts, and what this server does itself.
pub async fn all_told(core: &Core, kind: &KindRef, mut items: Vec<Stored>) -> Result<Vec<Stored>, Status> {
    prepare(core, kind, &mut items).await?;
    let kind = kind.clone();
    let telling = move || items.iter().map(|item| object::told(&kind, item).map(Cow::into_owned)).collect();
    tokio::task::spawn_blocking(telling).await.map_err(failure::internal)?
}

/// How many of these are sent at once.
fn batch_length(sizes: impl Iterator<Item = usize>) -> usize {
    let mut bytes = 0;
    let fits = |size: &usize| {
        bytes += size;
        bytes <= CONVERSION_BATCH_BYTES
    };
    sizes.take(CONVERSION_BATCH_OBJECTS).take_while(fits).count().max(1)
}

/// A stored object as the kind has it.
pub async fn told<'a>(core: &Core, kind: &Kind, stored: &'a Stored) -> Result<Cow<'a, Stored>, Status> {
    if !is_needed(kind, stored) {
        return object::told(kind, stored);
    }
    let converting = async {
        let object = serde_json::from_slice(&stored.body).map_err(failure::internal)?;
        let converted = convert_one(core, kind, object, &kind.group_version()).await?;
        object::told_from(kind, stored, converted)
    };
    match kind.custom.as_ref().is_some_and(|custom| custom.since == Custom::UNWRITTEN) {
        // Another transaction may be about to write another one: nothing is remembered of it.
        true => converting.await.map(Cow::Owned),
        false => core.conversions.once(kind, stored, converting).await.map(Cow::Owned),
    }
}

/// An object in the version of a kind, as a tree that is written as it would be stored.
pub async fn in_version(core: &Core, kind: &Kind, mut value: Value) -> Result<Value, Status> {
    let version = kind.group_version();
    if kind.custom.is_some() && text(&value, "/apiVersion") != version {
        if is_possible(kind) {
            value = convert_one(core, kind, value, &version).await?;
        }
        kind.schema().prune(&mut value);
        kind.schema().default(&mut value);
    }
    value["kind"] = kind.kind.into();
    value["apiVersion"] = version.into();
    kind.schema().canonical(&mut value);
    Ok(value)
}

/// An object that passed validation, in both forms: as it is stored, and as its author is told of it.
pub struct Both {
    pub stored: Sealed,
    pub told: Sealed,
}

/// What a webhook makes of an object for it to be stored; none where none is needed, or where `needless` says so of the settled
/// object. It is asked before the write waits for its turn among others.
pub async fn to_stored(
    core: &Core,
    kind: &Kind,
    object: &Value,
    needless: impl FnOnce(&Value) -> bool,
) -> Result<Option<Value>, Status> {
    let stored = kind.stored_group_version();
    if !is_possible(kind) || stored == kind.group_version() {
        return Ok(None);
    }
    let mut settled = object.clone();
    object::settle(kind, &mut settled);
    if needless(&settled) {
        return Ok(None);
    }
    convert_one(core, kind, settled, &stored).await.map(Some)
}

/// Seals an object that is settled, and what was made of it for it to be stored.
pub fn seal(kind: &Kind, object: Value, converted: Option<Value>) -> Result<Both, Status> {
    match converted {
        None => {
            let sealed = object::seal_settled(kind, object)?;
            Ok(Both { stored: sealed.clone(), told: sealed })
        }
        Some(converted) => {
            Ok(Both { stored: object::seal_as_it_is(kind, converted)?, told: object::seal_as_it_is(kind, object)? })
        }
    }
}

async fn convert_one(core: &Core, kind: &Kind, object: Value, version: &str) -> Result<Value, Status> {
    let converted = convert(core, kind, vec![object], version).await?;
    converted.into_iter().next().ok_or_else(|| failure::internal("a conversion of one object came to none"))
}

/// Asks the webhook.
async fn convert(core: &Core, kind: &Kind, objects: Vec<Value>, desired: &str) -> Result<Vec<Value>, Status> {
    let webhook = webhook_of(kind).ok_or_else(|| failure::internal("no webhook converts this kind"))?;
    let version = ReviewVersion::first_known(webhook);
    let version = version.ok_or_else(|| failure::unexpected("no supported conversion review versions"))?;
    let uid = Uuid::new_v4().to_string();
    let question = Question { version, uid: &uid, desired, objects: &objects };
    let failed = |why: &dyn std::fmt::Display| failure::unexpected(format!("{} failed: {why}", question.subject()));
    let config = ClientConfig::read(&webhook["clientConfig"]).map_err(|error| failed(&error))?;
    let body = question.body().map_err(|error| failed(&error))?;
    let answer = core.webhooks.ask(&config, body, webhook::CONVERSION_TIME_MAX).await;
    question.read(&answer.map_err(|error| failed(&error))?).map_err(failure::unexpected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_and_never_empty() {
        let many = std::iter::repeat_n(1, CONVERSION_BATCH_OBJECTS + 1);
        assert_eq!(batch_length(many), CONVERSION_BATCH_OBJECTS);
        assert_eq!(batch_length([CONVERSION_BATCH_BYTES, 1].into_iter()), 1);
        assert_eq!(batch_length([CONVERSION_BATCH_BYTES + 1, 1].into_iter()), 1);
        assert_eq!(batch_length([1, 2, 3].into_iter()), 3);
    }
}
