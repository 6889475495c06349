//! The shim's one loop: waits on everything at once and hands each event to what it belongs to.

mod children;
mod requests;

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
    time::Instant,
};

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
    container::{Container, ExecSession, Helper, Phase},
    log::Stream,
    output::Stdio,
    process::Exit,
    protocol::{Reply, ShimConfig, Snapshot},
};
use crate::{cgroup::Cgroups, limits::CLIENTS_MAX, sys};

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
    /// Nothing more can run here; the agent will find the shim gone.
    broken: Option<&'static str>,
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
            broken: None,
        })
    }

    pub fn run(mut self) -> io::Result<()> {
        loop {
            for token in self.wait()? {
                self.handle(token);
            }
            self.give_up_late_helpers();
            self.flush_clients();
            if let Some(reason) = self.broken {
                return Err(io::Error::other(reason));
            }
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

    fn forget_client(&mut self, id: ClientId) {
        self.clients.remove(&id);
        for container in self.containers.values_mut() {
            container.stdio.detach(id);
        }
        for session in self.sessions.iter().filter(|session| session.client == id) {
            kill_process(session.pid, Signal::SIGKILL);
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

fn kill_process(pid: Pid, signal: Signal) {
    // A child that is dead already, but not reaped, takes the signal and ignores it: its pid is nobody else's yet.
    if let Err(error) = kill(pid, signal)
        && error != Errno::ESRCH
    {
        eprintln!("shim: cannot send {signal} to {pid}: {error}");
    }
}

fn write_atomically(path: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, serde_json::to_vec(snapshot)?)?;
    fs::rename(&new, path)
}
