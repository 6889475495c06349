//! What a pod that is to run needs next: volumes, sandbox, init containers in order, containers, restarts.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::{
    action::Action,
    backoff::Backoff,
    observed::{Attempt, AttemptState, Job, Observed, Sandbox, Step},
    renewal::Renewal,
    resize::{self, Resize},
    stop::Stop,
};
use crate::{
    clock::Millis,
    limits::ERROR_SHOWN_MS,
    pod::{self, probe_grace_ms},
};

/// One question to the machine, and the answer as it grows.
pub struct Plan<'a> {
    pub pod: &'a Pod,
    pub spec: &'a PodSpec,
    pub observed: &'a Observed,
    pub renewal: Renewal,
    pub now_ms: Millis,
    pub actions: Vec<Action>,
    pub wake_at_ms: Option<Millis>,
}

impl<'a> Plan<'a> {
    pub fn new(pod: &'a Pod, spec: &'a PodSpec, observed: &'a Observed, renewal: Renewal, now_ms: Millis) -> Plan<'a> {
        Plan { pod, spec, observed, renewal, now_ms, actions: Vec::new(), wake_at_ms: None }
    }

    pub fn wake(&mut self, at_ms: Millis) {
        self.wake_at_ms = Some(self.wake_at_ms.map_or(at_ms, |earlier| earlier.min(at_ms)));
    }

    /// One step of a pod that is to run.
    pub fn run(&mut self) {
        if self.end_earlier_round() {
            return;
        }
        self.stop_unwanted();
        self.resize();
        // In this order: a pod whose volumes cannot be had gets no sandbox, and no address.
        if !(self.step(&self.observed.volumes, Action::PrepareVolumes) && self.sandbox_ready()) {
            return;
        }
        // They are for pods whose init containers do not get on, too.
        for container in pod::ephemeral_containers(self.spec) {
            self.keep_running(&container);
        }
        if self.run_init_containers() {
            self.run_containers();
        }
    }

    /// Begins `action` if the step is due; `true` when the step is done.
    fn step(&mut self, step: &Step, action: Action) -> bool {
        let busy = action.job().is_some_and(|job| self.observed.is_busy(&job));
        match step {
            Step::Done => return true,
            Step::Failed { retry_at_ms, .. } if *retry_at_ms > self.now_ms => self.wake(*retry_at_ms),
            Step::Todo | Step::Failed { .. } if !busy => self.actions.push(action),
            Step::Todo | Step::Failed { .. } => {}
        }
        false
    }

    fn sandbox_ready(&mut self) -> bool {
        match &self.observed.sandbox {
            Sandbox::Ready { .. } => true,
            Sandbox::Lost => {
                if !self.observed.is_busy(&Job::Sandbox) {
                    self.actions.push(Action::RemoveSandbox);
                }
                false
            }
            Sandbox::Absent => {
                // `Done` of a sandbox that is no longer there means nothing.
                let step = match &self.observed.sandbox_step {
                    Step::Done => Step::Todo,
                    step @ (Step::Todo | Step::Failed { .. }) => step.clone(),
                };
                self.step(&step, Action::CreateSandbox);
                false
            }
        }
    }

    /// Runs what is next of the init containers; `true` when the containers may run.
    fn run_init_containers(&mut self) -> bool {
        let begun = self.containers_begun();
        let spec = self.spec;
        for container in spec.init_containers.iter().flatten() {
            if pod::is_sidecar(container) {
                self.keep_running(container);
                if !begun && !self.started(container) {
                    return false;
                }
            } else if !begun {
                let exit_code = self.observed.last(&container.name).and_then(Attempt::exit).map(|exit| exit.exit_code);
                if exit_code == Some(0) {
                    continue;
                }
                self.keep_running(container);
                return false;
            }
        }
        true
    }

    /// Starts containers one at a time, in their order: the hook of an earlier one may wait for a proxy that the later
    /// ones go through.
    fn run_containers(&mut self) {
        let spec = self.spec;
        if spec.containers.iter().any(|container| self.observed.is_busy(&Job::Start(container.name.clone()))) {
            return;
        }
        for container in &spec.containers {
            let before = self.actions.len();
            self.keep_running(container);
            let starts = self.actions[before..].iter().any(|action| matches!(action, Action::Start { .. }));
            // Left by an agent that was killed meanwhile: it is removed, and made anew.
            let half_made = self.observed.last(&container.name).map(|attempt| &attempt.state);
            if starts || half_made == Some(&AttemptState::Created) {
                return;
            }
        }
    }

    /// In this sandbox a container has been started, so initialisation was complete.
    pub fn containers_begun(&self) -> bool {
        self.spec.containers.iter().any(|container| self.observed.last(&container.name).is_some())
    }

    /// All plain init containers have succeeded and all sidecars have started.
    pub fn initialised(&self) -> bool {
        self.containers_begun()
            || self.spec.init_containers.iter().flatten().all(|container| match pod::is_sidecar(container) {
                true => self.started(container),
                false => self.observed.last(&container.name).and_then(Attempt::exit).is_some_and(|e| e.exit_code == 0),
            })
    }

    pub fn init_failed(&self) -> bool {
        let spec = self.spec;
        !self.containers_begun()
            && spec.init_containers.iter().flatten().filter(|container| !pod::is_sidecar(container)).any(|container| {
                let exit = self.observed.last_ever(&container.name).and_then(Attempt::exit);
                exit.is_some_and(|exit| exit.exit_code != 0 && !self.restarts(container, exit.exit_code))
            })
    }

    pub fn ended_for_good(&self, container: &Container) -> bool {
        let exit = self.observed.last_ever(&container.name).and_then(Attempt::exit);
        exit.is_some_and(|exit| !self.restarts(container, exit.exit_code))
    }

    /// Whether the container runs again after its last attempt ended with this exit code.
    pub fn restarts(&self, container: &Container, exit_code: i32) -> bool {
        if self.awaits_renewal(&container.name) {
            return true;
        }
        let plain_init = self.spec.init_containers.iter().flatten().any(|init| init.name == container.name)
            && !pod::is_sidecar(container);
        if !plain_init {
            return pod::restarts(self.spec, container, exit_code);
        }
        // A new sandbox is initialised anew.
        let in_earlier_sandbox = exit_code == 0 && self.observed.last(&container.name).is_none();
        pod::init_restarts(self.spec, container, exit_code) || (in_earlier_sandbox && !self.containers_begun())
    }

    /// Runs, its post-start hook is over, and its startup probe has succeeded.
    pub fn started(&self, container: &Container) -> bool {
        let Some(attempt) = self.observed.last(&container.name).filter(|attempt| attempt.is_running()) else {
            return false;
        };
        let memory = self.observed.memory(&container.name);
        memory.post_started == Some(attempt.number)
            && (container.startup_probe.is_none() || memory.health_of(attempt.number).started)
    }

    /// Started, and its readiness probe, if it has one, says so.
    pub fn ready(&self, container: &Container) -> bool {
        let Some(attempt) = self.observed.last(&container.name) else { return false };
        let healthy = self.observed.memory(&container.name).health_of(attempt.number).ready;
        self.started(container) && (container.readiness_probe.is_none() || healthy)
    }

    /// Starts the container if it does not run, may, and need not wait.
    fn keep_running(&mut self, container: &Container) {
        let name = &container.name;
        if self.observed.is_busy(&Job::Start(name.clone())) {
            return;
        }
        match self.observed.last(name).map(|attempt| (attempt.number, &attempt.state)) {
            Some((_, AttemptState::Running { .. })) => {}
            Some((number, AttemptState::Created)) => self.remove(name, number),
            Some((_, AttemptState::Exited(_))) | None => self.start_again(container),
        }
    }

    fn start_again(&mut self, container: &Container) {
        let name = &container.name;
        let memory = self.observed.memory(name);
        if let Some(waiting) = memory.waiting.as_ref().filter(|waiting| waiting.image == container.image) {
            let shown_until = waiting.since_ms + ERROR_SHOWN_MS;
            if waiting.is_start_error() && self.now_ms < shown_until {
                self.wake(shown_until);
            }
            if waiting.is_pull_error() && !waiting.announced {
                match self.now_ms >= shown_until {
                    true => self.actions.push(Action::AnnouncePullBackoff { container: name.clone() }),
                    false => self.wake(shown_until),
                }
            }
            if waiting.retry_at_ms > self.now_ms {
                self.wake(waiting.retry_at_ms);
                return;
            }
        }
        let Some((number, exit)) = self.observed.last_ever(name).and_then(|a| Some((a.number, a.exit()?))) else {
            let (container, round) = (name.clone(), self.renewal.round);
            let start = Action::Start { container, attempt: 0, backoff: memory.backoff, round };
            self.actions.push(start);
            return;
        };
        if !self.restarts(container, exit.exit_code) {
            return;
        }
        let backoff = self.backoff(container);
        if let Some(left_ms) = Backoff::remaining(backoff, exit.finished_ms, self.now_ms) {
            self.wake(self.now_ms + left_ms);
            if memory.backoff_announced != Some(number) {
                self.actions.push(Action::AnnounceCrashBackoff { container: name.clone(), attempt: number });
            }
            return;
        }
        let backoff = Some(Backoff::raised(backoff, exit.finished_ms, self.now_ms));
        let (container, round) = (name.clone(), self.renewal.round);
        self.actions.push(Action::Start { container, attempt: number + 1, backoff, round });
    }

    /// The back-off of a container: remembered, or assumed from its restarts. With another image it begins anew.
    pub fn backoff(&self, container: &Container) -> Option<Backoff> {
        let last = self.observed.last_ever(&container.name);
        if last.is_some_and(|last| last.is_of_another_image(container)) {
            return None;
        }
        let assumed = || last.and_then(|last| Backoff::assumed(last.number, last.exit()?.started_ms));
        self.observed.memory(&container.name).backoff.or_else(assumed)
    }

    /// Stops running containers that failed a probe or whose definition has changed.
    fn stop_unwanted(&mut self) {
        let spec = self.spec;
        for container in pod::containers(spec) {
            let name = &container.name;
            let Some(attempt) = self.observed.last(name).filter(|attempt| attempt.is_running()) else { continue };
            if self.observed.is_busy(&Job::Kill(name.clone())) {
                continue;
            }
            let asked = self.observed.memory(name).stop.filter(|(number, _)| *number == attempt.number);
            let changed = attempt.is_of_another_image(container).then_some(Stop::DefinitionChanged);
            let resized = (resize::of(container, attempt) == Some(Resize::Restart)).then_some(Stop::Resized);
            let Some(why) = asked.map(|(_, why)| why).or(changed).or(resized) else { continue };
            let probe = match why {
                Stop::LivenessProbe => container.liveness_probe.as_ref(),
                Stop::StartupProbe => container.startup_probe.as_ref(),
                Stop::PodEnds | Stop::PostStartHook | Stop::DefinitionChanged | Stop::Resized | Stop::AllRestart => {
                    None
                }
            };
            let kill_at_ms = self.now_ms + probe_grace_ms(spec, probe);
            let (container, attempt) = (name.clone(), attempt.number);
            self.actions.push(Action::Kill { container, attempt, why, kill_at_ms, after_others: false });
        }
    }

    /// Lets running containers use what the pod now says.
    fn resize(&mut self) {
        let spec = self.spec;
        for container in pod::containers(spec) {
            let name = &container.name;
            let busy =
                [Job::Resize(name.clone()), Job::Kill(name.clone())].iter().any(|job| self.observed.is_busy(job));
            let Some(attempt) = self.observed.last(name).filter(|attempt| attempt.is_running() && !busy) else {
                continue;
            };
            if resize::of(container, attempt) != Some(Resize::InPlace) {
                continue;
            }
            match self.observed.memory(name).resize_failed {
                Some(failed) if failed.retry_at_ms > self.now_ms => self.wake(failed.retry_at_ms),
                Some(_) | None => {
                    self.actions.push(Action::Resize { container: name.clone(), attempt: attempt.number });
                }
            }
        }
    }

    /// Containers that do not use yet what is set aside for them.
    pub fn resizing(&self) -> impl Iterator<Item = &'a Container> {
        pod::containers(self.spec).filter(|container| {
            let last = self.observed.last(&container.name);
            last.is_some_and(|attempt| resize::of(container, attempt).is_some()) && !self.ended_for_good(container)
        })
    }

    /// Keeps the last attempt and the one before it, whose log can still be asked for.
    pub fn forget_old_attempts(&mut self, observed: &Observed) {
        for (name, attempts) in &observed.attempts {
            let Some(last) = attempts.last() else { continue };
            for attempt in attempts.iter().filter(|a| a.number + 1 < last.number && !a.is_alive()) {
                self.remove(name, attempt.number);
            }
        }
    }

    fn remove(&mut self, container: &str, attempt: u32) {
        let action = Action::Remove { container: container.to_owned(), attempt };
        if action.job().is_some_and(|job| !self.observed.is_busy(&job)) {
            self.actions.push(action);
        }
    }
}
