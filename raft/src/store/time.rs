//! From a moment to a revision, and back. Event times never go back, so a few seeks find it.

use kontiki_model::Revision;

use super::Store;
use super::read::decode_record;
use crate::ReadError;
use crate::limits::CLOCK_SLACK;

impl Store {
    /// The last revision at or before a time, of those that are retained: the state as it was then.
    ///
    /// `Compacted` if history begins later than that; `Future` if it is later than `now_ms`, for what is still to happen until
    /// then is not known; `ClockAhead` if the next event has a time that has not come.
    pub fn revision_at(&self, time_ms: i64, now_ms: i64) -> Result<Revision, ReadError> {
        let (db, floors, revision) = {
            let live = self.live();
            (live.db.clone(), live.floors.clone(), live.index.revision())
        };
        if time_ms > now_ms {
            return Err(ReadError::Future { requested: revision + 1, revision });
        }
        let floor = floors.global();
        if floor > 0 && time_ms < floors.time_ms() {
            return Err(ReadError::Compacted { requested: floor - 1, floor });
        }
        // Every event up to `before` happened at or before the time, the one of `after` later.
        let (mut found, mut before, mut after) = (floor, floor, revision + 1);
        let mut next_ms = time_ms;
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            // The short class forgot what was here.
            let Some((at, frame)) = db.event_between(before, middle)? else {
                before = middle;
                continue;
            };
            match decode_record(at, &frame)?.time_ms {
                event_ms if event_ms <= time_ms => (found, before) = (at, middle),
                event_ms => (after, next_ms) = (at, event_ms),
            }
        }
        if next_ms > now_ms.saturating_add(CLOCK_SLACK.as_millis() as i64) {
            return Err(ReadError::ClockAhead { since: after });
        }
        Ok(found)
    }

    /// When a revision came to be, in milliseconds since the epoch; of one whose event is not retained, when the one before it did.
    pub fn time_of(&self, revision: Revision) -> Result<i64, ReadError> {
        let (db, floors) = {
            let live = self.live();
            (live.db.clone(), live.floors.clone())
        };
        match db.event_between(0, revision)? {
            Some((at, frame)) => Ok(decode_record(at, &frame)?.time_ms),
            None => Ok(floors.time_ms()),
        }
    }
}
