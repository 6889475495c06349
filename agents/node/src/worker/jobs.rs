//! Actions of the machine become jobs, and jobs become news for the machine. A job owns what it needs and touches
//! nothing of the worker.

use std::{collections::BTreeMap, future::Future, path::Path, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use kontiki_informer::caused_by;
use kube::{
    Api, Client,
    api::{DeleteParams, Preconditions},
};
use tracing::warn;

use super::{Worker, kill::Terms, publish::Told, resize::resize, start::Started};
use crate::{
    clock::{self, Millis},
    containers::SharedContainers,
    events::Severity,
    limits::{REMOVE_RETRY_MS, RETRY_MS},
    machine::{Action, Job, Rejection, Sandbox, Step},
    node::NodeContext,
    pod::{self, PodId},
    runtime_class,
    spec::{SandboxNeeds, container_name, hostname, refuse_hostname, sandbox_spec},
    tokens,
    volumes::{
        self, Place, Sources, Token, TokenKey, VolumeProblem, expiring_at_ms, release_container, remove_pod_folder,
    },
};

/// What a job has come to.
pub enum Outcome {
    Volumes {
        tokens: BTreeMap<TokenKey, Token>,
        problems: Vec<VolumeProblem>,
    },
    Sandbox(Result<(), String>),
    SandboxRemoved(Result<(), String>),
    Started(Started),
    Killed {
        container: String,
    },
    Resized {
        container: String,
        result: Result<(), String>,
    },
    Removed {
        container: String,
        attempt: u32,
        result: Result<(), String>,
    },
    Cleaned {
        logs: bool,
        result: Result<(), String>,
    },
    Deleted,
    Told(Told),
    /// What the pod has on disk was looked at, and may be too much.
    Measured(Option<Rejection>),
}

pub fn begin(worker: &mut Worker, action: Action) {
    let node = worker.node.clone();
    let id = worker.id.clone();
    let job = action.job();
    match action {
        Action::PrepareVolumes => worker.prepare_volumes(),
        Action::CreateSandbox => {
            let pod = worker.pod.clone();
            worker.observed.leftovers = true;
            worker.spawn(Job::Sandbox, async move { Outcome::Sandbox(create_sandbox(&node, &pod).await) });
        }
        Action::RemoveSandbox => {
            worker.spawn(
                Job::Sandbox,
                async move { Outcome::SandboxRemoved(remove_sandbox(&node.containers, &id).await) },
            );
        }
        Action::Start { container, attempt, backoff, round } => worker.start(container, attempt, backoff, round),
        Action::Kill { container, attempt, why, kill_at_ms, after_others } => {
            worker.kill(container, attempt, why, Terms { kill_at_ms, after_others });
        }
        Action::Resize { container, attempt } => {
            let (pod, place) = (worker.pod.clone(), worker.place.clone());
            let Some(job) = job else { return };
            worker.spawn(job, async move {
                let result = resize(&node, &pod, place, &container, attempt).await;
                Outcome::Resized { container, result }
            });
        }
        Action::Remove { container, attempt } => {
            let place = worker.place.clone();
            let Some(job) = job else { return };
            worker.spawn(job, async move {
                let result = remove_attempt(&node.containers, &id, place, container.clone(), attempt).await;
                Outcome::Removed { container, attempt, result }
            });
        }
        Action::Clean { logs } => {
            let place = worker.place.clone();
            worker.spawn(Job::Clean, async move {
                Outcome::Cleaned { logs, result: clean(&node.containers, &id, place, logs).await }
            });
        }
        Action::DeleteObject => {
            let client = caused_by(&node.client, worker.pod.metadata.resource_version.as_deref());
            worker.spawn(Job::Delete, async move {
                delete_object(client, &id).await;
                Outcome::Deleted
            });
        }
        Action::AnnounceCrashBackoff { container, attempt } => worker.announce_crash_backoff(&container, attempt),
        Action::AnnouncePullBackoff { container } => worker.announce_pull_backoff(&container),
    }
}

impl Worker {
    pub(super) fn spawn(&mut self, job: Job, work: impl Future<Output = Outcome> + Send + 'static) {
        let task = self.jobs.spawn(work);
        self.running.insert(task.id(), job.clone());
        self.observed.busy.insert(job);
    }

    pub(super) fn learn(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Volumes { tokens, problems } => self.learn_volumes(tokens, problems),
            Outcome::Sandbox(Ok(())) => self.observed.sandbox_step = Step::Done,
            Outcome::Sandbox(Err(message)) => {
                let told = format!("Failed to create pod sandbox: {message}");
                self.node.events.of_pod(&self.pod, Severity::Warning, "FailedCreatePodSandBox", told);
                let reason = "FailedCreatePodSandBox".to_owned();
                self.observed.sandbox_step = Step::Failed { reason, message, retry_at_ms: clock::now() + RETRY_MS };
            }
            Outcome::SandboxRemoved(Ok(())) => {}
            Outcome::SandboxRemoved(Err(error)) => {
                warn!(pod = self.id.full_name(), error, "cannot remove the sandbox, trying again");
            }
            Outcome::Started(started) => self.learn_started(started),
            Outcome::Killed { container } => drop(self.kills.remove(&container)),
            Outcome::Resized { container, result } => self.learn_resized(&container, result),
            Outcome::Removed { container, attempt, result } => match result {
                Ok(()) => {
                    self.failed.remove(&(container.clone(), attempt));
                    self.exits.remove(&(container, attempt));
                }
                Err(error) => warn!(pod = self.id.full_name(), container, attempt, error, "cannot remove an attempt"),
            },
            Outcome::Cleaned { logs, result } => match result {
                Ok(()) => {
                    self.observed.leftovers = false;
                    self.observed.logs_left &= !logs;
                }
                Err(error) => warn!(pod = self.id.full_name(), error, "cannot clean up, trying again"),
            },
            Outcome::Deleted => {}
            Outcome::Told(told) => self.learn_told(told),
            Outcome::Measured(over) => self.learn_measured(over),
        }
    }

    fn prepare_volumes(&mut self) {
        self.refresh_volumes = false;
        self.observed.leftovers = true;
        let (node, pod, place) = (self.node.clone(), self.pod.clone(), self.place.clone());
        let pod_ip = match self.observed.sandbox {
            Sandbox::Ready { .. } => self.pod_ip().to_string(),
            Sandbox::Absent | Sandbox::Lost => String::new(),
        };
        let mut tokens = self.tokens.clone();
        self.spawn(Job::Volumes, async move {
            node.objects.synced(&PodId::of(&pod).uid).await;
            let problems = match tokens::refresh(&node.client, &pod, &mut tokens, clock::now()).await {
                Ok(()) => fill_volumes(node, pod, place, tokens.clone(), pod_ip).await,
                Err(message) => vec![VolumeProblem { volume: token_volume(&pod), message }],
            };
            Outcome::Volumes { tokens, problems }
        });
    }

    fn learn_volumes(&mut self, tokens: BTreeMap<TokenKey, Token>, problems: Vec<VolumeProblem>) {
        self.tokens = tokens;
        for problem in &problems {
            let message = format!("MountVolume.SetUp failed for volume {:?} : {}", problem.volume, problem.message);
            self.node.events.of_pod(&self.pod, Severity::Warning, "FailedMount", message);
        }
        // Volumes that were there once stay as they are while their refresh fails.
        let retry_at_ms = clock::now() + RETRY_MS;
        if problems.is_empty() {
            self.observed.volumes = Step::Done;
        } else if self.observed.volumes != Step::Done {
            let message = problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ");
            self.observed.volumes = Step::Failed { reason: "FailedMount".to_owned(), message, retry_at_ms };
        }
    }

    /// Refreshes volumes whose objects or tokens have changed; returns when tokens have to be renewed.
    pub(super) fn keep_volumes(&mut self, now_ms: Millis) -> Option<Millis> {
        if self.observed.volumes != Step::Done || self.observed.is_busy(&Job::Volumes) {
            return None;
        }
        let renew_at_ms = expiring_at_ms(&self.tokens);
        if self.refresh_volumes || renew_at_ms.is_some_and(|at| at <= now_ms) {
            self.prepare_volumes();
            return None;
        }
        renew_at_ms
    }

    fn announce_crash_backoff(&mut self, container: &str, attempt: u32) {
        self.memory(container).backoff_announced = Some(attempt);
        let message = format!("Back-off restarting failed container {container} in pod {}", self.id.full_name());
        self.node.events.of_container(&self.pod, container, Severity::Warning, "BackOff", message);
    }

    fn announce_pull_backoff(&mut self, container: &str) {
        let Some(waiting) = &mut self.memory(container).waiting else { return };
        waiting.announced = true;
        let image = waiting.pulling.clone().unwrap_or_default();
        let events = &self.node.events;
        events.of_container(
            &self.pod,
            container,
            Severity::Normal,
            "BackOff",
            format!("Back-off pulling image {image:?}"),
        );
        events.of_container(&self.pod, container, Severity::Warning, "Failed", "Error: ImagePullBackOff");
    }
}

async fn fill_volumes(
    node: Arc<NodeContext>,
    pod: Arc<Pod>,
    place: Place,
    tokens: BTreeMap<TokenKey, Token>,
    pod_ip: String,
) -> Vec<VolumeProblem> {
    let work = move || {
        let id = PodId::of(&pod);
        let objects = node.objects.in_namespace(&id.namespace);
        let sources = Sources {
            objects: &objects,
            tokens: &tokens,
            allocatable: &node.allocatable,
            host_ip: &node.config.address.to_string(),
            pod_ip: &pod_ip,
        };
        volumes::prepare(&pod, &place, &sources).err().unwrap_or_default()
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(problems) => problems,
        Err(error) => vec![VolumeProblem { volume: String::new(), message: error.to_string() }],
    }
}

/// The volume that needs a token, for the message when none is had.
fn token_volume(pod: &Pod) -> String {
    let spec = pod::spec(pod);
    let needs = |volume: &&k8s_openapi::api::core::v1::Volume| {
        let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        sources.into_iter().any(|source| source.service_account_token.is_some())
    };
    spec.volumes.iter().flatten().find(needs).map(|volume| volume.name.clone()).unwrap_or_default()
}

async fn create_sandbox(node: &NodeContext, pod: &Pod) -> Result<(), String> {
    let id = PodId::of(pod);
    let spec = pod::spec(pod);
    runtime_class::check(&node.client, pod).await?;
    if spec.host_users == Some(false) {
        // What was let in because root in it would be nobody outside must not run as root of the machine.
        return Err("can't set `spec.hostUsers: false`, runtime does not support user namespaces".to_owned());
    }
    refuse_hostname(&hostname(pod, &node.config.name, &node.config.cluster_domain).0)?;
    let address = match pod::on_host_network(&spec) {
        true => None,
        false => Some(node.containers.take_address(&id.uid).map_err(|refusal| refusal.message)?),
    };
    let needs = SandboxNeeds {
        address,
        node_name: node.config.name.clone(),
        cluster_domain: node.config.cluster_domain.clone(),
    };
    match node.containers.run_sandbox(sandbox_spec(pod, &needs)).await {
        Ok(_) => Ok(()),
        Err(refusal) => {
            node.containers.release_address(&id.uid);
            Err(refusal.message)
        }
    }
}

/// A failure waits a while before it is told, so that the next attempt does not come at once.
async fn patiently(result: Result<(), String>) -> Result<(), String> {
    if result.is_err() {
        tokio::time::sleep(Duration::from_millis(REMOVE_RETRY_MS.unsigned_abs())).await;
    }
    result
}

pub async fn remove_sandbox(containers: &SharedContainers, id: &PodId) -> Result<(), String> {
    let removed = containers.remove_sandbox(&id.uid).await.map_err(|refusal| refusal.message);
    if removed.is_ok() {
        containers.release_address(&id.uid);
    }
    patiently(removed).await
}

/// Written aside first: a reader sees all of it or what was before.
pub fn remember_resources(file: &Path, resources: &ResourceRequirements) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("writing {}: {error}", file.display());
    let text = serde_json::to_vec(resources).map_err(|error| error.to_string())?;
    let aside = file.with_extension("new");
    std::fs::write(&aside, text).and_then(|()| std::fs::rename(&aside, file)).map_err(failed)
}

async fn remove_attempt(
    containers: &SharedContainers,
    id: &PodId,
    place: Place,
    container: String,
    attempt: u32,
) -> Result<(), String> {
    let removed = containers.remove_container(&id.uid, &container_name(&container, attempt)).await;
    if let Err(refusal) = removed
        && refusal.kind != crate::containers::RefusalKind::NotFound
    {
        return patiently(Err(refusal.message)).await;
    }
    let files = move || {
        release_container(&place, &container, attempt)?;
        let log = place.log(&container, attempt);
        let rotated = (1..=crate::limits::LOG_FILES_MAX).map(|number| log.with_extension(format!("log.{number}")));
        let own = [
            place.termination_message(&container, attempt),
            place.image_asked(&container, attempt),
            place.resources(&container, attempt),
            place.round(&container, attempt),
            log.clone(),
        ];
        for file in own.into_iter().chain(rotated) {
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(format!("removing {}: {error}", file.display()));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    };
    patiently(blocking(files).await).await
}

/// Sandbox, mounts, folders and, with `logs`, the log files of a pod.
pub async fn clean(containers: &SharedContainers, id: &PodId, place: Place, logs: bool) -> Result<(), String> {
    remove_sandbox(containers, id).await?;
    let files = move || {
        remove_pod_folder(&place.pod())?;
        if logs { remove_pod_folder(&place.logs()) } else { Ok(()) }
    };
    patiently(blocking(files).await).await
}

async fn blocking(work: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<(), String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}

/// Tells the API that the pod has ended here; the watch says when it is gone.
async fn delete_object(client: Client, id: &PodId) {
    let api: Api<Pod> = Api::namespaced(client, &id.namespace);
    let preconditions = Some(Preconditions { uid: Some(id.uid.clone()), resource_version: None });
    let parameters = DeleteParams { grace_period_seconds: Some(0), preconditions, ..DeleteParams::default() };
    match api.delete(&id.name, &parameters).await {
        Ok(_) => {}
        // Gone, or another one of this name: the watch says which.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(error) => warn!(pod = id.full_name(), %error, "cannot delete the pod's object, trying again"),
    }
    tokio::time::sleep(Duration::from_millis(REMOVE_RETRY_MS.unsigned_abs())).await;
}
