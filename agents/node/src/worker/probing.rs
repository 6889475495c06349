//! Which probes run, and what their verdicts mean to the machine.

use std::{collections::BTreeMap, sync::Arc};

use tokio::task::AbortHandle;

use super::Worker;
use crate::{
    machine::{AttemptState, Health, Stop},
    pod,
    probes::{Kind, Prober, Verdict},
};

/// Probes in flight; dropping them ends them.
#[derive(Default)]
pub struct Probes(BTreeMap<(String, u32, Kind), Running>);

struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Probes {
    pub fn stop(&mut self) {
        self.0.clear();
    }
}

impl Worker {
    /// Starts the probes of attempts that run and ends those of attempts that do not.
    pub(super) fn probe(&mut self) {
        let spec = pod::spec(&self.pod);
        let mut wanted = BTreeMap::new();
        for container in pod::containers(&spec) {
            let Some(attempt) = self.observed.last(&container.name) else { continue };
            let AttemptState::Running { started_ms } = attempt.state else { continue };
            let memory = self.observed.memory(&container.name);
            let health = memory.health_of(attempt.number);
            let stopping = memory.stop.is_some_and(|(number, _)| number == attempt.number);
            if stopping || memory.post_started != Some(attempt.number) {
                continue;
            }
            let kinds: &[Kind] = match container.startup_probe.is_some() && !health.started {
                true => &[Kind::Startup],
                false => &[Kind::Readiness, Kind::Liveness],
            };
            for kind in kinds.iter().filter(|kind| kind.of(container).is_some()) {
                let known = (*kind == Kind::Readiness).then_some(health.ready);
                wanted.insert((container.name.clone(), attempt.number, *kind), (started_ms, known));
            }
        }
        self.probes.0.retain(|key, _| wanted.contains_key(key));
        for ((container, attempt, kind), (started_ms, known)) in wanted {
            let key = (container.clone(), attempt, kind);
            if self.probes.0.contains_key(&key) {
                continue;
            }
            let Some(checker) = self.checker(&container, attempt) else { continue };
            let Some(probe) = kind.of(&checker.container).cloned() else { continue };
            let prober = Prober {
                count: self.node.probes.of(&self.pod, &container, kind),
                pod: Arc::clone(&self.pod),
                container,
                attempt,
                kind,
                probe,
                started_ms,
                known,
                checker,
                events: self.node.events.clone(),
                verdicts: self.verdict_sender.clone(),
            };
            self.probes.0.insert(key, Running(tokio::spawn(prober.run()).abort_handle()));
        }
    }

    pub(super) fn learn_verdict(&mut self, verdict: Verdict) {
        let Verdict { container, attempt, kind, healthy } = verdict;
        let current = self.observed.last(&container).is_some_and(|last| last.number == attempt);
        if !current {
            return;
        }
        let memory = self.memory(&container);
        let mut health: Health = memory.health_of(attempt);
        match (kind, healthy) {
            (Kind::Startup, true) => health.started = true,
            (Kind::Readiness, ready) => health.ready = ready,
            (Kind::Startup, false) => memory.stop = Some((attempt, Stop::StartupProbe)),
            (Kind::Liveness, false) => memory.stop = Some((attempt, Stop::LivenessProbe)),
            (Kind::Liveness, true) => {}
        }
        memory.health = health;
    }
}
