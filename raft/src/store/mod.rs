//! The state: what the log has been applied to, on disk and in memory, now and in the past.
//!
//! One writer (apply, and history compaction for what is old); any number of readers, none of which waits for a write to disk:
//! a batch is written to the state's database first and then installed in the index under a short lock.
mod apply;
mod gaps;
mod history;
mod list;
mod offline;
mod prune;
mod read;
mod seal;
mod shred;
#[cfg(test)]
mod tests;
mod time;

pub use history::{HistoryLimits, Retain};
pub use list::{Filter, ListOptions, Page, Rest};
pub use offline::{census, rewind, unpack};
pub use prune::Floors;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bincode::{Decode, Encode};
use kontiki_model::{Key, Revision};
use serde::{Deserialize, Serialize};

use self::gaps::Gaps;
use crate::codec::{self, AppliedRecord, ByClass, HeadRecord, Tag};
use crate::disk::{DiskError, StateBatch, StateDb, sync_dir};
use crate::limits::{RING_BYTES, RING_EVENTS};
use crate::seal::Door;
use crate::snapshot::{Draft, SnapshotDir};
use crate::state::{Index, Slot};
use crate::watch::{Hub, Subject, Watch};
use crate::{ReadError, Rejection};

const APPLIED: &str = "applied";
const FLOORS: &str = "floors";
const GAPS: &str = "gaps";
/// The directory of a store's first state.
const FIRST: &str = "state-000001";
/// Names the directory of the current state, relative to the store's own.
const CURRENT: &str = "CURRENT";

/// Everything derived from the log. All methods block on the disk for as long as one read or write takes.
pub struct Store {
    dir: PathBuf,
    live: RwLock<Live>,
    /// How far the log is applied; held by whoever changes the state.
    applied: Mutex<AppliedRecord>,
    /// Held by the one compaction of history that runs at a time.
    pruning: Mutex<()>,
    snapshot: Mutex<Option<Arc<SnapshotDir>>>,
    /// Checkpoints begun so far, and the one that the snapshot was made of. They are taken one after another.
    checkpoints: AtomicU64,
    snapshot_checkpoint: AtomicU64,
    hub: Hub,
    door: Door,
    history: HistoryLimits,
    closed: AtomicBool,
}

/// What a reader must see of one piece.
struct Live {
    db: Arc<StateDb>,
    index: Index,
    floors: Floors,
    gaps: Gaps,
    /// All that history ever took, for whoever must not wait for the next batch.
    written: ByClass,
}

/// What became of one log entry.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize, Deserialize)]
pub enum Outcome {
    /// The command's events have `count` revisions from `first` on.
    Applied {
        first: Revision,
        count: u64,
    },
    Rejected(Rejection),
    /// The entry was not a command.
    Internal,
}

/// A copy of the state that is not a snapshot yet.
pub struct Checkpoint {
    pub draft: Draft,
    pub applied: AppliedRecord,
    /// How many were begun by then, with this one.
    pub number: u64,
}

/// Figures of the state, for health and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreFigures {
    pub revision: Revision,
    pub floor: Revision,
    pub objects: usize,
    pub history_bytes: u64,
}

impl Store {
    /// Opens or creates the state below `dir`.
    pub fn open(dir: &Path, history: HistoryLimits, ring_events: usize) -> Result<Arc<Self>, DiskError> {
        Store::open_behind(Door::default(), dir, history, ring_events)
    }

    /// As [`Store::open`]; what is told goes through the door.
    pub fn open_behind(
        door: Door,
        dir: &Path,
        history: HistoryLimits,
        ring_events: usize,
    ) -> Result<Arc<Self>, DiskError> {
        std::fs::create_dir_all(dir).map_err(DiskError::io("create the state's directory"))?;
        let (live, applied) = load(&dir.join(current_dir(dir)?))?;
        let snapshot = SnapshotDir::find(&dir.join("snapshots"))?.map(Arc::new);
        let hub = Hub::new(applied.revision, ring_events.min(RING_EVENTS), RING_BYTES);
        Ok(Arc::new(Store {
            dir: dir.to_owned(),
            live: RwLock::new(live),
            applied: Mutex::new(applied),
            pruning: Mutex::new(()),
            snapshot: Mutex::new(snapshot),
            checkpoints: AtomicU64::new(0),
            snapshot_checkpoint: AtomicU64::new(0),
            hub,
            door,
            history,
            closed: AtomicBool::new(false),
        }))
    }

    /// Removes what an earlier process left unfinished, or had replaced and not yet removed.
    pub fn remove_leftovers(&self) -> Result<(), DiskError> {
        remove_others(&self.dir, &current_dir(&self.dir)?)?;
        let snapshot = self.snapshot();
        SnapshotDir::remove_others(&self.snapshots_dir(), snapshot.as_deref().map(SnapshotDir::path))
    }

    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    pub fn revision(&self) -> Revision {
        self.live().index.revision()
    }

    pub fn floor(&self) -> Revision {
        self.live().floors.global()
    }

    pub fn floor_of(&self, resource: &str) -> Revision {
        self.live().floors.of_resource(resource)
    }

    pub fn figures(&self) -> StoreFigures {
        let live = self.live();
        StoreFigures {
            revision: live.index.revision(),
            floor: live.floors.global(),
            objects: live.index.len(),
            history_bytes: live.floors.kept_bytes(live.written).iter().sum(),
        }
    }

    /// How far the log is applied.
    pub fn applied_record(&self) -> AppliedRecord {
        self.applied().clone()
    }

    /// Makes everything applied so far durable without the log.
    pub fn flush(&self) -> Result<(), DiskError> {
        let db = self.live().db.clone();
        db.flush()
    }

    /// Bytes that were applied and are in memory only.
    pub fn unflushed(&self) -> Result<u64, DiskError> {
        let db = self.live().db.clone();
        db.unflushed()
    }

    /// A watch of a subject's events after a revision.
    pub fn watch(self: &Arc<Self>, subject: Subject, from: Revision) -> Result<Watch, ReadError> {
        self.live().check_retained(&subject, from)?;
        Ok(Watch::new(self.clone(), subject, from))
    }

    /// Ends the watches; they get `Closed` once they delivered what there is.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.hub.wake_all();
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Option<Arc<SnapshotDir>> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn checkpoints_begun(&self) -> u64 {
        self.checkpoints.load(Ordering::SeqCst)
    }

    /// Which of them the newest snapshot was made of.
    pub fn checkpoint_of_snapshot(&self) -> u64 {
        self.snapshot_checkpoint.load(Ordering::SeqCst)
    }

    pub fn snapshots_dir(&self) -> PathBuf {
        self.dir.join("snapshots")
    }

    /// Copies the state as it is now to a new snapshot directory, which is not the current one yet. Blocks apply meanwhile.
    pub fn checkpoint(&self) -> Result<Checkpoint, DiskError> {
        let applied = self.applied();
        let number = self.checkpoints.fetch_add(1, Ordering::SeqCst) + 1;
        let dir = self.snapshots_dir();
        std::fs::create_dir_all(&dir).map_err(DiskError::io("create the snapshots' directory"))?;
        let path = dir.join(format!("building-{}-{}", applied.term, applied.index.unwrap_or_default()));
        remove_dir(&path)?;
        let draft = Draft::at(path.clone());
        let db = self.live().db.clone();
        db.checkpoint(&path)?;
        Ok(Checkpoint { draft, applied: applied.clone(), number })
    }

    /// Makes a finished snapshot the current one; the one before it goes when nobody reads it any more. `checkpoint` is the one it was
    /// made of, if this server made it. Of two, the one that reaches further stays: a leader's may have come while one was made.
    pub fn set_snapshot(&self, snapshot: Arc<SnapshotDir>, checkpoint: Option<u64>) {
        let mut current = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|now| now.manifest().index > snapshot.manifest().index) {
            return snapshot.retire();
        }
        let path = snapshot.path().to_owned();
        if let Some(checkpoint) = checkpoint {
            self.snapshot_checkpoint.store(checkpoint, Ordering::SeqCst);
        }
        if let Some(old) = current.replace(snapshot)
            && old.path() != path
        {
            old.retire();
        }
    }

    /// Replaces the state by a snapshot's. Watchers go on from the history that came with it.
    pub fn install(&self, snapshot: &SnapshotDir) -> Result<(), DiskError> {
        let _no_compaction = self.pruning.lock().unwrap_or_else(PoisonError::into_inner);
        let mut applied = self.applied();
        let name = next_dir(&current_dir(&self.dir)?);
        let path = self.dir.join(&name);
        remove_dir(&path)?;
        snapshot.copy_database(&path)?;
        let (mut new, record) = load(&path)?;
        // What the snapshot's server has shredded may still lie in this one's log.
        new.floors.shred_later("");
        let mut mark = StateBatch::default();
        mark.put_mark(FLOORS, &new.floors.frame());
        new.db.write(mark)?;
        new.db.flush()?;
        set_current(&self.dir, &name)?;
        let revision = new.index.revision();
        let old = std::mem::replace(&mut *self.write(), new);
        *applied = record;
        self.hub.reset(revision);
        // Closing a database takes a while: not under the readers' lock.
        drop(old);
        // The new state is there. A reader may still hold the old one open, and RocksDB write into its directory.
        if let Err(error) = remove_others(&self.dir, &name) {
            tracing::warn!(%error, "a state that was replaced is removed later");
        }
        Ok(())
    }

    fn applied(&self) -> std::sync::MutexGuard<'_, AppliedRecord> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Live> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    /// Whether watches of a subject can resume at a revision.
    fn check_retained(&self, subject: &Subject, at: Revision) -> Result<(), ReadError> {
        self.check_floor(self.floors.of(subject), at)
    }

    /// Whether the state of a resource at a revision can still be told.
    fn check_resource(&self, resource: &str, at: Revision) -> Result<(), ReadError> {
        self.check_floor(self.floors.of_resource(resource), at)
    }

    fn check_floor(&self, floor: Revision, at: Revision) -> Result<(), ReadError> {
        let revision = self.index.revision();
        if at > revision {
            return Err(ReadError::Future { requested: at, revision });
        }
        match self.gaps.end(at) {
            _ if at < floor => Err(ReadError::Compacted { requested: at, floor }),
            Some(floor) => Err(ReadError::Compacted { requested: at, floor }),
            None => Ok(()),
        }
    }
}

/// Opens a state's database and rebuilds the index from it.
fn load(path: &Path) -> Result<(Live, AppliedRecord), DiskError> {
    let db = StateDb::open(path)?;
    let applied = match db.mark(APPLIED)? {
        None => AppliedRecord::default(),
        Some(frame) => codec::decode(Tag::Applied, &frame).map_err(DiskError::record("the mark of what is applied"))?,
    };
    let (floors, gaps) = (Floors::read(db.mark(FLOORS)?)?, Gaps::read(db.mark(GAPS)?)?);
    let mut index = Index::new(applied.revision);
    for item in db.heads() {
        let (bytes, frame) = item?;
        let key = Key::from_bytes(&bytes).ok_or_else(|| DiskError::Missing(format!("the key in {bytes:?}")))?;
        let HeadRecord { revision, head } =
            codec::decode(Tag::Head, &frame).map_err(DiskError::record(format!("the head of {key:?}")))?;
        assert!(revision <= applied.revision, "an object is not newer than the state");
        index.put(Slot { key, revision, head: Arc::new(head) });
    }
    Ok((Live { db: Arc::new(db), index, floors, gaps, written: applied.history_bytes }, applied))
}

fn current_dir(dir: &Path) -> Result<String, DiskError> {
    match std::fs::read_to_string(dir.join(CURRENT)) {
        Ok(name) if dir.join(name.trim_end()).join(CURRENT).exists() => Ok(name.trim_end().to_owned()),
        Ok(name) => {
            let message = format!("it names the state {:?}, which is not there", name.trim_end());
            Err(DiskError::Damaged { path: dir.join(CURRENT), message })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let name = next_dir("");
            let path = dir.join(&name);
            if let Some(other) = states(dir)?.into_iter().find(|other| *other != name) {
                let message = format!("it is gone, and there is a state {other:?}");
                return Err(DiskError::Damaged { path: dir.join(CURRENT), message });
            }
            // Named once it is there: a name without a state is damage.
            StateDb::open(&path)?;
            set_current(dir, &name)?;
            Ok(name)
        }
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(DiskError::Damaged { path: dir.join(CURRENT), message: error.to_string() })
        }
        Err(error) => Err(DiskError::io("read which state is current")(error)),
    }
}

/// The pointer changes by a rename, so a crash leaves the old state or the new one, whole.
fn set_current(dir: &Path, name: &str) -> Result<(), DiskError> {
    let step = "write which state is current";
    let draft = dir.join("CURRENT.new");
    std::fs::write(&draft, format!("{name}\n")).map_err(DiskError::io(step))?;
    std::fs::File::open(&draft).and_then(|file| file.sync_all()).map_err(DiskError::io(step))?;
    std::fs::rename(&draft, dir.join(CURRENT)).map_err(DiskError::io(step))?;
    sync_dir(dir)
}

fn next_dir(name: &str) -> String {
    let number = name.strip_prefix("state-").and_then(|digits| digits.parse::<u64>().ok()).unwrap_or(0);
    format!("state-{:06}", number + 1)
}

fn remove_others(dir: &Path, current: &str) -> Result<(), DiskError> {
    let others = states(dir)?.into_iter().filter(|name| name != current);
    others.into_iter().try_for_each(|name| {
        std::fs::remove_dir_all(dir.join(name)).map_err(DiskError::io("remove a state that was replaced"))
    })
}

/// The states below a store's directory, by name.
fn states(dir: &Path) -> Result<Vec<String>, DiskError> {
    let step = "look for states";
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(DiskError::io(step))? {
        let name = entry.map_err(DiskError::io(step))?.file_name();
        names.extend(name.to_str().filter(|name| name.starts_with("state-")).map(str::to_owned));
    }
    Ok(names)
}

fn remove_dir(path: &Path) -> Result<(), DiskError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(DiskError::io("remove what was left of a snapshot")(error))
        }
        _ => Ok(()),
    }
}
