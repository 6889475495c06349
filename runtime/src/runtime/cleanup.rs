//! Removing what the runtime has made. Works from names alone, so that it also removes what an earlier agent made and
//! what was only half made; everything that is not there any more is fine.

use std::{io, path::Path, time::Duration};

use super::{
    Inner, provision,
    record::{Places, Record, read_json},
};
use crate::{
    cgroup::Cgroups,
    error::RuntimeError,
    limits::{REMOVE_ATTEMPTS_MAX, REMOVE_RETRY_INTERVAL, REMOVE_SHARED_ATTEMPTS_MAX},
};

impl Inner {
    pub(super) async fn clean_up_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let places = self.places(id);
        let shims = match read_json::<Record>(&places.record()) {
            Ok(Some(Record { shim: Some(shim), .. })) => vec![shim.pid],
            // An agent that was killed before it wrote the record may have started one.
            _ => shims_of(&places.shim_config())?,
        };
        for pid in shims {
            self.end_shim(pid, &places).await?;
        }
        self.end_processes(&places).await?;
        self.network.destroy(id).await?;
        for container in folders(&places.containers())? {
            provision::unmount_rootfs(&places.container(&container)).await?;
        }
        for image in folders(&places.images())? {
            provision::unmount_rootfs(&places.image(&image)).await?;
        }
        provision::unmount(&places.shared_memory())?;
        retry(|| self.cgroups.remove(&places.cgroup))
            .await
            .map_err(RuntimeError::io("remove cgroup", &places.cgroup))?;
        self.remove_shared_cgroups(id).await?;
        match std::fs::remove_file(&places.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(RuntimeError::io("remove", &places.socket)(error));
            }
            _ => {}
        }
        provision::remove_folder(&places.folder).await
    }

    /// The last sandbox takes along what all share. Its shim may be on its way out still, so that is worth some attempts;
    /// with others there, or another agent below the same parent, it stays.
    async fn remove_shared_cgroups(&self, id: &str) -> Result<(), RuntimeError> {
        let last = self.sandboxes().keys().all(|known| known == id);
        let attempts = if last { REMOVE_SHARED_ATTEMPTS_MAX } else { 1 };
        for shared in [self.shim_cgroup(), self.parent_cgroup()] {
            for attempt in 1..=attempts {
                let gone = self.cgroups.remove_if_empty(&shared).map_err(RuntimeError::io("remove cgroup", &shared))?;
                if gone || attempt == attempts {
                    break;
                }
                tokio::time::sleep(REMOVE_RETRY_INTERVAL).await;
            }
        }
        Ok(())
    }

    pub(super) async fn clean_up_container(&self, places: &Places, id: &str) -> Result<(), RuntimeError> {
        let cgroup = places.container_cgroup(id);
        end_cgroup(&self.cgroups, &cgroup).await?;
        retry(|| self.cgroups.remove(&cgroup)).await.map_err(RuntimeError::io("remove cgroup", &cgroup))?;
        provision::unmount_rootfs(&places.container(id)).await?;
        provision::remove_folder(&places.libcontainer().join(id)).await?;
        provision::remove_folder(&places.container(id)).await
    }

    /// Kills whatever is in the sandbox's cgroup, until nothing is.
    pub(super) async fn end_processes(&self, places: &Places) -> Result<(), RuntimeError> {
        end_cgroup(&self.cgroups, &places.cgroup).await
    }

    /// A shim that has not ended by itself. Its pid may be another's by now, so its configuration's path must be in
    /// its command line.
    pub(super) async fn end_shim(&self, pid: i32, places: &Places) -> Result<(), RuntimeError> {
        for _ in 0..REMOVE_ATTEMPTS_MAX {
            if !is_shim(pid, &places.shim_config()) {
                return Ok(());
            }
            match nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(error) => return Err(RuntimeError::io("kill the shim of", &places.folder)(error.into())),
            }
            tokio::time::sleep(REMOVE_RETRY_INTERVAL).await;
        }
        Err(RuntimeError::io("kill the shim of", &places.folder)(io::ErrorKind::TimedOut.into()))
    }
}

/// Whether this process is the shim with this configuration.
pub(super) fn is_shim(pid: i32, config: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(command_line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let mut arguments = command_line.split(|&byte| byte == 0).skip(1);
    arguments.next() == Some(crate::shim::SHIM.as_bytes()) && arguments.next() == Some(config.as_os_str().as_bytes())
}

fn shims_of(config: &Path) -> Result<Vec<i32>, RuntimeError> {
    let pids = folders(Path::new("/proc"))?.into_iter().filter_map(|name| name.parse::<i32>().ok());
    Ok(pids.filter(|&pid| is_shim(pid, config)).collect())
}

async fn end_cgroup(cgroups: &Cgroups, path: &str) -> Result<(), RuntimeError> {
    for _ in 0..REMOVE_ATTEMPTS_MAX {
        if cgroups.kill(path).map_err(RuntimeError::io("kill the processes of cgroup", path))? == 0 {
            return Ok(());
        }
        tokio::time::sleep(REMOVE_RETRY_INTERVAL).await;
    }
    Err(RuntimeError::io("kill the processes of cgroup", path)(io::ErrorKind::TimedOut.into()))
}

/// Repeats what fails only because the kernel has not let go yet.
async fn retry(mut act: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let mut wait = Duration::from_millis(1);
    for _ in 0..REMOVE_ATTEMPTS_MAX {
        match act() {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            done => return done,
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(REMOVE_RETRY_INTERVAL);
    }
    act()
}

pub(super) fn folders(path: &Path) -> Result<Vec<String>, RuntimeError> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(RuntimeError::io("read", path))?,
    };
    entries
        .map(|entry| Ok(entry.map_err(RuntimeError::io("read", path))?.file_name().to_string_lossy().into_owned()))
        .collect()
}
