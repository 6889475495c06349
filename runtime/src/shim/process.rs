//! Starting helpers and reaping children. Knows pids and exit statuses, not what they belong to.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{AddressFamily, SockFlag, SockType, socketpair},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::{helper, protocol::HelperRequest};
use crate::sys;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    pub exit_code: i32,
    pub signal: Option<i32>,
}

impl Exit {
    /// What a shell would say: 128 and the signal's number for a killed process.
    fn from_status(status: WaitStatus) -> Option<(Pid, Exit)> {
        match status {
            WaitStatus::Exited(pid, exit_code) => Some((pid, Exit { exit_code, signal: None })),
            WaitStatus::Signaled(pid, signal, _) => {
                Some((pid, Exit { exit_code: 128 + signal as i32, signal: Some(signal as i32) }))
            }
            _ => None,
        }
    }
}

/// Takes the next dead child, if there is one.
pub fn reap() -> Option<(Pid, Exit)> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return None,
            Err(Errno::EINTR) => {}
            Err(_) => return None,
            Ok(status) => {
                if let Some(exited) = Exit::from_status(status) {
                    return Some(exited);
                }
            }
        }
    }
}

/// Starts a helper and gives it its request and the container's `stdio`; returns its pid and the socket to it.
pub fn spawn_helper(request: &HelperRequest, stdio: &[OwnedFd]) -> io::Result<(Pid, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let bytes = serde_json::to_vec(request)?;
    let fds: Vec<i32> = stdio.iter().map(AsRawFd::as_raw_fd).collect();
    sys::send_with_fds(&ours, &bytes, &fds)?;
    super::client::set_nonblocking(&ours)?;
    let child = sys::fork_child(&theirs, helper::run)?;
    Ok((child, ours))
}
