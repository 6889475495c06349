//! Probes: one task for each probe of each running attempt. It asks, counts, and says when its verdict changes.
//! Knows nothing of what follows from a verdict.

mod check;
pub mod exec;
mod grpc;
mod http;
mod tally;
mod threshold;

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use tokio::sync::mpsc;

use self::threshold::Threshold;
pub use self::{
    check::{Checker, Outcome},
    http::{HttpRequest, get as http_get},
    tally::{Count, Tally},
};
use crate::{
    clock::{self, Millis},
    events::{Events, Severity},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Startup,
    Readiness,
    Liveness,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Readiness => "Readiness",
            Kind::Liveness => "Liveness",
        }
    }

    /// What is assumed before the first verdict: only liveness gives credit.
    fn assumed(self) -> bool {
        self == Kind::Liveness
    }

    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Kind::Startup => container.startup_probe.as_ref(),
            Kind::Readiness => container.readiness_probe.as_ref(),
            Kind::Liveness => container.liveness_probe.as_ref(),
        }
    }
}

/// What a probe found, when that has changed or a failure threshold was reached (again).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub container: String,
    pub attempt: u32,
    pub kind: Kind,
    pub healthy: bool,
}

/// One probe of one attempt.
pub struct Prober {
    pub pod: std::sync::Arc<Pod>,
    pub container: String,
    pub attempt: u32,
    pub kind: Kind,
    pub probe: Probe,
    pub started_ms: Millis,
    /// What is known already, from before this agent started.
    pub known: Option<bool>,
    pub checker: Checker,
    pub count: Count,
    pub events: Events,
    pub verdicts: mpsc::Sender<Verdict>,
}

impl Prober {
    /// Probes until nobody listens any more; the owner ends it with the attempt.
    pub async fn run(self) {
        let delay_ms = i64::from(self.probe.initial_delay_seconds.unwrap_or(0)) * 1000;
        let first_in = (self.started_ms + delay_ms - clock::now()).clamp(0, delay_ms);
        tokio::time::sleep(Duration::from_millis(first_in.unsigned_abs())).await;
        let period = Duration::from_secs(positive(self.probe.period_seconds, 10));
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut threshold = Threshold::new(
            self.known.unwrap_or(self.kind.assumed()),
            positive(self.probe.success_threshold, 1),
            positive(self.probe.failure_threshold, 3),
        );
        loop {
            ticks.tick().await;
            let began = Instant::now();
            let outcome = self.check().await;
            self.count.note(&outcome, began.elapsed());
            let healthy = outcome.is_healthy();
            self.tell(outcome);
            if let Some(healthy) = threshold.count(healthy) {
                let verdict =
                    Verdict { container: self.container.clone(), attempt: self.attempt, kind: self.kind, healthy };
                if self.verdicts.send(verdict).await.is_err() || (self.kind == Kind::Startup && healthy) {
                    return;
                }
            }
        }
    }

    async fn check(&self) -> Outcome {
        let limit = Duration::from_secs(positive(self.probe.timeout_seconds, 1));
        match tokio::time::timeout(limit, self.checker.check(&self.probe)).await {
            Ok(outcome) => outcome,
            Err(_) if self.probe.exec.is_some() => Outcome::Unhealthy(format!(
                "command timed out: {:?} timed out after {}s",
                self.command(),
                limit.as_secs()
            )),
            Err(_) => Outcome::Unhealthy(format!("timed out after {}s (context deadline exceeded)", limit.as_secs())),
        }
    }

    fn command(&self) -> String {
        self.probe.exec.as_ref().and_then(|exec| exec.command.clone()).unwrap_or_default().join(" ")
    }

    fn tell(&self, outcome: Outcome) {
        let name = self.kind.name();
        let (reason, message) = match outcome {
            Outcome::Healthy => return,
            Outcome::Warning(text) => ("ProbeWarning", format!("{name} probe warning: {text}")),
            Outcome::Unhealthy(text) => ("Unhealthy", format!("{name} probe failed: {text}")),
            Outcome::Error(text) => {
                ("Unhealthy", format!("{name} probe errored and resulted in unknown state: {text}"))
            }
        };
        self.events.of_container(&self.pod, &self.container, Severity::Warning, reason, message);
    }
}

fn positive(value: Option<i32>, default: u32) -> u64 {
    u64::from(value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default))
}
