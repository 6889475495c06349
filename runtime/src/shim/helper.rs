//! The short-lived processes below a shim: one makes a container, one runs a command in it. The only module that
//! names libcontainer, which changes its caller (working directory, dumpable flag, oom score, signals) and clones
//! without `exec`: so it gets a process of its own, with one thread. That is a fork of the shim, which has one thread
//! too; executing this program again would take longer than all that is done here.
//!
//! stdin is the socket to the shim: it brings the request and the container's stdio, and takes reports.

use std::{
    collections::HashMap,
    ffi::CString,
    fmt::Write as _,
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::PermissionsExt, net::UnixListener},
    },
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use libcontainer::{
    container::{Container, builder::ContainerBuilder},
    syscall::syscall::{SyscallType, create_syscall},
    workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError},
};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{SigSet, Signal},
        stat,
    },
    unistd::{AccessFlags, access, execve},
};
use oci_spec::runtime::{Process, Spec};

use super::{
    mounts,
    protocol::{Confinement, HelperRequest, Report},
};
use crate::{
    error::{Failure, FailureKind},
    limits::REPORT_BYTES_MAX,
    sys,
};

const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs one helper: reads its request, does it, reports. Returns the process' exit code.
pub fn run() -> u8 {
    let reporter = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(socket) => Reporter { socket: Arc::new(socket) },
        Err(_) => return 1,
    };
    let mut buffer = vec![0; REPORT_BYTES_MAX];
    let (request, stdio) = match sys::receive_with_fds(&reporter.socket, &mut buffer) {
        Ok((length, stdio)) => match serde_json::from_slice::<HelperRequest>(&buffer[..length]) {
            Ok(request) => (request, stdio),
            Err(_) => return 1,
        },
        Err(_) => return 1,
    };
    // What the shim blocks to poll for, a container must not inherit.
    if SigSet::empty().thread_set_mask().is_err() {
        return 1;
    }
    // Errors only: they name the step that failed, which the returned error does not.
    if tracing::subscriber::set_global_default(TraceReporter(reporter.clone())).is_err() {
        return 1;
    }
    let made = match request {
        HelperRequest::Create { container, bundle, state_dir, console } => {
            create(&reporter, container, &bundle, &state_dir, console.as_deref(), stdio)
        }
        HelperRequest::Exec { container, state_dir, process_file, console } => {
            exec(&reporter, container, &state_dir, &process_file, console.as_deref(), stdio)
        }
    };
    match made {
        Ok((pid, terminal)) => reporter.made(pid, terminal),
        Err(failure) => reporter.send(&Report::Failed(failure)),
    }
    0
}

/// Lets a created container's init become its command. Does no clone: the shim calls it itself.
pub fn start(state_dir: &Path, container: &str) -> Result<(), Failure> {
    let started = Container::load(state_dir.join(container)).and_then(|mut container| container.start());
    started.map_err(|error| Failure::new(FailureKind::Other, format!("cannot start: {}", chain(&error))))
}

type Made = Result<(i32, Option<OwnedFd>), Failure>;

fn create(
    reporter: &Reporter,
    container: String,
    bundle: &Path,
    state_dir: &Path,
    console: Option<&Path>,
    stdio: Vec<OwnedFd>,
) -> Made {
    mounts::hide_unreadable(bundle)?;
    let listener = console.map(listen_for_terminal).transpose()?;
    let executor = CommandExecutor { reporter: reporter.clone(), confined: confined(bundle)? };
    let builder = with_stdio(builder(container, state_dir, executor)?, console, stdio)
        .as_init(bundle)
        .with_systemd(false)
        .with_detach(true)
        .as_sibling(true);
    let container = builder.build().map_err(refused)?;
    let pid = container.pid().ok_or_else(|| Failure::new(FailureKind::Other, "the container has no process"))?;
    Ok((pid.as_raw(), listener.map(receive_terminal).transpose()?))
}

fn exec(
    reporter: &Reporter,
    container: String,
    state_dir: &Path,
    process_file: &Path,
    console: Option<&Path>,
    stdio: Vec<OwnedFd>,
) -> Made {
    let state = Container::load(state_dir.join(&container)).map_err(refused)?;
    mounts::hide_unreadable(state.bundle())?;
    let listener = console.map(listen_for_terminal).transpose()?;
    let executor = CommandExecutor { reporter: reporter.clone(), confined: confined(state.bundle())? };
    let pid = with_stdio(builder(container, state_dir, executor)?, console, stdio)
        .as_tenant()
        .with_process(Some(process_file))
        .with_detach(true)
        .as_sibling(true)
        .build()
        .map_err(refused)?;
    Ok((pid.as_raw(), listener.map(receive_terminal).transpose()?))
}

fn confined(bundle: &Path) -> Result<Option<Confined>, Failure> {
    Confined::read(bundle)
        .map_err(|error| Failure::new(FailureKind::Other, format!("cannot read the container's confinement: {error}")))
}

fn builder(container: String, state_dir: &Path, executor: CommandExecutor) -> Result<ContainerBuilder, Failure> {
    ContainerBuilder::new(container, SyscallType::default())
        .with_executor(executor)
        .with_root_path(state_dir)
        .and_then(ContainerBuilder::validate_id)
        .map_err(refused)
}

fn with_stdio(mut builder: ContainerBuilder, console: Option<&Path>, stdio: Vec<OwnedFd>) -> ContainerBuilder {
    let mut stdio = stdio.into_iter();
    builder.stdin = stdio.next();
    builder.stdout = stdio.next();
    builder.stderr = stdio.next();
    builder.with_console_socket(console)
}

/// The confinement of a bundle's processes, ready to be applied where the bundle cannot be read any more.
#[derive(Clone)]
struct Confined {
    program: Rc<[u64]>,
    confinement: Rc<Confinement>,
}

impl Confined {
    fn read(bundle: &Path) -> io::Result<Option<Confined>> {
        let confinement: Confinement = match fs::read(bundle.join(Confinement::FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => serde_json::from_slice(&bytes?)?,
        };
        let bytes = fs::read(&confinement.filter.program)?;
        let (instructions, []) = bytes.as_chunks() else { return Err(io::ErrorKind::InvalidData.into()) };
        let program = instructions.iter().map(|instruction| u64::from_ne_bytes(*instruction)).collect();
        Ok(Some(Confined { program, confinement: Rc::new(confinement) }))
    }

    /// A process that has given up privileges for good may give up the rest before it installs the filter, which then need
    /// not allow that; another one cannot install it afterwards.
    fn apply(&self) -> Result<(), Failure> {
        let failure = |what: &str, error: &dyn std::error::Error| {
            Failure::new(FailureKind::Other, format!("cannot {what} of the command: {error}"))
        };
        let install = || {
            sys::install_seccomp_filter(&self.program, self.confinement.filter.flags)
                .map_err(|error| failure("install the seccomp filter", &error))
        };
        let drop_capabilities = || {
            libcontainer::capabilities::drop_privileges(&self.confinement.capabilities, create_syscall().as_ref())
                .map_err(|error| failure("drop the capabilities", &error))
        };
        if self.confinement.no_new_privileges {
            drop_capabilities()?;
            install()
        } else {
            install()?;
            drop_capabilities()
        }
    }
}

/// The last steps inside the container: find the command, say why not, become it.
#[derive(Clone)]
struct CommandExecutor {
    reporter: Reporter,
    confined: Option<Confined>,
}

impl Executor for CommandExecutor {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        find_command(spec).map(drop).map_err(|failure| {
            self.reporter.send(&Report::Failed(failure.clone()));
            ExecutorValidationError::ArgValidationError(failure.message)
        })
    }

    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // The command's environment goes into its exec call; HOME is in the spec. Nothing here may keep the shim's.
        drop(envs);
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let refused = |failure: Failure| {
            self.reporter.send(&Report::Failed(failure.clone()));
            ExecutorError::Other(failure.message)
        };
        // Containers must not outlive their shim unseen. Credentials changes have cleared it until here.
        prctl::set_pdeathsig(Signal::SIGKILL)
            .map_err(|error| refused(Failure::new(FailureKind::Other, format!("cannot tie to the shim: {error}"))))?;
        let path = find_command(spec).map_err(refused)?;
        let command = Command::prepare(&path, spec).map_err(refused)?;
        sys::restore_default_signals();
        // Nothing but the command may be left to do: the filter need not allow it.
        if let Some(confined) = &self.confined {
            confined.apply().map_err(refused)?;
        }
        let Err(error) = execve(&command.file, &command.args, &command.env);
        Err(refused(not_executed(&path, error)))
    }
}

fn process(spec: &Spec) -> Result<(&Process, &[String]), Failure> {
    let process = spec.process().as_ref();
    let args = process.and_then(|process| process.args().as_deref()).unwrap_or_default();
    match process {
        Some(process) if !args.is_empty() && !args[0].is_empty() => Ok((process, args)),
        _ => Err(Failure::new(FailureKind::InvalidSpec, "no command specified")),
    }
}

/// Where the command is, by the rules of the shell: a name with a slash is a path, another one is looked up in `$PATH`.
fn find_command(spec: &Spec) -> Result<PathBuf, Failure> {
    let (process, args) = process(spec)?;
    let command = args[0].as_str();
    let path = process.env().iter().flatten().rev().find_map(|entry| entry.strip_prefix("PATH="));
    if command.contains('/') {
        let path = process.cwd().join(command);
        return match executable(&path) {
            Ok(()) => Ok(path),
            Err(Errno::EACCES) => {
                Err(Failure::new(FailureKind::PermissionDenied, format!("exec: {command:?}: permission denied")))
            }
            Err(Errno::EISDIR) => {
                Err(Failure::new(FailureKind::PermissionDenied, format!("exec: {command:?}: is a directory")))
            }
            Err(error) => {
                let reason = if error == Errno::ENOENT { "no such file or directory" } else { error.desc() };
                Err(Failure::new(FailureKind::CommandNotFound, format!("exec: {command:?}: stat {command}: {reason}")))
            }
        };
    }
    let mut denied = false;
    for folder in path.unwrap_or(PATH_DEFAULT).split(':') {
        let path = process.cwd().join(folder).join(command);
        match executable(&path) {
            Ok(()) => return Ok(path),
            Err(Errno::EACCES) => denied = true,
            Err(_) => {}
        }
    }
    Err(match denied {
        true => Failure::new(FailureKind::PermissionDenied, format!("exec: {command:?}: permission denied")),
        false => {
            Failure::new(FailureKind::CommandNotFound, format!("exec: {command:?}: executable file not found in $PATH"))
        }
    })
}

fn executable(path: &Path) -> nix::Result<()> {
    let found = stat::stat(path)?;
    if stat::SFlag::from_bits_truncate(found.st_mode) & stat::SFlag::S_IFMT == stat::SFlag::S_IFDIR {
        return Err(Errno::EISDIR);
    }
    // Root passes access() for any file with one execute bit; none at all is what it refuses.
    access(path, AccessFlags::X_OK)
}

/// A command as the kernel takes it.
struct Command {
    file: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Command {
    fn prepare(path: &Path, spec: &Spec) -> Result<Command, Failure> {
        let string = |text: &[u8]| {
            CString::new(text).map_err(|_| {
                Failure::new(FailureKind::InvalidSpec, "the command or its environment contains a zero byte")
            })
        };
        let (process, args) = process(spec)?;
        Ok(Command {
            file: string(path.as_os_str().as_bytes())?,
            args: args.iter().map(|argument| string(argument.as_bytes())).collect::<Result<_, _>>()?,
            env: process.env().iter().flatten().map(|entry| string(entry.as_bytes())).collect::<Result<_, _>>()?,
        })
    }
}

fn not_executed(path: &Path, error: Errno) -> Failure {
    let kind = match error {
        Errno::ENOENT => FailureKind::CommandNotFound,
        Errno::EACCES | Errno::EPERM => FailureKind::PermissionDenied,
        _ => FailureKind::Other,
    };
    let reason = match error {
        Errno::ENOEXEC => "exec format error".to_owned(),
        Errno::ENOENT => "no such file or directory (is its interpreter in the image?)".to_owned(),
        error => error.desc().to_lowercase(),
    };
    Failure::new(kind, format!("exec {}: {reason}", path.display()))
}

fn refused(error: libcontainer::error::LibcontainerError) -> Failure {
    Failure::new(FailureKind::Other, chain(&error))
}

/// An error with its causes, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            let _ = write!(text, ": {more}");
        }
        cause = error.source();
    }
    text
}

fn listen_for_terminal(path: &Path) -> Result<UnixListener, Failure> {
    UnixListener::bind(path)
        .and_then(|listener| fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map(|()| listener))
        .map_err(|error| Failure::new(FailureKind::Other, format!("cannot listen for the terminal: {error}")))
}

fn receive_terminal(listener: UnixListener) -> Result<OwnedFd, Failure> {
    let failure = |reason: String| Failure::new(FailureKind::Other, format!("cannot receive the terminal: {reason}"));
    let (connection, _) = listener.accept().map_err(|error| failure(error.to_string()))?;
    let mut buffer = [0; 256];
    let (_, fds) = sys::receive_with_fds(&connection, &mut buffer).map_err(|error| failure(error.to_string()))?;
    fds.into_iter().next().ok_or_else(|| failure("none was sent".into()))
}

/// The way to the shim. Survives libcontainer's changes of the first three descriptors; closes when the command starts.
#[derive(Clone)]
struct Reporter {
    socket: Arc<OwnedFd>,
}

impl Reporter {
    /// A shim that is gone needs no report.
    fn send(&self, report: &Report) {
        let mut bytes = serde_json::to_vec(report).expect("a report is plain data");
        if bytes.len() > REPORT_BYTES_MAX {
            let text = format!("{report:?}").chars().take(REPORT_BYTES_MAX / 8).collect();
            bytes = serde_json::to_vec(&Report::Trace(text)).expect("a report is plain data");
        }
        let _ = sys::send_with_fds(&self.socket, &bytes, &[]);
    }

    fn made(&self, pid: i32, terminal: Option<OwnedFd>) {
        use std::os::fd::AsRawFd;
        let fds: Vec<i32> = terminal.iter().map(AsRawFd::as_raw_fd).collect();
        let bytes = serde_json::to_vec(&Report::Made { pid }).expect("a report is plain data");
        let _ = sys::send_with_fds(&self.socket, &bytes, &fds);
    }
}

/// Sends error events to the shim, from whichever of the cloned processes they come.
struct TraceReporter(Reporter);

impl tracing::Subscriber for TraceReporter {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::ERROR)
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = TraceText::default();
        event.record(&mut text);
        self.0.send(&Report::Trace(if text.fields.is_empty() {
            text.message
        } else {
            format!("{} ({})", text.message, text.fields)
        }));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[derive(Default)]
struct TraceText {
    message: String,
    fields: String,
}

impl tracing::field::Visit for TraceText {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let comma = if self.fields.is_empty() { "" } else { ", " };
            let _ = write!(self.fields, "{comma}{} {value:?}", field.name());
        }
    }
}
