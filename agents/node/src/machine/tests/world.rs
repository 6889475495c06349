//! A world around the machine that does at once what it is told, and remembers it. Time is a number.

use k8s_openapi::api::core::v1::{ContainerStatus, LinuxContainerUser, Pod, PodStatus};
use serde_json::{Value, json};

use crate::{
    clock::{Millis, api_time},
    machine::{Action, Attempt, AttemptState, Decision, Exit, Health, Host, Observed, Sandbox, Step, Waiting, decide},
    pod,
};

pub struct World {
    pub pod: Pod,
    pub observed: Observed,
    pub now_ms: Millis,
    /// What the machine asked for, in order.
    pub told: Vec<String>,
    /// Containers that go on with their stop signal: they die by SIGKILL only.
    pub stubborn: Vec<String>,
    pub deleted: bool,
}

impl World {
    pub fn new(spec: Value) -> World {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1}, "spec": spec});
        World {
            pod: serde_json::from_value(pod).unwrap(),
            observed: Observed::default(),
            now_ms: 1_000_000,
            told: Vec::new(),
            stubborn: Vec::new(),
            deleted: false,
        }
    }

    pub fn decide(&self) -> Decision {
        let host = Host {
            address: "192.0.2.1".parse().unwrap(),
            pods_address: "10.0.0.1".parse().unwrap(),
            recursive_read_only: true,
        };
        decide(&self.pod, host, &self.observed, self.now_ms)
    }

    /// Asks and obeys until nothing more is asked; the status is acknowledged at once.
    pub fn settle(&mut self) -> PodStatus {
        for _ in 0..100 {
            let decision = self.decide();
            if decision.ending {
                self.observed.stopping_since_ms.get_or_insert(self.now_ms);
            }
            let published = !self.observed.gone && decision.status != self.observed.acknowledged;
            if published {
                self.observed.acknowledged = decision.status.clone();
            }
            let before = self.told.len();
            for action in decision.actions {
                self.obey(action);
            }
            if self.told.len() == before && !published {
                return decision.status;
            }
        }
        panic!("the machine does not settle: {:?}", self.told);
    }

    fn obey(&mut self, action: Action) {
        self.tell(&action);
        match action {
            Action::PrepareVolumes => {
                self.observed.volumes = Step::Done;
                self.observed.leftovers = true;
            }
            Action::CreateSandbox => {
                self.observed.sandbox =
                    Sandbox::Ready { address: Some("10.0.0.5".parse().unwrap()), created_ms: self.now_ms };
            }
            Action::RemoveSandbox => self.drop_sandbox(),
            Action::Start { container, attempt, backoff, round } => {
                let state = AttemptState::Running { started_ms: self.now_ms };
                let image = format!("sha256:{container}");
                let image_asked = self.image(&container);
                let user = Some(LinuxContainerUser { uid: 1000, gid: 3000, supplemental_groups: Some(vec![3000]) });
                let attempt_made = Attempt { number: attempt, state, image, image_asked, resources: None, user, round };
                self.observed.attempts.entry(container.clone()).or_default().push(attempt_made);
                self.observed.logs_left = true;
                let memory = self.observed.memory.entry(container).or_default();
                memory.backoff = backoff;
                memory.post_started = Some(attempt);
                memory.waiting = None;
            }
            Action::Kill { container, attempt, kill_at_ms, after_others, .. } => {
                if after_others && self.now_ms < kill_at_ms {
                    return;
                }
                if !self.stubborn.contains(&container) || self.now_ms >= kill_at_ms {
                    let code = if self.stubborn.contains(&container) { 137 } else { 143 };
                    assert_eq!(self.observed.last(&container).map(|last| last.number), Some(attempt));
                    self.exit(&container, code);
                }
            }
            Action::Resize { container, attempt } => {
                let spec = pod::spec(&self.pod);
                let resources = pod::container(&spec, &container).and_then(|container| container.resources.clone());
                let attempts = self.observed.attempts.get_mut(&container).unwrap();
                let resized = attempts.iter_mut().find(|known| known.number == attempt).unwrap();
                resized.resources = Some(resources.unwrap_or_default());
            }
            Action::Remove { container, attempt } => {
                self.observed.attempts.get_mut(&container).unwrap().retain(|known| known.number != attempt);
            }
            Action::Clean { logs } => {
                self.drop_sandbox();
                self.observed.leftovers = false;
                self.observed.logs_left &= !logs;
            }
            Action::DeleteObject => {
                self.deleted = true;
                self.observed.gone = true;
            }
            Action::AnnounceCrashBackoff { container, attempt } => {
                self.observed.memory.entry(container).or_default().backoff_announced = Some(attempt);
            }
            Action::AnnouncePullBackoff { container } => {
                let memory = self.observed.memory.entry(container).or_default();
                memory.waiting.as_mut().unwrap().announced = true;
            }
        }
    }

    fn tell(&mut self, action: &Action) {
        let text = match action {
            Action::PrepareVolumes => "volumes".to_owned(),
            Action::CreateSandbox => "sandbox".to_owned(),
            Action::RemoveSandbox => "remove-sandbox".to_owned(),
            Action::Start { container, attempt, .. } => format!("start {container}-{attempt}"),
            Action::Kill { container, attempt, why, kill_at_ms, after_others } => {
                let left_s = (kill_at_ms - self.now_ms) / 1000;
                let turn = if *after_others { " after others" } else { "" };
                let again = format!("kill {container}-{attempt} {why:?} +{left_s}s{turn}");
                if (self.stubborn.contains(container) || *after_others) && self.told.contains(&again) {
                    return;
                }
                again
            }
            Action::Resize { container, attempt } => format!("resize {container}-{attempt}"),
            Action::Remove { container, attempt } => format!("remove {container}-{attempt}"),
            Action::Clean { logs } => format!("clean{}", if *logs { " with logs" } else { "" }),
            Action::DeleteObject => "delete".to_owned(),
            Action::AnnounceCrashBackoff { container, .. } => format!("back-off {container}"),
            Action::AnnouncePullBackoff { container } => format!("pull back-off {container}"),
        };
        self.told.push(text);
    }

    fn drop_sandbox(&mut self) {
        for (name, attempts) in std::mem::take(&mut self.observed.attempts) {
            self.observed.history.insert(name, attempts.into_iter().next_back().unwrap());
        }
        self.observed.sandbox = Sandbox::Absent;
    }

    pub fn exit(&mut self, container: &str, exit_code: i32) {
        let attempt = self.observed.attempts.get_mut(container).unwrap().last_mut().unwrap();
        let AttemptState::Running { started_ms } = attempt.state else { panic!("{container} does not run") };
        attempt.state = AttemptState::Exited(Exit {
            exit_code,
            signal: None,
            started_ms,
            finished_ms: self.now_ms,
            reason: if exit_code == 0 { "Completed" } else { "Error" }.to_owned(),
            message: None,
        });
    }

    pub fn last_words(&mut self, container: &str, message: &str) {
        let attempt = self.observed.attempts.get_mut(container).unwrap().last_mut().unwrap();
        let AttemptState::Exited(exit) = &mut attempt.state else { panic!("{container} has not ended") };
        exit.message = Some(message.to_owned());
    }

    pub fn health(&mut self, container: &str, started: bool, ready: bool) {
        let attempt = self.observed.last(container).unwrap().number;
        self.observed.memory.entry(container.to_owned()).or_default().health = Health { attempt, started, ready };
    }

    pub fn waits(&mut self, container: &str, reason: &str, message: &str, pause_ms: Millis) {
        let waiting = Waiting {
            image: self.image(container),
            pulling: (reason == "ErrImagePull").then(|| self.image(container).unwrap_or_default()),
            reason: reason.into(),
            message: message.into(),
            since_ms: self.now_ms,
            retry_at_ms: self.now_ms + pause_ms,
            announced: false,
        };
        self.observed.memory.entry(container.to_owned()).or_default().waiting = Some(waiting);
    }

    fn image(&self, container: &str) -> Option<String> {
        pod::container(&pod::spec(&self.pod), container).and_then(|container| container.image.clone())
    }

    pub fn set_image(&mut self, container: &str, image: &str) {
        let containers = &mut self.pod.spec.as_mut().unwrap().containers;
        containers.iter_mut().find(|known| known.name == container).unwrap().image = Some(image.to_owned());
    }

    pub fn pass(&mut self, seconds: i64) -> PodStatus {
        self.now_ms += seconds * 1000;
        self.settle()
    }

    pub fn delete(&mut self, grace_s: i64) {
        self.pod.metadata.deletion_timestamp = Some(api_time(self.now_ms + grace_s * 1000));
        self.pod.metadata.deletion_grace_period_seconds = Some(grace_s);
    }

    /// What was told since the last time.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.told).join(", ")
    }
}

/// `Running | a:running r0 ready | Ready=True …` in a line.
pub fn show(status: &PodStatus) -> String {
    let containers =
        |list: &Option<Vec<ContainerStatus>>| list.iter().flatten().map(one).collect::<Vec<_>>().join(", ");
    let mut parts = vec![status.phase.clone().unwrap_or_default()];
    parts.extend(status.reason.clone());
    for list in [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses] {
        if list.is_some() {
            parts.push(containers(list));
        }
    }
    parts.join(" | ")
}

fn one(container: &ContainerStatus) -> String {
    let state = container.state.clone().unwrap_or_default();
    let mut text = format!("{} ", container.name);
    if let Some(waiting) = state.waiting {
        text += &waiting.reason.unwrap();
    } else if state.running.is_some() {
        text += "running";
    } else if let Some(terminated) = state.terminated {
        text += &format!("{}({})", terminated.reason.unwrap(), terminated.exit_code);
    }
    if let Some(before) = container.last_state.clone().and_then(|last| last.terminated) {
        text += &format!(" after {}({})", before.reason.unwrap(), before.exit_code);
    }
    if container.restart_count > 0 {
        text += &format!(" r{}", container.restart_count);
    }
    if container.ready {
        text += " ready";
    }
    text
}

pub fn condition(status: &PodStatus, type_: &str) -> String {
    let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == type_).unwrap();
    let parts = [Some(condition.status.clone()), condition.reason.clone(), condition.message.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}
