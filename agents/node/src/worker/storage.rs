//! Looks now and then at what a bounded pod has on the node's disk.

use super::{Worker, jobs::Outcome};
use crate::{
    clock::{self, Millis},
    disk::Measure,
    events::Severity,
    eviction::{self, EVICTED},
    limits::STORAGE_CHECK,
    machine::{Attempt, Rejection},
    pod,
};

impl Worker {
    /// Begins to measure when it is time; returns when that is.
    pub(super) fn check_storage(&mut self, now_ms: Millis) -> Option<Millis> {
        // What is prepared for containers is ours; what there is too much of they write.
        if self.observed.attempts.is_empty() || !eviction::is_bounded(&self.pod) {
            return None;
        }
        // While one look is under way there is no time for the next.
        let due_ms = self.storage_due_ms?;
        if due_ms > now_ms {
            return Some(due_ms);
        }
        self.storage_due_ms = None;
        let attempts = self.observed.attempts.iter();
        let running = |attempt: &&Attempt| attempt.is_running();
        let last =
            attempts.filter_map(|(name, attempts)| Some((name.as_str(), attempts.last().filter(running)?.number)));
        let measure = Measure::new(&self.pod, &self.place, &self.id.uid, last);
        let (pod, node) = (self.pod.clone(), self.node.clone());
        self.jobs.spawn(async move {
            let over = match measure.run(&node.containers).await {
                Ok(written) => eviction::over_limit(&pod, &written),
                Err(error) => {
                    tracing::warn!(pod = %pod::PodId::of(&pod).full_name(), %error, "its use of the disk is not known");
                    None
                }
            };
            Outcome::Measured(over)
        });
        None
    }

    pub(super) fn learn_measured(&mut self, over: Option<Rejection>) {
        self.storage_due_ms = Some(clock::now() + STORAGE_CHECK.as_millis() as Millis);
        self.over_limit = over;
    }

    /// Ends a pod that was found to have written too much, if it has not ended by itself meanwhile; returns when to look again.
    pub(super) fn evict(&mut self, now_ms: Millis) -> Option<Millis> {
        let rejection = self.over_limit.take()?;
        self.node.events.of_pod(&self.pod, Severity::Warning, EVICTED, rejection.message.clone());
        self.observed.rejection = Some(rejection);
        Some(now_ms)
    }
}
