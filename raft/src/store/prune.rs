//! Drops what history no longer has to tell, a bounded step at a time.
//!
//! An event's end is what makes the version *before* it unnecessary: a version serves reads from its own revision until the
//! event that replaced it. So passing an event drops the version it replaced, and itself if it is a deletion. Live versions,
//! and the events that made them, stay as long as the objects do.

use std::collections::HashMap;
use std::sync::PoisonError;

use kontiki_model::Revision;

use super::history::{HistoryLimits, Retain};
use super::{FLOORS, Store};
use crate::EventKind;
use crate::codec::{self, EventRecord, FloorsRecord, Tag};
use crate::disk::{DiskError, StateBatch};
use crate::limits::PRUNE_STEP_RECORDS;
use crate::watch::Subject;

const NORMAL: usize = 0;
const SHORT: usize = 1;

/// The oldest revisions from which the past can be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Floors {
    global: Revision,
    /// When the event of `global` happened.
    time_ms: i64,
    /// How far the short class was dropped.
    short: Revision,
    /// Above `global` where the short class lost events.
    resources: HashMap<String, Revision>,
    /// Bytes dropped so far, by class.
    dropped: [u64; 2],
}

impl Floors {
    pub fn read(frame: Option<Vec<u8>>) -> Result<Self, DiskError> {
        let Some(frame) = frame else { return Ok(Floors::default()) };
        let FloorsRecord { floor, time_ms, short, resources, history_bytes } =
            codec::decode(Tag::Floors, &frame).map_err(DiskError::record("the mark of where history begins"))?;
        let resources = resources.into_iter().collect();
        Ok(Floors { global: floor, time_ms, short, resources, dropped: history_bytes })
    }

    fn frame(&self) -> Vec<u8> {
        let mut resources: Vec<_> = self.resources.iter().map(|(name, floor)| (name.clone(), *floor)).collect();
        resources.sort();
        let Floors { global: floor, time_ms, short, dropped: history_bytes, .. } = *self;
        let record = FloorsRecord { floor, time_ms, short, resources, history_bytes };
        codec::encode(Tag::Floors, &record)
    }

    pub fn global(&self) -> Revision {
        self.global
    }

    /// When history begins: before this, the revision of a moment is no longer known.
    pub fn time_ms(&self) -> i64 {
        self.time_ms
    }

    pub fn of(&self, subject: &Subject) -> Revision {
        let own = match subject {
            Subject::Scope(scope) => return self.of_resource(&scope.resource),
            Subject::Lasting => None,
            Subject::Everything => self.resources.values().max().copied(),
        };
        own.unwrap_or_default().max(self.global)
    }

    pub fn of_resource(&self, resource: &str) -> Revision {
        self.resources.get(resource).copied().unwrap_or_default().max(self.global)
    }

    /// Bytes of history by class, of those ever written.
    pub fn kept_bytes(&self, written: [u64; 2]) -> [u64; 2] {
        [NORMAL, SHORT].map(|class| written[class].saturating_sub(self.dropped[class]))
    }
}

/// One step: where the floors go, and what can be dropped then.
struct Step {
    floors: Floors,
    written: [u64; 2],
    limits: HistoryLimits,
    now_ms: i64,
    drop: StateBatch,
}

impl Step {
    fn expired(&self, class: usize, retain: Retain, time_ms: i64) -> bool {
        let age_ms = i64::try_from(retain.age.as_millis()).unwrap_or(i64::MAX);
        self.floors.kept_bytes(self.written)[class] > retain.bytes || time_ms < self.now_ms.saturating_sub(age_ms)
    }

    /// The oldest event of all, by the rules of the normal class. False if it is to stay.
    fn oldest(&mut self, revision: Revision, record: &EventRecord) -> bool {
        if !self.expired(NORMAL, self.limits.normal, record.time_ms) {
            return false;
        }
        let dropped_before = record.short_lived && revision <= self.floors.short;
        if !dropped_before {
            self.pass(revision, record);
        }
        self.floors.global = revision;
        self.floors.time_ms = record.time_ms;
        true
    }

    /// The oldest event of the short class; others are skipped. False if it is to stay.
    fn oldest_short(&mut self, revision: Revision, record: &EventRecord) -> bool {
        if record.short_lived {
            if !self.expired(SHORT, self.limits.short, record.time_ms) {
                return false;
            }
            self.pass(revision, record);
            self.floors.resources.insert(record.key.resource.clone(), revision);
        }
        self.floors.short = revision;
        true
    }

    fn pass(&mut self, revision: Revision, record: &EventRecord) {
        let key = record.key.to_bytes();
        let itself = (record.kind == EventKind::Deleted).then_some(revision);
        for gone in record.previous.into_iter().chain(itself) {
            self.drop.delete_version(&key, gone);
            self.drop.delete_event(gone);
        }
        self.floors.dropped[usize::from(record.short_lived)] += record.bytes;
    }
}

impl Store {
    /// Drops history beyond its limits. Looks at a bounded number of events; true if there may be more to drop.
    pub fn prune(&self, now_ms: i64) -> Result<bool, DiskError> {
        let _one_at_a_time = self.pruning.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.applied().history_bytes;
        let (db, before, revision) = {
            let live = self.live();
            (live.db.clone(), live.floors.clone(), live.index.revision())
        };
        let mut step =
            Step { floors: before.clone(), written, limits: self.history, now_ms, drop: StateBatch::default() };
        let run = |after: Revision, visit: &mut dyn FnMut(Revision, &EventRecord) -> bool| {
            for item in db.events_after(after).take(PRUNE_STEP_RECORDS) {
                let (at, frame) = item?;
                let record = codec::decode(Tag::Event, &frame)
                    .map_err(DiskError::record(format!("the event of revision {at}")))?;
                // Beyond the installed state nothing is dropped: its readers are still to come.
                if at > revision || !visit(at, &record) {
                    return Ok(false);
                }
            }
            Ok::<_, DiskError>(true)
        };
        let mut more = run(before.global, &mut |at, record| step.oldest(at, record))?;
        step.floors.short = step.floors.short.max(step.floors.global);
        more |= run(step.floors.short, &mut |at, record| step.oldest_short(at, record))?;
        let global = step.floors.global;
        step.floors.resources.retain(|_, floor| *floor > global);
        if step.floors == before {
            return Ok(false);
        }
        step.drop.put_mark(FLOORS, &step.floors.frame());
        // The floor rises before anything goes: a reader that finds it unchanged afterwards has missed nothing.
        self.write().floors = step.floors;
        db.write(step.drop)?;
        Ok(more)
    }
}
