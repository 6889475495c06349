//! Exec and attach over WebSocket: channels 0 to 4 of `channel.k8s.io`, in all its versions.

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use tokio::sync::mpsc;

use super::{
    process::{self, Client, Input, Output, Wanted},
    websocket::{self, Codec, Reading, Received, Writing},
};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// Runs `session` between the channels; what it returns is the status at the end, `None` if the client left.
pub async fn serve(
    upgraded: Upgraded,
    codec: Codec,
    wanted: Wanted,
    session: impl AsyncFnOnce(&mut Client) -> Option<Bytes>,
) {
    let (mut writing, mut reading) = websocket::split(websocket::socket(upgraded).await, codec);
    // An empty message tells the client that the streams are there.
    let first = match wanted {
        Wanted { stdout: true, .. } => STDOUT,
        Wanted { stderr: true, .. } => STDERR,
        Wanted { stdout: false, stderr: false, .. } => ERROR,
    };
    if writing.send(first, b"").await.is_err() {
        return;
    }
    process::run(wanted, session, |input| receive(&mut reading, input), |output| send(&mut writing, output)).await;
    websocket::shut(writing, reading).await;
}

/// Takes messages until the client leaves, also when nobody wants them any more.
async fn receive(reading: &mut Reading, to_process: mpsc::Sender<Input>) {
    while let Some(received) = reading.next().await {
        let input = match received {
            Received::Data { channel: STDIN, bytes } => Input::Stdin(bytes),
            Received::Data { channel: RESIZE, bytes } => Input::Resize(bytes),
            Received::Closed { channel: STDIN } => Input::StdinEnd,
            Received::Data { .. } | Received::Closed { .. } => continue,
        };
        // A process that has ended takes none.
        let _ = to_process.send(input).await;
    }
}

async fn send(writing: &mut Writing, mut from_process: mpsc::Receiver<Output>) {
    while let Some(output) = from_process.recv().await {
        let (channel, bytes) = match output {
            Output::Stdout(bytes) => (STDOUT, bytes),
            Output::Stderr(bytes) => (STDERR, bytes),
            Output::Status(bytes) if bytes.is_empty() => continue,
            Output::Status(bytes) => (ERROR, bytes),
        };
        if let Err(error) = writing.send(channel, &bytes).await {
            return tracing::debug!(%error, "the client has gone");
        }
    }
    if let Err(error) = writing.close().await {
        tracing::debug!(%error, "the client has gone");
    }
}
