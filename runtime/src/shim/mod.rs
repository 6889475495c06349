//! The shim: one single-threaded process per sandbox, this binary executed again. It is the parent of the sandbox's
//! containers, owns their stdio, logs and exit codes, and outlives the agent. It knows OCI bundles and nothing of
//! images, networks or specs; libcontainer makes its containers in [`helper`] processes, forks of it.

mod client;
mod container;
mod helper;
mod init;
mod log;
mod mounts;
mod output;
mod process;
pub(crate) mod protocol;
mod server;
mod sysctl;

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
    process::ExitCode,
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        signal::{SigSet, Signal},
    },
    unistd::{Pid, sethostname, setsid},
};

pub(crate) use client::set_nonblocking;

use crate::{cgroup::Cgroups, oom, open_files};
use protocol::{Ready, ShimConfig};

/// Hidden subcommand of the executable: `shim <config file>`.
pub(crate) const SHIM: &str = "shim";

/// Whether the first argument of the program asks for [`shim_main`].
pub fn is_shim_command(argument: &OsStr) -> bool {
    [SHIM, init::COMMAND].iter().any(|command| argument == *command)
}

/// Runs a hidden subcommand; `args` are the program's arguments without its name. To be called before any thread
/// exists, and instead of everything else.
pub fn shim_main(args: Vec<OsString>) -> ExitCode {
    let mut args = args.iter();
    let command = args.next().and_then(|command| command.to_str());
    match (command, args.next()) {
        (Some(init::COMMAND), None) => init::main(),
        (Some(SHIM), Some(config)) => shim(Path::new(config)),
        _ => ExitCode::from(2),
    }
}

fn shim(config: &Path) -> ExitCode {
    let started = set_up(config);
    let (ready, server) = match started {
        Ok((server, init)) => (Ready::Listening { pid_namespace_init: init.map(|init| init.as_raw()) }, Some(server)),
        Err(error) => (Ready::Failed(error.to_string()), None),
    };
    let mut line = serde_json::to_vec(&ready).expect("a state is plain data");
    line.push(b'\n');
    if io::stdout().write_all(&line).and_then(|()| io::stdout().flush()).is_err() {
        return ExitCode::FAILURE;
    }
    let Some(server) = server else { return ExitCode::FAILURE };
    // The agent waits for the end of this pipe, and must not be waited for.
    if let Ok(null) = fs::OpenOptions::new().write(true).open("/dev/null")
        && nix::unistd::dup2_stdout(&null).is_err()
    {
        return ExitCode::FAILURE;
    }
    match server.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn set_up(config: &Path) -> io::Result<(server::Server, Option<Pid>)> {
    let step = |what: &str, error: &dyn std::fmt::Display| io::Error::other(format!("{what}: {error}"));
    let config: ShimConfig = serde_json::from_slice(&fs::read(config)?)?;
    // A session of its own: signals to the agent's terminal or process group are not for containers.
    setsid().map_err(|error| step("cannot start a session", &error))?;
    prctl::set_child_subreaper(true).map_err(|error| step("cannot become a subreaper", &error))?;
    std::env::set_current_dir("/")?;
    if let Some(soft) = config.open_files {
        open_files::lower(soft).map_err(|error| step("cannot limit open files", &error))?;
    }
    oom::spare_shim().map_err(|error| step("cannot set the score of the OOM killer", &error))?;
    let cgroups = Cgroups::detect().map_err(|error| step("cannot find the cgroups", &error))?;
    cgroups.enter(&config.shim_cgroup).map_err(|error| step("cannot enter the shim's cgroup", &error))?;
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().map_err(|error| step("cannot block signals", &error))?;
    let mut namespaces = CloneFlags::empty();
    namespaces.set(CloneFlags::CLONE_NEWIPC, config.own_ipc);
    namespaces.set(CloneFlags::CLONE_NEWUTS, config.own_uts);
    unshare(namespaces).map_err(|error| step("cannot make the sandbox's namespaces", &error))?;
    if config.own_uts {
        sethostname(&config.hostname).map_err(|error| step("cannot set the host name", &error))?;
    }
    sysctl::apply(&config.sysctls, config.own_ipc, config.network_namespace.as_deref())?;
    let init = match config.share_pid {
        true => {
            let made = init::spawn(config.network_namespace.as_deref());
            Some(made.map_err(|error| step("cannot make the PID namespace", &error))?)
        }
        false => None,
    };
    fs::create_dir_all(&config.state_dir)?;
    match fs::remove_file(&config.socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&config.socket).map_err(|error| step("cannot listen", &error))?;
    fs::set_permissions(&config.socket, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok((server::Server::new(config, cgroups, signals, listener, init)?, init))
}
