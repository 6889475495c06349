//! Whether and why a pod has to end, and the order in which it does: pre-stop hooks, containers, then sidecars in reverse,
//! then the final status, then everything else of it on this machine, then the API object.

use super::{
    action::Action,
    observed::{Job, Rejection, Sandbox},
    plan::Plan,
    stop::Stop,
};
use crate::{
    clock::millis,
    limits::PUBLISH_RETRY_MS,
    pod::{self, grace_ms},
};

/// Reason of a pod that ran for longer than it may.
pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";

/// Why a pod ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Refused or evicted by this node, or over its deadline: the pod fails with this reason.
    Failed(Rejection),
    /// The API already knows how it ended.
    Over,
    Deleted,
    /// No longer in the API.
    Gone,
    /// All its containers have ended and none runs again.
    Completed,
}

impl Plan<'_> {
    pub fn ending(&mut self) -> Option<Ending> {
        if self.observed.gone {
            return Some(Ending::Gone);
        }
        if pod::is_terminal(self.observed.acknowledged.phase.as_deref()) {
            return Some(Ending::Over);
        }
        if let Some(rejection) = &self.observed.rejection {
            return Some(Ending::Failed(rejection.clone()));
        }
        if self.pod.metadata.deletion_timestamp.is_some() {
            return Some(Ending::Deleted);
        }
        if let Some(rejection) = self.deadline_exceeded() {
            return Some(Ending::Failed(rejection));
        }
        self.completed().then_some(Ending::Completed)
    }

    fn deadline_exceeded(&mut self) -> Option<Rejection> {
        let seconds = self.spec.active_deadline_seconds?;
        let started_ms = self.observed.acknowledged.start_time.as_ref().map_or(self.now_ms, millis);
        let deadline_ms = started_ms + seconds * 1000;
        if self.now_ms < deadline_ms {
            self.wake(deadline_ms);
            return None;
        }
        Some(Rejection::new(DEADLINE_EXCEEDED, "Pod was active on the node longer than the specified deadline"))
    }

    /// An init container has failed for good, or every container has ended for good.
    fn completed(&self) -> bool {
        if self.init_failed() {
            return true;
        }
        let containers = &self.spec.containers;
        !containers.is_empty() && containers.iter().all(|container| self.ended_for_good(container))
    }

    /// One step towards the end; `true` when there is nothing more to do, ever. `told`: the API has the status as it is.
    pub fn end(&mut self, ending: &Ending, told: bool) -> bool {
        if self.stop_containers(ending) {
            return false;
        }
        let starting = self.observed.busy.iter().any(|job| matches!(job, Job::Start(_) | Job::Volumes | Job::Sandbox));
        if starting || self.observed.is_busy(&Job::Clean) {
            return false;
        }
        let sandbox = self.observed.sandbox != Sandbox::Absent;
        if *ending == Ending::Gone {
            let dirty = sandbox || self.observed.leftovers || self.observed.logs_left;
            if dirty {
                self.actions.push(Action::Clean { logs: true });
            }
            return !dirty;
        }
        if *ending != Ending::Over || !told {
            // The exit codes live in the sandbox: it goes only after the API server has them.
            self.wake(self.now_ms + PUBLISH_RETRY_MS);
            return false;
        }
        if sandbox || self.observed.leftovers {
            self.actions.push(Action::Clean { logs: false });
        } else if self.pod.metadata.deletion_timestamp.is_some() && !self.observed.is_busy(&Job::Delete) {
            self.actions.push(Action::DeleteObject);
        }
        false
    }

    /// Stops what is alive, sidecars last, whose hooks do not wait for that; `true` while something is.
    fn stop_containers(&mut self, ending: &Ending) -> bool {
        if matches!(self.observed.sandbox, Sandbox::Lost | Sandbox::Absent) {
            return false;
        }
        let since_ms = self.observed.stopping_since_ms.unwrap_or(self.now_ms);
        let own_ms = grace_ms(self.pod);
        let grace_ms = match ending {
            Ending::Failed(rejection) => rejection.grace_ms.map_or(own_ms, |grace_ms| grace_ms.min(own_ms)),
            Ending::Over | Ending::Deleted | Ending::Gone | Ending::Completed => own_ms,
        };
        let kill_at_ms = since_ms + grace_ms;
        let init = self.spec.init_containers.iter().flatten();
        let sidecars: Vec<&str> = init.clone().filter(|c| pod::is_sidecar(c)).map(|c| c.name.as_str()).collect();
        let known: Vec<String> = self.observed.attempts.keys().cloned().collect();
        let mut alive = false;
        for name in known.iter().filter(|name| !sidecars.contains(&name.as_str())) {
            alive |= self.stop(name, kill_at_ms, false);
        }
        for name in sidecars.iter().rev() {
            alive |= self.stop(name, kill_at_ms, alive);
        }
        alive
    }

    /// Asks for the end of what runs of `container`. One that was never started goes with its sandbox.
    fn stop(&mut self, container: &str, kill_at_ms: i64, after_others: bool) -> bool {
        let running = self.observed.attempts.get(container).into_iter().flatten().filter(|a| a.is_running());
        let mut alive = self.observed.is_busy(&Job::Start(container.to_owned()));
        for attempt in running {
            alive = true;
            let (container, attempt) = (container.to_owned(), attempt.number);
            let why = Stop::PodEnds;
            self.actions.push(Action::Kill { container, attempt, why, kill_at_ms, after_others });
        }
        alive
    }
}
