//! Making, adopting, watching and removing sandboxes.

use std::{
    fs::OpenOptions,
    path::Path,
    process::Stdio,
    sync::{Arc, Weak},
};

use chrono::Utc;
use futures::{StreamExt as _, stream};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use super::{
    Inner, Runtime,
    cleanup::is_shim,
    connection::Connection,
    provision,
    record::{Record, ShimProcess, check_id, make_folder, read_json, write_json},
    sandbox::Sandbox,
};
use crate::{
    error::{Failure, FailureKind, RuntimeError},
    limits::{ADOPTIONS_MAX, SHIM_FIRST_WORD_TIME_MAX, SHIM_START_TIME_MAX, SHM_BYTES_DEFAULT},
    open_files,
    shim::protocol::{Ready, Reply, Request, ShimConfig, Snapshot},
    spec::{SandboxNetwork, SandboxSpec, SandboxStatus},
};

impl Runtime {
    /// Makes a sandbox; one that is there already is returned as it is, lost or not. A failure leaves nothing behind.
    pub async fn run_sandbox(&self, spec: SandboxSpec) -> Result<SandboxStatus, RuntimeError> {
        check_id(&spec.id)?;
        let id = spec.id.clone();
        let gate = self.0.gate(&id);
        let _held = gate.lock().await;
        if let Some(sandbox) = self.0.sandboxes().get(&id) {
            return Ok(sandbox.status());
        }
        match self.0.make_sandbox(spec).await {
            Ok(sandbox) => Ok(self.0.take_in(sandbox).await?.status()),
            Err(error) => {
                if let Err(more) = self.0.clean_up_sandbox(&id).await {
                    tracing::warn!(sandbox = id, error = %more, "a failed sandbox was not removed completely");
                }
                Err(error)
            }
        }
    }

    /// Ends and removes all of a sandbox: processes, mounts, network, cgroups, files. Logs are the caller's.
    /// A sandbox that is not there is removed already.
    pub async fn remove_sandbox(&self, sandbox: &str) -> Result<(), RuntimeError> {
        check_id(sandbox)?;
        let gate = self.0.gate(sandbox);
        let _held = gate.lock().await;
        let known = self.0.sandboxes().get(sandbox).cloned();
        if let Some(known) = &known
            && !known.lost()
            && let Err(error) = self.0.ask(known, &Request::Shutdown).await
        {
            // What the shim does not end in good order is killed below.
            tracing::warn!(sandbox, %error, "the shim did not shut down");
        }
        self.0.clean_up_sandbox(sandbox).await?;
        self.0.sandboxes().remove(sandbox);
        if known.is_some() {
            self.0.changed(sandbox);
        }
        Ok(())
    }

    pub(super) async fn adopt(&self) -> Result<(), RuntimeError> {
        let folder = self.0.config.state_dir.join("sandboxes");
        let entries = std::fs::read_dir(&folder).map_err(RuntimeError::io("read", &folder))?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let names: Vec<_> = names.collect::<Result<_, _>>().map_err(RuntimeError::io("read", &folder))?;
        // One that is slow does not hold up the others.
        let ids = names.iter().filter_map(|name| name.to_str());
        stream::iter(ids)
            .for_each_concurrent(ADOPTIONS_MAX, async |id| {
                // One sandbox that cannot be taken over is no reason to leave all others alone.
                if let Err(error) = self.0.adopt_sandbox(id).await {
                    tracing::error!(sandbox = id, %error, "it can neither be adopted nor removed");
                }
            })
            .await;
        Ok(())
    }
}

impl Inner {
    async fn make_sandbox(&self, spec: SandboxSpec) -> Result<Sandbox, RuntimeError> {
        let places = self.places(&spec.id);
        places.check_socket()?;
        make_folder(&places.containers())?;
        let mut record =
            Record { spec, created_ms: Utc::now().timestamp_millis(), shim: None, network_namespace: None };
        // From here on a restarted agent finds what there is to remove.
        write_json(&places.record(), &record)?;
        if let SandboxNetwork::Pod { address } = record.spec.network {
            record.network_namespace = Some(self.network.create(&record.spec.id, address).await?);
        }
        if !record.spec.host_ipc {
            provision::mount_shared_memory(&places.shared_memory(), SHM_BYTES_DEFAULT)?;
        }
        let parent = self.parent_cgroup();
        self.cgroups.create_for_all_cpus(&parent).map_err(RuntimeError::io("make cgroup", parent))?;
        self.cgroups
            .create(&places.cgroup, &record.spec.resources)
            .map_err(RuntimeError::io("make cgroup", &places.cgroup))?;
        let config = ShimConfig {
            sandbox: record.spec.id.clone(),
            hostname: record.spec.hostname.clone(),
            socket: places.socket.clone(),
            status_file: places.status(),
            state_dir: places.libcontainer(),
            shim_cgroup: self.shim_cgroup(),
            own_ipc: !record.spec.host_ipc,
            own_uts: record.spec.network != SandboxNetwork::Host,
            share_pid: record.spec.share_pid && !record.spec.host_pid,
            sysctls: record.spec.sysctls.clone(),
            network_namespace: record.network_namespace.clone(),
            open_files: open_files::for_containers(),
        };
        write_json(&places.shim_config(), &config)?;
        let shim = self.start_shim(&record.spec.id, &places.shim_config(), &places.shim_log()).await?;
        record.shim = Some(shim.clone());
        write_json(&places.record(), &record)?;
        Ok(Sandbox::new(record, shim, places, Snapshot::default()))
    }

    async fn start_shim(&self, sandbox: &str, config: &Path, log: &Path) -> Result<ShimProcess, RuntimeError> {
        let failed = |reason: String| RuntimeError::ShimStart { sandbox: sandbox.to_owned(), reason };
        let stderr = OpenOptions::new().create(true).append(true).open(log).map_err(RuntimeError::io("open", log))?;
        let mut child = Command::new(&self.config.executable)
            .arg(crate::shim::SHIM)
            .arg(config)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|error| failed(format!("cannot execute {}: {error}", self.config.executable.display())))?;
        let pid = child.id().ok_or_else(|| failed("it ended at once".into()))? as i32;
        let stdout = child.stdout.take().ok_or_else(|| failed("it has no output".into()))?;
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout);
        let read = tokio::time::timeout(SHIM_START_TIME_MAX, stdout.read_line(&mut line)).await;
        let ready = match read {
            Ok(Ok(_)) => serde_json::from_str::<Ready>(&line).map_err(|error| failed(format!("{error}: {line:?}"))),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("it took too long".into())),
        };
        let started = match ready {
            Ok(Ready::Listening { pid_namespace_init }) => Ok(ShimProcess { pid, pid_namespace_init }),
            Ok(Ready::Failed(reason)) => Err(failed(reason)),
            Err(error) => Err(error),
        };
        if started.is_err()
            && let Err(error) = child.start_kill()
        {
            tracing::debug!(sandbox, %error, "the shim that did not start has ended already");
        }
        // It outlives this agent; while both live, somebody must take its exit status.
        tokio::spawn(async move { child.wait().await });
        started
    }

    /// Connects to a sandbox's shim and follows it; waits only for a while until that says something.
    async fn take_in(self: &Arc<Self>, sandbox: Sandbox) -> Result<Arc<Sandbox>, RuntimeError> {
        let id = sandbox.record.spec.id.clone();
        let failed = |reason: String| RuntimeError::ShimAnswer { sandbox: id.clone(), reason };
        let mut connection = Connection::open(&sandbox.places.socket).await.map_err(|e| failed(e.to_string()))?;
        connection.send(&Request::Watch, &[]).await.map_err(|e| failed(e.to_string()))?;
        let first = tokio::time::timeout(SHIM_FIRST_WORD_TIME_MAX, connection.receive()).await;
        match first.map(|answer| answer.map_err(|e| failed(e.to_string()))) {
            Ok(answer) => match answer? {
                Some((Reply::Snapshot(snapshot), _)) => drop(sandbox.learn(snapshot)),
                _ => return Err(RuntimeError::SandboxLost(id)),
            },
            // It may wait for a disk, and its containers run.
            Err(_) if is_shim(sandbox.shim.pid, &sandbox.places.shim_config()) => {
                tracing::warn!(sandbox = id, shim = sandbox.shim.pid, "its shim lives, but does not answer");
            }
            Err(_) => return Err(failed("it took too long".into())),
        }
        let sandbox = Arc::new(sandbox);
        self.sandboxes().insert(id.clone(), sandbox.clone());
        self.changed(&id);
        tokio::spawn(follow(Arc::downgrade(self), sandbox.clone(), connection));
        Ok(sandbox)
    }

    async fn adopt_sandbox(self: &Arc<Self>, id: &str) -> Result<(), RuntimeError> {
        let places = self.places(id);
        let record = match read_json::<Record>(&places.record()) {
            Ok(record) => record,
            Err(error) => {
                tracing::warn!(sandbox = id, %error, "its record cannot be read");
                None
            }
        };
        let Some((record, shim)) = record.and_then(|record| Some((record.clone(), record.shim?))) else {
            tracing::info!(sandbox = id, "removing what was never finished");
            return self.clean_up_sandbox(id).await;
        };
        let last = read_json::<Snapshot>(&places.status()).unwrap_or_else(|error| {
            tracing::warn!(sandbox = id, %error, "what its shim said last cannot be read");
            None
        });
        let sandbox = || Sandbox::new(record.clone(), shim.clone(), places.clone(), last.clone().unwrap_or_default());
        match self.take_in(sandbox()).await {
            Ok(sandbox) => {
                tracing::info!(sandbox = id, shim = shim.pid, "adopted");
                self.sweep_containers(&sandbox).await
            }
            Err(error) => {
                tracing::warn!(sandbox = id, %error, "its shim is gone");
                let sandbox = Arc::new(sandbox());
                self.sandboxes().insert(id.to_owned(), sandbox.clone());
                self.lost(&sandbox).await;
                Ok(())
            }
        }
    }

    /// Containers that an earlier agent has prepared, but not given to the shim.
    async fn sweep_containers(&self, sandbox: &Sandbox) -> Result<(), RuntimeError> {
        let folder = sandbox.places.containers();
        for entry in std::fs::read_dir(&folder).map_err(RuntimeError::io("read", &folder))? {
            let entry = entry.map_err(RuntimeError::io("read", &folder))?;
            if let Some(id) = entry.file_name().to_str()
                && sandbox.container(id).is_none()
            {
                self.clean_up_container(&sandbox.places, id).await?;
            }
        }
        Ok(())
    }

    /// The shim has died: nothing of the sandbox may run on without it.
    async fn lost(&self, sandbox: &Sandbox) {
        sandbox.lose(Utc::now().timestamp_millis());
        let ended = async {
            self.end_shim(sandbox.shim.pid, &sandbox.places).await?;
            self.end_processes(&sandbox.places).await
        };
        if let Err(error) = ended.await {
            tracing::warn!(sandbox = sandbox.record.spec.id, %error, "processes of a lost sandbox are left");
        }
        self.changed(&sandbox.record.spec.id);
    }
}

/// Takes what a shim says until it is gone. Ends with the runtime, too.
async fn follow(inner: Weak<Inner>, sandbox: Arc<Sandbox>, mut connection: Connection) {
    loop {
        let received = connection.receive().await;
        let Some(inner) = inner.upgrade() else { return };
        match received {
            Ok(Some((Reply::Snapshot(snapshot), _))) => {
                if sandbox.learn(snapshot) {
                    inner.changed(&sandbox.record.spec.id);
                }
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => {
                let id = &sandbox.record.spec.id;
                // A sandbox that has been removed meanwhile is not lost, nor is one made anew under its id.
                let gate = inner.gate(id);
                let _held = gate.lock().await;
                let current = inner.sandboxes().get(id).is_some_and(|known| Arc::ptr_eq(known, &sandbox));
                if current {
                    tracing::warn!(sandbox = id, "its shim is gone");
                    inner.lost(&sandbox).await;
                }
                return;
            }
        }
    }
}

/// The pod's namespaces of which the shim is a member.
pub(super) fn shim_namespace(shim: &ShimProcess, name: &str) -> std::path::PathBuf {
    format!("/proc/{}/ns/{name}", shim.pid).into()
}

pub(super) fn wrong_state(message: String) -> RuntimeError {
    Failure::new(FailureKind::WrongState, message).into()
}
