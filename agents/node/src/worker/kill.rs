//! The end of one container: pre-stop hook, its turn, stop signal, and SIGKILL when its time is up.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{LifecycleHandler, Pod};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Worker, jobs::Outcome};
use crate::{
    clock::{self, Millis},
    containers::RefusalKind,
    events::Severity,
    hooks,
    limits::{GRACE_AFTER_WAIT, REMOVE_RETRY_MS},
    machine::{Job, Stop},
    node::NodeContext,
    pod,
    probes::Checker,
    signals,
    spec::{container_name, stop_signal},
};

/// A stop in flight.
pub struct Kill {
    attempt: u32,
    terms: watch::Sender<Terms>,
    ended: CancellationToken,
}

/// What may change while a container is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Never later than it was.
    pub kill_at_ms: Millis,
    /// Others end before it.
    pub after_others: bool,
}

/// What one stop needs.
struct Stopping {
    node: Arc<NodeContext>,
    pod: Arc<Pod>,
    checker: Checker,
    image: String,
    why: Stop,
    terms: watch::Receiver<Terms>,
    ended: CancellationToken,
}

impl Worker {
    /// Begins to stop an attempt, or hastens the stop that is under way.
    pub(super) fn kill(&mut self, container: String, attempt: u32, why: Stop, terms: Terms) {
        if let Some(kill) = self.kills.get(&container).filter(|kill| kill.attempt == attempt) {
            kill.terms.send_if_modified(|known| {
                let now = Terms { kill_at_ms: terms.kill_at_ms.min(known.kill_at_ms), ..terms };
                std::mem::replace(known, now) != now
            });
            return;
        }
        let Some(checker) = self.checker(&container, attempt) else { return };
        let image = self.observed.last(&container).map(|attempt| attempt.image.clone()).unwrap_or_default();
        let (sender, receiver) = watch::channel(terms);
        let ended = CancellationToken::new();
        let stopping = Stopping {
            node: self.node.clone(),
            pod: self.pod.clone(),
            checker,
            image,
            why,
            terms: receiver,
            ended: ended.clone(),
        };
        self.kills.insert(container.clone(), Kill { attempt, terms: sender, ended });
        let job = Job::Kill(container.clone());
        self.spawn(job, async move {
            stopping.run().await;
            Outcome::Killed { container }
        });
    }

    /// Tells stops in flight that their attempt has ended.
    pub(super) fn end_kills(&mut self) {
        for (container, kill) in &self.kills {
            let alive = self.observed.attempts.get(container).into_iter().flatten();
            if !alive.into_iter().any(|attempt| attempt.number == kill.attempt && attempt.is_running()) {
                kill.ended.cancel();
            }
        }
    }

    /// How to reach an attempt from here; `None` if the pod no longer has such a container.
    pub(super) fn checker(&self, container: &str, attempt: u32) -> Option<Checker> {
        let spec = pod::spec(&self.pod);
        Some(Checker {
            containers: self.node.containers.clone(),
            sandbox: self.id.uid.clone(),
            id: container_name(container, attempt),
            container: pod::container(&spec, container)?.into_owned(),
            address: self.address(),
        })
    }
}

impl Stopping {
    async fn run(mut self) {
        let ended = self.ended.clone();
        // The runtime says that the attempt has ended; until then everything is tried.
        ended.run_until_cancelled(self.stop()).await;
    }

    async fn stop(&mut self) {
        let name = self.checker.container.name.clone();
        self.node.events.of_container(&self.pod, &name, Severity::Normal, "Killing", self.why.message(&name));
        let lifecycle = self.checker.container.lifecycle.clone();
        let hook = lifecycle.and_then(|lifecycle| lifecycle.pre_stop).filter(|_| self.why.runs_hook());
        if let Some(hook) = &hook {
            self.pre_stop(&name, hook).await;
        }
        let waits = self.terms.borrow().after_others;
        self.out_of_time_or(|terms| !terms.after_others).await;
        let least_ms = match hook.is_some() || waits {
            true => clock::now() + GRACE_AFTER_WAIT.as_millis() as Millis,
            false => 0,
        };
        let signal = self.signal().await;
        self.send(signal).await;
        loop {
            let kill_at_ms = self.terms.borrow_and_update().kill_at_ms.max(least_ms);
            tokio::select! {
                () = until(kill_at_ms) => break,
                Ok(()) = self.terms.changed() => {}
            }
        }
        loop {
            self.send(nix::sys::signal::Signal::SIGKILL as i32).await;
            tokio::time::sleep(Duration::from_millis(REMOVE_RETRY_MS.unsigned_abs())).await;
        }
    }

    /// Waits for the deadline, or for what is asked to be `enough`.
    async fn out_of_time_or(&self, enough: impl Fn(Terms) -> bool) {
        let mut terms = self.terms.clone();
        loop {
            let now = *terms.borrow_and_update();
            if enough(now) {
                return;
            }
            tokio::select! {
                () = until(now.kill_at_ms) => return,
                Ok(()) = terms.changed() => {}
            }
        }
    }

    async fn pre_stop(&self, name: &str, hook: &LifecycleHandler) {
        let failed = tokio::select! {
            result = hooks::run(hook, &self.checker) => result.err(),
            () = self.out_of_time_or(|_| false) => None,
        };
        if let Some(problem) = failed {
            // Only for the node's own log: what a hook says may be secret.
            warn!(container = self.checker.id, problem, "a pre-stop hook has failed");
            let events = &self.node.events;
            events.of_container(&self.pod, name, Severity::Warning, "FailedPreStopHook", "PreStopHook failed");
        }
    }

    async fn signal(&self) -> i32 {
        let asked = match stop_signal(&self.checker.container) {
            Some(name) => Some(name),
            None => match self.node.containers.resolve(&self.image).await {
                Ok(image) => image.and_then(|image| image.config.stop_signal),
                // Without its image nobody knows its signal.
                Err(_) => None,
            },
        };
        asked.and_then(|name| signals::number(&name)).unwrap_or(nix::sys::signal::Signal::SIGTERM as i32)
    }

    async fn send(&self, signal: i32) {
        let sent = self.node.containers.kill_container(&self.checker.sandbox, &self.checker.id, signal).await;
        if let Err(refusal) = sent
            && refusal.kind != RefusalKind::NotFound
        {
            warn!(container = self.checker.id, signal, %refusal, "cannot signal the container");
        }
    }
}

async fn until(at_ms: Millis) {
    tokio::time::sleep(Duration::from_millis((at_ms - clock::now()).max(0).unsigned_abs())).await;
}
