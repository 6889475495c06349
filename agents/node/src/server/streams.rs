//! `kubectl exec` and `kubectl attach`: a process's streams, its terminal's size and its exit code over WebSocket.

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    answer::{Answer, Problem},
    channels::{self, COMMAND_PROTOCOLS, Channels, Incomings, Received, Socket},
    route::Query,
};
use crate::{
    containers::{Command, Refusal, Session},
    limits::STREAM_BUFFER,
    node::NodeContext,
    pod::{self, PodId},
    spec::container_name,
};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// Runs a command in a container and gives its streams to the client.
pub async fn exec(
    node: Arc<NodeContext>,
    pod: &Pod,
    container: &str,
    query: &Query,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let args = query.all("command");
    if args.is_empty() {
        return Err(Problem::bad_request("you must specify at least 1 command for the exec"));
    }
    let tty = query.flag(&["tty"]);
    let command = Command { args, stdin: query.flag(&["stdin", "input"]), tty };
    let (sandbox, id) = running(pod, container)?;
    channels::upgrade(request, &COMMAND_PROTOCOLS, move |socket, _| async move {
        let session = node.containers.exec(&sandbox, &id, command).await;
        serve(socket, session).await;
    })
}

/// Gives the streams of the container's own process to the client.
pub async fn attach(
    node: Arc<NodeContext>,
    pod: &Pod,
    container: &str,
    query: &Query,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (sandbox, id) = running(pod, container)?;
    let spec = pod::spec(pod);
    let takes_stdin = pod::container(&spec, container).is_some_and(|container| container.stdin == Some(true));
    let stdin = takes_stdin && query.flag(&["stdin", "input"]);
    channels::upgrade(request, &COMMAND_PROTOCOLS, move |socket, _| async move {
        let session = node.containers.attach(&sandbox, &id, stdin).await;
        serve(socket, session).await;
    })
}

/// The sandbox and the runtime's name of the running attempt.
fn running(pod: &Pod, container: &str) -> Result<(String, String), Problem> {
    let status = pod.status.clone().unwrap_or_default();
    let all =
        status.init_container_statuses.into_iter().flatten().chain(status.container_statuses.into_iter().flatten());
    let found = { all }.find(|status| status.name == container).unwrap_or_default();
    let is_running = matches!(found.state, Some(ContainerState { running: Some(_), .. }));
    let number = found.container_id.as_deref().and_then(|id| id.rsplit_once('-')?.1.parse::<u32>().ok());
    match (is_running, number) {
        (true, Some(number)) => Ok((PodId::of(pod).uid, container_name(container, number))),
        (true, None) | (false, _) => Err(Problem::bad_request(format!(
            "container {container:?} in pod {:?} is not running",
            pod.metadata.name.as_deref().unwrap_or_default()
        ))),
    }
}

async fn serve(socket: Socket, session: Result<Session, Refusal>) {
    let (mut channels, incomings) = channels::split(socket);
    let outcome = match session {
        Ok(session) => pump(&mut channels, incomings, session).await,
        Err(refusal) => Some(Err(refusal)),
    };
    if let Some(outcome) = outcome
        && channels.send(ERROR, status(outcome).to_string().as_bytes()).await.is_err()
    {
        return;
    }
    channels.close().await;
}

/// Carries the streams until the process has ended and all its output was sent; `None` if the client left first,
/// which ends a command.
async fn pump(channels: &mut Channels, incomings: Incomings, session: Session) -> Option<Result<i32, Refusal>> {
    let Session { stdin, mut stdout, mut stderr, resize, exit } = session;
    let input = feed(incomings, stdin, resize);
    tokio::pin!(input);
    let (mut out, mut err) = (vec![0; STREAM_BUFFER], vec![0; STREAM_BUFFER]);
    while stdout.is_some() || stderr.is_some() {
        let (channel, bytes) = tokio::select! {
            () = &mut input => return None,
            length = read(&mut stdout, &mut out) => (STDOUT, &out[..length]),
            length = read(&mut stderr, &mut err) => (STDERR, &err[..length]),
        };
        if !bytes.is_empty() && channels.send(channel, bytes).await.is_err() {
            return None;
        }
    }
    tokio::select! {
        () = &mut input => None,
        outcome = exit => Some(outcome),
    }
}

/// Reads from a stream; one that has ended is dropped, one that was dropped never answers.
async fn read(stream: &mut Option<Box<dyn AsyncRead + Send + Unpin>>, buffer: &mut [u8]) -> usize {
    let Some(open) = stream else { return std::future::pending().await };
    match open.read(buffer).await {
        Ok(length @ 1..) => length,
        Ok(_) | Err(_) => {
            *stream = None;
            0
        }
    }
}

/// Takes the client's input and window sizes until it leaves.
async fn feed(
    mut incomings: Incomings,
    mut stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    resize: tokio::sync::mpsc::Sender<(u16, u16)>,
) {
    while let Some(received) = incomings.next().await {
        match received {
            Received::Data { channel: STDIN, bytes } => {
                if let Some(open) = &mut stdin
                    && (open.write_all(&bytes).await.is_err() || open.flush().await.is_err())
                {
                    stdin = None;
                }
            }
            Received::Closed { channel: STDIN } => stdin = None,
            Received::Data { channel: RESIZE, bytes } => {
                if let Ok(size) = serde_json::from_slice::<Size>(&bytes) {
                    // A process that has ended has no terminal.
                    let _ = resize.send((size.height, size.width)).await;
                }
            }
            Received::Data { .. } | Received::Closed { .. } => {}
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// What the client is told at the end, as `metav1.Status`.
fn status(outcome: Result<i32, Refusal>) -> serde_json::Value {
    match outcome {
        Ok(0) => serde_json::json!({"metadata": {}, "status": "Success"}),
        Ok(code) => serde_json::json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(refusal) => serde_json::json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
            "message": format!("error executing command in container: {refusal}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_end_is_told_as_kubectl_reads_it() {
        assert_eq!(status(Ok(0))["status"], "Success");
        let three = status(Ok(3));
        assert_eq!(three["reason"], "NonZeroExitCode");
        assert_eq!(three["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]));
        let size: Size = serde_json::from_str(r#"{"Width":80,"Height":24}"#).unwrap();
        assert_eq!((size.width, size.height), (80, 24));
    }

    #[test]
    fn only_a_running_container_has_streams() {
        let pod = |state: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "status": {"containerStatuses": [
                {"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 2,
                 "containerID": "kontiki://u.c-2", "state": state}]}}))
            .unwrap()
        };
        assert_eq!(running(&pod(json!({"running": {}})), "c"), Ok(("u".into(), "c-2".into())));
        assert!(running(&pod(json!({"waiting": {}})), "c").is_err());
        assert!(running(&pod(json!({"running": {}})), "d").is_err());
    }
}
