//! What a new worker can know of a pod that ran before it: from the runtime, from the API, from the disk.

use super::Worker;
use crate::{
    clock::millis,
    machine::{self, Attempt, AttemptState, Exit, Health},
};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, PodStatus};

impl Worker {
    /// Fills the observation with what outlives the agent.
    pub(super) async fn adopt(&mut self) {
        self.observed.rejection = self.rejection.take();
        self.observed.acknowledged = self.pod.status.clone().unwrap_or_default();
        self.resizing = machine::is_resizing(&self.observed.acknowledged);
        self.ask();
        self.observed.leftovers = self.place.is_used();
        self.observed.logs_left = self.place.logs().exists();
        self.observe().await;
        let status = self.observed.acknowledged.clone();
        for container in statuses(&status) {
            self.adopt_container(container);
        }
    }

    fn adopt_container(&mut self, status: &ContainerStatus) {
        let name = &status.name;
        match self.observed.last(name).cloned() {
            Some(attempt) if attempt.is_running() => {
                let same = attempt_number(status) == Some(attempt.number);
                let started = same && status.started == Some(true);
                let memory = self.memory(name);
                // A hook that was under way when the last agent died is not run a second time.
                memory.post_started = Some(attempt.number);
                memory.health = Health { attempt: attempt.number, started, ready: started && status.ready };
            }
            Some(_) => {}
            None => {
                if let Some(attempt) = last_told(status) {
                    self.observed.history.insert(name.clone(), attempt);
                }
            }
        }
    }
}

fn statuses(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let init = status.init_container_statuses.iter().flatten();
    let ephemeral = status.ephemeral_container_statuses.iter().flatten();
    init.chain(status.container_statuses.iter().flatten()).chain(ephemeral)
}

/// The attempt that the API speaks of, by its id.
fn attempt_number(status: &ContainerStatus) -> Option<u32> {
    status.container_id.as_deref()?.rsplit_once('-')?.1.parse().ok()
}

/// The last attempt the API was told of. One that was running when this machine forgot it has ended, nobody knows how.
fn last_told(status: &ContainerStatus) -> Option<Attempt> {
    let number = u32::try_from(status.restart_count).unwrap_or(0);
    let state = status.state.clone().unwrap_or_default();
    let exit = if let Some(terminated) = state.terminated {
        of_terminated(&terminated)
    } else if let Some(running) = state.running {
        let started_ms = running.started_at.as_ref().map_or(0, millis);
        Exit {
            exit_code: 137,
            started_ms,
            finished_ms: started_ms,
            reason: "ContainerStatusUnknown".to_owned(),
            message: Some("The container could not be located when the pod was started again".to_owned()),
            signal: None,
        }
    } else {
        of_terminated(&status.last_state.clone()?.terminated?)
    };
    Some(Attempt {
        number,
        state: AttemptState::Exited(exit),
        image: status.image_id.clone(),
        image_asked: None,
        resources: None,
        user: status.user.as_ref().and_then(|user| user.linux.clone()),
        round: 0,
    })
}

fn of_terminated(terminated: &ContainerStateTerminated) -> Exit {
    Exit {
        exit_code: terminated.exit_code,
        signal: terminated.signal,
        started_ms: terminated.started_at.as_ref().map_or(0, millis),
        finished_ms: terminated.finished_at.as_ref().map_or(0, millis),
        reason: terminated.reason.clone().unwrap_or_default(),
        message: terminated.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn history_is_what_the_api_was_told() {
        let told = |value| {
            let status: ContainerStatus = serde_json::from_value(value).unwrap();
            last_told(&status).map(|attempt| (attempt.number, attempt.exit().unwrap().reason.clone()))
        };
        let base = |state, last| json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 2, "state": state, "lastState": last});
        let done = json!({"terminated": {"exitCode": 1, "reason": "Error"}});
        assert_eq!(told(base(done.clone(), json!({}))), Some((2, "Error".into())));
        assert_eq!(told(base(json!({"running": {}}), json!({}))), Some((2, "ContainerStatusUnknown".into())));
        assert_eq!(told(base(json!({"waiting": {"reason": "CrashLoopBackOff"}}), done)), Some((2, "Error".into())));
        assert_eq!(told(base(json!({"waiting": {}}), json!({}))), None);
    }
}
