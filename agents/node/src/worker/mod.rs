//! One task for each pod: looks at the runtime, asks the machine, does what it says, waits for a change.
//! Keeps nothing that cannot be found again: the agent may be killed at any moment.

mod adopt;
mod jobs;
mod kill;
mod observe;
mod preparation;
mod probing;
mod publish;
mod resize;
mod start;
mod storage;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

pub use self::jobs::clean;
use self::{jobs::Outcome, kill::Kill, probing::Probes, publish::Publication};
use crate::{
    clock::{self, Millis},
    events::Severity,
    limits::{PROBE_RESULTS_MAX, RESYNC},
    machine::{self, Attempt, Decision, Exit, Host, Job, Memory, Observed, Rejection, Step},
    node::NodeContext,
    pod::{self, PodId},
    probes::Verdict,
    volumes::{Place, Token, TokenKey, references},
};

/// What a worker is told from outside; it looks at the latest of each.
pub struct Inbox {
    pub pod: watch::Sender<Wanted>,
    pub signals: Arc<Signals>,
}

/// The pod as the API has it.
#[derive(Clone)]
pub enum Wanted {
    Present(Arc<Pod>),
    /// Deleted; with its last known form.
    Gone(Arc<Pod>),
}

#[derive(Default)]
pub struct Signals {
    notify: Notify,
    objects_changed: AtomicBool,
}

impl Signals {
    /// The runtime has news of the sandbox.
    pub fn runtime_changed(&self) {
        self.notify.notify_one();
    }

    /// A ConfigMap or Secret of the pod has changed.
    pub fn objects_changed(&self) {
        self.objects_changed.store(true, Ordering::Release);
        self.notify.notify_one();
    }
}

pub struct Worker {
    node: Arc<NodeContext>,
    id: PodId,
    /// As the API has it.
    asked: Arc<Pod>,
    /// With what is set aside for it: what is run.
    pod: Arc<Pod>,
    place: Place,
    wanted: watch::Receiver<Wanted>,
    /// Room may have appeared on the node.
    news: watch::Receiver<()>,
    signals: Arc<Signals>,
    rejection: Option<Rejection>,
    observed: Observed,
    /// Ends of attempts, with the termination message that was read when they were first seen.
    exits: BTreeMap<(String, u32), Exit>,
    /// Attempts whose process never started: the runtime knows nothing of them.
    failed: BTreeMap<(String, u32), Attempt>,
    jobs: JoinSet<Outcome>,
    running: HashMap<tokio::task::Id, Job>,
    /// Cancelled to give up starts in flight.
    starting: CancellationToken,
    kills: BTreeMap<String, Kill>,
    probes: Probes,
    verdicts: mpsc::Receiver<Verdict>,
    verdict_sender: mpsc::Sender<Verdict>,
    publication: Publication,
    /// Its containers do not use yet what is set aside for them.
    resizing: bool,
    tokens: BTreeMap<TokenKey, Token>,
    refresh_volumes: bool,
    /// When what the pod has on disk is looked at next; `None` while it is.
    storage_due_ms: Option<Millis>,
    /// It had written too much when that was looked at last.
    over_limit: Option<Rejection>,
}

impl Worker {
    pub fn new(node: Arc<NodeContext>, pod: Arc<Pod>, rejection: Option<Rejection>) -> (Worker, Inbox) {
        let id = PodId::of(&pod);
        let (sender, wanted) = watch::channel(Wanted::Present(pod.clone()));
        let signals = Arc::new(Signals::default());
        let (verdict_sender, verdicts) = mpsc::channel(PROBE_RESULTS_MAX);
        let worker = Worker {
            place: Place::new(&node.config.state_dir, &id),
            publication: Publication::new(&pod),
            news: node.pods.news(),
            pod: Arc::new(node.pods.standing(&id.uid).allocation.given_to(&pod)),
            node,
            id,
            asked: pod,
            wanted,
            signals: signals.clone(),
            rejection,
            observed: Observed::default(),
            exits: BTreeMap::new(),
            failed: BTreeMap::new(),
            jobs: JoinSet::new(),
            running: HashMap::new(),
            starting: CancellationToken::new(),
            kills: BTreeMap::new(),
            probes: Probes::default(),
            verdicts,
            verdict_sender,
            resizing: false,
            tokens: BTreeMap::new(),
            refresh_volumes: false,
            storage_due_ms: Some(clock::now()),
            over_limit: None,
        };
        (worker, Inbox { pod: sender, signals })
    }

    /// Runs until the pod is gone from the API and from this machine. Dropping the future leaves containers alone.
    pub async fn run(mut self) {
        self.node.objects.hold(&self.id.uid, &self.id.namespace, &references(&self.pod));
        self.adopt().await;
        loop {
            if !self.observe().await {
                self.wait(Some(clock::now() + crate::limits::RETRY_MS)).await;
                continue;
            }
            let now_ms = clock::now();
            let decision = machine::decide(&self.pod, self.host(), &self.observed, now_ms);
            let finished = decision.finished;
            let wake_at_ms = self.follow(decision, now_ms);
            if finished {
                break;
            }
            self.wait(wake_at_ms).await;
        }
        self.node.objects.release(&self.id.uid);
        self.node.pods.remove(&self.id.uid);
        debug!(pod = self.id.full_name(), "finished");
    }

    fn host(&self) -> Host {
        Host {
            address: self.node.config.address,
            pods_address: self.node.config.host_pods_address,
            recursive_read_only: self.node.facts.recursive_read_only(),
        }
    }

    /// Does what the machine has decided; returns when to look again.
    fn follow(&mut self, decision: Decision, now_ms: Millis) -> Option<Millis> {
        let Decision { actions, status, wake_at_ms, ending, finished: _ } = decision;
        if ending {
            if self.observed.stopping_since_ms.is_none() {
                self.observed.stopping_since_ms = Some(now_ms);
                self.tell_deadline(&status);
            }
            self.starting.cancel();
        } else if self.observed.stopping_since_ms.take().is_some() {
            // A restore has taken the deletion back: what has been stopped meanwhile runs again.
            self.starting = CancellationToken::new();
        }
        for action in actions {
            jobs::begin(self, action);
        }
        self.show(&status);
        self.tell_resized(&status);
        let mut wake = wake_at_ms;
        let mut also = |at: Option<Millis>| wake = wake.into_iter().chain(at).min();
        if !self.observed.gone {
            also(self.publish(status, now_ms));
        }
        if !ending {
            self.probe();
            also(self.keep_volumes(now_ms));
            also(self.check_storage(now_ms));
            also(self.evict(now_ms));
        } else {
            self.over_limit = None;
            self.probes.stop();
        }
        wake
    }

    fn tell_deadline(&self, status: &PodStatus) {
        if let (Some(machine::DEADLINE_EXCEEDED), Some(message)) = (status.reason.as_deref(), &status.message)
            && !pod::is_terminal(self.observed.acknowledged.phase.as_deref())
        {
            self.node.events.of_pod(&self.pod, Severity::Normal, machine::DEADLINE_EXCEEDED, message.clone());
        }
    }

    /// The pod as it is now, for whoever asks this node.
    fn show(&self, status: &PodStatus) {
        let pod = Pod { status: Some(status.clone()), ..Pod::clone(&self.pod) };
        self.node.pods.show(&self.id.uid, Arc::new(pod));
    }

    /// Waits for anything that may change the next decision, and takes it in.
    async fn wait(&mut self, wake_at_ms: Option<Millis>) {
        let pause = wake_at_ms.map_or(RESYNC, |at| {
            Duration::from_millis((at - clock::now()).clamp(1, RESYNC.as_millis() as Millis).unsigned_abs())
        });
        tokio::select! {
            Some(result) = self.jobs.join_next_with_id() => self.joined(result),
            Some(verdict) = self.verdicts.recv() => self.learn_verdict(verdict),
            () = self.signals.notify.notified() => {}
            Ok(()) = self.wanted.changed() => self.learn_wanted(),
            Ok(()) = self.news.changed(), if self.observed.resize.is_some() => {
                let standing = self.node.pods.standing(&self.id.uid);
                self.take_standing(standing);
            }
            () = tokio::time::sleep(pause) => {}
        }
        if self.signals.objects_changed.swap(false, Ordering::AcqRel) {
            self.refresh_volumes = true;
            self.retry_now(|reason| reason == "CreateContainerConfigError");
            if matches!(self.observed.volumes, Step::Failed { .. }) {
                self.observed.volumes = Step::Todo;
            }
        }
    }

    fn joined(&mut self, result: Result<(tokio::task::Id, Outcome), tokio::task::JoinError>) {
        match result {
            Ok((id, outcome)) => {
                if let Some(job) = self.running.remove(&id) {
                    self.observed.busy.remove(&job);
                }
                self.learn(outcome);
            }
            Err(error) => {
                if let Some(job) = self.running.remove(&error.id()) {
                    self.observed.busy.remove(&job);
                    warn!(pod = self.id.full_name(), ?job, %error, "a job of the pod has died; it is begun again");
                }
                self.publication.died();
                self.storage_due_ms.get_or_insert(clock::now() + crate::limits::RETRY_MS);
            }
        }
        self.node.pods.changed();
    }

    fn learn_wanted(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        match wanted {
            Wanted::Present(pod) => self.take(pod),
            Wanted::Gone(pod) => {
                self.pod = pod;
                self.observed.gone = true;
            }
        }
    }

    /// Takes in a newer form of the pod; an older one, overtaken by our own write, is left alone.
    fn take(&mut self, pod: Arc<Pod>) {
        if !self.publication.is_news(&pod) {
            return;
        }
        if pod.metadata.labels != self.pod.metadata.labels || pod.metadata.annotations != self.pod.metadata.annotations
        {
            self.refresh_volumes = true;
        }
        let refers = references(&pod);
        if refers != references(&self.pod) {
            self.node.objects.hold(&self.id.uid, &self.id.namespace, &refers);
        }
        self.observed.acknowledged = pod.status.clone().unwrap_or_default();
        self.asked = pod;
        self.ask();
    }

    /// Forgets how long a container has to wait, if it waits for the reason given.
    fn retry_now(&mut self, concerned: impl Fn(&str) -> bool) {
        for memory in self.observed.memory.values_mut() {
            if let Some(waiting) = &mut memory.waiting
                && concerned(&waiting.reason)
            {
                waiting.retry_at_ms = 0;
            }
        }
    }

    fn memory(&mut self, container: &str) -> &mut Memory {
        self.observed.memory.entry(container.to_owned()).or_default()
    }

    /// What the pod is told to have for an address.
    fn pod_ip(&self) -> IpAddr {
        match self.observed.sandbox {
            machine::Sandbox::Ready { address: Some(address), .. } => address,
            machine::Sandbox::Ready { address: None, .. } | machine::Sandbox::Absent | machine::Sandbox::Lost => {
                self.node.config.host_pods_address
            }
        }
    }

    /// Where the node reaches the pod; the machine's address on the host's network.
    fn address(&self) -> IpAddr {
        match self.observed.sandbox {
            machine::Sandbox::Ready { address: Some(address), .. } => address,
            machine::Sandbox::Ready { address: None, .. } | machine::Sandbox::Absent | machine::Sandbox::Lost => {
                self.node.config.address
            }
        }
    }
}
