//! The runtime of this machine, as the node agent wants it. Translates and adds nothing.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kontiki_runtime::{
    AttachSession, ExecSession, ExecSpec, FailureKind, Runtime, RuntimeError, Terminal, Usage,
    image::{ImageError, ImageErrorKind, ImageInfo, ImportSource},
    podnet::AddressPool,
    spec::{ContainerSpec, Resources, SandboxSpec, SandboxStatus},
    tree,
};
use tokio::{
    io::AsyncRead,
    net::TcpStream,
    sync::{broadcast, mpsc},
};

use crate::{
    containers::{
        Answer, Command, Containers, Credentials, Image, ImageConfig, Limits, PulledImage, Refusal, RefusalKind,
        Session,
    },
    error::NodeError,
    keyring,
};

/// Window sizes that wait for a terminal to take them.
const RESIZES_MAX: usize = 8;

pub struct RuntimeContainers {
    runtime: Runtime,
    addresses: Mutex<Addresses>,
}

struct Addresses {
    /// `None` on a node without pod addresses: it runs pods on the host's network only.
    pool: Option<AddressPool>,
    taken: BTreeMap<String, Ipv4Addr>,
}

impl RuntimeContainers {
    /// Takes stock of the addresses that adopted sandboxes have.
    pub async fn open(runtime: Runtime, pod_cidr: Option<&str>) -> Result<RuntimeContainers, NodeError> {
        let mut pool = match pod_cidr {
            Some(cidr) => {
                Some(AddressPool::new(cidr.parse().map_err(|error| NodeError::Addresses(format!("{error}")))?))
            }
            None => None,
        };
        let mut taken = BTreeMap::new();
        for sandbox in runtime.list().await.map_err(|error| NodeError::Runtime(error.into()))? {
            let Some(address) = sandbox.address else { continue };
            if let Some(pool) = &mut pool
                && let Err(error) = pool.claim(address)
            {
                // From an earlier network of this node: nobody gets it a second time.
                tracing::warn!(sandbox = sandbox.id, %error, "a sandbox has a foreign address");
            }
            taken.insert(sandbox.id, address);
        }
        Ok(RuntimeContainers { runtime, addresses: Mutex::new(Addresses { pool, taken }) })
    }

    fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attached(&self, sandbox: &str, container: &str, mut session: AttachSession) -> Session {
        let (resize, mut sizes) = mpsc::channel(RESIZES_MAX);
        let (runtime, sandbox, container) = (self.runtime.clone(), sandbox.to_owned(), container.to_owned());
        let for_resize = (runtime.clone(), sandbox.clone(), container.clone());
        tokio::spawn(async move {
            let (runtime, sandbox, container) = for_resize;
            while let Some((rows, columns)) = sizes.recv().await {
                if let Err(error) = runtime.resize_container(&sandbox, &container, rows, columns).await {
                    tracing::debug!(%error, "cannot resize the container's terminal");
                }
            }
        });
        Session {
            stdin: session.stdin.take(),
            stdout: Some(std::mem::replace(&mut session.stdout, Box::new(tokio::io::empty()))),
            stderr: Some(std::mem::replace(&mut session.stderr, Box::new(tokio::io::empty()))),
            resize,
            exit: Box::pin(async move {
                session.closed().await;
                Ok(0)
            }),
        }
    }
}

impl Containers for RuntimeContainers {
    fn list(&self) -> Answer<'_, Vec<SandboxStatus>> {
        Box::pin(async { Ok(self.runtime.list().await?) })
    }

    fn status<'a>(&'a self, sandbox: &'a str) -> Answer<'a, Option<SandboxStatus>> {
        Box::pin(async move { Ok(self.runtime.status(sandbox).await?) })
    }

    fn run_sandbox(&self, spec: SandboxSpec) -> Answer<'_, SandboxStatus> {
        Box::pin(async move { Ok(self.runtime.run_sandbox(spec).await?) })
    }

    fn remove_sandbox<'a>(&'a self, sandbox: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            match self.runtime.remove_sandbox(sandbox).await {
                Ok(()) | Err(RuntimeError::SandboxNotFound(_)) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn create_container<'a>(&'a self, sandbox: &'a str, spec: &'a ContainerSpec) -> Answer<'a, ()> {
        Box::pin(async move { Ok(self.runtime.create_container(sandbox, spec.clone()).await?) })
    }

    fn start_container<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { Ok(self.runtime.start_container(sandbox, container).await?) })
    }

    fn kill_container<'a>(&'a self, sandbox: &'a str, container: &'a str, signal: i32) -> Answer<'a, ()> {
        Box::pin(async move { Ok(self.runtime.kill_container(sandbox, container, signal).await?) })
    }

    fn limit_container<'a>(&'a self, sandbox: &'a str, container: &'a str, limits: &'a Limits) -> Answer<'a, ()> {
        Box::pin(
            async move { Ok(self.runtime.limit(sandbox, container, &limits.of_container, &limits.of_sandbox).await?) },
        )
    }

    fn limit_sandbox<'a>(&'a self, sandbox: &'a str, limits: &'a Resources) -> Answer<'a, ()> {
        Box::pin(async move { Ok(self.runtime.limit_sandbox(sandbox, limits).await?) })
    }

    fn remove_container<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { Ok(self.runtime.remove_container(sandbox, container).await?) })
    }

    fn changes(&self) -> broadcast::Receiver<String> {
        self.runtime.changes()
    }

    fn exec<'a>(&'a self, sandbox: &'a str, container: &'a str, command: Command) -> Answer<'a, Session> {
        Box::pin(async move {
            let Command { args, stdin, tty, own } = command;
            let spec = ExecSpec { args, env: Vec::new(), stdin, tty, own };
            Ok(executed(self.runtime.exec(sandbox, container, spec).await?))
        })
    }

    fn attach<'a>(&'a self, sandbox: &'a str, container: &'a str, stdin: bool) -> Answer<'a, Session> {
        Box::pin(async move {
            let session = self.runtime.attach(sandbox, container, stdin).await?;
            Ok(self.attached(sandbox, container, session))
        })
    }

    fn connect<'a>(&'a self, sandbox: &'a str, port: u16) -> Answer<'a, TcpStream> {
        Box::pin(async move { Ok(self.runtime.connect(sandbox, port).await?) })
    }

    fn usage<'a>(&'a self, sandbox: &'a str, container: Option<&'a str>) -> Answer<'a, Usage> {
        Box::pin(async move {
            Ok(match container {
                Some(container) => self.runtime.stats(sandbox, container).await?,
                None => self.runtime.sandbox_stats(sandbox).await?,
            })
        })
    }

    fn written<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, u64> {
        Box::pin(async move {
            let layer = self.runtime.writable_layer(sandbox, container)?;
            let sum = tokio::task::spawn_blocking(move || tree::usage_bytes(&layer)).await;
            sum.map_err(io::Error::other).flatten().map_err(|error| Refusal::other(error.to_string()))
        })
    }

    fn take_address(&self, sandbox: &str) -> Result<Ipv4Addr, Refusal> {
        let mut addresses = self.addresses();
        if let Some(address) = addresses.taken.get(sandbox) {
            return Ok(*address);
        }
        let pool = addresses.pool.as_mut().ok_or_else(|| Refusal::other("this node has no pod addresses (podCIDR)"))?;
        let address = pool.allocate().map_err(|error| Refusal::other(error.to_string()))?;
        addresses.taken.insert(sandbox.to_owned(), address);
        Ok(address)
    }

    fn release_address(&self, sandbox: &str) {
        let mut addresses = self.addresses();
        if let Some(address) = addresses.taken.remove(sandbox)
            && let Some(pool) = &mut addresses.pool
        {
            pool.release(address);
        }
    }

    fn resolve<'a>(&'a self, reference: &'a str) -> Answer<'a, Option<Image>> {
        Box::pin(async move { Ok(self.runtime.images().resolve(reference).await?.map(image)) })
    }

    fn pull<'a>(&'a self, reference: &'a str, credentials: &'a [Credentials]) -> Answer<'a, PulledImage> {
        Box::pin(async move {
            let (pulled, by) = keyring::pull(self.runtime.images(), reference, credentials).await?;
            Ok(PulledImage { image: image(pulled), by: by.cloned() })
        })
    }

    fn import<'a>(&'a self, name: Option<&'a str>, archive: Box<dyn AsyncRead + Send + Unpin>) -> Answer<'a, Image> {
        Box::pin(async move {
            let source = ImportSource::Stream(Box::pin(archive));
            Ok(image(self.runtime.images().import(name, source).await?))
        })
    }

    fn images(&self) -> Answer<'_, Vec<Image>> {
        Box::pin(async { Ok(self.runtime.images().list().await?.into_iter().map(image).collect()) })
    }

    fn used_images(&self) -> Answer<'_, HashSet<String>> {
        Box::pin(async {
            let mut used = self.runtime.mounted_images().await?;
            let containers = self.runtime.list().await?.into_iter().flat_map(|sandbox| sandbox.containers);
            used.extend(containers.map(|container| container.image));
            Ok(used)
        })
    }

    fn mounted_image<'a>(&'a self, sandbox: &'a str, name: &'a str) -> Answer<'a, Option<PathBuf>> {
        Box::pin(async move { Ok(self.runtime.mounted_image(sandbox, name).await?) })
    }

    fn mount_image<'a>(&'a self, sandbox: &'a str, name: &'a str, image: &'a str) -> Answer<'a, PathBuf> {
        Box::pin(async move { Ok(self.runtime.mount_image(sandbox, name, image).await?) })
    }

    fn remove_image<'a>(&'a self, reference: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let used = self.used_images().await?;
            self.runtime.images().remove(reference, &used).await?;
            Ok(())
        })
    }
}

fn executed(mut session: ExecSession) -> Session {
    let terminal = session.terminal.take();
    Session {
        stdin: session.stdin.take(),
        stdout: Some(std::mem::replace(&mut session.stdout, Box::new(tokio::io::empty()))),
        stderr: Some(std::mem::replace(&mut session.stderr, Box::new(tokio::io::empty()))),
        resize: resizing(terminal),
        // The session lives as long as somebody waits for its end.
        exit: Box::pin(async move { Ok(session.wait().await?) }),
    }
}

fn resizing(terminal: Option<Terminal>) -> mpsc::Sender<(u16, u16)> {
    let (sender, mut sizes) = mpsc::channel(RESIZES_MAX);
    if let Some(terminal) = terminal {
        tokio::spawn(async move {
            while let Some((rows, columns)) = sizes.recv().await {
                if let Err(error) = terminal.resize(rows, columns) {
                    tracing::debug!(%error, "cannot resize the terminal");
                }
            }
        });
    }
    sender
}

fn image(info: ImageInfo) -> Image {
    let config = info.config;
    Image {
        id: info.id.to_string(),
        names: info.names,
        digests: info.digests,
        size_bytes: info.size,
        created_ms: info.imported_ms,
        config: ImageConfig {
            entrypoint: config.entrypoint,
            command: config.cmd,
            env: config.env.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
            cwd: config.working_dir,
            user: config.user,
            stop_signal: config.stop_signal,
            volumes: config.volumes.into_iter().map(Into::into).collect(),
        },
    }
}

impl From<RuntimeError> for Refusal {
    fn from(error: RuntimeError) -> Refusal {
        let kind = match (&error, error.failure_kind()) {
            (_, Some(FailureKind::CommandNotFound)) => RefusalKind::CannotExecute,
            (_, Some(FailureKind::PermissionDenied)) => RefusalKind::NotExecutable,
            (_, Some(FailureKind::NotFound)) | (RuntimeError::SandboxNotFound(_), _) => RefusalKind::NotFound,
            (_, Some(FailureKind::BadMount | FailureKind::BadUser | FailureKind::InvalidSpec)) => RefusalKind::Invalid,
            (_, Some(FailureKind::InUse)) => RefusalKind::InUse,
            (_, Some(FailureKind::WrongState | FailureKind::Other) | None) => RefusalKind::Other,
        };
        Refusal::new(kind, error.to_string())
    }
}

impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Refusal {
        let kind = match error.kind() {
            ImageErrorKind::InvalidName => RefusalKind::InvalidReference,
            ImageErrorKind::NotFound => RefusalKind::NotFound,
            ImageErrorKind::InUse => RefusalKind::InUse,
            ImageErrorKind::Unusable => RefusalKind::Invalid,
            ImageErrorKind::Unauthorized | ImageErrorKind::Unreachable | ImageErrorKind::Local => RefusalKind::Other,
        };
        Refusal::new(kind, error.to_string())
    }
}
