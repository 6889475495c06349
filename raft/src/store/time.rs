//! From a moment to a revision. Event times never go back, so a few seeks find it.

use kontiki_model::Revision;

use super::Store;
use super::read::decode_record;
use crate::ReadError;

impl Store {
    /// The last revision at or before a time, of those that are retained: the state as it was then.
    ///
    /// `Compacted` if history begins later than that; `Future` if it is later than `now_ms`, for what is still to happen until
    /// then is not known.
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
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            match db.event_between(before, middle)? {
                // The short class forgot what was here.
                None => before = middle,
                Some((at, frame)) if decode_record(at, &frame)?.time_ms <= time_ms => (found, before) = (at, middle),
                Some((at, _)) => after = at,
            }
        }
        Ok(found)
    }
}
