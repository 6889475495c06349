//! Commands run in a container for a probe or a hook: exit code and the beginning of the output.

use tokio::io::{AsyncRead, AsyncReadExt};

use super::check::Outcome;
use crate::{
    containers::{Command, Refusal, SharedContainers},
    limits::PROBE_OUTPUT_MAX,
};

pub async fn check(containers: &SharedContainers, sandbox: &str, container: &str, args: Vec<String>) -> Outcome {
    match run(containers, sandbox, container, args).await {
        Ok((0, _)) => Outcome::Healthy,
        Ok((_, output)) => Outcome::Unhealthy(output),
        // A command that is not there is a failed probe, not a failure to probe.
        Err(refusal) => Outcome::Unhealthy(refusal.message),
    }
}

/// Exit code and output of a command; dropping the future ends the command.
pub async fn run(
    containers: &SharedContainers,
    sandbox: &str,
    container: &str,
    args: Vec<String>,
) -> Result<(i32, String), Refusal> {
    let command = Command { args, own: true, ..Command::default() };
    let session = containers.exec(sandbox, container, command).await?;
    let (out, err, exit) = tokio::join!(read(session.stdout), read(session.stderr), session.exit);
    let mut output = out;
    output.extend(err);
    output.truncate(PROBE_OUTPUT_MAX);
    Ok((exit?, String::from_utf8_lossy(&output).into_owned()))
}

/// The beginning of a stream, which is read to its end: the command must not block on a full pipe.
async fn read(stream: Option<Box<dyn AsyncRead + Send + Unpin>>) -> Vec<u8> {
    let Some(mut stream) = stream else { return Vec::new() };
    let mut kept = Vec::new();
    let mut buffer = vec![0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let room = PROBE_OUTPUT_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..length.min(room)]);
    }
    kept
}
