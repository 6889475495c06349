//! Commands run in a container and clients attached to one: their streams, the terminal's size, the end.

use std::{
    io,
    os::fd::OwnedFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use nix::errno::Errno;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd},
    net::unix::pipe,
    sync::OwnedSemaphorePermit,
};

use super::connection::Connection;
use crate::{
    error::{Failure, FailureKind, RuntimeError},
    shim::protocol::Reply,
    sys,
};

/// A command to run in a container, as its user and with its environment but for what is said here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecSpec {
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub tty: bool,
    /// Without it the command's stdin is empty.
    pub stdin: bool,
    /// The agent's own, which what clients have open does not hold up.
    pub own: bool,
}

pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A running command. Dropping it kills the command.
pub struct ExecSession {
    /// Dropping it ends the command's input (not with a terminal: send its end-of-file character).
    pub stdin: Option<Writer>,
    pub stdout: Reader,
    /// Always empty with a terminal, which has one stream only.
    pub stderr: Reader,
    pub terminal: Option<Terminal>,
    pub(super) connection: Connection,
    pub(super) sandbox: String,
    pub(super) _place: Option<OwnedSemaphorePermit>,
}

/// A container's streams. Dropping it lets go of them; the container goes on.
pub struct AttachSession {
    pub stdin: Option<Writer>,
    /// Ends when the container does.
    pub stdout: Reader,
    pub stderr: Reader,
    /// Keeps the attachment.
    pub(super) connection: Connection,
    pub(super) _place: OwnedSemaphorePermit,
}

impl ExecSession {
    /// Waits for the command's end; 128 and the signal's number when it was killed.
    /// Cancelling loses nothing. Its output may be read before, meanwhile and after.
    pub async fn wait(&mut self) -> Result<i32, RuntimeError> {
        loop {
            let answer = |reason: String| RuntimeError::ShimAnswer { sandbox: self.sandbox.clone(), reason };
            match self.connection.receive().await {
                Ok(Some((Reply::ExecExited { exit_code }, _))) => return Ok(exit_code),
                Ok(Some((Reply::Failed(failure), _))) => return Err(failure.into()),
                Ok(Some(_)) => {}
                Ok(None) => return Err(RuntimeError::SandboxLost(self.sandbox.clone())),
                Err(error) => return Err(answer(error.to_string())),
            }
        }
    }
}

impl AttachSession {
    /// Waits until the shim has let go of the attachment, which it does when the container has been removed.
    pub async fn closed(&mut self) {
        while let Ok(Some(_)) = self.connection.receive().await {}
    }
}

/// The controlling side of a command's terminal.
#[derive(Clone, Debug)]
pub struct Terminal(Arc<OwnedFd>);

impl Terminal {
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), RuntimeError> {
        sys::set_window_size(&*self.0, rows, columns)
            .map_err(|error| Failure::new(FailureKind::Other, format!("cannot resize the terminal: {error}")).into())
    }
}

/// Our and the command's ends of its streams.
pub(super) struct Pipes {
    pub stdin: Option<Writer>,
    pub stdout: Reader,
    pub stderr: Reader,
    pub theirs: Vec<OwnedFd>,
}

impl Pipes {
    pub fn open(with_stdin: bool) -> io::Result<Pipes> {
        let (stdout, their_stdout) = io::pipe()?;
        let (stderr, their_stderr) = io::pipe()?;
        let (stdin, their_stdin): (Option<Writer>, OwnedFd) = if with_stdin {
            let (theirs, ours) = io::pipe()?;
            (Some(Box::new(pipe::Sender::from_owned_fd(ours.into())?)), theirs.into())
        } else {
            (None, std::fs::File::open("/dev/null")?.into())
        };
        Ok(Pipes {
            stdin,
            stdout: Box::new(pipe::Receiver::from_owned_fd(stdout.into())?),
            stderr: Box::new(pipe::Receiver::from_owned_fd(stderr.into())?),
            theirs: vec![their_stdin, their_stdout.into(), their_stderr.into()],
        })
    }
}

/// A terminal's controlling side as a stream in both directions.
pub(super) fn terminal_streams(master: OwnedFd) -> io::Result<(Reader, Writer, Terminal)> {
    crate::shim::set_nonblocking(&master)?;
    let reader = TerminalStream(sys::follow(master.try_clone()?, Interest::READABLE)?);
    let writer = TerminalStream(sys::follow(master.try_clone()?, Interest::WRITABLE)?);
    Ok((Box::new(reader), Box::new(writer), Terminal(Arc::new(master))))
}

struct TerminalStream(AsyncFd<OwnedFd>);

impl AsyncRead for TerminalStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            let unfilled = buffer.initialize_unfilled();
            match guard.try_io(|fd| nix::unistd::read(fd.get_ref(), unfilled).map_err(io::Error::from)) {
                Ok(Ok(length)) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                // So a terminal says that its last user has left.
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::EIO as i32) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for TerminalStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(context))?;
            match guard.try_io(|fd| nix::unistd::write(fd.get_ref(), bytes).map_err(io::Error::from)) {
                Ok(written) => return Poll::Ready(written),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
