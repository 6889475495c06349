//! The agent's side of the runtime: sandboxes and containers, asked for in async calls. It owns everything outside of
//! the containers' processes (folders, mounts, networks, cgroups); the processes are the shims'. Never calls libcontainer.

mod cleanup;
mod connection;
mod containers;
mod images;
mod machine;
mod provision;
mod record;
mod sandbox;
mod sandboxes;
mod session;

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use tokio::{net::TcpStream, sync::broadcast};

pub use session::{AttachSession, ExecSession, ExecSpec, Reader, Terminal, Writer};

use crate::{
    cgroup::{Cgroups, Usage},
    error::{Failure, FailureKind, RuntimeError},
    image::ImageStore,
    limits::{CHANGES_MAX, SHIM_ANSWER_TIME_MAX},
    mountinfo,
    oci::Machine,
    podnet::{self, Cidr, PodNetwork},
    rootfs,
    shim::protocol::{Reply, Request},
    spec::{Resources, SandboxStatus},
};
use connection::Connection;
use record::Places;
use sandbox::Sandbox;

#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Images and sandboxes; must be on a filesystem that overlayfs takes as upper layer.
    pub state_dir: PathBuf,
    /// Sockets: a short path, best on a filesystem that is empty after boot.
    pub run_dir: PathBuf,
    /// All cgroups are below this one, for instance `kontiki`.
    pub cgroup_parent: String,
    /// This program: executed again as shim, see [`crate::is_shim_command`].
    pub executable: PathBuf,
    /// The first address is the gateway of every pod on this machine.
    pub pod_network: Cidr,
}

/// A handle; clones share everything.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    /// What one agent prepares, another would sweep away.
    _lock: Flock<File>,
    config: RuntimeConfig,
    cgroups: Cgroups,
    machine: Machine,
    images: ImageStore,
    network: PodNetwork,
    sandboxes: Mutex<BTreeMap<String, Arc<Sandbox>>>,
    /// One operation that makes or removes things at a time, per sandbox.
    gates: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    changes: broadcast::Sender<String>,
}

impl Runtime {
    /// Adopts the living shims of an earlier agent, ends what the dead ones have left running, and removes what was
    /// never finished. Sandboxes whose shim is gone stay listed as lost until they are removed. One process at a time can
    /// have a state folder open, until the last clone of its runtime is dropped.
    pub async fn open(config: RuntimeConfig) -> Result<Runtime, RuntimeError> {
        let cgroups = Cgroups::detect().map_err(RuntimeError::io("read", mountinfo::FILE))?;
        let machine = machine::look(&cgroups)?;
        record::make_folder(&config.state_dir.join("sandboxes"))?;
        let lock = lock(&config.state_dir)?;
        record::make_folder(&config.state_dir.join("seccomp"))?;
        record::make_folder(&config.run_dir)?;
        let images = ImageStore::open(config.state_dir.join("images")).await?;
        let network = PodNetwork::open(config.run_dir.join("netns"), config.pod_network)?;
        network.set_up_host()?;
        let runtime = Runtime(Arc::new(Inner {
            _lock: lock,
            config,
            images,
            network,
            cgroups,
            machine,
            sandboxes: Mutex::default(),
            gates: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES_MAX),
        }));
        runtime.adopt().await?;
        let known = runtime.0.sandboxes().keys().cloned().collect();
        runtime.0.network.sweep(&known).await?;
        Ok(runtime)
    }

    pub fn images(&self) -> &ImageStore {
        &self.0.images
    }

    pub async fn list(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        Ok(self.0.sandboxes().values().map(|sandbox| sandbox.status()).collect())
    }

    pub async fn status(&self, sandbox: &str) -> Result<Option<SandboxStatus>, RuntimeError> {
        Ok(self.0.sandboxes().get(sandbox).map(|sandbox| sandbox.status()))
    }

    /// Ids of sandboxes whose status has changed: a container started or ended, the shim was lost. A receiver that
    /// lags must list.
    pub fn changes(&self) -> broadcast::Receiver<String> {
        self.0.changes.subscribe()
    }

    /// Connects to a port on the sandbox's loopback.
    pub async fn connect(&self, sandbox: &str, port: u16) -> Result<TcpStream, RuntimeError> {
        let sandbox = self.0.living(sandbox)?;
        match &sandbox.record.network_namespace {
            Some(namespace) => Ok(podnet::connect_loopback(namespace, port).await?),
            None => TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .await
                .map_err(RuntimeError::io("connect to", format!("127.0.0.1:{port}"))),
        }
    }

    /// What a container has used; zero of what this machine does not count.
    pub async fn stats(&self, sandbox: &str, container: &str) -> Result<Usage, RuntimeError> {
        let sandbox = self.0.sandbox(sandbox)?;
        let cgroup = sandbox.places.container_cgroup(container);
        self.0.cgroups.usage(&cgroup).map_err(RuntimeError::io("read the usage of cgroup", cgroup))
    }

    /// Changes what a running container may use, and its sandbox as a whole. Memory that is in use already is not taken away.
    pub async fn limit(
        &self,
        sandbox: &str,
        container: &str,
        resources: &Resources,
        of_sandbox: &Resources,
    ) -> Result<(), RuntimeError> {
        let places = &self.0.living(sandbox)?.places;
        let (own, whole) = (places.container_cgroup(container), &places.cgroup);
        let cgroups = &self.0.cgroups;
        let used = cgroups.usage(&own).map_err(RuntimeError::io("read the usage of cgroup", &own))?.memory_bytes;
        if let Some(limit) =
            resources.memory_bytes.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit < used)
        {
            let message = format!("memory limit ({limit}) below current usage ({used})");
            return Err(Failure::new(FailureKind::InUse, message).into());
        }
        // More for a container needs more for the sandbox first, less of it comes after: one of the two is right each time.
        if let Err(error) = cgroups.limit(whole, of_sandbox) {
            tracing::debug!(%error, "the sandbox's limits follow its container's");
        }
        cgroups.limit(&own, resources).map_err(RuntimeError::io("limit cgroup", &own))?;
        cgroups.limit(whole, of_sandbox).map_err(RuntimeError::io("limit cgroup", whole))
    }

    /// Changes what a sandbox as a whole may use.
    pub async fn limit_sandbox(&self, sandbox: &str, resources: &Resources) -> Result<(), RuntimeError> {
        let whole = &self.0.living(sandbox)?.places.cgroup;
        self.0.cgroups.limit(whole, resources).map_err(RuntimeError::io("limit cgroup", whole))
    }

    /// The folder that holds what a container writes to its root filesystem.
    pub fn writable_layer(&self, sandbox: &str, container: &str) -> Result<PathBuf, RuntimeError> {
        let sandbox = self.0.sandbox(sandbox)?;
        Ok(rootfs::upper(&sandbox.places.container(container)))
    }

    /// What all containers of a sandbox have used together.
    pub async fn sandbox_stats(&self, sandbox: &str) -> Result<Usage, RuntimeError> {
        let cgroup = &self.0.sandbox(sandbox)?.places.cgroup;
        let used = self.0.cgroups.usage(cgroup).map_err(RuntimeError::io("read the usage of cgroup", cgroup))?;
        Ok(Usage { traffic: self.0.network.traffic(sandbox)?, ..used })
    }
}

impl Inner {
    fn sandboxes(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Sandbox>>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>, RuntimeError> {
        self.sandboxes().get(id).cloned().ok_or_else(|| RuntimeError::SandboxNotFound(id.to_owned()))
    }

    fn living(&self, id: &str) -> Result<Arc<Sandbox>, RuntimeError> {
        let sandbox = self.sandbox(id)?;
        if sandbox.lost() { Err(RuntimeError::SandboxLost(id.to_owned())) } else { Ok(sandbox) }
    }

    fn gate(&self, id: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        gates.entry(id.to_owned()).or_default().clone()
    }

    fn places(&self, id: &str) -> Places {
        Places {
            folder: self.config.state_dir.join("sandboxes").join(id),
            socket: self.config.run_dir.join(format!("{id}.sock")),
            cgroup: format!("{}/pod{id}", self.parent_cgroup()),
        }
    }

    /// Shims have a cgroup of their own: what they use is not the containers'.
    fn shim_cgroup(&self) -> String {
        format!("{}/shims", self.parent_cgroup())
    }

    fn parent_cgroup(&self) -> String {
        format!("/{}", self.config.cgroup_parent.trim_matches('/'))
    }

    /// One question and its answer, over a connection of its own.
    async fn ask(&self, sandbox: &Sandbox, request: &Request) -> Result<Reply, RuntimeError> {
        let id = &sandbox.record.spec.id;
        let ask = async {
            let mut connection = Connection::open(&sandbox.places.socket).await?;
            connection.send(request, &[]).await?;
            connection.receive().await
        };
        match tokio::time::timeout(SHIM_ANSWER_TIME_MAX, ask).await {
            Ok(Ok(Some((Reply::Failed(failure), _)))) => Err(failure.into()),
            Ok(Ok(Some((Reply::Done(snapshot), _)))) => {
                if sandbox.learn(snapshot.clone()) {
                    self.changed(id);
                }
                Ok(Reply::Done(snapshot))
            }
            Ok(Ok(Some((reply, _)))) => Ok(reply),
            Ok(Ok(None)) => Err(no_answer(sandbox, "it has closed the connection".into())),
            Ok(Err(error)) => Err(no_answer(sandbox, error.to_string())),
            Err(_) => Err(no_answer(sandbox, "it took too long".into())),
        }
    }

    fn changed(&self, id: &str) {
        // Nobody listening is no fault.
        let _ = self.changes.send(id.to_owned());
    }
}

fn lock(folder: &Path) -> Result<Flock<File>, RuntimeError> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(RuntimeError::io("open", &path))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        Errno::EWOULDBLOCK => RuntimeError::InUse(folder.to_owned()),
        error => RuntimeError::io("lock", path)(error.into()),
    })
}

/// A shim that says nothing is dead, or has a reason.
fn no_answer(sandbox: &Sandbox, reason: String) -> RuntimeError {
    let id = sandbox.record.spec.id.clone();
    match sandbox.lost() || !cleanup::is_shim(sandbox.shim.pid, &sandbox.places.shim_config()) {
        true => RuntimeError::SandboxLost(id),
        false => RuntimeError::ShimAnswer { sandbox: id, reason },
    }
}
