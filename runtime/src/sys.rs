//! The few system calls that nix leaves unsafe: receiving descriptors, and the size of a terminal.
//! Owns the SAFETY arguments; knows nothing of what is sent.
#![allow(unsafe_code)]

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
    panic::{AssertUnwindSafe, catch_unwind},
};

use nix::{
    errno::Errno,
    sys::signal::{SigHandler, Signal, signal},
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, accept4, recvmsg, sendmsg},
};

use nix::unistd::{ForkResult, Pid, dup2_stdin, dup2_stdout, fork};
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

/// Starts a child that goes on from here with `socket` as stdin and no other descriptor but stderr. To be called in a
/// process of one thread only.
///
/// The child shares nothing with its parent but what it reads from the socket; it ends with what `run` returns, without
/// returning itself.
pub fn fork_child(socket: &OwnedFd, run: impl FnOnce() -> u8) -> nix::Result<Pid> {
    // SAFETY: in a process of one thread no lock can be held by a thread that the child does not have.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = match keep_only(socket) {
                // A panic must not unwind into what was the parent's work.
                Ok(()) => catch_unwind(AssertUnwindSafe(run)).unwrap_or(101),
                Err(_) => 1,
            };
            // SAFETY: ends the process at once. What the parent owns is not dropped here, so the descriptors that
            // `keep_only` has closed are not closed again.
            unsafe { libc::_exit(code.into()) }
        }
    }
}

/// The parent's connections and pipes must end when the parent lets go of them, whatever becomes of this child.
fn keep_only(socket: &OwnedFd) -> nix::Result<()> {
    dup2_stdin(socket)?;
    dup2_stdout(std::fs::File::open("/dev/null").map_err(|_| Errno::ENOENT)?)?;
    // SAFETY: nothing in this child uses the descriptors that it has inherited; see above for their owners.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0) };
    Errno::result(closed).map(drop)
}

/// Confines this process, and what it executes, by a compiled seccomp program.
pub fn install_seccomp_filter(program: &[u64], flags: u32) -> nix::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: an instruction is eight bytes; the kernel reads as many as it is told, from memory that lives through the call.
    let installed =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    Errno::result(installed).map(drop)
}

/// Gives the kernel a program that decides about uses of devices.
pub fn load_device_filter(program: &[u64]) -> io::Result<OwnedFd> {
    const LOAD: libc::c_long = 5;
    const CGROUP_DEVICE: u32 = 15;
    /// The start of the kernel's `bpf_attr` for this command; what is not given is zero.
    #[repr(C)]
    struct Attributes {
        program_type: u32,
        instructions: u32,
        program: u64,
        license: u64,
        log: [u64; 2],
        kernel_version_and_flags: u64,
    }
    let license = c"Apache-2.0";
    let attributes = Attributes {
        program_type: CGROUP_DEVICE,
        instructions: program.len() as u32,
        program: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log: [0; 2],
        kernel_version_and_flags: 0,
    };
    // SAFETY: the attributes, and the program and license they point to, live through the call, with the sizes they say.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, LOAD, &raw const attributes, size_of::<Attributes>()) };
    let fd = Errno::result(fd)? as RawFd;
    // SAFETY: the kernel has just made this descriptor (close-on-exec, as all of this kind).
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lets the program decide for a cgroup, for as long as that exists.
pub fn attach_device_filter(cgroup: impl AsFd, program: OwnedFd) -> io::Result<()> {
    const ATTACH: libc::c_long = 8;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let attributes: [u32; 4] =
        [cgroup.as_fd().as_raw_fd() as u32, program.as_raw_fd() as u32, CGROUP_DEVICE, ALLOW_MULTI];
    // SAFETY: the attributes live through the call and are as long as it is told.
    let attached = unsafe { libc::syscall(libc::SYS_bpf, ATTACH, &raw const attributes, size_of_val(&attributes)) };
    Ok(Errno::result(attached).map(drop)?)
}
