//! Where things lie below a data folder, and the lock that makes one process its owner.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::Signal,
};

/// How long whoever was killed may take to let go of the folder.
const KILLED_TIME_MAX: Duration = Duration::from_secs(20);
const KILLED_POLL: Duration = Duration::from_millis(10);

pub struct Layout {
    root: PathBuf,
}

/// Held while a process runs the cluster of a data folder; the file says which.
pub struct Owner(#[allow(dead_code)] Flock<File>);

impl Layout {
    /// The folder as an absolute path, made if it is not there.
    pub fn open(data_dir: &Path) -> Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o711)
            .create(data_dir)
            .with_context(|| format!("making {}", data_dir.display()))?;
        let root = fs::canonicalize(data_dir).with_context(|| format!("resolving {}", data_dir.display()))?;
        Ok(Layout { root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// There while the log was made by a restore and no server has started on it.
    pub fn restored(&self) -> PathBuf {
        self.root.join("restored")
    }

    /// From now on the folder is that of whoever started on it.
    pub fn forget_restored(&self) -> Result<()> {
        match fs::remove_file(self.restored()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("starting on a restored log")
            }
            _ => Ok(()),
        }
    }

    pub fn mark_restored(&self) -> Result<()> {
        write_private(&self.restored(), "the log was restored from a snapshot; no server has started on it yet\n")
    }

    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// What lets machines join.
    pub fn tokens(&self) -> PathBuf {
        self.root.join("tokens")
    }

    /// State of the node agent and its containers.
    pub fn node(&self) -> PathBuf {
        self.root.join("node")
    }

    pub fn images(&self) -> PathBuf {
        self.node().join("images")
    }

    /// What a detached process prints.
    pub fn output(&self) -> PathBuf {
        self.root.join("kontiki.log")
    }

    /// Sockets: socket paths are at most 107 bytes long, so not below a data folder that may lie deep.
    pub fn run(&self) -> PathBuf {
        PathBuf::from("/run/kontiki").join(self.tag())
    }

    /// The cgroup below which all containers of this folder are: two clusters on a machine keep apart.
    pub fn cgroup(&self) -> String {
        format!("kontiki-{}", self.tag())
    }

    /// A short name that only this folder has (FNV-1a of its path).
    fn tag(&self) -> String {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in self.root.as_os_str().as_encoded_bytes() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        format!("{hash:016x}")
    }

    pub fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Becomes the owner of the folder; an error names the process that is.
    pub fn own(&self) -> Result<Owner> {
        let path = self.lock_file();
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = file.with_context(|| format!("opening {}", path.display()))?;
        let deadline = Instant::now() + KILLED_TIME_MAX;
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut lock) => {
                    lock.set_len(0)?;
                    lock.rewind()?;
                    write!(lock, "{}", std::process::id())?;
                    return Ok(Owner(lock));
                }
                Err((file, nix::errno::Errno::EWOULDBLOCK)) => file,
                Err((_, error)) => return Err(error).with_context(|| format!("locking {}", path.display())),
            };
            match self.owner()? {
                Some(pid) if !is_killed(pid) => {
                    bail!("process {pid} runs the cluster in {} already", self.root.display())
                }
                _ if Instant::now() > deadline => {
                    bail!("another process is just starting or stopping in {}", self.root.display())
                }
                _ => thread::sleep(KILLED_POLL),
            }
        }
    }

    /// The process that owns the folder, if one lives.
    pub fn owner(&self) -> Result<Option<i32>> {
        let path = self.lock_file();
        let Ok(mut file) = File::open(&path) else { return Ok(None) };
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_free) => Ok(None),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(text.trim().parse().ok()),
            Err((_, error)) => Err(error).with_context(|| format!("looking at {}", path.display())),
        }
    }
}

/// Whether a process does nothing any more but end: killed, it holds its locks until its memory is gone.
fn is_killed(pid: i32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let pending = field("ShdPnd").and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or_default();
    let is_zombie = field("State").is_some_and(|state| state.starts_with(['Z', 'X']));
    is_zombie || pending & (1 << (Signal::SIGKILL as i32 - 1)) != 0
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    let partial = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        assert_eq!(layout.owner().unwrap(), None);
        let owner = layout.own().unwrap();
        assert_eq!(layout.owner().unwrap(), Some(i32::try_from(std::process::id()).unwrap()));
        let refused = layout.own().err().unwrap().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(owner);
        assert_eq!(layout.owner().unwrap(), None);
    }

    #[test]
    fn whoever_was_killed_is_on_its_way_out_from_that_moment() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(!is_killed(pid));
        child.kill().unwrap();
        assert!(is_killed(pid));
        child.wait().unwrap();
        assert!(is_killed(pid), "nobody is there");
    }

    #[test]
    fn socket_folder_is_short_and_of_this_folder() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let of = |dir: &tempfile::TempDir| Layout::open(dir.path()).unwrap().run();
        assert_ne!(of(&one), of(&two));
        assert!(of(&one).as_os_str().len() < 40);
    }
}
