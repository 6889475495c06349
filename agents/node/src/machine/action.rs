//! What the machine asks its executors to do.

use super::{backoff::Backoff, observed::Job, stop::Stop};
use crate::clock::Millis;

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    PrepareVolumes,
    CreateSandbox,
    /// Pull, create, start and post-start hook of one attempt.
    Start {
        container: String,
        attempt: u32,
        /// The back-off as it is once this start has begun.
        backoff: Option<Backoff>,
        /// How often all containers of the pod have been restarted.
        round: u32,
    },
    /// Pre-stop hook, stop signal, and SIGKILL at the deadline. Repeated with an earlier deadline it hastens.
    Kill {
        container: String,
        attempt: u32,
        why: Stop,
        kill_at_ms: Millis,
        /// Others are to end before it: with its hook over, it waits until this is asked again without, or its time is up.
        after_others: bool,
    },
    /// Let a running attempt use what the pod now says.
    Resize {
        container: String,
        attempt: u32,
    },
    /// Forget an attempt that nobody can ask for any more.
    Remove {
        container: String,
        attempt: u32,
    },
    RemoveSandbox,
    /// Sandbox, mounts and folders; the logs too when the pod is gone from the API.
    Clean {
        logs: bool,
    },
    /// The pod has ended here: the API object may go.
    DeleteObject,
    /// Tell by an event that a container waits for its back-off.
    AnnounceCrashBackoff {
        container: String,
        attempt: u32,
    },
    AnnouncePullBackoff {
        container: String,
    },
}

impl Action {
    /// The job that is in flight while the action is executed; `None` for what is done at once.
    pub fn job(&self) -> Option<Job> {
        match self {
            Action::PrepareVolumes => Some(Job::Volumes),
            Action::CreateSandbox | Action::RemoveSandbox => Some(Job::Sandbox),
            Action::Start { container, .. } => Some(Job::Start(container.clone())),
            Action::Kill { container, .. } => Some(Job::Kill(container.clone())),
            Action::Resize { container, .. } => Some(Job::Resize(container.clone())),
            Action::Remove { container, attempt } => Some(Job::Remove(format!("{container}-{attempt}"))),
            Action::Clean { .. } => Some(Job::Clean),
            Action::DeleteObject => Some(Job::Delete),
            Action::AnnounceCrashBackoff { .. } | Action::AnnouncePullBackoff { .. } => None,
        }
    }
}
