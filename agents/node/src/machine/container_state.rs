//! The status of each container, as Kubernetes shows it: waiting, running or terminated, and what was before.

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ContainerUser, VolumeMount, VolumeMountStatus,
};

use super::{
    Host,
    backoff::Backoff,
    observed::{Attempt, AttemptState, Exit, Job, Sandbox, Waiting},
    plan::Plan,
    resize,
};
use crate::{
    clock::{api_time, go_duration},
    limits::{ERROR_SHOWN_MS, TERMINATION_MESSAGES_MAX},
    pod::{self, PodId},
};

/// Exit code of a container that vanished.
const EXIT_UNKNOWN: i32 = 137;

pub struct States<'a> {
    pub plan: &'a Plan<'a>,
    pub host: Host,
    /// The pod has ended: nothing waits any more.
    pub stopped: bool,
}

/// What a container is to its pod. Nobody waits for an ephemeral one, so it is neither started nor ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Init,
    Main,
    Ephemeral,
}

impl States<'_> {
    /// `None` for no containers, as the API leaves an empty list out.
    pub fn list(&self, containers: &[Container], role: Role) -> Option<Vec<ContainerStatus>> {
        if containers.is_empty() {
            return None;
        }
        Some(containers.iter().map(|container| self.status(container, role)).collect())
    }

    fn status(&self, container: &Container, role: Role) -> ContainerStatus {
        let plan = self.plan;
        let name = &container.name;
        let last = plan.observed.last_ever(name);
        let (state, last_state) = self.states(container);
        let plain_init = role == Role::Init && !pod::is_sidecar(container);
        let succeeded = state.terminated.as_ref().is_some_and(|terminated| terminated.exit_code == 0);
        let begun = last.filter(|attempt| attempt.state != AttemptState::Created);
        ContainerStatus {
            name: name.clone(),
            image: container.image.clone().unwrap_or_default(),
            image_id: begun.map(|attempt| attempt.image.clone()).unwrap_or_default(),
            container_id: begun.map(|attempt| container_id(&PodId::of(plan.pod), name, attempt.number)),
            restart_count: last.map_or(0, |attempt| i32::try_from(attempt.number).unwrap_or(i32::MAX)),
            ready: match role {
                Role::Init if plain_init => succeeded,
                Role::Init | Role::Main => !self.stopped && plan.ready(container),
                Role::Ephemeral => false,
            },
            started: match role {
                Role::Init | Role::Main => Some(!self.stopped && !plain_init && plan.started(container)),
                Role::Ephemeral => None,
            },
            state: Some(state),
            last_state: Some(last_state),
            // One that does not run has what its next run would get.
            resources: begun.and_then(|attempt| match attempt.is_running() {
                true => attempt.resources.clone(),
                false => Some(container.resources.clone().unwrap_or_default()),
            }),
            user: begun.and_then(|attempt| Some(ContainerUser { linux: Some(attempt.user.clone()?) })),
            volume_mounts: begun.and_then(|_| self.volume_mounts(container)),
            allocated_resources: begun.and(resize::set_aside(container)),
            ..ContainerStatus::default()
        }
    }

    /// How the container sees the pod's volumes, as the machine could give them to it.
    fn volume_mounts(&self, container: &Container) -> Option<Vec<VolumeMountStatus>> {
        let told = |mount: &VolumeMount| {
            let recursive = self.host.recursive_read_only && recursion_asked(mount);
            let recursive = if recursive { "Enabled" } else { "Disabled" };
            VolumeMountStatus {
                name: mount.name.clone(),
                mount_path: mount.mount_path.clone(),
                read_only: mount.read_only,
                recursive_read_only: (mount.read_only == Some(true)).then(|| recursive.to_owned()),
                ..VolumeMountStatus::default()
            }
        };
        container.volume_mounts.as_ref().map(|mounts| mounts.iter().map(told).collect())
    }

    /// State and last state.
    fn states(&self, container: &Container) -> (ContainerState, ContainerState) {
        let plan = self.plan;
        let name = &container.name;
        let before = plan.observed.before_last(name);
        let (number, exit) = match plan.observed.last_ever(name) {
            None => return (self.never_run(container), ContainerState::default()),
            Some(Attempt { state: AttemptState::Created, .. }) => {
                return (self.never_run(container), self.terminated_before(name, before));
            }
            Some(Attempt { state: AttemptState::Running { started_ms }, .. }) => {
                let running = ContainerStateRunning { started_at: Some(api_time(*started_ms)) };
                let state = ContainerState { running: Some(running), ..ContainerState::default() };
                return (state, self.terminated_before(name, before));
            }
            Some(Attempt { number, state: AttemptState::Exited(exit), .. }) => (*number, exit),
        };
        let terminated = self.terminated(name, number, exit);
        match self.waits_after(container, exit) {
            Some(waiting) => (waiting, terminated),
            None => (terminated, self.terminated_before(name, before)),
        }
    }

    fn never_run(&self, container: &Container) -> ContainerState {
        // A pod that never got through its init containers has containers that nobody tried to start.
        let main = self.plan.spec.containers.iter().any(|main| main.name == container.name);
        if self.stopped && main && self.plan.initialised() {
            let lost = ContainerStateTerminated {
                exit_code: EXIT_UNKNOWN,
                reason: Some("ContainerStatusUnknown".to_owned()),
                message: Some("The container could not be located when the pod was terminated".to_owned()),
                ..ContainerStateTerminated::default()
            };
            return ContainerState { terminated: Some(lost), ..ContainerState::default() };
        }
        match self.plan.observed.memory(&container.name).waiting {
            Some(waiting) => shown(&waiting, self.plan.now_ms),
            None => self.preparing(),
        }
    }

    fn preparing(&self) -> ContainerState {
        match self.plan.spec.init_containers.as_deref() {
            None | Some([]) => waiting("ContainerCreating", None),
            Some(_) => waiting("PodInitializing", None),
        }
    }

    /// What a container that has ended and runs again waits for.
    fn waits_after(&self, container: &Container, exit: &Exit) -> Option<ContainerState> {
        let plan = self.plan;
        if self.stopped || !plan.restarts(container, exit.exit_code) {
            return None;
        }
        let name = &container.name;
        let backoff = plan.backoff(container);
        let error = plan.observed.memory(name).waiting;
        if let Some(error) =
            error.filter(|error| plan.now_ms < error.since_ms + ERROR_SHOWN_MS || !error.is_start_error())
        {
            return Some(shown(&error, plan.now_ms));
        }
        let starting = plan.observed.is_busy(&Job::Start(name.clone()));
        if !starting && Backoff::remaining(backoff, exit.finished_ms, plan.now_ms).is_some() {
            let delay = go_duration(backoff.map_or(0, |backoff| backoff.delay_ms));
            let pod = PodId::of(plan.pod).full_name();
            let message = format!("back-off {delay} restarting failed container={name} pod={pod}");
            return Some(waiting("CrashLoopBackOff", Some(message)));
        }
        // Its sandbox was replaced: the next attempt is on the way.
        let in_this_sandbox = plan.observed.last(name).is_some() && plan.observed.sandbox != Sandbox::Lost;
        (!in_this_sandbox).then(|| self.preparing())
    }

    /// All containers of a pod share what there is for their messages.
    fn shortened(&self, message: &str) -> String {
        let most = TERMINATION_MESSAGES_MAX / pod::all_containers(self.plan.spec).count().max(1);
        message[..message.floor_char_boundary(most)].to_owned()
    }

    fn terminated_before(&self, name: &str, attempt: Option<&Attempt>) -> ContainerState {
        match attempt.and_then(|attempt| Some((attempt.number, attempt.exit()?))) {
            Some((number, exit)) => self.terminated(name, number, exit),
            None => ContainerState::default(),
        }
    }

    fn terminated(&self, name: &str, number: u32, exit: &Exit) -> ContainerState {
        let terminated = ContainerStateTerminated {
            container_id: Some(container_id(&PodId::of(self.plan.pod), name, number)),
            exit_code: exit.exit_code,
            signal: exit.signal,
            reason: Some(exit.reason.clone()),
            message: exit.message.as_deref().map(|message| self.shortened(message)),
            started_at: Some(api_time(exit.started_ms)),
            finished_at: Some(api_time(exit.finished_ms)),
        };
        ContainerState { terminated: Some(terminated), ..ContainerState::default() }
    }
}

fn recursion_asked(mount: &VolumeMount) -> bool {
    matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible"))
}

/// `kontiki://<pod uid>.<container>-<attempt>`.
pub fn container_id(pod: &PodId, container: &str, attempt: u32) -> String {
    format!("kontiki://{}.{container}-{attempt}", pod.uid)
}

/// A pull error is shown as such first, then as the back-off it has led to.
fn shown(error: &Waiting, now_ms: i64) -> ContainerState {
    if let Some(image) = error.pulling.as_ref().filter(|_| now_ms >= error.since_ms + ERROR_SHOWN_MS) {
        let message = format!("Back-off pulling image \"{image}\": {}: {}", error.reason, error.message);
        return waiting("ImagePullBackOff", Some(message));
    }
    waiting(&error.reason, Some(error.message.clone()))
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}
