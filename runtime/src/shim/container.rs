//! One container as its shim sees it: a state machine from creation to exit. Decides nothing about other containers.

use std::os::fd::OwnedFd;

use nix::unistd::Pid;

use super::{client::ClientId, output::Stdio, process::Exit, protocol::CreateRequest};
use crate::spec::{ContainerState, ContainerStatus};

#[derive(Debug)]
pub struct Container {
    pub request: CreateRequest,
    pub phase: Phase,
    pub stdio: Stdio,
    /// Its init could not become its command.
    pub start_failed: bool,
    pub remove_waiters: Vec<ClientId>,
}

#[derive(Debug)]
pub enum Phase {
    /// A helper is at work.
    Creating,
    /// Its init waits for the word to become the command.
    Created {
        init: Pid,
    },
    /// The word is given; the command has not been executed yet.
    Starting {
        init: Pid,
        waiter: ClientId,
        started_ms: i64,
    },
    Running {
        init: Pid,
        started_ms: i64,
    },
    Exited(Exited),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exited {
    pub exit: Exit,
    pub oom_killed: bool,
    pub started_ms: i64,
    pub finished_ms: i64,
}

impl Container {
    pub fn init(&self) -> Option<Pid> {
        match self.phase {
            Phase::Creating | Phase::Exited(_) => None,
            Phase::Created { init } | Phase::Starting { init, .. } | Phase::Running { init, .. } => Some(init),
        }
    }

    pub fn started_ms(&self) -> i64 {
        match self.phase {
            Phase::Creating | Phase::Created { .. } => 0,
            Phase::Starting { started_ms, .. } | Phase::Running { started_ms, .. } => started_ms,
            Phase::Exited(exited) => exited.started_ms,
        }
    }

    /// What the agent is told; a container that is still being created is not there yet.
    pub fn status(&self) -> Option<ContainerStatus> {
        let state = match self.phase {
            Phase::Creating => return None,
            Phase::Created { .. } | Phase::Starting { .. } => ContainerState::Created,
            Phase::Running { init, started_ms } => ContainerState::Running { pid: init.as_raw(), started_ms },
            Phase::Exited(Exited { exit, oom_killed, started_ms, finished_ms }) => ContainerState::Exited {
                exit_code: exit.exit_code,
                signal: exit.signal,
                oom_killed,
                started_ms,
                finished_ms,
            },
        };
        Some(ContainerStatus {
            id: self.request.container.clone(),
            image: self.request.image.clone(),
            state,
            log_path: self.request.log_path.clone(),
            user: self.request.user.clone(),
        })
    }
}

/// A command running in a container for a client, which gets its exit code and whose leaving kills it.
#[derive(Debug)]
pub struct ExecSession {
    pub client: ClientId,
    pub pid: Pid,
}

/// A helper process at work, or a container's init that has not become its command.
#[derive(Debug)]
pub struct Helper {
    pub pid: Pid,
    pub socket: OwnedFd,
    pub purpose: Purpose,
    pub traces: Vec<String>,
    pub failure: Option<crate::error::Failure>,
    /// It has reported what it made; from here on there is no time limit.
    pub made: bool,
    pub deadline: std::time::Instant,
    pub files: Vec<std::path::PathBuf>,
}

#[derive(Clone, Debug)]
pub enum Purpose {
    Create { container: String, client: ClientId },
    Exec { client: ClientId },
}
