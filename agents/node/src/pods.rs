//! Which pods are on this node: follows the API's watch, gives each pod a worker, and ends what belongs to nobody.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kontiki_informer::{Outage, interruption};
use kontiki_runtime::spec::{ContainerState, SandboxStatus};
use kube::{
    Api,
    runtime::{WatchStreamExt, watcher},
};
use nix::sys::signal::Signal;
use tokio::{
    sync::broadcast::error::RecvError,
    task::{self, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    admission::{self, Room},
    allocation::Allocation,
    clock::{self, millis},
    events::Severity,
    limits::{GRACE_DEFAULT_S, RETRY_MS, WORKER_RETRY},
    machine::Rejection,
    node::NodeContext,
    pod::{self, PodId},
    spec::{LABEL_GRACE_S, LABEL_NAME, LABEL_NAMESPACE},
    volumes::Place,
    worker::{Inbox, Wanted, Worker, clean},
};

pub struct Dispatcher {
    node: Arc<NodeContext>,
    /// By uid.
    hosted: HashMap<String, Hosted>,
    workers: JoinSet<()>,
    /// The uid of each worker's pod.
    tasks: HashMap<task::Id, String>,
    /// The ends of what belongs to no pod.
    orphans: JoinSet<()>,
    /// What was seen since the watch began anew.
    listing: Option<Listing>,
    orphans_ended: bool,
}

/// A pod that has a worker.
struct Hosted {
    pod: Arc<Pod>,
    inbox: Inbox,
    /// Why it was not let in.
    rejection: Option<Rejection>,
}

/// A list of pods that has not come to its end.
#[derive(Default)]
struct Listing {
    uids: BTreeSet<String>,
    /// Those that are new here: let in when all are known.
    new: Vec<Arc<Pod>>,
}

impl Dispatcher {
    pub fn new(node: Arc<NodeContext>) -> Dispatcher {
        Dispatcher {
            node,
            hosted: HashMap::new(),
            workers: JoinSet::new(),
            tasks: HashMap::new(),
            orphans: JoinSet::new(),
            listing: None,
            orphans_ended: false,
        }
    }

    /// Follows the pods of this node until `cancel`; containers then keep running.
    pub async fn run(mut self, cancel: CancellationToken) {
        let fields = format!("spec.nodeName={}", self.node.config.name);
        let api: Api<Pod> = Api::all(self.node.client.clone());
        let stream = watcher(api, watcher::Config::default().fields(&fields)).default_backoff();
        let mut events = std::pin::pin!(stream);
        let mut outage = Outage::new("the watch of pods broke off", &self.node.config.name);
        let mut runtime = self.node.containers.changes();
        let mut objects = self.node.objects.changes();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        if !matches!(event, watcher::Event::Init) {
                            outage.over();
                        }
                        self.take(event).await;
                    }
                    Some(Err(error)) => outage.failed(&interruption(&error)),
                    None => return,
                },
                changed = runtime.recv() => match changed {
                    Ok(sandbox) => {
                        if let Some(hosted) = self.hosted.get(&sandbox) {
                            hosted.inbox.signals.runtime_changed();
                        }
                    }
                    Err(RecvError::Lagged(_)) => {
                        self.hosted.values().for_each(|hosted| hosted.inbox.signals.runtime_changed());
                    }
                    Err(RecvError::Closed) => return,
                },
                changed = objects.recv() => {
                    let namespace = changed.ok().map(|key| key.namespace);
                    for Hosted { pod, inbox, .. } in self.hosted.values() {
                        if namespace.is_none() || pod.metadata.namespace == namespace {
                            inbox.signals.objects_changed();
                        }
                    }
                }
                Some(ended) = self.workers.join_next_with_id() => self.ended(ended),
                Some(ended) = self.orphans.join_next() => {
                    if let Err(error) = ended {
                        warn!(%error, "the end of an orphan has failed; the next agent ends it");
                    }
                    self.node.pods.changed();
                }
            }
        }
    }

    async fn take(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Init => self.listing = Some(Listing::default()),
            watcher::Event::InitApply(pod) | watcher::Event::Apply(pod) => self.present(Arc::new(pod)),
            watcher::Event::Delete(pod) => self.gone(&PodId::of(&pod).uid, Some(Arc::new(pod))),
            watcher::Event::InitDone => self.listed_all().await,
        }
    }

    fn present(&mut self, pod: Arc<Pod>) {
        let uid = PodId::of(&pod).uid;
        if let Some(listing) = &mut self.listing {
            listing.uids.insert(uid.clone());
        }
        if let Some(hosted) = self.hosted.get_mut(&uid) {
            hosted.pod = pod.clone();
            // A worker that has just finished is not listening; it is begun anew below when it has ended.
            hosted.inbox.pod.send_replace(Wanted::Present(pod));
            return;
        }
        match &mut self.listing {
            Some(listing) => listing.new.push(pod),
            None => self.let_in(vec![pod]),
        }
    }

    /// Lets pods in that are new here. Those that have begun come first, and all have what they have before any asks for
    /// more.
    fn let_in(&mut self, mut pods: Vec<Arc<Pod>>) {
        pods.sort_by_key(|pod| (!has_begun(pod), pod.metadata.creation_timestamp.as_ref().map(millis)));
        let mut admitted = Vec::with_capacity(pods.len());
        for pod in pods {
            let rejection = self.admit(&pod);
            if let Some(rejection) = &rejection {
                self.node.events.of_pod(&pod, Severity::Warning, reason(rejection), rejection.message.clone());
            }
            self.enter(&pod);
            admitted.push((pod, rejection));
        }
        for (pod, rejection) in admitted {
            self.begin(pod, rejection, Duration::ZERO);
        }
    }

    /// Sets aside what the pod has: what its containers were given, before anything they have asked for since.
    fn enter(&self, pod: &Arc<Pod>) {
        let id = PodId::of(pod);
        let place = Place::new(&self.node.config.state_dir, &id);
        let spec = pod::spec(pod);
        let allocation = Allocation::remembered(&spec, |container| place.last_resources(container));
        let allocation = allocation.unwrap_or_else(|error| {
            error!(pod = id.full_name(), %error, "what a pod was given is not known: it counts as what it asks for");
            Allocation::of(&spec)
        });
        self.node.pods.admit(&id.uid, pod.clone(), allocation);
    }

    /// Gives the pod a worker that begins after a pause.
    fn begin(&mut self, pod: Arc<Pod>, rejection: Option<Rejection>, pause: Duration) {
        let uid = PodId::of(&pod).uid;
        let (worker, inbox) = Worker::new(self.node.clone(), pod.clone(), rejection.clone());
        self.hosted.insert(uid.clone(), Hosted { pod, inbox, rejection });
        let task = self.workers.spawn(async move {
            tokio::time::sleep(pause).await;
            worker.run().await;
        });
        self.tasks.insert(task.id(), uid);
    }

    /// Checks a pod that has not begun here yet.
    fn admit(&self, pod: &Pod) -> Option<Rejection> {
        if has_begun(pod) || pod.metadata.deletion_timestamp.is_some() || pod::is_terminal(Some(pod::phase(pod))) {
            return None;
        }
        let pods = self.node.pods.allocated();
        let labels = self.node.labels();
        let room = Room {
            own_ports: &self.node.config.own_ports,
            sysctls: &self.node.sysctls,
            pressures: &self.node.pressures(),
            allocatable: &self.node.offered(),
            labels: labels.as_ref(),
            node_name: &self.node.config.name,
            pods: &pods,
        };
        admission::refuse(pod, &room)
    }

    fn gone(&mut self, uid: &str, last: Option<Arc<Pod>>) {
        if let Some(Hosted { pod, inbox, .. }) = self.hosted.get(uid) {
            inbox.pod.send_replace(Wanted::Gone(last.unwrap_or_else(|| pod.clone())));
        }
    }

    async fn listed_all(&mut self) {
        let Listing { uids: listed, new } = self.listing.take().unwrap_or_default();
        self.let_in(new);
        let gone: Vec<String> = self.hosted.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
        for uid in gone {
            self.gone(&uid, None);
        }
        if !self.orphans_ended {
            self.end_orphans(&listed).await;
        }
    }

    fn ended(&mut self, ended: Result<(task::Id, ()), task::JoinError>) {
        let (id, died) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error)),
        };
        let Some(Hosted { pod, inbox, rejection }) = self.tasks.remove(&id).and_then(|uid| self.hosted.remove(&uid))
        else {
            return;
        };
        let wanted = inbox.pod.borrow().clone();
        match (died, wanted) {
            (None, Wanted::Gone(_)) => {}
            // Told of a pod after the worker's last look: it gets another.
            (None, Wanted::Present(pod)) => {
                self.enter(&pod);
                self.begin(pod, None, Duration::ZERO);
            }
            (Some(error), wanted) => {
                let id = PodId::of(&pod);
                warn!(pod = id.full_name(), %error, "the worker of a pod has died; it is begun again");
                self.enter(&pod);
                self.begin(pod, rejection, WORKER_RETRY);
                if let Wanted::Gone(last) = wanted {
                    self.gone(&id.uid, Some(last));
                }
            }
        }
    }

    /// Ends sandboxes and removes folders of pods that went while no agent was looking.
    async fn end_orphans(&mut self, listed: &BTreeSet<String>) {
        let sandboxes = match self.node.containers.list().await {
            Ok(sandboxes) => sandboxes,
            Err(error) => {
                warn!(%error, "cannot look for orphaned sandboxes");
                return;
            }
        };
        self.orphans_ended = true;
        let mut left = folders(&self.node.config.state_dir);
        for sandbox in sandboxes {
            if listed.contains(&sandbox.id) {
                continue;
            }
            let id = PodId {
                namespace: sandbox.labels.get(LABEL_NAMESPACE).cloned().unwrap_or_default(),
                name: sandbox.labels.get(LABEL_NAME).cloned().unwrap_or_default(),
                uid: sandbox.id.clone(),
            };
            left.remove(&id.uid);
            info!(pod = id.full_name(), "ending a sandbox whose pod is gone");
            self.orphans.spawn(end_orphan(self.node.clone(), id, Some(sandbox)));
        }
        for (uid, id) in left {
            if !listed.contains(&uid) {
                info!(pod = id.full_name(), "removing what a pod that is gone has left");
                self.orphans.spawn(end_orphan(self.node.clone(), id, None));
            }
        }
    }
}

/// A container of it was made here.
fn has_begun(pod: &Pod) -> bool {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.into_iter().any(|status| status.container_id.is_some())
}

fn reason(rejection: &Rejection) -> &'static str {
    match rejection.reason.as_str() {
        "AppArmor" => "AppArmor",
        "NodeAffinity" => "NodeAffinity",
        "NodePorts" => "NodePorts",
        "OutOfcpu" => "OutOfcpu",
        "OutOfmemory" => "OutOfmemory",
        "OutOfpods" => "OutOfpods",
        "PodOSNotSupported" => "PodOSNotSupported",
        "PodOSSelectorNodeLabelDoesNotMatch" => "PodOSSelectorNodeLabelDoesNotMatch",
        "SysctlForbidden" => "SysctlForbidden",
        _ => "UnexpectedAdmissionError",
    }
}

/// Pods that have folders on this machine, by uid.
fn folders(state_dir: &std::path::Path) -> BTreeMap<String, PodId> {
    let names = |folder: &str| {
        let entries = std::fs::read_dir(state_dir.join(folder)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let unknown = |uid: &str| PodId { namespace: String::new(), name: String::new(), uid: uid.to_owned() };
    let mut found: BTreeMap<String, PodId> = names("pods").iter().map(|uid| (uid.clone(), unknown(uid))).collect();
    for name in names("logs") {
        let mut parts = name.splitn(3, '_').map(str::to_owned);
        if let (Some(namespace), Some(name), Some(uid)) = (parts.next(), parts.next(), parts.next()) {
            found.insert(uid.clone(), PodId { namespace, name, uid });
        }
    }
    found
}

/// Stops what runs, waits as long as the pod had asked for, and removes everything.
async fn end_orphan(node: Arc<NodeContext>, id: PodId, sandbox: Option<SandboxStatus>) {
    if let Some(sandbox) = sandbox.filter(|sandbox| !sandbox.lost) {
        stop_orphan(&node, &id, &sandbox).await;
    }
    let place = Place::new(&node.config.state_dir, &id);
    while let Err(error) = clean(&node.containers, &id, place.clone(), true).await {
        warn!(pod = id.full_name(), error, "cannot remove what a pod has left, trying again");
        tokio::time::sleep(Duration::from_millis(RETRY_MS.unsigned_abs())).await;
    }
}

async fn stop_orphan(node: &NodeContext, id: &PodId, sandbox: &SandboxStatus) {
    let asked = sandbox.labels.get(LABEL_GRACE_S).and_then(|seconds| seconds.parse::<i64>().ok());
    let deadline_ms = clock::now() + asked.unwrap_or(GRACE_DEFAULT_S).max(1) * 1000;
    let mut changes = node.containers.changes();
    for container in &sandbox.containers {
        if matches!(container.state, ContainerState::Running { .. }) {
            let sent = node.containers.kill_container(&id.uid, &container.id, Signal::SIGTERM as i32).await;
            if let Err(refusal) = sent {
                warn!(container = container.id, %refusal, "cannot signal an orphaned container");
            }
        }
    }
    loop {
        let running = match node.containers.status(&id.uid).await {
            Ok(status) => status.is_some_and(|status| {
                status.containers.iter().any(|c| matches!(c.state, ContainerState::Running { .. }))
            }),
            Err(_) => true,
        };
        let left_ms = deadline_ms - clock::now();
        if !running || left_ms <= 0 {
            return;
        }
        tokio::select! {
            _ = changes.recv() => {}
            () = tokio::time::sleep(Duration::from_millis(left_ms.unsigned_abs())) => {}
        }
    }
}
