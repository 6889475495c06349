//! `kubectl logs`: which attempt's log, from where, and until when.

use std::{io, sync::Arc};

use bytes::Bytes;
use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod},
    jiff::{SignedDuration, Timestamp},
};
use kontiki_runtime::spec::ContainerState;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    answer::{self, Answer, Problem},
    log_file::{LogFile, Selection},
    route::Query,
};
use crate::{
    limits::{LOG_POLL, LOG_POLLS_AFTER_END},
    node::NodeContext,
    pod::PodId,
    spec::container_name,
    volumes::Place,
};

/// Chunks that wait for a slow reader.
const CHUNKS_MAX: usize = 4;

pub async fn logs(node: Arc<NodeContext>, pod: &Pod, container: &str, query: &Query) -> Result<Answer, Problem> {
    let attempt = attempt(pod, container, query.flag(&["previous"]))?;
    let selection = selection(query)?;
    let follow = query.flag(&["follow"]);
    let limit = query.number("limitBytes")?;
    let id = PodId::of(pod);
    let path = Place::new(&node.config.state_dir, &id).log(container, attempt);
    if !follow && !path.exists() {
        return Err(Problem::not_found(format!(
            "the log of container {container:?} in pod {:?} is no longer on this node",
            id.name
        )));
    }
    let log = blocking(move || LogFile::open(&path, selection))
        .await
        .map_err(|error| Problem::internal(error.to_string()))?;
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    let name = container_name(container, attempt);
    let sending = Sending { node, id, container: name, follow, left: limit, sender };
    tokio::spawn(sending.run(log));
    Ok(answer::stream(ReceiverStream::new(receiver)))
}

fn selection(query: &Query) -> Result<Selection, Problem> {
    let since = match (query.number("sinceSeconds")?, query.get("sinceTime").filter(|text| !text.is_empty())) {
        (Some(seconds), _) => {
            let ago = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            Some(Timestamp::now().checked_sub(ago).unwrap_or(Timestamp::MIN))
        }
        (None, Some(text)) => Some(
            text.parse().map_err(|_| Problem::bad_request(format!("sinceTime is not an RFC 3339 time: {text:?}")))?,
        ),
        (None, None) => None,
    };
    Ok(Selection {
        since,
        timestamps: query.flag(&["timestamps"]),
        tail_lines: query.number("tailLines")?,
        stream: query.get("stream").map(str::to_owned),
    })
}

/// The attempt whose log is asked for.
fn attempt(pod: &Pod, container: &str, previous: bool) -> Result<u32, Problem> {
    let status = pod.status.clone().unwrap_or_default();
    let name = pod.metadata.name.clone().unwrap_or_default();
    let all =
        status.init_container_statuses.into_iter().flatten().chain(status.container_statuses.into_iter().flatten());
    let status: ContainerStatus = { all }.find(|status| status.name == container).unwrap_or_default();
    let state = status.state.unwrap_or_default();
    let before = status.last_state.and_then(|last| last.terminated).and_then(|terminated| terminated.container_id);
    let number = |id: Option<String>| id.and_then(|id| id.rsplit_once('-')?.1.parse().ok());
    if previous {
        return number(before).ok_or_else(|| {
            Problem::bad_request(format!("previous terminated container {container:?} in pod {name:?} not found"))
        });
    }
    if state.waiting.is_none() && status.container_id.is_some() {
        return number(status.container_id)
            .ok_or_else(|| Problem::internal(format!("container {container:?} has an unknown id")));
    }
    number(before).ok_or_else(|| {
        let reason = state.waiting.and_then(|waiting| waiting.reason).unwrap_or("ContainerCreating".to_owned());
        Problem::bad_request(format!("container {container:?} in pod {name:?} is waiting to start: {reason}"))
    })
}

struct Sending {
    node: Arc<NodeContext>,
    id: PodId,
    container: String,
    follow: bool,
    left: Option<u64>,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl Sending {
    /// Sends what is there and, when following, what comes, until the container has ended or nobody listens.
    async fn run(mut self, mut log: LogFile) {
        let mut polls_after_end = 0;
        loop {
            let (back, chunk) = match tokio::task::spawn_blocking(move || {
                let chunk = log.next();
                (log, chunk)
            })
            .await
            {
                Ok(read) => read,
                Err(_) => return,
            };
            log = back;
            match chunk {
                Ok(Some(chunk)) => {
                    polls_after_end = 0;
                    if !self.send(chunk).await {
                        return;
                    }
                }
                Ok(None) if !self.follow => return,
                Ok(None) => {
                    if self.ended().await {
                        polls_after_end += 1;
                        if polls_after_end > LOG_POLLS_AFTER_END {
                            return;
                        }
                    }
                    tokio::select! {
                        () = tokio::time::sleep(LOG_POLL) => {}
                        () = self.sender.closed() => return,
                    }
                }
                Err(error) => {
                    // The reader may have gone: then nobody needs to know.
                    let _ = self.sender.send(Err(error)).await;
                    return;
                }
            }
        }
    }

    /// `false` when it was the last: nobody listens, or no more was wanted.
    async fn send(&mut self, mut chunk: Vec<u8>) -> bool {
        if let Some(left) = &mut self.left {
            chunk.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= chunk.len() as u64;
        }
        self.sender.send(Ok(chunk.into())).await.is_ok() && self.left != Some(0)
    }

    async fn ended(&self) -> bool {
        match self.node.containers.status(&self.id.uid).await {
            Ok(Some(sandbox)) => !sandbox.containers.iter().any(|container| {
                container.id == self.container && !matches!(container.state, ContainerState::Exited { .. })
            }),
            Ok(None) => true,
            Err(_) => false,
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_attempt_is_the_one_kubernetes_shows() {
        let ended =
            |number: u32| json!({"terminated": {"exitCode": 1, "containerID": format!("kontiki://u.c-{number}")}});
        let check = |state: serde_json::Value, last: serde_json::Value, id: Option<&str>, previous| {
            let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [
                {"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                 "containerID": id, "state": state, "lastState": last}]}}))
            .unwrap();
            attempt(&pod, "c", previous).map_err(|problem| problem.message)
        };
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let (running, three) = (json!({"running": {}}), Some("kontiki://u.c-3"));
        assert_eq!(check(running.clone(), ended(2), three, false), Ok(3));
        assert_eq!(check(running.clone(), ended(2), three, true), Ok(2));
        assert_eq!(check(ended(3), json!({}), three, false), Ok(3));
        assert_eq!(check(waiting.clone(), ended(3), three, false), Ok(3));
        assert_eq!(check(waiting, ended(3), three, true), Ok(3));
        assert_eq!(
            check(running, json!({}), three, true),
            Err("previous terminated container \"c\" in pod \"p\" not found".into())
        );
        assert_eq!(
            check(json!({"waiting": {"reason": "ImagePullBackOff"}}), json!({}), None, false),
            Err("container \"c\" in pod \"p\" is waiting to start: ImagePullBackOff".into())
        );
    }
}
