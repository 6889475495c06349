//! The shim's one loop: waits on everything at once and hands each event to what it belongs to.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::PathBuf,
    time::Instant,
};

use chrono::Utc;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::Pid,
};

use super::{
    client::{Client, ClientId, Input},
    container::{Container, ExecSession, Exited, Helper, Phase, Purpose},
    helper,
    log::Stream,
    output::Stdio,
    process::{Exit, reap, spawn_helper},
    protocol::{CreateRequest, ExecRequest, HelperRequest, Reply, Report, Request, ShimConfig, Snapshot},
};
use crate::{
    cgroup::Cgroups,
    error::{Failure, FailureKind},
    limits::{CLIENTS_MAX, HELPER_TIME_MAX, REPORT_BYTES_MAX, TRACES_MAX},
    sys,
};

/// What a container's exit code is when its command could not be executed at all.
const START_FAILED_EXIT_CODE: i32 = 128;

pub struct Server {
    config: ShimConfig,
    cgroups: Cgroups,
    signals: SignalFd,
    listener: UnixListener,
    pid_namespace_init: Option<Pid>,
    clients: BTreeMap<ClientId, Client>,
    containers: BTreeMap<String, Container>,
    helpers: BTreeMap<u64, Helper>,
    sessions: Vec<ExecSession>,
    /// Children that died before a helper could say what they are.
    early_exits: HashMap<Pid, Exit>,
    next_id: u64,
    sequence: u64,
    /// Who asked for the end.
    shutdown: Option<ClientId>,
}

/// What a descriptor belongs to.
#[derive(Clone, Debug)]
enum Token {
    Signals,
    Listener,
    Client(ClientId),
    Helper(u64),
    Output(String, Stream),
    Stdin(String),
    AttachedStdin(String, ClientId),
    Sinks(String, ClientId),
}

impl Server {
    pub fn new(
        config: ShimConfig,
        cgroups: Cgroups,
        signals: SigSet,
        listener: UnixListener,
        pid_namespace_init: Option<Pid>,
    ) -> io::Result<Server> {
        let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Server {
            config,
            cgroups,
            signals,
            listener,
            pid_namespace_init,
            clients: BTreeMap::new(),
            containers: BTreeMap::new(),
            helpers: BTreeMap::new(),
            sessions: Vec::new(),
            early_exits: HashMap::new(),
            next_id: 1,
            sequence: 0,
            shutdown: None,
        })
    }

    pub fn run(mut self) -> io::Result<()> {
        loop {
            for token in self.wait()? {
                self.handle(token);
            }
            self.give_up_late_helpers();
            self.flush_clients();
            if let Some(client) = self.shutdown
                && self.is_empty()
            {
                return self.leave(client);
            }
        }
    }

    /// Blocks until something can be done; returns what.
    fn wait(&self) -> io::Result<Vec<Token>> {
        let mut watched: Vec<(Token, BorrowedFd<'_>, PollFlags)> = vec![
            (Token::Signals, self.signals.as_fd(), PollFlags::POLLIN),
            (Token::Listener, self.listener.as_fd(), PollFlags::POLLIN),
        ];
        for (&id, client) in &self.clients {
            let mut events = PollFlags::POLLIN;
            events.set(PollFlags::POLLOUT, client.wants_to_write());
            watched.push((Token::Client(id), client.socket.as_fd(), events));
        }
        for (&id, helper) in &self.helpers {
            watched.push((Token::Helper(id), helper.socket.as_fd(), PollFlags::POLLIN));
        }
        for (name, container) in &self.containers {
            watch_stdio(name, &container.stdio, &mut watched);
        }
        let mut fds: Vec<PollFd<'_>> = watched.iter().map(|&(_, fd, events)| PollFd::new(fd, events)).collect();
        let now = Instant::now();
        let timeout = match self.helpers.values().filter(|helper| !helper.made).map(|helper| helper.deadline).min() {
            Some(deadline) => {
                let wait_ms = deadline.saturating_duration_since(now).as_millis() as u64 + 1;
                PollTimeout::try_from(wait_ms).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        Ok(watched.into_iter().zip(ready).filter(|(_, ready)| *ready).map(|((token, _, _), _)| token).collect())
    }

    fn handle(&mut self, token: Token) {
        match token {
            Token::Signals => self.handle_signals(),
            Token::Listener => self.accept(),
            Token::Client(id) => self.handle_client(id),
            Token::Helper(id) => self.handle_helper(id),
            Token::Output(name, stream) => self.with_stdio(&name, |stdio| stdio.pump(stream)),
            Token::Stdin(name) => self.with_stdio(&name, Stdio::write_stdin),
            Token::AttachedStdin(name, client) => self.with_stdio(&name, |stdio| stdio.pump_stdin(client)),
            Token::Sinks(name, client) => self.with_stdio(&name, |stdio| stdio.write_sinks(client)),
        }
    }

    fn with_stdio(&mut self, name: &str, act: impl FnOnce(&mut Stdio)) {
        if let Some(container) = self.containers.get_mut(name) {
            act(&mut container.stdio);
        }
    }

    fn accept(&mut self) {
        while let Ok(socket) = sys::accept(&self.listener) {
            if self.clients.len() < CLIENTS_MAX {
                let id = self.new_id();
                self.clients.insert(id, Client::new(socket));
            }
        }
    }

    fn handle_client(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        match client.read() {
            Input::Gone => self.forget_client(id),
            Input::Requests(requests) => {
                for (request, fds) in requests {
                    self.handle_request(id, request, fds);
                }
            }
        }
    }

    fn handle_request(&mut self, id: ClientId, request: Request, fds: Vec<OwnedFd>) {
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

    fn forget_client(&mut self, id: ClientId) {
        self.clients.remove(&id);
        for container in self.containers.values_mut() {
            container.stdio.detach(id);
        }
        for session in self.sessions.iter().filter(|session| session.client == id) {
            kill_process(session.pid, Signal::SIGKILL);
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

    fn start_helper(
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
    fn handle_helper(&mut self, id: u64) {
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

    fn give_up_late_helpers(&mut self) {
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

    fn handle_signals(&mut self) {
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

    fn is_empty(&self) -> bool {
        self.helpers.is_empty()
            && self.sessions.is_empty()
            && self.containers.values().all(|container| matches!(container.phase, Phase::Exited(_)))
    }

    fn leave(mut self, client: ClientId) -> io::Result<()> {
        self.containers.clear();
        self.changed();
        self.reply(client, Reply::Done(self.snapshot()), Vec::new());
        self.flush_clients();
        fs::remove_file(&self.config.socket)
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            sequence: self.sequence,
            containers: self.containers.values().filter_map(Container::status).collect(),
        }
    }

    /// Tells the watchers, and leaves the state on disk for an agent that may find this shim dead.
    fn changed(&mut self) {
        self.sequence += 1;
        let snapshot = self.snapshot();
        if let Err(error) = write_atomically(&self.config.status_file, &snapshot) {
            eprintln!("shim: cannot write {}: {error}", self.config.status_file.display());
        }
        for client in self.clients.values_mut().filter(|client| client.watching) {
            match client.wants_to_write() {
                true => client.behind = true,
                false => client.send(&Reply::Snapshot(snapshot.clone()), Vec::new()),
            }
        }
    }

    fn reply(&mut self, client: ClientId, reply: Reply, fds: Vec<OwnedFd>) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.send(&reply, fds);
        }
    }

    fn flush_clients(&mut self) {
        let snapshot = self.snapshot();
        let mut gone = Vec::new();
        for (&id, client) in &mut self.clients {
            let mut alive = client.write();
            if alive && client.behind && !client.wants_to_write() {
                client.behind = false;
                client.send(&Reply::Snapshot(snapshot.clone()), Vec::new());
                alive = client.write();
            }
            if !alive {
                gone.push(id);
            }
        }
        for id in gone {
            self.forget_client(id);
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Beside the shim's own socket, because paths of sockets must be short.
    fn console_path(&self, id: u64) -> PathBuf {
        let mut path = self.config.socket.clone().into_os_string();
        path.push(format!(".{id}"));
        PathBuf::from(path)
    }
}

/// An immediate reply, or none yet.
type Answer = Result<Option<Reply>, Failure>;

fn watch_stdio<'a>(name: &str, stdio: &'a Stdio, watched: &mut Vec<(Token, BorrowedFd<'a>, PollFlags)>) {
    for (source, stream) in [(&stdio.stdout, Stream::Stdout), (&stdio.stderr, Stream::Stderr)] {
        if let Some(source) = source {
            watched.push((Token::Output(name.to_owned(), stream), source.fd.as_fd(), PollFlags::POLLIN));
        }
    }
    if let (Some(stdin), true) = (&stdio.stdin, stdio.stdin_wants_to_write()) {
        watched.push((Token::Stdin(name.to_owned()), stdin.as_fd(), PollFlags::POLLOUT));
    }
    for attachment in &stdio.attached {
        if let (Some(stdin), true) = (&attachment.stdin, stdio.takes_stdin()) {
            let token = Token::AttachedStdin(name.to_owned(), attachment.client);
            watched.push((token, stdin.as_fd(), PollFlags::POLLIN));
        }
        for sink in [&attachment.stdout, &attachment.stderr] {
            if sink.wants_to_write() {
                let token = Token::Sinks(name.to_owned(), attachment.client);
                watched.push((token, sink.fd.as_fd(), PollFlags::POLLOUT));
            }
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

fn kill_process(pid: Pid, signal: Signal) {
    // A child that is dead already, but not reaped, takes the signal and ignores it: its pid is nobody else's yet.
    if let Err(error) = kill(pid, signal)
        && error != Errno::ESRCH
    {
        eprintln!("shim: cannot send {signal} to {pid}: {error}");
    }
}

fn write_atomically(path: &std::path::Path, snapshot: &Snapshot) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, serde_json::to_vec(snapshot)?)?;
    fs::rename(&new, path)
}

fn not_found(name: &str) -> Failure {
    Failure::new(FailureKind::NotFound, format!("no container {name:?}"))
}

fn other(what: &str, error: io::Error) -> Failure {
    Failure::new(FailureKind::Other, format!("{what}: {error}"))
}
