//! One sandbox as the agent knows it: its record, and the last that its shim has said. Does no IO.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::record::{Places, Record, ShimProcess};
use crate::{
    error::{Failure, FailureKind},
    limits::SESSIONS_MAX,
    shim::protocol::Snapshot,
    spec::{ContainerState, ContainerStatus, SandboxStatus},
};

#[derive(Debug)]
pub struct Sandbox {
    pub record: Record,
    pub shim: ShimProcess,
    pub places: Places,
    known: Mutex<Known>,
    sessions: Arc<Semaphore>,
}

#[derive(Debug)]
struct Known {
    snapshot: Snapshot,
    lost: bool,
}

impl Sandbox {
    pub fn new(record: Record, shim: ShimProcess, places: Places, snapshot: Snapshot) -> Sandbox {
        let known = Mutex::new(Known { snapshot, lost: false });
        Sandbox { record, shim, places, known, sessions: Arc::new(Semaphore::new(SESSIONS_MAX)) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the shim has said, unless something later is known; says whether that changed anything.
    pub fn learn(&self, snapshot: Snapshot) -> bool {
        let mut known = self.known();
        if known.lost || snapshot.sequence <= known.snapshot.sequence {
            return false;
        }
        known.snapshot = snapshot;
        true
    }

    /// The shim is gone and its containers with it; `now_ms` is when that was found out.
    pub fn lose(&self, now_ms: i64) {
        let mut known = self.known();
        known.lost = true;
        for container in &mut known.snapshot.containers {
            let started_ms = match container.state {
                ContainerState::Created => 0,
                ContainerState::Running { started_ms, .. } => started_ms,
                ContainerState::Exited { .. } => continue,
            };
            container.state = ContainerState::Exited {
                exit_code: 137,
                signal: Some(9),
                oom_killed: false,
                started_ms,
                finished_ms: now_ms,
            };
        }
    }

    /// A place for one more session of a client, for as long as it is held.
    pub fn session(&self) -> Result<OwnedSemaphorePermit, Failure> {
        self.sessions.clone().try_acquire_owned().map_err(|_| {
            Failure::new(FailureKind::Other, format!("{SESSIONS_MAX} commands and attachments are open already"))
        })
    }

    pub fn lost(&self) -> bool {
        self.known().lost
    }

    pub fn container(&self, id: &str) -> Option<ContainerStatus> {
        self.known().snapshot.containers.iter().find(|container| container.id == id).cloned()
    }

    pub fn forget_container(&self, id: &str) {
        self.known().snapshot.containers.retain(|container| container.id != id);
    }

    pub fn status(&self) -> SandboxStatus {
        let known = self.known();
        SandboxStatus {
            id: self.record.spec.id.clone(),
            labels: self.record.spec.labels.clone(),
            address: self.record.address(),
            shim_pid: self.shim.pid,
            created_ms: self.record.created_ms,
            lost: known.lost,
            containers: known.snapshot.containers.clone(),
        }
    }
}
