//! One object: now, at a revision, and all it went through.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kontiki_model::{Head, Key, Revision};

use super::Store;
use crate::codec::{self, EventRecord, Tag};
use crate::disk::{DiskError, StateDb};
use crate::limits::{KEY_HISTORY_EVENTS_MAX, WATCH_BATCH_BYTES, WATCH_BATCH_EVENTS, WATCH_SCAN_RECORDS};
use crate::watch::Subject;
use crate::{Event, ReadError, Stored};

/// An object's version can be dropped between index and disk only if it was replaced meanwhile: then the index knows a newer one.
const GET_TRIES: usize = 8;

impl Store {
    pub fn head(&self, key: &Key) -> Option<(Revision, Arc<Head>)> {
        self.live().index.get(key).map(|slot| (slot.revision, slot.head.clone()))
    }

    pub fn get(&self, key: &Key) -> Result<Option<Stored>, ReadError> {
        for _ in 0..GET_TRIES {
            let (db, slot) = {
                let live = self.live();
                let Some(slot) = live.index.get(key) else { return Ok(None) };
                (live.db.clone(), slot.clone())
            };
            if let Some(frame) = db.version(&key.to_bytes(), slot.revision)? {
                let found = stored(key.clone(), slot.revision, slot.head.clone(), frame)?;
                return Ok(Some(self.door().open(found)?));
            }
        }
        Err(DiskError::Missing(format!("the body of {key:?}")).into())
    }

    pub fn get_at(&self, key: &Key, at: Revision) -> Result<Option<Stored>, ReadError> {
        let db = {
            let live = self.live();
            live.check_resource(&key.resource, at)?;
            live.db.clone()
        };
        let found = db.version_at(&key.to_bytes(), at)?;
        // History is dropped only after its floor was raised: a floor that is still below means nothing was missed.
        self.live().check_resource(&key.resource, at)?;
        match found {
            Some((revision, frame)) if !codec::version_is_deleted(&frame) => {
                Ok(Some(self.door().open(decode_stored(key.clone(), revision, frame)?)?))
            }
            _ => Ok(None),
        }
    }

    /// What is retained of a key's events before a revision, newest first. What cannot be opened is told as it is stored.
    pub fn key_history(&self, key: &Key, before: Option<Revision>, limit: usize) -> Result<Vec<Arc<Event>>, ReadError> {
        let db = self.live().db.clone();
        let newest = before.unwrap_or(Revision::MAX).saturating_sub(1);
        let mut events = Vec::new();
        for version in db.versions_down_from(&key.to_bytes(), newest).take(limit.min(KEY_HISTORY_EVENTS_MAX)) {
            let (revision, _) = version?;
            // Dropped while we read: the rest is older and gone as well.
            let Some(frame) = db.event(revision)? else { break };
            let event = event(&db, revision, decode_record(revision, &frame)?)?;
            events.push(self.door().open_what_can_be(Arc::new(event)));
        }
        Ok(events)
    }

    /// Events by revision, from the ring or from disk. What cannot be opened is told as it is stored.
    pub fn events_run(&self, first: Revision, count: usize) -> Result<Vec<Arc<Event>>, ReadError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        if let Some(events) = self.hub().run(first, count) {
            return Ok(events);
        }
        let db = self.live().db.clone();
        let records = db.events_after(first - 1).take(count);
        let events = records.map(|item| {
            let (revision, frame) = item?;
            let event = event(&db, revision, decode_record(revision, &frame)?)?;
            Ok(self.door().open_what_can_be(Arc::new(event)))
        });
        events.collect()
    }

    /// One event, with the versions after and before it. What cannot be opened is told as it is stored.
    pub fn event(&self, revision: Revision) -> Result<Arc<Event>, ReadError> {
        let (db, now) = {
            let live = self.live();
            (live.db.clone(), live.index.revision())
        };
        if revision > now {
            return Err(ReadError::Future { requested: revision, revision: now });
        }
        let dropped = || ReadError::Compacted { requested: revision, floor: self.floor() };
        let frame = db.event(revision)?.ok_or_else(dropped)?;
        match event(&db, revision, decode_record(revision, &frame)?) {
            Ok(event) => Ok(self.door().open_what_can_be(Arc::new(event))),
            // Its version and it are dropped together: gone between the two reads, or damage.
            Err(error) => Err(if db.event(revision)?.is_none() { dropped() } else { error.into() }),
        }
    }

    /// The next events of a subject from disk, as they are stored, and the revision up to which they are all of them.
    pub fn events_after(&self, subject: &Subject, after: Revision) -> Result<(Vec<Arc<Event>>, Revision), ReadError> {
        let (db, revision) = {
            let live = self.live();
            live.check_retained(subject, after)?;
            (live.db.clone(), live.index.revision())
        };
        let (mut events, mut bytes, mut seen) = (Vec::new(), 0, after);
        let mut complete = true;
        for (scanned, item) in db.events_after(after).enumerate() {
            let (at, frame) = item?;
            // What is written but not yet installed is told by the ring, in its time.
            if at > revision {
                break;
            }
            if scanned >= WATCH_SCAN_RECORDS || events.len() >= WATCH_BATCH_EVENTS || bytes >= WATCH_BATCH_BYTES {
                complete = false;
                break;
            }
            let record = decode_record(at, &frame)?;
            if subject.contains(&record.key, record.retention) {
                let event = match event(&db, at, record) {
                    Ok(event) => event,
                    Err(error) => return Err(self.lost(subject, after, error)),
                };
                bytes += event.bytes();
                events.push(Arc::new(event));
            }
            seen = at;
        }
        self.live().check_retained(subject, after)?;
        Ok((events, if complete { revision } else { seen }))
    }

    /// A version that is not there is one that was dropped meanwhile, or damage.
    fn lost(&self, subject: &Subject, after: Revision, error: DiskError) -> ReadError {
        match self.live().check_retained(subject, after) {
            Err(compacted) => compacted,
            Ok(()) => error.into(),
        }
    }

    /// Waits until a revision is applied.
    pub async fn wait_for(&self, revision: Revision, timeout: Duration) -> Result<(), ReadError> {
        let mut revisions = self.hub().revisions();
        let reached = revisions.wait_for(|applied| *applied >= revision || self.is_closed());
        match tokio::time::timeout(timeout, reached).await {
            Ok(Ok(applied)) if *applied >= revision => Ok(()),
            Ok(_) => Err(ReadError::Closed),
            Err(_) => Err(ReadError::Future { requested: revision, revision: self.revision() }),
        }
    }
}

pub(super) fn decode_record(revision: Revision, frame: &[u8]) -> Result<EventRecord, DiskError> {
    codec::decode(Tag::Event, frame).map_err(DiskError::record(format!("the event of revision {revision}")))
}

fn event(db: &StateDb, revision: Revision, record: EventRecord) -> Result<Event, DiskError> {
    let load = |revision: Revision| {
        let missing = || DiskError::Missing(format!("the version of {:?} at revision {revision}", record.key));
        let frame = db.version(&record.key.to_bytes(), revision)?.ok_or_else(missing)?;
        decode_stored(record.key.clone(), revision, frame)
    };
    // The version before may be older than history reaches; then nobody may watch from before this event.
    let previous = match record.previous.map(load) {
        Some(Ok(stored)) => Some(stored),
        Some(Err(DiskError::Missing(_))) | None => None,
        Some(Err(error)) => return Err(error),
    };
    Ok(Event {
        kind: record.kind,
        object: load(revision)?,
        previous,
        index: record.index,
        time_ms: record.time_ms,
        cause: record.cause,
        author: Arc::new(record.author),
    })
}

/// A version whose head is already in memory.
pub(super) fn stored(key: Key, revision: Revision, head: Arc<Head>, frame: Vec<u8>) -> Result<Stored, DiskError> {
    let what = |key: &Key| format!("the body of {key:?} at revision {revision}");
    let body = codec::version_body(&frame).map_err(DiskError::record(what(&key)))?;
    Ok(Stored { key, revision, head, body: Bytes::from(frame).slice(body..) })
}

pub(super) fn decode_stored(key: Key, revision: Revision, frame: Vec<u8>) -> Result<Stored, DiskError> {
    let what = |key: &Key| format!("the version of {key:?} at revision {revision}");
    let (_, head, body) = codec::decode_version(&frame).map_err(DiskError::record(what(&key)))?;
    Ok(Stored { key, revision, head: Arc::new(head), body: Bytes::from(frame).slice(body..) })
}
