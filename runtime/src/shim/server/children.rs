//! The shim's children: helpers and what they report, containers and commands and how they end.

use std::{fs, io, os::fd::OwnedFd, path::PathBuf, time::Instant};

use chrono::Utc;
use nix::{errno::Errno, sys::signal::Signal, unistd::Pid};

use super::{Server, kill_process, requests::other};
use crate::{
    error::{Failure, FailureKind},
    limits::{HELPER_TIME_MAX, REPORT_BYTES_MAX, TRACES_MAX},
    shim::{
        container::{ExecSession, Exited, Helper, Phase, Purpose},
        process::{Exit, reap, spawn_helper},
        protocol::{HelperRequest, Reply, Report},
    },
    sys,
};

/// What a container's exit code is when its command could not be executed at all.
const START_FAILED_EXIT_CODE: i32 = 128;

impl Server {
    pub(super) fn start_helper(
        &mut self,
        id: u64,
        purpose: Purpose,
        request: &HelperRequest,
        stdio: &[OwnedFd],
        files: Vec<PathBuf>,
    ) -> Result<(), Failure> {
        let (pid, socket) =
            spawn_helper(request, stdio).map_err(|error| other("cannot start a helper process", error))?;
        let deadline = Instant::now() + HELPER_TIME_MAX;
        let helper = Helper { pid, socket, purpose, traces: Vec::new(), failure: None, made: false, deadline, files };
        self.helpers.insert(id, helper);
        Ok(())
    }

    /// Takes a helper's reports, up to its end.
    pub(super) fn handle_helper(&mut self, id: u64) {
        let mut buffer = [0; REPORT_BYTES_MAX];
        loop {
            let Some(helper) = self.helpers.get_mut(&id) else { return };
            let (length, fds) = match sys::receive_with_fds(&helper.socket, &mut buffer) {
                Ok((0, _)) => return self.helper_gone(id),
                Ok(received) => received,
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => continue,
                Err(_) => return self.helper_gone(id),
            };
            match serde_json::from_slice(&buffer[..length]) {
                Ok(Report::Trace(text)) if helper.traces.len() < TRACES_MAX => helper.traces.push(text),
                Ok(Report::Failed(failure)) => {
                    helper.failure.get_or_insert(failure);
                }
                Ok(Report::Made { pid }) => {
                    helper.made = true;
                    let purpose = helper.purpose.clone();
                    self.made(purpose, Pid::from_raw(pid), fds.into_iter().next());
                }
                Ok(Report::Trace(_)) | Err(_) => {}
            }
        }
    }

    fn made(&mut self, purpose: Purpose, pid: Pid, terminal: Option<OwnedFd>) {
        match purpose {
            Purpose::Create { container: name, client } => {
                let Some(container) = self.containers.get_mut(&name) else { return };
                if let Some(terminal) = terminal
                    && let Err(error) = container.stdio.use_terminal(terminal, container.request.stdin)
                {
                    eprintln!("shim: container {name:?}: cannot use its terminal: {error}");
                }
                container.phase = Phase::Created { init: pid };
                if !container.remove_waiters.is_empty() || self.shutdown.is_some() {
                    kill_process(pid, Signal::SIGKILL);
                }
                self.changed();
                self.reply(client, Reply::Done(self.snapshot()), Vec::new());
            }
            Purpose::Exec { client } => {
                self.sessions.push(ExecSession { client, pid });
                self.reply(client, Reply::ExecStarted { pid: pid.as_raw() }, terminal.into_iter().collect());
                if !self.clients.contains_key(&client) {
                    kill_process(pid, Signal::SIGKILL);
                }
            }
        }
        if let Some(exit) = self.early_exits.remove(&pid) {
            self.child_exited(pid, exit);
        }
    }

    /// The socket has no other end any more: the helper has failed, or what it made has become its command.
    fn helper_gone(&mut self, id: u64) {
        let Some(helper) = self.helpers.remove(&id) else { return };
        for file in &helper.files {
            if let Err(error) = fs::remove_file(file)
                && error.kind() != io::ErrorKind::NotFound
            {
                eprintln!("shim: cannot remove {}: {error}", file.display());
            }
        }
        if self.helpers.is_empty() {
            self.early_exits.clear();
        }
        let failure = match (helper.made, helper.failure) {
            (false, failure) => Some(failure_of(failure, &helper.traces)),
            (true, failure) => failure,
        };
        match (helper.purpose, failure) {
            (Purpose::Create { container, client }, Some(failure)) if !helper.made => {
                let waiters = self.containers.remove(&container).map(|container| container.remove_waiters);
                self.reply(client, Reply::Failed(failure), Vec::new());
                for waiter in waiters.into_iter().flatten() {
                    self.reply(waiter, Reply::Done(self.snapshot()), Vec::new());
                }
            }
            (Purpose::Create { container, .. }, failure) => self.command_executed(&container, failure),
            (Purpose::Exec { client }, Some(failure)) if !helper.made => {
                self.reply(client, Reply::Failed(failure), Vec::new());
            }
            (Purpose::Exec { .. }, _) => {}
        }
    }

    /// The container's init has become its command, or could not.
    fn command_executed(&mut self, name: &str, failure: Option<Failure>) {
        let Some(container) = self.containers.get_mut(name) else { return };
        let Phase::Starting { init, waiter, started_ms } = container.phase else { return };
        container.phase = Phase::Running { init, started_ms };
        match failure {
            None => {
                self.changed();
                self.reply(waiter, Reply::Done(self.snapshot()), Vec::new());
            }
            Some(failure) => {
                container.start_failed = true;
                self.reply(waiter, Reply::Failed(failure), Vec::new());
            }
        }
    }

    pub(super) fn give_up_late_helpers(&mut self) {
        let now = Instant::now();
        let late: Vec<u64> = self
            .helpers
            .iter()
            .filter(|(_, helper)| !helper.made && helper.deadline <= now)
            .map(|(&id, _)| id)
            .collect();
        for id in late {
            let Some(helper) = self.helpers.get_mut(&id) else { continue };
            kill_process(helper.pid, Signal::SIGKILL);
            helper.failure.get_or_insert(Failure::new(
                FailureKind::Other,
                format!("gave up after {} seconds", HELPER_TIME_MAX.as_secs()),
            ));
            if let Purpose::Create { container, .. } = &helper.purpose
                && let Some(container) = self.containers.get(container)
                && let Err(error) = self.cgroups.kill(&container.request.cgroup)
            {
                eprintln!("shim: cannot kill {}: {error}", container.request.cgroup);
            }
            self.helper_gone(id);
        }
    }

    pub(super) fn handle_signals(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        while let Some((pid, exit)) = reap() {
            self.child_exited(pid, exit);
        }
    }

    fn child_exited(&mut self, pid: Pid, exit: Exit) {
        let container = self.containers.iter().find(|(_, container)| container.init() == Some(pid));
        if let Some(name) = container.map(|(name, _)| name.clone()) {
            return self.container_exited(&name, exit);
        }
        if let Some(index) = self.sessions.iter().position(|session| session.pid == pid) {
            let session = self.sessions.swap_remove(index);
            return self.reply(session.client, Reply::ExecExited { exit_code: exit.exit_code }, Vec::new());
        }
        if self.pid_namespace_init == Some(pid) && self.shutdown.is_none() {
            self.broken = Some("the first process of the shared PID namespace has died");
        }
        // A helper's last report can arrive after the death of what it made.
        if self.helpers.values().any(|helper| !helper.made) {
            self.early_exits.insert(pid, exit);
        }
    }

    fn container_exited(&mut self, name: &str, exit: Exit) {
        // Why it could not become its command is in the helper's socket, should that be the reason.
        let helper = self
            .helpers
            .iter()
            .find(|(_, helper)| matches!(&helper.purpose, Purpose::Create { container, .. } if container == name));
        if let Some(id) = helper.map(|(&id, _)| id) {
            self.handle_helper(id);
            self.helper_gone(id);
        }
        let Some(container) = self.containers.get_mut(name) else { return };
        if !container.request.own_pid_namespace
            && let Err(error) = self.cgroups.kill(&container.request.cgroup)
        {
            eprintln!("shim: container {name:?}: cannot kill what it has left: {error}");
        }
        container.stdio.drain();
        let oom_kills = self.cgroups.oom_kills(&container.request.cgroup).unwrap_or_else(|error| {
            eprintln!("shim: container {name:?}: cannot read its memory events: {error}");
            0
        });
        let finished_ms = Utc::now().timestamp_millis();
        let exit = match container.start_failed {
            true => Exit { exit_code: START_FAILED_EXIT_CODE, signal: None },
            false => exit,
        };
        container.phase = Phase::Exited(Exited {
            exit,
            oom_killed: oom_kills > 0 && exit.exit_code != 0,
            started_ms: container.started_ms(),
            finished_ms,
        });
        let waiters = std::mem::take(&mut container.remove_waiters);
        if !waiters.is_empty() {
            self.containers.remove(name);
        }
        self.changed();
        for waiter in waiters {
            self.reply(waiter, Reply::Done(self.snapshot()), Vec::new());
        }
    }
}

/// The reason of a failure: what the container's init said, and else the first error on the way.
fn failure_of(failure: Option<Failure>, traces: &[String]) -> Failure {
    match failure {
        Some(failure) if failure.kind != FailureKind::Other => failure,
        failure => {
            let said = failure.map_or_else(|| "the helper process died".to_owned(), |failure| failure.message);
            let kind = match traces.iter().any(|trace| trace.contains("failed to mount")) {
                true => FailureKind::BadMount,
                false => FailureKind::Other,
            };
            match traces.first() {
                Some(trace) => Failure::new(kind, format!("{said}: {trace}")),
                None => Failure::new(kind, said),
            }
        }
    }
}
