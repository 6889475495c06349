//! One simulated server: a machine, a directory on a real file system, and a disk that syncs when the simulation says so.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kontiki_model::Revision;
use kontiki_raft::simulation::runtime::AsyncRuntime;
use kontiki_raft::simulation::{Flush, Replica, ReplicaLimits, Surroundings};
use kontiki_raft::{DiskError, HistoryLimits, OpenError, Retain};
use tempfile::TempDir;

use super::limits::{HISTORY_BYTES, LOG_KEEP_ENTRIES, RING_EVENTS, SLOW_SYNC, SYNC};
use super::mutants::{Mutant, Tampering};
use super::network::SimulatedNetwork;
use super::runtime::{Machine, Machines, sleep};
use super::world::World;
use crate::crash;

pub struct Server {
    pub machine: Arc<Machine>,
    pub disk: Arc<Disk>,
    /// `None` until it has begun, and when it could not.
    pub replica: Option<Replica<Machines>>,
    pub dir: TempDir,
    /// How often it was started again.
    pub lives: u64,
    /// The revisions of the snapshots that it was sent.
    pub installed: BTreeSet<Revision>,
}

/// A disk whose syncs take time, and may fail.
pub struct Disk {
    world: World,
    waiting: Mutex<VecDeque<Flush>>,
    busy: AtomicBool,
    pub slow: AtomicBool,
    pub failing: AtomicBool,
}

impl Disk {
    pub fn new(world: World) -> Arc<Self> {
        let (slow, failing, busy) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Disk { world, waiting: Mutex::default(), busy, slow, failing })
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Flush>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(self: &Arc<Self>, flush: Flush) {
        if self.world.has(Mutant::AcknowledgedBeforeSync) {
            return flush.answer(Ok(()));
        }
        self.waiting().push_back(flush);
        if !self.busy.swap(true, Ordering::SeqCst) {
            Machines::spawn(self.clone().work());
        }
    }

    /// One sync for all that wait for it, until nobody does.
    async fn work(self: Arc<Self>) {
        loop {
            let slow = self.slow.load(Ordering::SeqCst);
            sleep(self.world.about(if slow { SLOW_SYNC } else { SYNC })).await;
            let batch = std::mem::take(&mut *self.waiting());
            let mut outcome = match batch.front() {
                None => {
                    self.busy.store(false, Ordering::SeqCst);
                    return;
                }
                Some(_) if self.failing.load(Ordering::SeqCst) => Err(DiskError::Missing("the simulated disk".into())),
                Some(flush) => flush.sync(),
            };
            for flush in batch {
                flush.answer(std::mem::replace(&mut outcome, Ok(())));
            }
        }
    }
}

/// Starts a server on what is in its directory.
pub async fn open(
    world: World,
    id: u64,
    dir: &Path,
    disk: Arc<Disk>,
    lives: u64,
) -> Result<Replica<Machines>, OpenError> {
    let retain = Retain { bytes: HISTORY_BYTES, age: Duration::from_secs(86_400 * 365) };
    let limits = ReplicaLimits {
        history: HistoryLimits { normal: retain, short: retain, sensitive: retain },
        ring_events: RING_EVENTS,
        log_keep_entries: LOG_KEEP_ENTRIES,
    };
    let around = Surroundings {
        wire: Arc::new(SimulatedNetwork(world.clone())),
        tamper: Arc::new(Tampering { mutant: world.mutant(), server: id, lives }),
        schedule: Box::new(move |flush| disk.submit(flush)),
    };
    Replica::open(id, dir, limits, around).await
}

/// A directory in memory, where there is one: it is the simulation that decides what is durable.
pub fn scratch() -> io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
}

impl Server {
    /// The power goes: what was not synced is lost, with everything in memory.
    pub fn crash(&mut self) -> io::Result<()> {
        self.machine.power_off();
        let image = crash::image_in(self.dir.path(), scratch()?)?;
        self.replica = None;
        self.dir = image;
        Ok(())
    }
}
