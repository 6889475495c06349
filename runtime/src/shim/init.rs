//! The first process of a sandbox's shared PID namespace, while the shim itself stays outside. It reaps what is left to it until
//! the shim kills it, and is among the processes of containers, which may be allowed to trace it: so it has nothing that
//! they do not have. No file of the machine's, no network but the pod's, no capability, a user of its own.

use std::{
    fs,
    io::{self, Read, Write},
    os::fd::AsFd,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Gid, Pid, Uid, chdir, dup2_stdout, pivot_root, setgroups, setresgid, setresuid},
};

use super::sysctl::in_network;
use crate::limits::REPORT_BYTES_MAX;

/// Hidden subcommand of the executable.
pub(super) const COMMAND: &str = "shim-init";
/// What it says once nothing of the machine is left to it.
const READY: &str = "ready";
/// Nobody's; that of Kubernetes' pause containers.
const USER: u32 = 65_535;
/// A folder that every machine has, to put an empty one in its place.
const STAGE: &str = "/proc";

/// Starts it, in this network if one is given, and waits until it has given up what it does not need: nobody has joined the
/// namespace before.
pub(super) fn spawn(network: Option<&Path>) -> io::Result<Pid> {
    let own = fs::File::open("/proc/self/ns/pid")?;
    unshare(CloneFlags::CLONE_NEWPID)?;
    let start = || {
        let mut command = Command::new("/proc/self/exe");
        command.arg(COMMAND).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
    };
    let started = match network {
        Some(network) => in_network(network, start),
        None => start(),
    };
    setns(own.as_fd(), CloneFlags::CLONE_NEWPID)?;
    let mut child = started?;
    let mut said = String::new();
    if let Some(output) = child.stdout.take() {
        output.take(REPORT_BYTES_MAX as u64).read_to_string(&mut said)?;
    }
    match said == READY {
        true => Ok(Pid::from_raw(child.id() as i32)),
        false => Err(io::Error::other(format!("its first process has failed: {said}"))),
    }
}

pub(super) fn main() -> ExitCode {
    match prepare() {
        Ok(()) => reap(),
        Err(error) => {
            // Who would be told may be gone.
            _ = write!(io::stdout(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn prepare() -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block()?;
    let null = fs::OpenOptions::new().write(true).open("/dev/null")?;
    leave_files()?;
    leave_user()?;
    write!(io::stdout(), "{READY}")?;
    io::stdout().flush()?;
    // The shim reads up to the end.
    Ok(dup2_stdout(null)?)
}

/// An empty root that cannot be written to, in a mount namespace of its own.
fn leave_files() -> nix::Result<()> {
    let none = None::<&str>;
    let inert = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("tmpfs"), STAGE, Some("tmpfs"), inert, Some("size=4k,mode=555"))?;
    chdir(STAGE)?;
    // Both in one place: the old root lies over the new one until it is unmounted (pivot_root(2)).
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    mount(none, "/", none, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | inert, none)
}

/// With the last of root's ids its capabilities go, too.
fn leave_user() -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(USER), Gid::from_raw(USER));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    prctl::set_no_new_privs()?;
    prctl::set_dumpable(false)?;
    // A change of user takes this back: it comes last.
    prctl::set_pdeathsig(Signal::SIGKILL)
}

fn reap() -> ExitCode {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    loop {
        if signals.wait().is_err() {
            return ExitCode::FAILURE;
        }
        while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD)) {}
    }
}
