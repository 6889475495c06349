//! The end of one container: pre-stop hook, stop signal, and SIGKILL when its time is up.

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
    limits::{GRACE_AFTER_HOOK, REMOVE_RETRY_MS},
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
    kill_at_ms: watch::Sender<Millis>,
    ended: CancellationToken,
}

/// What one stop needs.
struct Stopping {
    node: Arc<NodeContext>,
    pod: Arc<Pod>,
    checker: Checker,
    image: String,
    why: Stop,
    kill_at_ms: watch::Receiver<Millis>,
    ended: CancellationToken,
}

impl Worker {
    /// Begins to stop an attempt, or hastens the stop that is under way.
    pub(super) fn kill(&mut self, container: String, attempt: u32, why: Stop, kill_at_ms: Millis) {
        if let Some(kill) = self.kills.get(&container).filter(|kill| kill.attempt == attempt) {
            kill.kill_at_ms.send_if_modified(|at| {
                let earlier = kill_at_ms < *at;
                *at = kill_at_ms.min(*at);
                earlier
            });
            return;
        }
        let Some(checker) = self.checker(&container, attempt) else { return };
        let image = self.observed.last(&container).map(|attempt| attempt.image.clone()).unwrap_or_default();
        let (sender, receiver) = watch::channel(kill_at_ms);
        let ended = CancellationToken::new();
        let stopping = Stopping {
            node: self.node.clone(),
            pod: self.pod.clone(),
            checker,
            image,
            why,
            kill_at_ms: receiver,
            ended: ended.clone(),
        };
        self.kills.insert(container.clone(), Kill { attempt, kill_at_ms: sender, ended });
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
        let mut kill_at_ms = *self.kill_at_ms.borrow_and_update();
        if let Some(hook) = hook {
            self.pre_stop(&name, &hook).await;
            let least_ms = clock::now() + GRACE_AFTER_HOOK.as_millis() as Millis;
            kill_at_ms = (*self.kill_at_ms.borrow_and_update()).max(least_ms);
        }
        let signal = self.signal().await;
        self.send(signal).await;
        loop {
            let left = Duration::from_millis((kill_at_ms - clock::now()).max(0).unsigned_abs());
            tokio::select! {
                () = tokio::time::sleep(left) => break,
                Ok(()) = self.kill_at_ms.changed() => kill_at_ms = *self.kill_at_ms.borrow_and_update(),
            }
        }
        loop {
            self.send(nix::sys::signal::Signal::SIGKILL as i32).await;
            tokio::time::sleep(Duration::from_millis(REMOVE_RETRY_MS.unsigned_abs())).await;
        }
    }

    async fn pre_stop(&mut self, name: &str, hook: &LifecycleHandler) {
        let (checker, mut deadline) = (self.checker.clone(), self.kill_at_ms.clone());
        let out_of_time = async {
            loop {
                let left = (*deadline.borrow_and_update() - clock::now()).max(0).unsigned_abs();
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(left)) => return,
                    Ok(()) = deadline.changed() => {}
                }
            }
        };
        let failed = tokio::select! {
            result = hooks::run(hook, &checker) => result.err(),
            () = out_of_time => None,
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
