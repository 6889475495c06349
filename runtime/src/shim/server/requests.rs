//! What clients ask of the shim: each request becomes an answer, or an operation that answers later.

use std::{fs, io, os::fd::OwnedFd};

use chrono::Utc;
use nix::sys::signal::Signal;

use super::{Server, kill_process};
use crate::{
    error::{Failure, FailureKind},
    shim::{
        client::ClientId,
        container::{Container, Phase, Purpose},
        helper,
        output::Stdio,
        protocol::{CreateRequest, ExecRequest, HelperRequest, Reply, Request},
    },
    sys,
};

/// An immediate reply, or none yet.
type Answer = Result<Option<Reply>, Failure>;

impl Server {
    pub(super) fn handle_request(&mut self, id: ClientId, request: Request, fds: Vec<OwnedFd>) {
        let answer = match request {
            Request::Watch => {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.watching = true;
                }
                Ok(Some(Reply::Snapshot(self.snapshot())))
            }
            Request::Create(request) => self.create(id, request),
            Request::Start { container } => self.start(id, &container),
            Request::Kill { container, signal } => self.kill(&container, signal),
            Request::Remove { container } => self.remove(id, &container),
            Request::Exec(request) => self.exec(id, request, fds),
            Request::Attach { container } => self.attach(id, &container, fds),
            Request::Resize { container, rows, columns } => self.resize(&container, rows, columns),
            Request::Shutdown => {
                self.begin_shutdown(id);
                Ok(None)
            }
        };
        match answer {
            Ok(Some(reply)) => self.reply(id, reply, Vec::new()),
            Ok(None) => {}
            Err(failure) => self.reply(id, Reply::Failed(failure), Vec::new()),
        }
    }

    fn create(&mut self, client: ClientId, request: CreateRequest) -> Answer {
        let name = request.container.clone();
        if self.containers.contains_key(&name) || self.shutdown.is_some() {
            return Err(Failure::new(FailureKind::WrongState, format!("container {name:?} exists already")));
        }
        let (stdio, theirs) =
            Stdio::open(&request).map_err(|error| other("cannot prepare the container's stdio", error))?;
        let id = self.new_id();
        let console = request.tty.then(|| self.console_path(id));
        let helper_request = HelperRequest::Create {
            container: name.clone(),
            bundle: request.bundle.clone(),
            state_dir: self.config.state_dir.clone(),
            console: console.clone(),
        };
        let purpose = Purpose::Create { container: name.clone(), client };
        self.start_helper(id, purpose, &helper_request, &theirs, console.into_iter().collect())?;
        let container =
            Container { request, phase: Phase::Creating, stdio, start_failed: false, remove_waiters: Vec::new() };
        self.containers.insert(name, container);
        Ok(None)
    }

    fn start(&mut self, client: ClientId, name: &str) -> Answer {
        let container = self.containers.get_mut(name).ok_or_else(|| not_found(name))?;
        let Phase::Created { init } = container.phase else {
            let reason = format!("container {name:?} has been started already");
            return Err(Failure::new(FailureKind::WrongState, reason));
        };
        helper::start(&self.config.state_dir, name)?;
        container.phase = Phase::Starting { init, waiter: client, started_ms: Utc::now().timestamp_millis() };
        Ok(None)
    }

    fn kill(&mut self, name: &str, signal: i32) -> Answer {
        let signal = Signal::try_from(signal)
            .map_err(|_| Failure::new(FailureKind::InvalidSpec, format!("there is no signal {signal}")))?;
        let container = self.containers.get(name).ok_or_else(|| not_found(name))?;
        if let Some(init) = container.init() {
            kill_process(init, signal);
        }
        Ok(Some(Reply::Done(self.snapshot())))
    }

    fn remove(&mut self, client: ClientId, name: &str) -> Answer {
        let Some(container) = self.containers.get_mut(name) else { return Ok(Some(Reply::Done(self.snapshot()))) };
        match container.phase {
            Phase::Exited(_) => {
                self.containers.remove(name);
                self.changed();
                return Ok(Some(Reply::Done(self.snapshot())));
            }
            Phase::Creating => {}
            Phase::Created { init } | Phase::Starting { init, .. } | Phase::Running { init, .. } => {
                kill_process(init, Signal::SIGKILL);
            }
        }
        container.remove_waiters.push(client);
        Ok(None)
    }

    fn exec(&mut self, client: ClientId, request: ExecRequest, fds: Vec<OwnedFd>) -> Answer {
        let name = request.container;
        let container = self.containers.get(&name).ok_or_else(|| not_found(&name))?;
        if !matches!(container.phase, Phase::Running { .. }) {
            return Err(Failure::new(FailureKind::WrongState, format!("container {name:?} is not running")));
        }
        if fds.len() != if request.tty { 0 } else { 3 } {
            return Err(Failure::new(FailureKind::InvalidSpec, "a command takes three descriptors or a terminal"));
        }
        let id = self.new_id();
        let process_file = self.config.state_dir.join(&name).join(format!("exec-{id}.json"));
        let written = serde_json::to_vec(&request.process).map_err(io::Error::from);
        written
            .and_then(|bytes| fs::write(&process_file, bytes))
            .map_err(|error| other("cannot write the command's process", error))?;
        let console = request.tty.then(|| self.console_path(id));
        let helper_request = HelperRequest::Exec {
            container: name.clone(),
            state_dir: self.config.state_dir.clone(),
            process_file: process_file.clone(),
            console: console.clone(),
        };
        let files = console.into_iter().chain([process_file]).collect();
        self.start_helper(id, Purpose::Exec { client }, &helper_request, &fds, files)?;
        Ok(None)
    }

    fn attach(&mut self, client: ClientId, name: &str, fds: Vec<OwnedFd>) -> Answer {
        let container = self.containers.get_mut(name).ok_or_else(|| not_found(name))?;
        if matches!(container.phase, Phase::Exited(_)) {
            return Err(Failure::new(FailureKind::WrongState, format!("container {name:?} is not running")));
        }
        container.stdio.attach(client, fds).map_err(|error| other("cannot attach", error))?;
        Ok(Some(Reply::Attached))
    }

    fn resize(&mut self, name: &str, rows: u16, columns: u16) -> Answer {
        let container = self.containers.get(name).ok_or_else(|| not_found(name))?;
        if let (true, Some(terminal)) = (container.request.tty, container.stdio.terminal()) {
            sys::set_window_size(terminal, rows, columns)
                .map_err(|error| other("cannot resize the terminal", error.into()))?;
        }
        Ok(Some(Reply::Done(self.snapshot())))
    }

    fn begin_shutdown(&mut self, client: ClientId) {
        self.shutdown = Some(client);
        for pid in self.containers.values().filter_map(Container::init) {
            kill_process(pid, Signal::SIGKILL);
        }
        for session in &self.sessions {
            kill_process(session.pid, Signal::SIGKILL);
        }
        if let Some(init) = self.pid_namespace_init {
            kill_process(init, Signal::SIGKILL);
        }
    }
}

fn not_found(name: &str) -> Failure {
    Failure::new(FailureKind::NotFound, format!("no container {name:?}"))
}

pub(super) fn other(what: &str, error: io::Error) -> Failure {
    Failure::new(FailureKind::Other, format!("{what}: {error}"))
}
