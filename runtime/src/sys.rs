//! The few system calls that nix leaves unsafe: receiving descriptors, and the size of a terminal.
//! Owns the SAFETY arguments; knows nothing of what is sent.
#![allow(unsafe_code)]

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    sys::signal::{SigHandler, Signal, signal},
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, accept4, recvmsg, sendmsg},
};

use tokio::io::{Interest, unix::AsyncFd};

use crate::limits::MESSAGE_FDS_MAX;

/// Sends one message with `fds`; returns how many bytes of it were taken.
pub fn send_with_fds(socket: impl AsFd, bytes: &[u8], fds: &[RawFd]) -> nix::Result<usize> {
    assert!(fds.len() <= MESSAGE_FDS_MAX);
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    sendmsg::<()>(socket.as_fd().as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None)
}

/// Receives into `buffer`; 0 bytes mean that the other side is gone. Descriptors arrive close-on-exec.
pub fn receive_with_fds(socket: impl AsFd, buffer: &mut [u8]) -> nix::Result<(usize, Vec<OwnedFd>)> {
    let mut control = nix::cmsg_space!([RawFd; MESSAGE_FDS_MAX]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = part {
            // SAFETY: the kernel has just made these descriptors for this process; nobody else knows their numbers.
            fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    Ok((message.bytes, fds))
}

/// Accepts one connection, non-blocking and close-on-exec.
pub fn accept(listener: impl AsFd) -> nix::Result<OwnedFd> {
    let fd = accept4(listener.as_fd().as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
    // SAFETY: accept4 returned a new descriptor that only this function knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Follows a descriptor's readiness; to be called in an async runtime.
pub fn follow(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what is registered, so it stays open and the same until it is deregistered.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

nix::ioctl_write_ptr_bad!(tiocswinsz, nix::libc::TIOCSWINSZ, nix::libc::winsize);

/// Tells a terminal its size in characters.
pub fn set_window_size(terminal: impl AsFd, rows: u16, columns: u16) -> nix::Result<()> {
    let size = nix::libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `size` lives through the call and is what TIOCSWINSZ reads.
    unsafe { tiocswinsz(terminal.as_fd().as_raw_fd(), &size) }.map(drop)
}

/// Rust ignores SIGPIPE in its own programs; a command that is executed must not inherit that.
pub fn restore_default_signals() {
    // SAFETY: the default action is no handler that could run code.
    let restored = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    restored.expect("SIGPIPE exists");
}
