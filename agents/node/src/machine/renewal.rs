//! Restarting all containers of a pod in its sandbox, because one of them has ended in a way that its rules name
//! (`RestartAllContainers`). Attempts are counted in rounds: each such end begins a new one, in which every container runs again,
//! init containers first. What ran in an earlier round is history, as what ran in an earlier sandbox is.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::PodSpec;

use super::{
    action::Action,
    observed::{Attempt, Observed},
    plan::Plan,
    stop::Stop,
};
use crate::pod;

/// Where a pod is on its way from one round to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// The round in which containers are started.
    pub round: u32,
    /// Attempts of earlier rounds that still run.
    pub leaving: Vec<(String, u32)>,
}

impl Renewal {
    pub fn of(spec: &PodSpec, observed: &Observed) -> Renewal {
        if !may_happen(spec) {
            return Renewal::default();
        }
        let next = |name: &str, attempt: &Attempt| attempt.round + u32::from(begins_round(spec, name, attempt));
        let round = of_containers(spec, observed).map(|(name, attempt)| next(name, attempt)).max().unwrap_or(0);
        let old = of_containers(spec, observed).filter(|(_, attempt)| attempt.round < round && attempt.is_running());
        let leaving = old.map(|(name, attempt)| (name.to_owned(), attempt.number)).collect();
        Renewal { round, leaving }
    }

    /// What is observed, as far as it is of this round; all of it while something of an earlier one runs.
    pub fn view<'a>(&self, spec: &PodSpec, observed: &'a Observed) -> Cow<'a, Observed> {
        let is_old = |attempt: &Attempt| attempt.round < self.round;
        if !self.leaving.is_empty() || !of_containers(spec, observed).any(|(_, attempt)| is_old(attempt)) {
            return Cow::Borrowed(observed);
        }
        let mut renewed = observed.clone();
        for container in pod::containers(spec) {
            let Some(attempts) = renewed.attempts.remove(&container.name) else { continue };
            let (old, own): (Vec<Attempt>, Vec<Attempt>) = attempts.into_iter().partition(is_old);
            if let Some(last) = old.into_iter().next_back() {
                renewed.history.insert(container.name.clone(), last);
            }
            if !own.is_empty() {
                renewed.attempts.insert(container.name.clone(), own);
            }
        }
        Cow::Owned(renewed)
    }
}

impl Plan<'_> {
    /// The container has not run yet since all were to be restarted: its policy is not asked.
    pub fn awaits_renewal(&self, container: &str) -> bool {
        let ephemeral = self.spec.ephemeral_containers.iter().flatten();
        let is_ephemeral = ephemeral.into_iter().any(|ephemeral| ephemeral.name == container);
        let Renewal { round, leaving } = &self.renewal;
        !is_ephemeral && (!leaving.is_empty() || (*round > 0 && self.observed.last(container).is_none()))
    }

    /// Ends what runs of an earlier round, at once; `true` while something does.
    pub fn end_earlier_round(&mut self) -> bool {
        for (container, attempt) in &self.renewal.leaving {
            let (container, attempt, kill_at_ms) = (container.clone(), *attempt, self.now_ms);
            let why = Stop::AllRestart;
            self.actions.push(Action::Kill { container, attempt, why, kill_at_ms, after_others: false });
        }
        !self.renewal.leaving.is_empty()
    }
}

/// A rule of the pod's containers names it.
pub fn may_happen(spec: &PodSpec) -> bool {
    pod::containers(spec).any(pod::may_restart_all)
}

fn of_containers<'a>(spec: &'a PodSpec, observed: &'a Observed) -> impl Iterator<Item = (&'a str, &'a Attempt)> {
    pod::containers(spec).flat_map(move |container| {
        let attempts = observed.attempts.get(&container.name).into_iter().flatten();
        attempts.map(move |attempt| (container.name.as_str(), attempt))
    })
}

fn begins_round(spec: &PodSpec, name: &str, attempt: &Attempt) -> bool {
    let container = pod::containers(spec).find(|container| container.name == name);
    attempt.exit().zip(container).is_some_and(|(exit, container)| pod::restarts_all(container, exit.exit_code))
}
