//! What the node agent needs of whatever runs containers. The runtime implements it; tests use a fake.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    net::Ipv4Addr,
    path::PathBuf,
    sync::Arc,
};

use futures::future::BoxFuture;
use kontiki_runtime::{
    Usage,
    spec::{ContainerSpec, Resources, SandboxSpec, SandboxStatus},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{broadcast, mpsc},
};

/// An answer of the runtime, sooner or later.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Refusal>>;

/// Sandboxes, containers and images of this machine.
pub trait Containers: Send + Sync + 'static {
    fn list(&self) -> Answer<'_, Vec<SandboxStatus>>;
    /// `None` if there is no such sandbox.
    fn status<'a>(&'a self, sandbox: &'a str) -> Answer<'a, Option<SandboxStatus>>;
    fn run_sandbox(&self, spec: SandboxSpec) -> Answer<'_, SandboxStatus>;
    /// Ends and forgets everything in it. One that is not there is a success.
    fn remove_sandbox<'a>(&'a self, sandbox: &'a str) -> Answer<'a, ()>;
    fn create_container<'a>(&'a self, sandbox: &'a str, spec: &'a ContainerSpec) -> Answer<'a, ()>;
    fn start_container<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, ()>;
    fn kill_container<'a>(&'a self, sandbox: &'a str, container: &'a str, signal: i32) -> Answer<'a, ()>;
    fn remove_container<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, ()>;
    /// What a running container may use from now on, and the whole sandbox.
    fn limit_container<'a>(&'a self, sandbox: &'a str, container: &'a str, limits: &'a Limits) -> Answer<'a, ()>;
    /// What the whole sandbox may use from now on; some of it may hold where all of it cannot.
    fn limit_sandbox<'a>(&'a self, sandbox: &'a str, limits: &'a Resources) -> Answer<'a, ()>;
    /// Ids of sandboxes whose status has changed. A receiver that lags looks at all of them.
    fn changes(&self) -> broadcast::Receiver<String>;
    fn exec<'a>(&'a self, sandbox: &'a str, container: &'a str, command: Command) -> Answer<'a, Session>;
    /// The streams of the container's own process.
    fn attach<'a>(&'a self, sandbox: &'a str, container: &'a str, stdin: bool) -> Answer<'a, Session>;

    /// A connection to a port on the sandbox's loopback.
    fn connect<'a>(&'a self, sandbox: &'a str, port: u16) -> Answer<'a, TcpStream>;

    /// What one container, or with `None` the whole sandbox, has used.
    fn usage<'a>(&'a self, sandbox: &'a str, container: Option<&'a str>) -> Answer<'a, Usage>;

    /// Bytes that a container has written to its root filesystem.
    fn written<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, u64>;

    /// Takes an address for the sandbox; the same one again while the sandbox has it.
    fn take_address(&self, sandbox: &str) -> Result<Ipv4Addr, Refusal>;
    fn release_address(&self, sandbox: &str);

    /// `None` if the image is not on this machine.
    fn resolve<'a>(&'a self, reference: &'a str) -> Answer<'a, Option<Image>>;
    fn pull<'a>(&'a self, reference: &'a str, credentials: &'a [Credentials]) -> Answer<'a, PulledImage>;
    fn import<'a>(&'a self, name: Option<&'a str>, archive: Box<dyn AsyncRead + Send + Unpin>) -> Answer<'a, Image>;
    fn images(&self) -> Answer<'_, Vec<Image>>;
    /// Ids of the images that containers run or see as volumes.
    fn used_images(&self) -> Answer<'_, HashSet<String>>;
    /// Where an image is mounted under this name in the sandbox, if one is.
    fn mounted_image<'a>(&'a self, sandbox: &'a str, name: &'a str) -> Answer<'a, Option<PathBuf>>;
    /// Mounts an image under this name in the sandbox, read-only; it stays until the sandbox goes.
    fn mount_image<'a>(&'a self, sandbox: &'a str, name: &'a str, image: &'a str) -> Answer<'a, PathBuf>;
    fn remove_image<'a>(&'a self, reference: &'a str) -> Answer<'a, ()>;
}

/// What a container may use, and its sandbox as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    pub of_container: Resources,
    pub of_sandbox: Resources,
}

pub type SharedContainers = Arc<dyn Containers>;

/// Why the runtime did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub kind: RefusalKind,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    NotFound,
    /// The reference of an image is no reference.
    InvalidReference,
    /// The command cannot be executed: not there, or not allowed. Kubernetes counts this as a run that ended.
    CannotExecute,
    /// A command that is there but may not be executed.
    NotExecutable,
    /// The request itself is wrong.
    Invalid,
    /// Still used by something.
    InUse,
    Other,
}

impl Refusal {
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Refusal {
        Refusal { kind, message: message.into() }
    }

    pub fn other(message: impl Into<String>) -> Refusal {
        Refusal::new(RefusalKind::Other, message)
    }
}

/// An image on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…`: what `ContainerSpec.image` takes.
    pub id: String,
    /// Every name it goes by, with tag.
    pub names: Vec<String>,
    /// Every name it goes by, with digest.
    pub digests: Vec<String>,
    pub size_bytes: u64,
    pub created_ms: i64,
    pub config: ImageConfig,
}

/// An image from its registry.
pub struct PulledImage {
    pub image: Image,
    /// What it was had with.
    pub by: Option<Credentials>,
}

/// What an image says about how to run it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub cwd: String,
    pub user: String,
    pub stop_signal: Option<String>,
    /// Folders the image wants to be volumes.
    pub volumes: BTreeSet<PathBuf>,
}

/// How to identify to one registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The uid of the secret that holds them.
    pub secret: String,
    /// Its host, or host and path, as secrets name them: parts of the host may be patterns.
    pub place: String,
    pub username: String,
    pub password: String,
}

impl fmt::Debug for Credentials {
    /// Passwords are for nobody's eyes.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} at {}", self.username, self.place)
    }
}

/// A command to run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    pub args: Vec<String>,
    pub stdin: bool,
    pub tty: bool,
    /// Of a probe or a hook: no client's.
    pub own: bool,
}

/// The streams of a process in a container. With a terminal, everything comes by `stdout`.
/// Dropping the session of a command ends the command.
pub struct Session {
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Rows and columns of the terminal.
    pub resize: mpsc::Sender<(u16, u16)>,
    /// The exit code, once the process has ended.
    pub exit: BoxFuture<'static, Result<i32, Refusal>>,
}
