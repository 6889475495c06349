//! Applies log entries in batches: decide, write, install, publish.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use kontiki_model::{Head, Key, Revision};

use super::{APPLIED, Live, Outcome, Store};
use crate::codec::{self, AppliedRecord, EventRecord, HeadRecord, LogPayload, LogRecord, Tag};
use crate::disk::{DiskError, StateBatch};
use crate::state::{After, Change, Heads, Slot, apply};
use crate::{Author, Command, Event, EventKind, Stored};

impl Store {
    /// Applies entries in log order. They become visible together, and durable with the next flush.
    pub fn apply(&self, entries: &[LogRecord]) -> Result<Vec<Outcome>, DiskError> {
        let mut applied = self.applied();
        let mut batch = Batch::new(self, applied.clone());
        let outcomes = entries.iter().map(|entry| batch.entry(entry)).collect::<Result<Vec<_>, _>>()?;
        let Batch { mut writes, applied: record, overlay, events, .. } = batch;
        writes.put_mark(APPLIED, &codec::encode(Tag::Applied, &record));
        let db = self.live().db.clone();
        db.write(writes)?;
        {
            let mut live = self.write();
            for (key, object) in overlay {
                match object {
                    Some(Stored { key, revision, head, .. }) => live.index.put(Slot { key, revision, head }),
                    None => live.index.remove(&key),
                }
            }
            live.index.set_revision(record.revision);
            live.written = record.history_bytes;
        }
        // Once for all watchers; what this server has no key for stays as it is, and is told so.
        let events: Vec<_> = events.into_iter().map(|event| self.door().open_what_can_be(event)).collect();
        self.hub.publish(&events, record.revision);
        *applied = record;
        Ok(outcomes)
    }
}

/// Entries that are decided and not yet written.
struct Batch<'a> {
    store: &'a Store,
    writes: StateBatch,
    applied: AppliedRecord,
    /// What this batch made of the keys it touched.
    overlay: HashMap<Key, Option<Stored>>,
    events: Vec<Arc<Event>>,
}

struct BatchHeads<'a>(&'a HashMap<Key, Option<Stored>>, &'a Live);

impl Heads for BatchHeads<'_> {
    fn current(&self, key: &Key) -> Option<(Revision, Arc<Head>)> {
        match self.0.get(key) {
            Some(pending) => pending.as_ref().map(|stored| (stored.revision, stored.head.clone())),
            None => self.1.index.get(key).map(|slot| (slot.revision, slot.head.clone())),
        }
    }
}

impl<'a> Batch<'a> {
    fn new(store: &'a Store, applied: AppliedRecord) -> Self {
        Batch { store, writes: StateBatch::default(), applied, overlay: HashMap::new(), events: Vec::new() }
    }

    fn entry(&mut self, entry: &LogRecord) -> Result<Outcome, DiskError> {
        self.applied.term = entry.term;
        self.applied.index = Some(entry.index);
        match &entry.payload {
            LogPayload::Blank => Ok(Outcome::Internal),
            LogPayload::Membership(record) => {
                self.applied.membership.clone_from(record);
                Ok(Outcome::Internal)
            }
            LogPayload::Command(command) => self.command(entry, command),
        }
    }

    fn command(&mut self, entry: &LogRecord, command: &Command) -> Result<Outcome, DiskError> {
        let changes = {
            let live = self.store.live();
            apply(&BatchHeads(&self.overlay, &live), self.applied.revision, entry.term, command)
        };
        let changes = match changes {
            Ok(changes) => changes,
            Err(rejection) => return Ok(Outcome::Rejected(rejection)),
        };
        let outcome = Outcome::Applied { first: self.applied.revision + 1, count: changes.len() as u64 };
        let author = Arc::new(command.author.clone());
        for change in changes {
            self.change(change, entry.index, command, &author)?;
        }
        Ok(outcome)
    }

    fn change(&mut self, change: Change, index: u64, command: &Command, author: &Arc<Author>) -> Result<(), DiskError> {
        let Change { kind, key, revision, previous, after } = change;
        assert_eq!(revision, self.applied.revision + 1, "revisions are consecutive");
        let previous = previous.map(|(revision, head)| self.previous(&key, revision, head)).transpose()?;
        let (head, body) = match (after, &previous) {
            (After::Given(head, body), _) => (head, body),
            (After::AsStored, Some(stored)) => (stored.head.clone(), stored.body.clone()),
            (After::AsStored, None) => unreachable!("only what is stored is deleted as stored"),
        };
        let object = Stored { key, revision, head, body };
        // A clock that went back, or another server's that is behind, must not put the past out of order.
        self.applied.time_ms = self.applied.time_ms.max(command.time_ms);
        let (time_ms, cause, author) = (self.applied.time_ms, command.cause, author.clone());
        let event = Event { kind, object, previous, index, time_ms, author, cause };
        self.record(&event);
        let live = (kind != EventKind::Deleted).then(|| event.object.clone());
        self.overlay.insert(event.object.key.clone(), live);
        self.applied.revision = revision;
        self.events.push(Arc::new(event));
        Ok(())
    }

    /// The version that is being replaced, with its body.
    fn previous(&self, key: &Key, revision: Revision, head: Arc<Head>) -> Result<Stored, DiskError> {
        if let Some(Some(stored)) = self.overlay.get(key) {
            return Ok(stored.clone());
        }
        let db = self.store.live().db.clone();
        let what = || format!("the body of {key:?} at revision {revision}");
        let frame = db.version(&key.to_bytes(), revision)?.ok_or_else(|| DiskError::Missing(what()))?;
        let body = codec::version_body(&frame).map_err(DiskError::record(what()))?;
        Ok(Stored { key: key.clone(), revision, head, body: Bytes::from(frame).slice(body..) })
    }

    fn record(&mut self, event: &Event) {
        let Stored { key, revision, head, body } = &event.object;
        let (bytes, deleted) = (key.to_bytes(), event.kind == EventKind::Deleted);
        let version = codec::encode_version(deleted, head, body);
        let class = head.retention as usize;
        let record = EventRecord {
            kind: event.kind,
            key,
            previous: event.previous.as_ref().map(|stored| stored.revision),
            index: event.index,
            time_ms: event.time_ms,
            cause: event.cause,
            retention: head.retention,
            bytes: (version.len() + bytes.len() + EVENT_RECORD_BYTES) as u64,
            author: &*event.author,
        };
        self.applied.history_bytes[class] += record.bytes;
        self.writes.put_version(&bytes, *revision, &version);
        self.writes.put_event(*revision, &codec::encode(Tag::Event, &record));
        if deleted {
            self.writes.delete_head(&bytes);
        } else {
            let head = HeadRecord { revision: *revision, head: &**head };
            self.writes.put_head(&bytes, &codec::encode(Tag::Head, &head));
        }
    }
}

/// About what an event's record takes besides its key and the object's version.
const EVENT_RECORD_BYTES: usize = 128;
