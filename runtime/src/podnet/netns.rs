//! Network namespaces pinned as files, and work inside them. A thread that has entered one is never given back to a pool.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::fd::AsFd,
    path::Path,
    thread,
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::statfs::{NSFS_MAGIC, statfs},
};

use super::PodNetError;

/// Makes a network namespace, pins it at `path` and runs `work` in it.
pub fn create<T: Send>(path: &Path, work: impl FnOnce() -> Result<T, PodNetError> + Send) -> Result<T, PodNetError> {
    in_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(PodNetError::sys("making a network namespace"))?;
        OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(path)
            .map_err(PodNetError::io(format!("creating {}", path.display())))?;
        mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(PodNetError::sys(format!("pinning a network namespace at {}", path.display())))?;
        work()
    })
}

/// Runs `work` in the namespace pinned at `path`.
pub fn enter<T: Send>(path: &Path, work: impl FnOnce() -> Result<T, PodNetError> + Send) -> Result<T, PodNetError> {
    let file = File::open(path).map_err(PodNetError::io(format!("opening {}", path.display())))?;
    in_thread(|| {
        setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
            .map_err(PodNetError::sys(format!("entering {}", path.display())))?;
        work()
    })
}

fn in_thread<T: Send>(work: impl FnOnce() -> Result<T, PodNetError> + Send) -> Result<T, PodNetError> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Whether a namespace is pinned there, and not only the file it was pinned at before the machine restarted.
pub fn is_pinned(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == NSFS_MAGIC)
}

/// Lets go of the namespace and removes its file; none is fine. It ends with the last process in it.
pub fn unpin(path: &Path) -> Result<(), PodNetError> {
    match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(PodNetError::sys(format!("unmounting {}", path.display()))(errno)),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(PodNetError::io(format!("removing {}", path.display()))),
    }
}
