//! Drops what history no longer has to tell, a bounded step at a time.
//!
//! An event's end is what makes the version *before* it unnecessary: a version serves reads from its own revision until the
//! event that replaced it. So passing an event drops the version it replaced, and itself if it is a deletion. Live versions,
//! and the events that made them, stay as long as the objects do.

use std::collections::{BTreeSet, HashMap};
use std::sync::PoisonError;

use kontiki_model::{Retention, Revision};

use super::history::{HistoryLimits, Retain};
use super::{FLOORS, Store};
use crate::EventKind;
use crate::codec::{self, ByClass, EventRecord, FloorsRecord, Tag};
use crate::disk::{DiskError, StateBatch};
use crate::limits::{CLOCK_SLACK, PRUNE_STEP_RECORDS};
use crate::watch::Subject;

/// The classes whose own limits may be narrower than the normal ones.
const EARLY: [Retention; 2] = [Retention::Short, Retention::Sensitive];

/// The oldest revisions from which the past can be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Floors {
    global: Revision,
    /// When the event of `global` happened.
    time_ms: i64,
    /// How far each class was dropped.
    dropped_to: ByClass,
    /// Above `global` where a class lost events.
    resources: HashMap<String, (Retention, Revision)>,
    /// Bytes dropped so far, by class.
    dropped: ByClass,
    /// Resources of which sensitive history was dropped that the files may still hold.
    to_shred: BTreeSet<String>,
}

impl Floors {
    pub fn read(frame: Option<Vec<u8>>) -> Result<Self, DiskError> {
        let Some(frame) = frame else { return Ok(Floors::default()) };
        let FloorsRecord { floor: global, time_ms, dropped_to, resources, history_bytes: dropped, to_shred } =
            codec::decode(Tag::Floors, &frame).map_err(DiskError::record("the mark of where history begins"))?;
        let resources = resources.into_iter().map(|(class, name, floor)| (name, (class, floor))).collect();
        Ok(Floors { global, time_ms, dropped_to, resources, dropped, to_shred: to_shred.into_iter().collect() })
    }

    pub fn frame(&self) -> Vec<u8> {
        let resources = self.resources.iter().map(|(name, (class, floor))| (*class, name.clone(), *floor));
        let mut resources: Vec<_> = resources.collect();
        resources.sort_by(|left, right| left.1.cmp(&right.1));
        let Floors { global: floor, time_ms, dropped_to, dropped: history_bytes, .. } = *self;
        let to_shred = self.to_shred.iter().cloned().collect();
        codec::encode(Tag::Floors, &FloorsRecord { floor, time_ms, dropped_to, resources, history_bytes, to_shred })
    }

    pub fn global(&self) -> Revision {
        self.global
    }

    /// When history begins: before this, the revision of a moment is no longer known.
    pub fn time_ms(&self) -> i64 {
        self.time_ms
    }

    pub fn of(&self, subject: &Subject) -> Revision {
        let latest = |counts: &dyn Fn(Retention) -> bool| {
            let floors = self.resources.values().filter(|(class, _)| counts(*class)).map(|(_, floor)| *floor);
            floors.fold(self.global, Revision::max)
        };
        match subject {
            Subject::Scope(scope) => self.of_resource(&scope.resource),
            Subject::Lasting => latest(&|class| class != Retention::Short),
            Subject::Everything => latest(&|_| true),
        }
    }

    pub fn of_resource(&self, resource: &str) -> Revision {
        self.resources.get(resource).map_or(self.global, |(_, floor)| self.global.max(*floor))
    }

    /// Bytes of history by class, of those ever written.
    pub fn kept_bytes(&self, written: ByClass) -> ByClass {
        Retention::ALL.map(|class| written[class as usize].saturating_sub(self.dropped[class as usize]))
    }

    /// Bytes of a class that were ever dropped.
    pub fn dropped(&self, class: Retention) -> u64 {
        self.dropped[class as usize]
    }

    pub fn to_shred(&self) -> &BTreeSet<String> {
        &self.to_shred
    }

    /// Notes that files may hold what was dropped of a resource; an empty name stands for the log's files alone.
    pub fn shred_later(&mut self, resource: &str) {
        if !self.to_shred.contains(resource) {
            self.to_shred.insert(resource.to_owned());
        }
    }

    pub fn shredded(&mut self, resources: &BTreeSet<String>) {
        self.to_shred.retain(|resource| !resources.contains(resource));
    }
}

/// One step: where the floors go, and what can be dropped then.
struct Step {
    floors: Floors,
    written: ByClass,
    limits: HistoryLimits,
    now_ms: i64,
    drop: StateBatch,
}

impl Step {
    fn expired(&self, class: Retention, time_ms: i64) -> bool {
        let Retain { bytes, age } = self.limits.of(class);
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let kept = self.floors.kept_bytes(self.written)[class as usize];
        kept > bytes || time_ms < self.now_ms.saturating_sub(age_ms)
    }

    /// The oldest event of all, by the rules of the normal class. False if it is to stay.
    fn oldest(&mut self, revision: Revision, record: &EventRecord) -> bool {
        if !self.expired(Retention::Normal, record.time_ms) {
            return false;
        }
        if revision > self.floors.dropped_to[record.retention as usize] {
            self.pass(revision, record);
        }
        self.floors.global = revision;
        self.floors.time_ms = record.time_ms;
        true
    }

    /// The oldest event of one class, by its own rules; others are skipped. False if it is to stay.
    fn oldest_of(&mut self, class: Retention, revision: Revision, record: &EventRecord) -> bool {
        if record.retention == class {
            if !self.expired(class, record.time_ms) {
                return false;
            }
            self.pass(revision, record);
            self.floors.resources.insert(record.key.resource.clone(), (class, revision));
        }
        self.floors.dropped_to[class as usize] = revision;
        true
    }

    fn pass(&mut self, revision: Revision, record: &EventRecord) {
        let key = record.key.to_bytes();
        let itself = (record.kind == EventKind::Deleted).then_some(revision);
        for gone in record.previous.into_iter().chain(itself) {
            self.drop.delete_version(&key, gone);
            self.drop.delete_event(gone);
            if record.retention == Retention::Sensitive {
                self.floors.shred_later(&record.key.resource);
            }
        }
        self.floors.dropped[record.retention as usize] += record.bytes;
    }
}

impl Store {
    /// The time by which history ages: the clock's, but hardly later than the log's own, which servers agree on and which goes on as
    /// long as anything does. What a clock that jumped ahead made this server drop would be gone for good.
    pub fn now_of_age(&self, clock_ms: i64) -> i64 {
        clock_ms.min(self.applied().time_ms.saturating_add(CLOCK_SLACK.as_millis() as i64))
    }

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
        let global = step.floors.global;
        for class in EARLY {
            let from = step.floors.dropped_to[class as usize].max(global);
            step.floors.dropped_to[class as usize] = from;
            more |= run(from, &mut |at, record| step.oldest_of(class, at, record))?;
        }
        step.floors.resources.retain(|_, (_, floor)| *floor > global);
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
