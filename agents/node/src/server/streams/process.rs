//! A process between its streams and a client, whatever protocol the client speaks: input and window sizes in, output out,
//! and how it ended.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    pin,
    sync::mpsc,
};

use crate::{
    containers::{Refusal, Session},
    server::limits,
};

/// What a client sends.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    Stdin(Bytes),
    /// There will be no more of it.
    StdinEnd,
    /// `{"Width":…,"Height":…}`
    Resize(Bytes),
}

/// What a client gets. Nothing follows the status.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    Stdout(Bytes),
    Stderr(Bytes),
    /// A `metav1.Status` as JSON.
    Status(Bytes),
}

/// The streams that the client has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// Both ends close when the other side has gone.
pub struct Client {
    input: mpsc::Receiver<Input>,
    output: mpsc::Sender<Output>,
    wanted: Wanted,
}

/// Runs `session`, which gives the status at the end or `None` if the client left, while `receive` reads what the client
/// sends and `send` writes what it gets. The one ends when the client leaves, the other when all is said.
pub async fn run<R: Future<Output = ()>, S: Future<Output = ()>>(
    wanted: Wanted,
    session: impl AsyncFnOnce(&mut Client) -> Option<Bytes>,
    receive: impl FnOnce(mpsc::Sender<Input>) -> R,
    send: impl FnOnce(mpsc::Receiver<Output>) -> S,
) {
    let (to_process, input) = mpsc::channel(limits::STREAM_PIECES_MAX);
    let (output, from_process) = mpsc::channel(limits::STREAM_PIECES_MAX);
    let running = async {
        let mut client = Client { input, output, wanted };
        if let Some(status) = session(&mut client).await {
            // Nobody is left to be told if this fails.
            let _ = client.output.send(Output::Status(status)).await;
        }
    };
    let receiving = receive(to_process);
    let sending = send(from_process);
    let working = async { tokio::join!(running, sending) };
    pin!(receiving, working);
    tokio::select! {
        // The process sees its input closed, and ends.
        () = &mut receiving => drop(working.await),
        // The client gets a moment to leave by itself.
        _ = &mut working => drop(tokio::time::timeout(limits::CLOSE_MAX, receiving).await),
    }
}

/// What ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The end of the command.
    Exit,
    /// The end of the output: a container's own streams end with it.
    OutputEnds,
}

/// Carries the streams until the end, and gives the exit code; `None` if the client left before.
pub async fn carry(session: Session, client: &mut Client, until: Until) -> Option<Result<i32, Refusal>> {
    let Session { stdin, stdout, stderr, resize, mut exit } = session;
    let Client { input, output, wanted } = client;
    let flow = Flow::default();
    let outputs = async {
        tokio::join!(
            flow.copy(stdout, output, wanted.stdout.then_some(Output::Stdout as fn(Bytes) -> Output)),
            flow.copy(stderr, output, wanted.stderr.then_some(Output::Stderr as fn(Bytes) -> Output)),
        );
    };
    let feeding = feed(input, stdin, resize);
    pin!(outputs, feeding);
    if until == Until::OutputEnds {
        return tokio::select! {
            () = feeding => None,
            () = outputs => Some(Ok(0)),
        };
    }
    let mut outputs_ended = false;
    let code = loop {
        tokio::select! {
            () = &mut feeding => return None,
            () = &mut outputs, if !outputs_ended => outputs_ended = true,
            code = &mut exit => break code,
        }
    };
    while !outputs_ended {
        let passed = flow.passed();
        tokio::select! {
            () = &mut feeding => return None,
            () = &mut outputs => outputs_ended = true,
            () = tokio::time::sleep(limits::DRAIN_QUIET) => outputs_ended = flow.is_quiet_since(passed),
        }
    }
    Some(code)
}

/// What passes from the process to the client.
#[derive(Default)]
struct Flow {
    pieces: AtomicU64,
    /// Streams that wait for the client to take what they have.
    sending: AtomicUsize,
}

impl Flow {
    fn passed(&self) -> u64 {
        self.pieces.load(Ordering::Relaxed)
    }

    fn is_quiet_since(&self, passed: u64) -> bool {
        self.sending.load(Ordering::Relaxed) == 0 && self.passed() == passed
    }

    /// Reads to the end, also what nobody wants: the process must not stand still for it.
    async fn copy(
        &self,
        stream: Option<impl AsyncRead + Unpin>,
        output: &mpsc::Sender<Output>,
        shown: Option<fn(Bytes) -> Output>,
    ) {
        let Some(mut stream) = stream else { return };
        let mut buffer = vec![0; limits::STREAM_READ_BYTES];
        // A stream that fails has ended: so a terminal does when its last user leaves.
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            self.pieces.fetch_add(1, Ordering::Relaxed);
            let Some(shown) = shown else { continue };
            self.sending.fetch_add(1, Ordering::Relaxed);
            let sent = output.send(shown(Bytes::copy_from_slice(&buffer[..length]))).await;
            self.sending.fetch_sub(1, Ordering::Relaxed);
            if sent.is_err() {
                return;
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// Takes what the client sends until it leaves.
async fn feed(
    input: &mut mpsc::Receiver<Input>,
    mut stdin: Option<impl AsyncWrite + Unpin>,
    resize: mpsc::Sender<(u16, u16)>,
) {
    while let Some(input) = input.recv().await {
        match input {
            Input::Stdin(bytes) => {
                if let Some(open) = &mut stdin
                    && (open.write_all(&bytes).await.is_err() || open.flush().await.is_err())
                {
                    // The process has closed its side: the rest is for nobody.
                    stdin = None;
                }
            }
            Input::StdinEnd => stdin = None,
            Input::Resize(bytes) => match serde_json::from_slice(&bytes) {
                Ok(Size { width, height }) => {
                    // A process that has ended has no terminal.
                    let _ = resize.send((height, width)).await;
                }
                Err(error) => tracing::debug!(%error, "no size of a terminal"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt;
    use tokio::io::duplex;

    use super::*;

    struct Ends {
        input: mpsc::Sender<Input>,
        output: mpsc::Receiver<Output>,
    }

    fn client() -> (Client, Ends) {
        let (to_process, input) = mpsc::channel(1);
        let (output, from_process) = mpsc::channel(1);
        let client = Client { input, output, wanted: Wanted { stdin: true, stdout: true, stderr: true } };
        (client, Ends { input: to_process, output: from_process })
    }

    #[tokio::test]
    async fn a_process_left_behind_does_not_hold_the_end_back() {
        let (stdout, mut held_open) = duplex(1 << 20);
        held_open.write_all(&[b'x'; 300_000]).await.unwrap();
        let session = Session {
            stdin: None,
            stdout: Some(Box::new(stdout)),
            stderr: None,
            resize: mpsc::channel(1).0,
            exit: async { Ok(3) }.boxed(),
        };
        let (mut client, mut ends) = client();
        let carrying = tokio::spawn(async move { carry(session, &mut client, Until::Exit).await });
        let mut length = 0;
        while let Some(Output::Stdout(bytes)) = ends.output.recv().await {
            length += bytes.len();
        }
        assert_eq!((length, carrying.await.unwrap()), (300_000, Some(Ok(3))));
        drop((held_open, ends.input));
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_session() {
        let (stdout, _held_open) = duplex(64);
        let session = Session {
            stdin: None,
            stdout: Some(Box::new(stdout)),
            stderr: None,
            resize: mpsc::channel(1).0,
            exit: std::future::pending().boxed(),
        };
        let (mut client, ends) = client();
        drop(ends);
        assert_eq!(carry(session, &mut client, Until::Exit).await, None);
    }
}
