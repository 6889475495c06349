//! How bodies lie in the store: as they would be sealed today, or otherwise.

use kontiki_model::{Key, Retention, Revision};

use super::Store;
use super::read::stored;
use crate::ReadError;
use crate::disk::DiskError;
use crate::limits::READ_MANY_KEYS;
use crate::seal::{Door, SealCensus, Standing};

impl Store {
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Whether a version is stored as it would be today. One that is gone was replaced meanwhile: of it nothing is left to do.
    pub fn is_sealed_as_today(&self, key: &Key, revision: Revision) -> Result<bool, ReadError> {
        if self.door.seals_nothing() {
            return Ok(true);
        }
        let (db, slot) = {
            let live = self.live();
            (live.db.clone(), live.index.get(key).filter(|slot| slot.revision == revision).cloned())
        };
        let Some(slot) = slot else { return Ok(true) };
        let Some(frame) = db.version(&key.to_bytes(), revision)? else { return Ok(true) };
        let stored = stored(key.clone(), revision, slot.head.clone(), frame)?;
        Ok(self.door.standing(key, &stored.body) == Standing::Current)
    }

    /// Looks at how each live object is stored whose body is sealed, or is of the sensitive class.
    pub fn seal_census(&self) -> Result<SealCensus, ReadError> {
        let (db, slots) = {
            let live = self.live();
            let concerned = |resource: &str, retention| retention == Retention::Sensitive || self.door.covers(resource);
            let slots = live.index.all().filter(|slot| concerned(&slot.key.resource, slot.head.retention));
            (live.db.clone(), slots.cloned().collect::<Vec<_>>())
        };
        let mut census = SealCensus::default();
        for slots in slots.chunks(READ_MANY_KEYS) {
            let keys: Vec<_> = slots.iter().map(|slot| (slot.key.to_bytes(), slot.revision)).collect();
            for (slot, frame) in slots.iter().zip(db.view().versions(&keys)) {
                // Replaced since: whoever wrote it last did so as of today.
                let Some(frame) = frame? else { continue };
                let stored: Result<_, DiskError> = stored(slot.key.clone(), slot.revision, slot.head.clone(), frame);
                census.count(&slot.key, self.door.standing(&slot.key, &stored?.body));
            }
        }
        Ok(census)
    }
}
