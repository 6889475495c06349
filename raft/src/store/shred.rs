//! Makes the state's files forget what history has let go of and must leave no trace.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use kontiki_model::Retention;

use super::{FLOORS, Store, current_dir, remove_others};
use crate::disk::{DiskError, StateBatch};

/// What was found to be shredded at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shreds {
    /// Resources whose versions are to go from the state's files; the log's go in any case.
    resources: BTreeSet<String>,
    /// Sensitive bytes dropped by then: if there are more afterwards, the work is not done.
    dropped: u64,
}

impl Shreds {
    /// Whether it is more than the log's files.
    pub fn of_state(&self) -> bool {
        self.resources.iter().any(|resource| !resource.is_empty())
    }
}

impl Store {
    /// What the files may still hold of sensitive history that was dropped.
    pub fn shreds(&self) -> Option<Shreds> {
        let live = self.live();
        let resources = live.floors.to_shred().clone();
        let dropped = live.floors.dropped(Retention::Sensitive);
        (!resources.is_empty()).then_some(Shreds { resources, dropped })
    }

    /// Rewrites the state's files without it. False if it is to be tried again.
    pub fn rewrite(&self, shreds: &Shreds) -> Result<bool, DiskError> {
        let db = self.live().db.clone();
        let mut clean = true;
        for resource in shreds.resources.iter().filter(|resource| !resource.is_empty()) {
            clean &= db.rewrite_versions(resource)?;
        }
        Ok(clean)
    }

    /// Notes that no file holds it any more; an error if that cannot be said yet.
    pub fn shredded(&self, shreds: &Shreds) -> Result<(), DiskError> {
        let _no_compaction = self.pruning.lock().unwrap_or_else(PoisonError::into_inner);
        let (db, mut floors) = {
            let live = self.live();
            (live.db.clone(), live.floors.clone())
        };
        if floors.dropped(Retention::Sensitive) != shreds.dropped {
            return Ok(());
        }
        // A state that was replaced holds it too.
        remove_others(&self.dir, &current_dir(&self.dir)?)?;
        floors.shredded(&shreds.resources);
        let mut mark = StateBatch::default();
        mark.put_mark(FLOORS, &floors.frame());
        db.write(mark)?;
        self.write().floors = floors;
        Ok(())
    }
}
