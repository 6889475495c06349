//! What the machine is shown of one pod: the runtime's list, and what only this process remembers.
//! After a restart of the agent the second part is empty, and the machine must still decide rightly.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use k8s_openapi::api::core::v1::{Container, LinuxContainerUser, PodStatus, ResourceRequirements};

use super::{backoff::Backoff, stop::Stop};
use crate::clock::Millis;

#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The node cannot run this pod: it fails without being tried.
    pub rejection: Option<Rejection>,
    /// The pod is no longer in the API: end it and leave nothing behind.
    pub gone: bool,
    /// The status as the API server last acknowledged it.
    pub acknowledged: PodStatus,
    pub sandbox: Sandbox,
    /// By container name, in ascending order of number; the current sandbox's only.
    pub attempts: BTreeMap<String, Vec<Attempt>>,
    /// The last attempt in an earlier sandbox, or as the API remembers it.
    pub history: BTreeMap<String, Attempt>,
    /// Why the pod does not have what it asks for.
    pub resize: Option<Pending>,
    pub volumes: Step,
    pub sandbox_step: Step,
    pub memory: BTreeMap<String, Memory>,
    pub busy: BTreeSet<Job>,
    /// Something of the pod (mounts, folders) may still be on this machine.
    pub leftovers: bool,
    /// Its log files may still be there.
    pub logs_left: bool,
    /// When this node first saw that the pod has to end.
    pub stopping_since_ms: Option<Millis>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub reason: String,
    pub message: String,
    /// What its containers get to end in, where that is not the pod's own word.
    pub grace_ms: Option<Millis>,
}

impl Rejection {
    pub fn new(reason: &str, message: impl Into<String>) -> Rejection {
        Rejection { reason: reason.to_owned(), message: message.into(), grace_ms: None }
    }
}

/// A resize that waits: for room, or for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub reason: PendingReason,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingReason {
    Deferred,
    Infeasible,
}

impl PendingReason {
    pub fn name(self) -> &'static str {
        match self {
            PendingReason::Deferred => "Deferred",
            PendingReason::Infeasible => "Infeasible",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sandbox {
    #[default]
    Absent,
    Ready {
        /// `None` on the host's network.
        address: Option<IpAddr>,
        created_ms: Millis,
    },
    /// Its shim is gone: whatever ran in it is dead.
    Lost,
}

/// One run of one container.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// 0 for the first; the restart count of the container while this is its last attempt.
    pub number: u32,
    pub state: AttemptState,
    /// Digest of the image it runs.
    pub image: String,
    /// The image as the pod asked for it when this attempt began, where that is known.
    pub image_asked: Option<String>,
    /// What it may use, as the pod asked for it, where that is known.
    pub resources: Option<ResourceRequirements>,
    /// Whose its first process is at its start, where that is known.
    pub user: Option<LinuxContainerUser>,
    /// How often all containers of the pod had been restarted when this attempt began.
    pub round: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AttemptState {
    Created,
    Running { started_ms: Millis },
    Exited(Exit),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exit {
    pub exit_code: i32,
    pub signal: Option<i32>,
    pub started_ms: Millis,
    pub finished_ms: Millis,
    pub reason: String,
    pub message: Option<String>,
}

/// Progress of a step that is tried until it works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Step {
    #[default]
    Todo,
    Done,
    Failed {
        reason: String,
        message: String,
        retry_at_ms: Millis,
    },
}

/// What this process remembers of one container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    pub backoff: Option<Backoff>,
    pub waiting: Option<Waiting>,
    /// The last attempt whose crash back-off was announced by an event.
    pub backoff_announced: Option<u32>,
    pub health: Health,
    /// The current attempt has to be stopped, and why.
    pub stop: Option<(u32, Stop)>,
    /// What the container may use could not be changed.
    pub resize_failed: Option<ResizeFailed>,
    /// The attempt whose post-start hook has ended well, or that has none.
    pub post_started: Option<u32>,
}

/// Why a container is not being started, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The image that was to be run then; with another one nothing is waited for.
    pub image: Option<String>,
    /// The image that could not be fetched, if that is why: the container's own, or one that it mounts.
    pub pulling: Option<String>,
    pub reason: String,
    pub message: String,
    pub since_ms: Millis,
    pub retry_at_ms: Millis,
    /// The back-off that follows the error was told by an event.
    pub announced: bool,
}

/// Why what a container may use could not be changed, and when that is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResizeFailed {
    pub message: String,
    pub retry_at_ms: Millis,
}

/// What the probes found of one attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub attempt: u32,
    /// `None` until the startup probe has succeeded once.
    pub started: bool,
    pub ready: bool,
}

/// Work in flight: the same is not begun twice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    Volumes,
    Sandbox,
    Start(String),
    Kill(String),
    Resize(String),
    Remove(String),
    Clean,
    Delete,
}

impl Observed {
    /// The last attempt of a container in the current sandbox.
    pub fn last(&self, container: &str) -> Option<&Attempt> {
        self.attempts.get(container).and_then(|attempts| attempts.last())
    }

    /// The last attempt of a container, wherever it ran.
    pub fn last_ever(&self, container: &str) -> Option<&Attempt> {
        self.last(container).or_else(|| self.history.get(container))
    }

    /// The attempt before the last one, as `lastState` shows it.
    pub fn before_last(&self, container: &str) -> Option<&Attempt> {
        let attempts = self.attempts.get(container).map(Vec::as_slice).unwrap_or_default();
        match attempts {
            [] => None,
            [_] => self.history.get(container),
            [.., before, _] => Some(before),
        }
    }

    pub fn memory(&self, container: &str) -> Memory {
        self.memory.get(container).cloned().unwrap_or_default()
    }

    pub fn is_busy(&self, job: &Job) -> bool {
        self.busy.contains(job)
    }
}

impl Attempt {
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, AttemptState::Exited(_))
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state, AttemptState::Running { .. })
    }

    /// Whether it was made for another image than the container is to run now, as far as that is known.
    pub fn is_of_another_image(&self, container: &Container) -> bool {
        self.image_asked.as_ref().is_some_and(|asked| Some(asked) != container.image.as_ref())
    }

    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            AttemptState::Exited(exit) => Some(exit),
            AttemptState::Created | AttemptState::Running { .. } => None,
        }
    }
}

impl Memory {
    /// The probes' verdict on `attempt`; nothing is known of any other one.
    pub fn health_of(&self, attempt: u32) -> Health {
        if self.health.attempt == attempt { self.health } else { Health { attempt, ..Health::default() } }
    }
}

impl Waiting {
    /// The image could not be fetched: shown as a back-off after a while.
    pub fn is_pull_error(&self) -> bool {
        self.pulling.is_some()
    }

    /// The container was made but its process did not start: that counts as a run that ended at once.
    pub fn is_start_error(&self) -> bool {
        self.reason == "RunContainerError"
    }
}
