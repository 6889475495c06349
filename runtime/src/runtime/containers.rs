//! Making, starting, ending and removing containers, and commands in them.

use std::{
    io,
    path::{Path, PathBuf},
};

use oci_spec::runtime::Spec;

use super::{
    Inner, Runtime,
    connection::Connection,
    machine, no_answer, provision,
    record::{check_id, make_folder, read_json, write_json},
    sandbox::Sandbox,
    sandboxes::{shim_namespace, wrong_state},
    session::{AttachSession, ExecSession, ExecSpec, Pipes, terminal_streams},
};
use crate::{
    error::{Failure, FailureKind, RuntimeError},
    limits::SHIM_ANSWER_TIME_MAX,
    oci::{self, Identity, PidNamespace, Surroundings},
    seccomp,
    shim::protocol::{Confinement, CreateRequest, ExecRequest, Reply, Request},
    spec::{ContainerSpec, ContainerState, Mount, SandboxNetwork, Seccomp},
};

impl Runtime {
    /// Prepares a container up to the moment before its command is executed. A failure leaves nothing behind.
    pub async fn create_container(&self, sandbox: &str, spec: ContainerSpec) -> Result<(), RuntimeError> {
        check_id(&spec.id)?;
        let gate = self.0.gate(sandbox);
        let _held = gate.lock().await;
        let sandbox = self.0.living(sandbox)?;
        if sandbox.container(&spec.id).is_some() {
            return Err(wrong_state(format!("container {:?} exists already", spec.id)));
        }
        let made = self.0.make_container(&sandbox, &spec).await;
        if made.is_err()
            && let Err(more) = self.0.clean_up_container(&sandbox.places, &spec.id).await
        {
            tracing::warn!(container = spec.id, error = %more, "a failed container was not removed completely");
        }
        made
    }

    /// Executes the container's command; a failure says why it could not be.
    pub async fn start_container(&self, sandbox: &str, container: &str) -> Result<(), RuntimeError> {
        let sandbox = self.0.living(sandbox)?;
        self.0.ask(&sandbox, &Request::Start { container: container.to_owned() }).await.map(drop)
    }

    /// Sends a signal to the container's first process. One that has ended takes no signal, and that is no failure.
    pub async fn kill_container(&self, sandbox: &str, container: &str, signal: i32) -> Result<(), RuntimeError> {
        let sandbox = self.0.living(sandbox)?;
        self.0.ask(&sandbox, &Request::Kill { container: container.to_owned(), signal }).await.map(drop)
    }

    /// Kills the container if it runs, and removes all of it. One that is not there is removed already.
    pub async fn remove_container(&self, sandbox: &str, container: &str) -> Result<(), RuntimeError> {
        check_id(container)?;
        let gate = self.0.gate(sandbox);
        let _held = gate.lock().await;
        let sandbox = match self.0.sandbox(sandbox) {
            Err(RuntimeError::SandboxNotFound(_)) => return Ok(()),
            sandbox => sandbox?,
        };
        if !sandbox.lost() {
            self.0.ask(&sandbox, &Request::Remove { container: container.to_owned() }).await?;
        }
        self.0.clean_up_container(&sandbox.places, container).await?;
        sandbox.forget_container(container);
        Ok(())
    }

    /// Runs a command in a running container. Refused where clients have as many sessions open as they may, unless it is
    /// the agent's own.
    pub async fn exec(&self, sandbox: &str, container: &str, spec: ExecSpec) -> Result<ExecSession, RuntimeError> {
        check_id(container)?;
        let sandbox = self.0.living(sandbox)?;
        let id = sandbox.record.spec.id.clone();
        let place = if spec.own { None } else { Some(sandbox.session()?) };
        let config = sandbox.places.container(container).join("config.json");
        let config: Spec = read_json(&config)?
            .ok_or_else(|| Failure::new(FailureKind::NotFound, format!("no container {container:?}")))?;
        let process = oci::exec_process(&config, &spec.args, &spec.env, spec.tty)?;
        let failed =
            |error: std::io::Error| RuntimeError::ShimAnswer { sandbox: id.clone(), reason: error.to_string() };
        let pipes = match spec.tty {
            true => None,
            false => Some(Pipes::open(spec.stdin).map_err(failed)?),
        };
        let request = ExecRequest { container: container.to_owned(), process, tty: spec.tty };
        let theirs = pipes.as_ref().map_or(&[][..], |pipes| &pipes.theirs);
        let (reply, connection, fds) = self.0.converse(&sandbox, &Request::Exec(request), theirs).await?;
        let (stdin, stdout, stderr, terminal) = match (reply, pipes, fds.into_iter().next()) {
            (Reply::ExecStarted { .. }, Some(pipes), _) => (pipes.stdin, pipes.stdout, pipes.stderr, None),
            (Reply::ExecStarted { .. }, None, Some(master)) => {
                let (reader, writer, terminal) = terminal_streams(master).map_err(failed)?;
                let stdin = spec.stdin.then_some(writer);
                (stdin, reader, Box::new(tokio::io::empty()) as super::Reader, Some(terminal))
            }
            (reply, _, _) => {
                return Err(failed(std::io::Error::other(format!("unexpected answer {reply:?}"))));
            }
        };
        Ok(ExecSession { stdin, stdout, stderr, terminal, connection, sandbox: id, _place: place })
    }

    /// Follows a container's own streams from now on. Input of a client without `stdin` is none, not an empty one.
    pub async fn attach(&self, sandbox: &str, container: &str, stdin: bool) -> Result<AttachSession, RuntimeError> {
        let sandbox = self.0.living(sandbox)?;
        let id = sandbox.record.spec.id.clone();
        let place = sandbox.session()?;
        let failed =
            |error: std::io::Error| RuntimeError::ShimAnswer { sandbox: id.clone(), reason: error.to_string() };
        let mut pipes = Pipes::open(stdin).map_err(failed)?;
        if !stdin {
            pipes.theirs.remove(0);
        }
        let request = Request::Attach { container: container.to_owned() };
        match self.0.converse(&sandbox, &request, &pipes.theirs).await? {
            (Reply::Attached, connection, _) => {
                let Pipes { stdin, stdout, stderr, theirs: _ } = pipes;
                Ok(AttachSession { stdin, stdout, stderr, connection, _place: place })
            }
            (reply, _, _) => Err(failed(std::io::Error::other(format!("unexpected answer {reply:?}")))),
        }
    }

    /// Sets the size of a container's own terminal; without one it does nothing.
    pub async fn resize_container(
        &self,
        sandbox: &str,
        container: &str,
        rows: u16,
        columns: u16,
    ) -> Result<(), RuntimeError> {
        let sandbox = self.0.living(sandbox)?;
        self.0.ask(&sandbox, &Request::Resize { container: container.to_owned(), rows, columns }).await.map(drop)
    }
}

impl Inner {
    async fn make_container(&self, sandbox: &Sandbox, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        check_mounts(&spec.mounts)?;
        let image = provision::image(&self.images, &spec.image).await?;
        let folder = sandbox.places.container(&spec.id);
        make_folder(&folder)?;
        let layers = self.images.layer_paths(&image);
        let rootfs = provision::mount_rootfs(layers, &folder).await?;
        check_root(&rootfs, &spec.mounts)?;
        let accounts = machine::accounts(&rootfs).map_err(RuntimeError::io("read the accounts in", &rootfs))?;
        let mut user = spec.user.clone();
        if user.user.is_empty() {
            user.user.clone_from(&image.config.user);
        }
        let around = self.surroundings(sandbox, spec, rootfs, Identity::find(&user, &accounts)?)?;
        make_working_folder(&around.rootfs, spec)?;
        let built = oci::build(spec, &around)?;
        for warning in built.warnings {
            tracing::warn!(sandbox = sandbox.record.spec.id, container = spec.id, "{warning}");
        }
        write_json(&folder.join("config.json"), &built.spec)?;
        if let Some(oci::Confinement { profile, capabilities }) = built.confinement {
            let filter = seccomp::compiled(&profile, &self.config.state_dir.join("seccomp"))?;
            let confinement = Confinement { filter, capabilities, no_new_privileges: spec.no_new_privileges };
            write_json(&folder.join(Confinement::FILE), &confinement)?;
        }
        if !spec.privileged {
            let cgroup = &around.cgroup;
            self.cgroups.confine_devices(cgroup).map_err(RuntimeError::io("confine the devices of cgroup", cgroup))?;
        }
        let request = CreateRequest {
            container: spec.id.clone(),
            image: spec.image.clone(),
            bundle: folder,
            cgroup: around.cgroup,
            log_path: spec.log_path.clone(),
            stdin: spec.stdin,
            stdin_once: spec.stdin_once,
            tty: spec.tty,
            own_pid_namespace: around.pid_namespace == PidNamespace::Own,
            uid: around.identity.uid,
            gid: around.identity.gid,
            user: Some(around.identity.user()),
        };
        self.ask(sandbox, &Request::Create(request)).await.map(drop)
    }

    fn surroundings(
        &self,
        sandbox: &Sandbox,
        spec: &ContainerSpec,
        rootfs: PathBuf,
        identity: Identity,
    ) -> Result<Surroundings, RuntimeError> {
        let asked = &sandbox.record.spec;
        let mut machine = self.machine.clone();
        if spec.privileged {
            machine.devices = machine::devices().map_err(RuntimeError::io("read", "/dev"))?;
        }
        Ok(Surroundings {
            rootfs,
            cgroup: sandbox.places.container_cgroup(&spec.id),
            hostname: asked.hostname.clone(),
            network_namespace: sandbox.record.network_namespace.clone(),
            ipc_namespace: (!asked.host_ipc).then(|| shim_namespace(&sandbox.shim, "ipc")),
            uts_namespace: (asked.network != SandboxNetwork::Host).then(|| shim_namespace(&sandbox.shim, "uts")),
            pid_namespace: pid_namespace(sandbox, spec)?,
            shared_memory: if asked.host_ipc { "/dev/shm".into() } else { sandbox.places.shared_memory() },
            identity,
            seccomp_profile: match &spec.seccomp {
                Seccomp::Localhost(path) => Some(seccomp_profile(path)?),
                Seccomp::RuntimeDefault | Seccomp::Unconfined => None,
            },
            machine,
        })
    }

    /// A question whose connection goes on after the first answer.
    async fn converse(
        &self,
        sandbox: &Sandbox,
        request: &Request,
        fds: &[std::os::fd::OwnedFd],
    ) -> Result<(Reply, Connection, Vec<std::os::fd::OwnedFd>), RuntimeError> {
        let ask = async {
            let mut connection = Connection::open(&sandbox.places.socket).await?;
            connection.send(request, fds).await?;
            Ok::<_, std::io::Error>((connection.receive().await?, connection))
        };
        match tokio::time::timeout(SHIM_ANSWER_TIME_MAX, ask).await {
            Ok(Ok((Some((Reply::Failed(failure), _)), _))) => Err(failure.into()),
            Ok(Ok((Some((reply, fds)), connection))) => Ok((reply, connection, fds)),
            Ok(Ok((None, _))) => Err(no_answer(sandbox, "it has closed the connection".into())),
            Ok(Err(error)) => Err(no_answer(sandbox, error.to_string())),
            Err(_) => Err(no_answer(sandbox, "it took too long".into())),
        }
    }
}

/// Which processes a container is among.
fn pid_namespace(sandbox: &Sandbox, spec: &ContainerSpec) -> Result<PidNamespace, Failure> {
    let of = |pid: i32| PidNamespace::Joined(format!("/proc/{pid}/ns/pid").into());
    match (sandbox.record.spec.host_pid, sandbox.shim.pid_namespace_init, &spec.process_namespace_of) {
        (true, _, _) => Ok(PidNamespace::Host),
        (false, Some(init), _) => Ok(of(init)),
        (false, None, None) => Ok(PidNamespace::Own),
        (false, None, Some(target)) => match sandbox.container(target).map(|target| target.state) {
            Some(ContainerState::Running { pid, .. }) => Ok(of(pid)),
            Some(ContainerState::Created | ContainerState::Exited { .. }) => {
                Err(Failure::new(FailureKind::WrongState, format!("container {target:?} is not running")))
            }
            None => Err(Failure::new(FailureKind::NotFound, format!("no container {target:?}"))),
        },
    }
}

fn check_mounts(mounts: &[Mount]) -> Result<(), Failure> {
    for Mount { source, destination, .. } in mounts {
        let fault = if !destination.is_absolute() {
            "its path in the container is not absolute".to_owned()
        } else if let Err(error) = source.metadata() {
            match error.kind() {
                std::io::ErrorKind::NotFound => "its source does not exist".to_owned(),
                _ => format!("its source cannot be used: {error}"),
            }
        } else {
            continue;
        };
        let message = format!("cannot mount {} at {}: {fault}", source.display(), destination.display());
        return Err(Failure::new(FailureKind::BadMount, message));
    }
    Ok(())
}

/// Folders in which libcontainer makes things by their path before the root is the container's own: a link of the image's
/// in their place would lead it to this machine's files.
const KERNEL_FOLDERS: [&str; 3] = ["dev", "proc", "sys"];

/// Refuses a root in which the kernel's folders are not folders, and mounts that would lay another root over it.
fn check_root(rootfs: &Path, mounts: &[Mount]) -> Result<(), RuntimeError> {
    for name in KERNEL_FOLDERS {
        let fault = match rootfs.join(name).symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => format!("cannot be looked at: {error}"),
            Ok(found) if found.is_dir() => continue,
            Ok(found) if found.is_symlink() => "is a symbolic link".to_owned(),
            Ok(_) => "is no folder".to_owned(),
        };
        return Err(
            Failure::new(FailureKind::BadMount, format!("cannot mount /{name}: in the image it {fault}")).into()
        );
    }
    for mount in mounts {
        if machine::is_root(rootfs, &mount.destination).map_err(RuntimeError::io("look at", rootfs))? {
            let (source, destination) = (mount.source.display(), mount.destination.display());
            let message = format!("cannot mount {source} at {destination}: that is the container's root");
            return Err(Failure::new(FailureKind::BadMount, message).into());
        }
    }
    Ok(())
}

/// Makes the working directory where the container will see it: in the mount that it is below, else in the image.
fn make_working_folder(rootfs: &Path, spec: &ContainerSpec) -> Result<(), RuntimeError> {
    let cwd = Path::new(&spec.cwd);
    if spec.cwd.is_empty() || cwd == Path::new("/") {
        return Ok(());
    }
    let failure = |reason: String| {
        RuntimeError::from(Failure::new(
            FailureKind::InvalidSpec,
            format!("cannot use {:?} as working directory: {reason}", spec.cwd),
        ))
    };
    if !cwd.is_absolute() {
        return Err(failure("it is not absolute".into()));
    }
    let mount = spec
        .mounts
        .iter()
        .filter(|mount| cwd.starts_with(&mount.destination))
        .max_by_key(|mount| mount.destination.components().count());
    let made = match mount {
        Some(mount) if mount.read_only => return Ok(()),
        Some(mount) => {
            machine::make_folder(&mount.source, cwd.strip_prefix(&mount.destination).unwrap_or(Path::new("")))
        }
        None => machine::make_folder(rootfs, cwd),
    };
    made.map_err(|error| failure(error.to_string()))
}

fn seccomp_profile(path: &Path) -> Result<serde_json::Value, RuntimeError> {
    let invalid = |reason: String| {
        RuntimeError::from(Failure::new(
            FailureKind::InvalidSpec,
            format!("cannot load seccomp profile {:?}: {reason}", path.display()),
        ))
    };
    let bytes = std::fs::read(path).map_err(|error| invalid(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))
}
