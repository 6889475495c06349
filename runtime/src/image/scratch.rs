//! Work in progress on disk: a folder with a lock, removed when done, swept when its process died.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use nix::fcntl::{Flock, FlockArg};

use super::{
    error::ImageError,
    records::{IndexLock, Records, read_dir},
};
use crate::tree;

const PREFIX: &str = "work-";
const LOCK: &str = ".lock";

/// A folder of our own.
pub struct Scratch {
    path: PathBuf,
    lock_path: PathBuf,
    lock: Flock<File>,
}

impl Scratch {
    pub fn new(records: &Records) -> Result<Self, ImageError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Between making the lock file and locking it a sweep must not come.
        let _index = records.lock()?;
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = records.tmp_dir().join(&name);
        let lock_path = records.tmp_dir().join(format!("{name}{LOCK}"));
        let file = File::create(&lock_path).map_err(ImageError::io(format!("making {}", lock_path.display())))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, e)| ImageError::sys(format!("locking {}", lock_path.display()))(e))?;
        // A process of the same number may have died here.
        remove_all(&path)?;
        fs::create_dir(&path).map_err(ImageError::io(format!("making {}", path.display())))?;
        Ok(Self { path, lock_path, lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts everything of this filesystem on disk: one call for any number of files.
    pub fn sync(&self) -> Result<(), ImageError> {
        nix::unistd::syncfs(self.lock.as_fd()).map_err(ImageError::sys("syncing the store"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is swept later.
        if let Err(error) = remove_all(&self.path) {
            tracing::warn!(%error, "leftovers in the image store");
        }
        let _ = fs::remove_file(&self.lock_path);
    }
}

/// Removes what dead processes left.
pub fn sweep(records: &Records, _held: &IndexLock) -> Result<u64, ImageError> {
    let tmp = records.tmp_dir();
    let mut swept = 0;
    for name in read_dir(&tmp)? {
        let path = tmp.join(&name);
        if is_lock(&name) {
            continue;
        }
        let lock_path = tmp.join(format!("{}{LOCK}", name.display()));
        let dead = match File::open(&lock_path) {
            // A draft of a record, or a folder whose lock is gone: nobody works without the index lock on those.
            Err(_) => true,
            Ok(file) => Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok(),
        };
        if dead {
            remove_all(&path)?;
            let _ = fs::remove_file(lock_path);
            swept += 1;
        }
    }
    Ok(swept)
}

fn is_lock(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(LOCK))
}

/// Removes a file or a whole folder; it is fine if there is none.
pub fn remove_all(path: &Path) -> Result<(), ImageError> {
    tree::remove(path).map_err(ImageError::io(format!("removing {}", path.display())))
}
