//! One container's stdio: its pipes or terminal, its log, and who is attached. Knows nothing of the container's state.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
};

use chrono::Utc;
use nix::{
    errno::Errno,
    fcntl::OFlag,
    unistd::{Gid, Uid, fchown, pipe2, read, write},
};

use super::{
    client::{ClientId, set_nonblocking},
    log::{LineCutter, LogFile, Stream},
    protocol::CreateRequest,
};
use crate::limits::{ATTACH_BUFFER_BYTES_MAX, STDIN_BUFFER_BYTES_MAX, STREAM_DRAIN_READS_MAX, STREAM_READ_BYTES};

#[derive(Debug)]
pub struct Stdio {
    pub stdout: Option<Source>,
    pub stderr: Option<Source>,
    /// The way into the container: a pipe, or the terminal itself.
    pub stdin: Option<OwnedFd>,
    stdin_waiting: VecDeque<u8>,
    /// Close the container's stdin once what waits has been written.
    stdin_ending: bool,
    stdin_once: bool,
    pub attached: Vec<Attachment>,
    /// Nothing will come out of the container any more.
    ended: bool,
    log: LogFile,
}

/// One stream coming out of the container.
#[derive(Debug)]
pub struct Source {
    pub fd: OwnedFd,
    stream: Stream,
    cutter: LineCutter,
}

/// Somebody who follows the container's streams.
#[derive(Debug)]
pub struct Attachment {
    pub client: ClientId,
    pub stdin: Option<OwnedFd>,
    pub stdout: Sink,
    pub stderr: Sink,
}

#[derive(Debug)]
pub struct Sink {
    pub fd: OwnedFd,
    waiting: VecDeque<u8>,
}

impl Stdio {
    /// Opens the log and makes the pipes; returns the container's ends (stdin, stdout, stderr), none for a terminal.
    pub fn open(request: &CreateRequest) -> io::Result<(Stdio, Vec<OwnedFd>)> {
        let log = LogFile::open(&request.log_path).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot open the log {}: {error}", request.log_path.display()))
        })?;
        let mut stdio = Stdio {
            stdout: None,
            stderr: None,
            stdin: None,
            stdin_waiting: VecDeque::new(),
            stdin_ending: false,
            // A terminal outlives who sits at it.
            stdin_once: request.stdin_once && !request.tty,
            attached: Vec::new(),
            ended: false,
            log,
        };
        if request.tty {
            return Ok((stdio, Vec::new()));
        }
        // The command may open its own stdio again by path, whoever it runs as.
        let own = |fd: &OwnedFd| fchown(fd, Some(Uid::from_raw(request.uid)), Some(Gid::from_raw(request.gid)));
        let stdin: OwnedFd = if request.stdin {
            let (theirs, ours) = pipe2(OFlag::O_CLOEXEC)?;
            set_nonblocking(&ours)?;
            own(&theirs)?;
            stdio.stdin = Some(ours);
            theirs
        } else {
            std::fs::File::open("/dev/null")?.into()
        };
        let mut outputs = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
            set_nonblocking(&ours)?;
            own(&theirs)?;
            outputs.push((Source::new(ours, stream), theirs));
        }
        let mut theirs = vec![stdin];
        for (source, end) in outputs {
            match source.stream {
                Stream::Stdout => stdio.stdout = Some(source),
                Stream::Stderr => stdio.stderr = Some(source),
            }
            theirs.push(end);
        }
        Ok((stdio, theirs))
    }

    pub fn use_terminal(&mut self, master: OwnedFd, with_stdin: bool) -> io::Result<()> {
        set_nonblocking(&master)?;
        if with_stdin {
            self.stdin = Some(master.try_clone()?);
        }
        self.stdout = Some(Source::new(master, Stream::Stdout));
        Ok(())
    }

    pub fn terminal(&self) -> Option<&OwnedFd> {
        self.stdout.as_ref().map(|source| &source.fd)
    }

    /// Reads once from one stream, into the log and to whoever is attached.
    pub fn pump(&mut self, stream: Stream) {
        let source = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let Some(open) = source else { return };
        let mut buffer = [0; STREAM_READ_BYTES];
        let mut entries = Vec::new();
        let now = Utc::now();
        let length = match read(&open.fd, &mut buffer) {
            Ok(length) => length,
            Err(Errno::EAGAIN | Errno::EINTR) => return,
            // A terminal says so when its last user is gone.
            Err(_) => 0,
        };
        let count = match length {
            0 => open.cutter.finish(now, &mut entries),
            _ => open.cutter.cut(&buffer[..length], now, &mut entries),
        };
        self.log.write(&entries, count, now);
        if length == 0 {
            *source = None;
        }
        for attachment in &mut self.attached {
            attachment.sink(stream).push(&buffer[..length]);
        }
        self.drop_finished_attachments();
    }

    /// The container is dead: takes what is still in its pipes and lets them go.
    pub fn drain(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            for _ in 0..STREAM_DRAIN_READS_MAX {
                let before = match stream {
                    Stream::Stdout => self.stdout.as_ref(),
                    Stream::Stderr => self.stderr.as_ref(),
                };
                let Some(source) = before else { break };
                if !readable(&source.fd) {
                    break;
                }
                self.pump(stream);
            }
        }
        for source in [self.stdout.take(), self.stderr.take()].into_iter().flatten() {
            let (mut cutter, mut entries, now) = (source.cutter, Vec::new(), Utc::now());
            let count = cutter.finish(now, &mut entries);
            self.log.write(&entries, count, now);
        }
        self.stdin = None;
        self.stdin_waiting.clear();
        self.ended = true;
        self.drop_finished_attachments();
    }

    /// `fds` are for stdin, stdout and stderr, or for the last two: a client that only listens must not end the input.
    pub fn attach(&mut self, client: ClientId, mut fds: Vec<OwnedFd>) -> io::Result<()> {
        for fd in &fds {
            set_nonblocking(fd)?;
        }
        let stdin = if fds.len() == 3 { Some(fds.remove(0)).filter(|_| self.stdin.is_some()) } else { None };
        let [stdout, stderr] = <[OwnedFd; 2]>::try_from(fds)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "attaching takes two or three descriptors"))?;
        self.attached.push(Attachment { client, stdin, stdout: Sink::new(stdout), stderr: Sink::new(stderr) });
        Ok(())
    }

    pub fn detach(&mut self, client: ClientId) {
        self.attached.retain(|attachment| attachment.client != client);
    }

    pub fn stdin_wants_to_write(&self) -> bool {
        self.stdin.is_some() && !self.stdin_waiting.is_empty()
    }

    pub fn takes_stdin(&self) -> bool {
        self.stdin.is_some() && self.stdin_waiting.len() < STDIN_BUFFER_BYTES_MAX
    }

    /// Reads once from an attached client's input.
    pub fn pump_stdin(&mut self, client: ClientId) {
        let Some(attachment) = self.attached.iter_mut().find(|attachment| attachment.client == client) else { return };
        let Some(stdin) = &attachment.stdin else { return };
        let mut buffer = [0; 16 * 1024];
        match read(stdin, &mut buffer) {
            Ok(0) => {
                attachment.stdin = None;
                self.stdin_ending |= self.stdin_once;
            }
            Ok(length) => self.stdin_waiting.extend(&buffer[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => attachment.stdin = None,
        }
        self.write_stdin();
    }

    pub fn write_stdin(&mut self) {
        let Some(stdin) = &self.stdin else {
            self.stdin_waiting.clear();
            return;
        };
        while !self.stdin_waiting.is_empty() {
            match write(stdin, self.stdin_waiting.as_slices().0) {
                Ok(length) => drop(self.stdin_waiting.drain(..length)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => {
                    // The container has closed its stdin: nobody will read this.
                    self.stdin_waiting.clear();
                    self.stdin = None;
                    return;
                }
            }
        }
        if self.stdin_ending {
            self.stdin = None;
        }
    }

    pub fn write_sinks(&mut self, client: ClientId) {
        for attachment in self.attached.iter_mut().filter(|attachment| attachment.client == client) {
            attachment.stdout.push(&[]);
            attachment.stderr.push(&[]);
        }
        self.drop_finished_attachments();
    }

    /// Those that are hopelessly behind, and after the container's end those that have had everything.
    fn drop_finished_attachments(&mut self) {
        let ended = self.ended;
        self.attached.retain(|attachment| {
            let waiting = [attachment.stdout.waiting.len(), attachment.stderr.waiting.len()];
            waiting.iter().all(|&bytes| bytes <= ATTACH_BUFFER_BYTES_MAX) && !(ended && waiting == [0, 0])
        });
    }
}

impl Source {
    fn new(fd: OwnedFd, stream: Stream) -> Source {
        Source { fd, stream, cutter: LineCutter::new(stream) }
    }
}

impl Attachment {
    fn sink(&mut self, stream: Stream) -> &mut Sink {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

impl Sink {
    fn new(fd: OwnedFd) -> Sink {
        Sink { fd, waiting: VecDeque::new() }
    }

    pub fn wants_to_write(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes what the pipe takes. A reader that is gone loses its output and nobody else's.
    fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend(bytes);
        while !self.waiting.is_empty() {
            match write(&self.fd, self.waiting.as_slices().0) {
                Ok(length) => drop(self.waiting.drain(..length)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => self.waiting.clear(),
            }
        }
    }
}

fn readable(fd: impl AsFd) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1))
}
