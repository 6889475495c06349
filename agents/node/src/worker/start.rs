//! The start of one attempt: image, files, mounts, container, process, post-start hook.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};

use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use kontiki_runtime::spec::ContainerSpec;
use tokio_util::sync::CancellationToken;

use super::{Worker, jobs::Outcome, preparation::Preparation};
use crate::{
    clock::{self, Millis},
    containers::{Image, Refusal, RefusalKind},
    events::Severity,
    hooks,
    images::{ERR_IMAGE_PULL, PullProblem, Puller},
    keyring::Keyring,
    limits::{PULL_BACKOFF_FIRST_MS, PULL_BACKOFF_MAX_MS, RETRY_MS},
    machine::{Attempt, AttemptState, Backoff, Exit, Job, Stop, Waiting},
    node::NodeContext,
    pod::{self, PodId},
    probes::Checker,
    spec::{self, Problem},
    volumes::{Place, release_container},
};

/// What Kubernetes says of a process that could not be started.
const START_ERROR_CODE: i32 = 128;

/// What became of a start.
pub struct Started {
    pub container: String,
    pub attempt: u32,
    pub round: u32,
    /// The image that was asked for, and its digest.
    pub asked: Option<String>,
    pub image: String,
    pub result: StartResult,
}

pub enum StartResult {
    Running {
        hook: Result<(), String>,
    },
    /// Nothing was started; the attempt's number is still free.
    Waiting {
        reason: &'static str,
        message: String,
        /// The image that could not be fetched, if that is why.
        pulling: Option<String>,
    },
    /// The container was made, but its process did not start.
    Failed {
        message: String,
    },
    /// The pod ends: it was given up before anything was made.
    GivenUp,
}

struct Start {
    node: Arc<NodeContext>,
    pod: Arc<Pod>,
    place: Place,
    container: Container,
    attempt: u32,
    round: u32,
    checker: Checker,
    pod_ip: IpAddr,
    /// Whose processes it is to see, by the runtime's name; or why it cannot.
    process_namespace_of: Result<Option<String>, String>,
    cancel: CancellationToken,
}

impl Worker {
    pub(super) fn start(&mut self, container: String, attempt: u32, backoff: Option<Backoff>, round: u32) {
        let Some(checker) = self.checker(&container, attempt) else { return };
        self.memory(&container).backoff = backoff;
        self.observed.logs_left = true;
        let start = Start {
            node: self.node.clone(),
            pod: self.pod.clone(),
            place: self.place.clone(),
            container: checker.container.clone(),
            attempt,
            round,
            checker,
            pod_ip: self.pod_ip(),
            process_namespace_of: self.process_namespace_of(&container),
            cancel: self.starting.clone(),
        };
        self.spawn(Job::Start(container.clone()), async move {
            let mut image = String::new();
            let result = start.run(&mut image).await;
            let asked = start.container.image.clone();
            Outcome::Started(Started { container, attempt, round, asked, image, result })
        });
    }

    fn process_namespace_of(&self, container: &str) -> Result<Option<String>, String> {
        let spec = pod::spec(&self.pod);
        let Some(target) = pod::target(&spec, container) else { return Ok(None) };
        match self.observed.last(target) {
            Some(attempt) => Ok(Some(spec::container_name(target, attempt.number))),
            None => Err(format!("unable to find target container {target}")),
        }
    }

    pub(super) fn learn_started(&mut self, started: Started) {
        let Started { container, attempt, round, asked, image, result } = started;
        let now_ms = clock::now();
        let before = self.memory(&container).waiting.take();
        match result {
            StartResult::Running { hook } => {
                let memory = self.memory(&container);
                match hook {
                    Ok(()) => memory.post_started = Some(attempt),
                    Err(_) => memory.stop = Some((attempt, Stop::PostStartHook)),
                }
            }
            StartResult::Waiting { reason, message, pulling } => {
                let before = before.as_ref().filter(|before| before.image == asked);
                let pause_ms = if pulling.is_some() { next_pull_pause(before) } else { RETRY_MS };
                let retry_at_ms = now_ms + pause_ms;
                let reason = reason.to_owned();
                self.memory(&container).waiting = Some(Waiting {
                    image: asked,
                    pulling,
                    reason,
                    message,
                    since_ms: now_ms,
                    retry_at_ms,
                    announced: false,
                });
            }
            StartResult::Failed { message } => {
                let reason = "RunContainerError".to_owned();
                self.memory(&container).waiting = Some(Waiting {
                    image: asked.clone(),
                    pulling: None,
                    reason,
                    message: message.clone(),
                    since_ms: now_ms,
                    retry_at_ms: now_ms,
                    announced: true,
                });
                let exit = Exit {
                    exit_code: START_ERROR_CODE,
                    signal: None,
                    started_ms: 0,
                    finished_ms: now_ms,
                    reason: "StartError".to_owned(),
                    message: Some(message),
                };
                let failed = Attempt {
                    number: attempt,
                    state: AttemptState::Exited(exit),
                    image,
                    image_asked: asked,
                    resources: None,
                    user: None,
                    round,
                };
                self.failed.insert((container, attempt), failed);
            }
            StartResult::GivenUp => {}
        }
    }
}

/// Twice the last pause, as long as the last start failed for the image too.
fn next_pull_pause(before: Option<&Waiting>) -> Millis {
    match before.filter(|waiting| waiting.is_pull_error()) {
        Some(waiting) => {
            ((waiting.retry_at_ms - waiting.since_ms) * 2).clamp(PULL_BACKOFF_FIRST_MS, PULL_BACKOFF_MAX_MS)
        }
        None => PULL_BACKOFF_FIRST_MS,
    }
}

impl Start {
    async fn run(&self, image_id: &mut String) -> StartResult {
        // Given up only while nothing was made.
        let Some(had) = self.cancel.run_until_cancelled(self.images()).await else { return StartResult::GivenUp };
        let (image, volumes) = match had {
            Ok(had) => had,
            Err(waiting) => return waiting,
        };
        image_id.clone_from(&image.id);
        if self.cancel.is_cancelled() {
            return StartResult::GivenUp;
        }
        let spec = match self.spec(image, volumes).await {
            Ok(spec) => spec,
            Err(waiting) => return waiting,
        };
        self.launch(&spec).await
    }

    /// The container's own image, and where those are that it mounts, by name of the volume.
    async fn images(&self) -> Result<(Image, BTreeMap<String, PathBuf>), StartResult> {
        let id = PodId::of(&self.pod);
        self.node.objects.synced(&id.uid).await;
        let keyring = Keyring::of(&self.pod, &self.node.objects.in_namespace(&id.namespace));
        if !keyring.missing.is_empty() {
            let names = keyring.missing.join(", ");
            let message = format!(
                "Unable to retrieve some image pull secrets ({names}); attempting to pull the image may not succeed."
            );
            self.node.events.of_pod(&self.pod, Severity::Warning, "FailedToRetrieveImagePullSecret", message);
        }
        let puller = Puller {
            containers: &self.node.containers,
            pulled: &self.node.pulled,
            events: &self.node.events,
            pod: &self.pod,
            credentials: &keyring.credentials,
            image: self.container.image.as_deref().unwrap_or_default(),
            policy: self.container.image_pull_policy.as_deref(),
            container: Some(&self.container.name),
        };
        let image = puller.get().await.map_err(|problem| unfetched(problem, puller.image))?;
        self.node.images_changed.notify_one();
        let spec = pod::spec(&self.pod);
        let mounted =
            |volume: &&Volume| self.container.volume_mounts.iter().flatten().any(|mount| mount.name == volume.name);
        let mut volumes = BTreeMap::new();
        for volume in spec.volumes.iter().flatten().filter(mounted) {
            let Some(source) = &volume.image else { continue };
            let reference = source.reference.as_deref().unwrap_or_default();
            let puller = Puller { image: reference, policy: source.pull_policy.as_deref(), container: None, ..puller };
            volumes.insert(volume.name.clone(), self.image_volume(&volume.name, &puller).await?);
        }
        Ok((image, volumes))
    }

    /// Where the image of a volume is: it stays the same for as long as the pod has its sandbox.
    async fn image_volume(&self, volume: &str, puller: &Puller<'_>) -> Result<PathBuf, StartResult> {
        let (containers, sandbox) = (&self.node.containers, &self.checker.sandbox);
        let failed = |refusal: Refusal| self.refused("CreateContainerError", refusal.message);
        if let Some(mounted) = containers.mounted_image(sandbox, volume).await.map_err(failed)? {
            return Ok(mounted);
        }
        let image = puller.get().await.map_err(|problem| unfetched(problem, puller.image))?;
        self.node.images_changed.notify_one();
        containers.mount_image(sandbox, volume, &image.id).await.map_err(failed)
    }

    async fn spec(&self, image: Image, images: BTreeMap<String, PathBuf>) -> Result<ContainerSpec, StartResult> {
        let (node, pod, place) = (self.node.clone(), self.pod.clone(), self.place.clone());
        let (container, attempt, round, address) = (self.container.clone(), self.attempt, self.round, self.pod_ip);
        let process_namespace_of = match &self.process_namespace_of {
            Ok(target) => target.clone(),
            Err(missing) => return Err(self.refused("CreateContainerConfigError", missing.clone())),
        };
        let made = tokio::task::spawn_blocking(move || {
            let (node, pod, place, container, images) = (&node, &pod, &place, &container, &images);
            Preparation { node, pod, place, container, attempt, round, address, images }.make(&image)
        });
        let problem = match made.await {
            Ok(Ok(spec)) => return Ok(ContainerSpec { process_namespace_of, ..spec }),
            Ok(Err(problem)) => problem,
            Err(error) => Problem::Create(error.to_string()),
        };
        Err(match problem {
            Problem::Config(message) => self.refused("CreateContainerConfigError", message),
            Problem::Create(message) => self.refused("CreateContainerError", message),
        })
    }

    fn refused(&self, reason: &'static str, message: String) -> StartResult {
        self.tell(Severity::Warning, "Failed", format!("Error: {message}"));
        StartResult::Waiting { reason, message, pulling: None }
    }

    async fn launch(&self, spec: &ContainerSpec) -> StartResult {
        let (containers, sandbox) = (&self.node.containers, &self.checker.sandbox);
        // What the pod asks for may have changed. More of it must hold before the container has its part of it; less cannot
        // before.
        let whole = spec::resources::of_pod(&pod::spec(&self.pod));
        let limited = containers.limit_sandbox(sandbox, &whole).await;
        let created = containers.create_container(sandbox, spec).await;
        if limited.is_err()
            && let Err(refusal) = containers.limit_sandbox(sandbox, &whole).await
        {
            tracing::warn!(container = self.checker.id, %refusal, "the pod's limits are not as it asks");
        }
        if let Err(refusal) = created {
            return match is_start_error(&refusal) {
                true => self.start_failed(&refusal).await,
                false => self.create_failed(refusal).await,
            };
        }
        self.tell(Severity::Normal, "Created", "Container created".to_owned());
        if let Err(refusal) = containers.start_container(sandbox, &spec.id).await {
            return self.start_failed(&refusal).await;
        }
        self.tell(Severity::Normal, "Started", "Container started".to_owned());
        let hook = self.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let hook = match hook {
            Some(hook) => hooks::run(hook, &self.checker).await,
            None => Ok(()),
        };
        if let Err(problem) = &hook {
            // Only for the node's own log: what a hook says may be secret.
            tracing::warn!(container = self.checker.id, problem, "a post-start hook has failed");
            self.tell(Severity::Warning, "FailedPostStartHook", "PostStartHook failed".to_owned());
        }
        StartResult::Running { hook }
    }

    async fn create_failed(&self, refusal: Refusal) -> StartResult {
        self.forget().await;
        self.refused("CreateContainerError", refusal.message)
    }

    async fn start_failed(&self, refusal: &Refusal) -> StartResult {
        self.forget().await;
        let message = format!("failed to start container {:?}: {refusal}", self.container.name);
        self.tell(Severity::Warning, "Failed", format!("Error: {message}"));
        StartResult::Failed { message }
    }

    /// Leaves nothing of the attempt in the runtime; its log stays.
    async fn forget(&self) {
        let removed = self.node.containers.remove_container(&self.checker.sandbox, &self.checker.id).await;
        if let Err(refusal) = removed
            && refusal.kind != RefusalKind::NotFound
        {
            tracing::warn!(container = self.checker.id, %refusal, "cannot remove what did not start");
        }
        let (place, container, attempt) = (self.place.clone(), self.container.name.clone(), self.attempt);
        let released = tokio::task::spawn_blocking(move || release_container(&place, &container, attempt)).await;
        if let Ok(Err(error)) = released {
            tracing::warn!(container = self.checker.id, error, "cannot release its mounts");
        }
    }

    fn tell(&self, severity: Severity, reason: &'static str, message: String) {
        self.node.events.of_container(&self.pod, &self.container.name, severity, reason, message);
    }
}

fn unfetched(problem: PullProblem, image: &str) -> StartResult {
    let PullProblem { reason, message } = problem;
    StartResult::Waiting { reason, message, pulling: (reason == ERR_IMAGE_PULL).then(|| image.to_owned()) }
}

/// The command itself could not be executed.
fn is_start_error(refusal: &Refusal) -> bool {
    matches!(refusal.kind, RefusalKind::CannotExecute | RefusalKind::NotExecutable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_pauses_double_and_begin_anew_after_another_error() {
        let waiting = |reason: &str, pause: Millis| Waiting {
            image: None,
            pulling: (reason == ERR_IMAGE_PULL).then(String::new),
            reason: reason.into(),
            message: String::new(),
            since_ms: 5,
            retry_at_ms: 5 + pause,
            announced: true,
        };
        assert_eq!(next_pull_pause(None), 10_000);
        assert_eq!(next_pull_pause(Some(&waiting("ErrImagePull", 10_000))), 20_000);
        assert_eq!(next_pull_pause(Some(&waiting("ErrImagePull", 200_000))), 300_000);
        assert_eq!(next_pull_pause(Some(&waiting("CreateContainerError", 10_000))), 10_000);
    }
}
