//! Values that only one object of the cluster may hold: cluster addresses and node ports.
//!
//! Each held value is a key of its own in the log, written and removed in the same command as the object that holds it.
//! So two servers, or two requests, cannot give out the same value, whoever decided first. Where a kind tells who holds a value
//! ([`Ledger`](kontiki_kinds::Ledger)), its object comes and goes in that command too, and what others put there is not given out.

use std::collections::BTreeMap;

use bytes::Bytes;
use kontiki_kinds::{Claim, Holder, Kind, Ledger, Pool};
use kontiki_model::{Faults, Head, Key, Revision, Status};
use kontiki_raft::{Expect, Mutation};
use serde_json::{Value, json};

use super::{
    call,
    object::{self, Sealed, text},
    plan::Change,
    pools::{Range, Ranges},
    store::read_failed,
    view::View,
};
use crate::config::Config;

/// Why values cannot be had.
#[derive(Debug)]
pub enum Denied {
    /// The object asks for what is taken or does not exist.
    Faults(Faults),
    /// A pool is used up, or what is held cannot be read.
    Failed(Status),
}

/// Values that are about to be held.
#[derive(Default)]
struct Taken {
    values: BTreeMap<Key, (Pool, String)>,
    /// What says that they may be: it must stay until they are.
    sources: BTreeMap<Key, u64>,
}

impl Taken {
    fn add(&mut self, range: &Range, pool: Pool, value: String) {
        self.sources.extend(range.source.clone());
        self.values.insert(key(pool, &value), (pool, value));
    }
}

/// Chooses the values that the object leaves open, writes them into it, and adds what the change needs to hold them; what
/// `old` held and the object does not is given back.
pub fn claim(
    view: &View<'_>,
    config: &Config,
    kind: &Kind,
    object: &mut Value,
    old: Option<&Value>,
    change: &mut Change,
) -> Result<(), Denied> {
    let mut held = old.map(|old| values(kind, old)).unwrap_or_default();
    let mut taken = Taken::default();
    let mut faults = Faults::default();
    for claim in (kind.claims)(object) {
        let asked = claim.value.as_ref().map(|value| key(claim.pool, value));
        if asked.is_some_and(|key| held.remove(&key).is_some() || taken.values.contains_key(&key)) {
            continue;
        }
        let ranges = Ranges::of(claim.pool, view, config).map_err(Denied::Failed)?;
        match &claim.value {
            Some(value) => {
                let range = ranges.containing(value);
                let range = range.and_then(|range| match is_free(view, claim.pool, value, kind, object) {
                    true => Ok(range),
                    false => Err(claim.pool.taken().to_owned()),
                });
                match range {
                    Ok(range) => taken.add(range, claim.pool, value.clone()),
                    Err(why) => add(&mut faults, &claim, &why),
                }
            }
            None => {
                let free = ranges.choose(|value| {
                    let key = key(claim.pool, value);
                    let ours = taken.values.contains_key(&key) || held.contains_key(&key);
                    !ours && is_free(view, claim.pool, value, kind, object)
                });
                let Some((value, range)) = free else { return Err(Denied::Failed(ranges.exhausted())) };
                claim.write(object, &value);
                taken.add(range, claim.pool, value);
            }
        }
    }
    if !faults.is_empty() {
        return Err(Denied::Faults(faults));
    }
    for (source, revision) in &taken.sources {
        change.expect(source, Expect::Revision(*revision));
    }
    for (key, (pool, value)) in &taken.values {
        change.expect(key, Expect::Absent);
        change.put(key, &holder(kind, object));
        record(view, *pool, value, kind, object, change).map_err(Denied::Failed)?;
    }
    release_values(view, kind, old.unwrap_or(&Value::Null), held, change).map_err(Denied::Failed)
}

/// Whether nobody holds a value, and nothing tells that somebody else does.
fn is_free(view: &View<'_>, pool: Pool, value: &str, kind: &Kind, object: &Value) -> bool {
    let told = || match pool.ledger() {
        Some(ledger) => {
            let record = view.get(&Key::new(ledger.record.storage_resource(), "", value));
            let record = record.map(|found| found.map(|found| object::open(&found)));
            match record {
                Ok(None) => false,
                Ok(Some(Ok(record))) => !(ledger.tells_of)(&record, &named(kind, object)),
                // What cannot be read is somebody's.
                Ok(Some(Err(_))) | Err(_) => true,
            }
        }
        None => false,
    };
    view.head(&key(pool, value)).is_none() && !told()
}

/// Tells that the object holds the value, where it is not told already.
fn record(
    view: &View<'_>,
    pool: Pool,
    value: &str,
    kind: &Kind,
    object: &Value,
    change: &mut Change,
) -> Result<(), Status> {
    let Some(ledger) = pool.ledger() else { return Ok(()) };
    let key = Key::new(ledger.record.storage_resource(), "", value);
    if let Some((revision, _)) = view.head(&key) {
        change.expect(&key, Expect::Revision(revision));
        return Ok(());
    }
    change.expect(&key, Expect::Absent);
    change.put(&key, &recorded(ledger, value, kind, object)?);
    Ok(())
}

fn recorded(ledger: &Ledger, value: &str, kind: &Kind, object: &Value) -> Result<Sealed, Status> {
    let mut record = (ledger.recorded)(value, &named(kind, object));
    let metadata = object::metadata(&mut record);
    metadata.insert("uid".to_owned(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".to_owned(), call::time_text(call::now()).into());
    object::seal(ledger.record, record)
}

/// Gives back what an object holds that is going away.
pub fn release(view: &View<'_>, kind: &Kind, object: &Value, change: &mut Change) -> Result<(), Status> {
    release_values(view, kind, object, values(kind, object), change)
}

fn release_values(
    view: &View<'_>,
    kind: &Kind,
    holder: &Value,
    values: BTreeMap<Key, (Pool, String)>,
    change: &mut Change,
) -> Result<(), Status> {
    for (key, revision) in given_back(view, kind, holder, values)? {
        change.expect(&key, Expect::Revision(revision));
        change.mutations.push(Mutation::Delete { key, last: None });
    }
    Ok(())
}

/// What goes with an object that lets go of values: those that it holds, and what tells of them. With the revisions of both.
fn given_back(
    view: &View<'_>,
    kind: &Kind,
    holder: &Value,
    values: BTreeMap<Key, (Pool, String)>,
) -> Result<Vec<(Key, Revision)>, Status> {
    let mut keys = Vec::new();
    for (key, (pool, value)) in values {
        let Some((revision, head)) = view.head(&key) else { continue };
        // One that a restore gave to another object meanwhile is that one's.
        if head.uid != text(holder, "/metadata/uid") {
            continue;
        }
        keys.push((key, revision));
        let Some(ledger) = pool.ledger() else { continue };
        let record = Key::new(ledger.record.storage_resource(), "", value.as_str());
        let Some(stored) = view.get(&record).map_err(|error| read_failed(&error))? else { continue };
        // Whoever put a finalizer there has it removed by those who look after such objects.
        if stored.head.finalizers.is_empty() && (ledger.tells_of)(&object::open(&stored)?, &named(kind, holder)) {
            keys.push((record, stored.revision));
        }
    }
    Ok(keys)
}

/// What would go with an object that is there, if it went.
pub fn held(view: &View<'_>, kind: &Kind, object: &Value) -> Result<Vec<(Key, Revision)>, Status> {
    given_back(view, kind, object, values(kind, object))
}

fn named<'a>(kind: &'a Kind, object: &'a Value) -> Holder<'a> {
    Holder { kind: kind.stored(), namespace: text(object, "/metadata/namespace"), name: text(object, "/metadata/name") }
}

fn values(kind: &Kind, object: &Value) -> BTreeMap<Key, (Pool, String)> {
    let claims = (kind.claims)(object).into_iter();
    claims.filter_map(|claim| Some((key(claim.pool, claim.value.as_ref()?), (claim.pool, claim.value?)))).collect()
}

/// What is to say that an object holds a value.
pub struct Holding {
    pub holder: Sealed,
    /// What is there says so already, whoever made it.
    pub is_told: bool,
}

/// All that is to say what an object holds: the held values' keys, and the objects that tell of them.
pub fn holdings(view: &View<'_>, kind: &Kind, object: &Value) -> Result<BTreeMap<Key, Holding>, Status> {
    let mut all = BTreeMap::new();
    for (key, (pool, value)) in values(kind, object) {
        all.insert(key, Holding { holder: holder(kind, object), is_told: false });
        if let Some(ledger) = pool.ledger() {
            let key = Key::new(ledger.record.storage_resource(), "", value.as_str());
            let present = view.get(&key).map_err(|error| read_failed(&error))?;
            let present = present.as_ref().map(object::open).transpose()?;
            let is_told = present.is_some_and(|record| (ledger.tells_of)(&record, &named(kind, object)));
            all.insert(key, Holding { holder: recorded(ledger, &value, kind, object)?, is_told });
        }
    }
    Ok(all)
}

/// Whether a key stands for a held value.
pub fn is_claim(key: &Key) -> bool {
    [Pool::ClusterIp, Pool::NodePort].into_iter().any(|pool| key.resource == resource(pool))
}

fn key(pool: Pool, value: &str) -> Key {
    Key::new(resource(pool), "", value)
}

fn resource(pool: Pool) -> &'static str {
    match pool {
        Pool::ClusterIp => "clusterips.kontiki.dev",
        Pool::NodePort => "nodeports.kontiki.dev",
    }
}

/// What is stored under a held value: whose it is.
fn holder(kind: &Kind, object: &Value) -> Sealed {
    let uid = text(object, "/metadata/uid").to_owned();
    let body = json!({
        "resource": kind.storage_resource(),
        "namespace": text(object, "/metadata/namespace"),
        "name": text(object, "/metadata/name"),
        "uid": uid,
    });
    Sealed { head: Head { uid, ..Head::default() }, body: Bytes::from(body.to_string()) }
}

fn add(faults: &mut Faults, claim: &Claim, why: &str) {
    let fault = claim.fault.clone();
    faults.add(fault.kind, fault.field, fault.value, format!("{}{why}", fault.detail));
}
