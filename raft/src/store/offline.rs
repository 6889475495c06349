//! A state's database away from its log: looked into, set back to an earlier revision, made to skip revisions.
//!
//! Nothing here is done to a state that a log is being applied to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use kontiki_model::{Key, Retention, Revision};

use super::gaps::Gaps;
use super::read::decode_record;
use super::{APPLIED, FIRST, FLOORS, Floors, GAPS, HistoryLimits, Store, remove_dir};
use crate::ReadError;
use crate::codec::{self, AppliedRecord, HeadRecord, Tag};
use crate::disk::{DiskError, StateBatch, StateDb};
use crate::limits::PRUNE_STEP_RECORDS;
use crate::seal::Door;
use crate::snapshot::SnapshotDir;

/// What is in a snapshot.
#[derive(Debug)]
pub struct Census {
    pub floor: Revision,
    pub first_time_ms: Option<i64>,
    pub last_time_ms: Option<i64>,
    /// Live objects per resource.
    pub objects: BTreeMap<String, u64>,
}

/// Looks into a snapshot by opening a copy of its database (links, mostly) in a directory that is removed again. All of it is read:
/// checksums of files that were damaged before would be right.
pub fn census(snapshot: &SnapshotDir, scratch: &Path) -> Result<Census, DiskError> {
    remove_dir(scratch)?;
    snapshot.copy_database(scratch)?;
    let counted = count(scratch);
    remove_dir(scratch)?;
    counted
}

fn count(path: &Path) -> Result<Census, DiskError> {
    let db = StateDb::open(path)?;
    db.verify()?;
    let mut objects = BTreeMap::new();
    for item in db.heads() {
        let (key, _) = item?;
        let resource = key.split(|byte| *byte == 0).next().unwrap_or_default();
        match objects.get_mut(resource) {
            Some(count) => *count += 1,
            None => _ = objects.insert(resource.to_vec(), 1),
        }
    }
    let text = |(resource, count): (Vec<u8>, u64)| (String::from_utf8_lossy(&resource).into_owned(), count);
    let first_time_ms = db.events_after(0).next().transpose()?;
    let first_time_ms = first_time_ms.map(|(at, frame)| decode_record(at, &frame)).transpose()?;
    let applied = applied(&db)?;
    Ok(Census {
        floor: Floors::read(db.mark(FLOORS)?)?.global(),
        first_time_ms: first_time_ms.map(|event| event.time_ms),
        last_time_ms: Some(applied.time_ms).filter(|_| applied.revision > 0),
        objects: objects.into_iter().map(text).collect(),
    })
}

fn applied(db: &StateDb) -> Result<AppliedRecord, DiskError> {
    let Some(frame) = db.mark(APPLIED)? else { return Ok(AppliedRecord::default()) };
    codec::decode(Tag::Applied, &frame).map_err(DiskError::record("the mark of what is applied"))
}

/// Makes the database below a store's directory that of a snapshot; [`Store::open`] finds it there.
pub fn unpack(snapshot: &SnapshotDir, store: &Path) -> Result<(), DiskError> {
    snapshot.copy_database(&store.join(FIRST))
}

/// Sets the state below a store's directory back to a revision, and on to a later one: those between never were.
///
/// The revision must be retained. Of the short class, what was dropped is not brought back. Returns what is applied then.
pub fn rewind(store: &Path, to: Revision, next: Revision) -> Result<AppliedRecord, DiskError> {
    let db = StateDb::open(&store.join(FIRST))?;
    let (mut applied, mut floors) = (applied(&db)?, Floors::read(db.mark(FLOORS)?)?);
    assert!(floors.global() <= to && to <= applied.revision, "the caller knows what the state holds");
    assert!(next >= applied.revision, "revisions never go back");
    let (mut keys, mut from) = (BTreeSet::new(), to);
    loop {
        let seen = db.events_after(from).take(PRUNE_STEP_RECORDS).collect::<Result<Vec<_>, _>>()?;
        let mut batch = StateBatch::default();
        for (at, frame) in &seen {
            let record = decode_record(*at, frame)?;
            let key = record.key.to_bytes();
            batch.delete_event(*at);
            batch.delete_version(&key, *at);
            if record.retention == Retention::Sensitive {
                floors.shred_later(&record.key.resource);
            }
            let class = record.retention as usize;
            applied.history_bytes[class] = applied.history_bytes[class].saturating_sub(record.bytes);
            keys.insert(key);
        }
        db.write(batch)?;
        match seen.last() {
            Some((at, _)) => from = *at,
            None => break,
        }
    }
    for keys in keys.into_iter().collect::<Vec<_>>().chunks(PRUNE_STEP_RECORDS) {
        let mut batch = StateBatch::default();
        for key in keys {
            set_head(&db, &mut batch, key, to)?;
        }
        db.write(batch)?;
    }
    let mut gaps = Gaps::read(db.mark(GAPS)?)?;
    gaps.add(to + 1, next.saturating_sub(1));
    applied.revision = next;
    // Of the past that is left: one that ran ahead is undone with the rest.
    applied.time_ms = match db.event_between(0, to)? {
        Some((at, frame)) => decode_record(at, &frame)?.time_ms,
        None => floors.time_ms(),
    };
    let mut batch = StateBatch::default();
    batch.put_mark(GAPS, &gaps.frame());
    batch.put_mark(FLOORS, &floors.frame());
    batch.put_mark(APPLIED, &codec::encode(Tag::Applied, &applied));
    db.write(batch)?;
    db.flush()?;
    Ok(applied)
}

/// The live head of a key as it was at a revision.
fn set_head(db: &StateDb, batch: &mut StateBatch, key: &[u8], at: Revision) -> Result<(), DiskError> {
    match db.version_at(key, at)? {
        Some((revision, frame)) if !codec::version_is_deleted(&frame) => {
            let what = || format!("the version of revision {revision}");
            let (_, head, _) = codec::decode_version(&frame).map_err(DiskError::record(what()))?;
            batch.put_head(key, &codec::encode(Tag::Head, &HeadRecord { revision, head }));
        }
        _ => batch.delete_head(key),
    }
    Ok(())
}

impl Store {
    /// A store of its own over a snapshot's database, in a directory that does not exist yet.
    pub fn of_snapshot(door: Door, snapshot: &SnapshotDir, dir: &Path) -> Result<Arc<Store>, DiskError> {
        unpack(snapshot, dir)?;
        Store::open_behind(door, dir, HistoryLimits::default(), 0)
    }

    /// Every live key and the revision of its object, at a revision; kept apart from bodies, so that it is small.
    pub fn keys_at(&self, at: Revision) -> Result<BTreeMap<Key, Revision>, ReadError> {
        let (db, now, mut keys) = {
            let live = self.live();
            live.check_floor(live.floors.global(), at)?;
            let slots = live.index.all().filter(|slot| slot.revision <= at);
            let keys: BTreeMap<_, _> = slots.map(|slot| (slot.key.clone(), slot.revision)).collect();
            (live.db.clone(), live.index.revision(), keys)
        };
        for item in db.events_after(at) {
            let (revision, frame) = item?;
            if revision > now {
                break;
            }
            let key = decode_record(revision, &frame)?.key;
            match db.version_at(&key.to_bytes(), at)? {
                Some((then, frame)) if !codec::version_is_deleted(&frame) => _ = keys.insert(key, then),
                _ => _ = keys.remove(&key),
            }
        }
        let live = self.live();
        live.check_floor(live.floors.global(), at)?;
        Ok(keys)
    }
}
