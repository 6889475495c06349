//! What this machine and this process can give to containers. Reads the kernel's files, changes nothing.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use nix::sys::stat::fstat;
use pathrs::{Handle, Root, error::ErrorKind, flags::OpenFlags};

use crate::{
    cgroup::Cgroups,
    error::RuntimeError,
    limits::PASSWD_BYTES_MAX,
    oci::{Accounts, Device, Machine, parse_capability_set},
};

/// Folders of `/dev` that a container has of its own.
const OWN_DEVICE_FOLDERS: &[&str] = &["fd", "mqueue", "pts", "shm"];
const DEVICES_MAX: usize = 4096;

pub fn look(cgroups: &Cgroups) -> Result<Machine, RuntimeError> {
    let status = fs::read_to_string("/proc/self/status").map_err(RuntimeError::io("read", "/proc/self/status"))?;
    let set = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).and_then(parse_capability_set).unwrap_or_default()
    };
    let effective = set("CapEff:");
    for needed in ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"] {
        if !effective.contains(needed) {
            return Err(RuntimeError::NotPermitted(format!("this process lacks {needed}")));
        }
    }
    let oom =
        fs::read_to_string("/proc/self/oom_score_adj").map_err(RuntimeError::io("read", "/proc/self/oom_score_adj"))?;
    Ok(Machine {
        capabilities: effective.intersection(&set("CapBnd:")).cloned().collect(),
        oom_score_adj: oom.trim().parse().unwrap_or(0),
        cgroup_hierarchies: cgroups.hierarchies().to_vec(),
        cgroup_unified: cgroups.unified(),
        devices: Vec::new(),
    })
}

/// The machine's devices as they are now, for a privileged container.
pub fn devices() -> io::Result<Vec<Device>> {
    let mut found = Vec::new();
    collect_devices(Path::new("/dev"), &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn collect_devices(folder: &Path, found: &mut Vec<Device>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let path = entry.path();
        if kind.is_dir() {
            if !(folder == Path::new("/dev") && OWN_DEVICE_FOLDERS.iter().any(|own| entry.file_name() == *own)) {
                collect_devices(&path, found)?;
            }
            continue;
        }
        let letter = match (kind.is_char_device(), kind.is_block_device()) {
            (true, _) => 'c',
            (_, true) => 'b',
            _ => continue,
        };
        if path == Path::new("/dev/console") || found.len() == DEVICES_MAX {
            continue;
        }
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        found.push(Device {
            path,
            kind: letter,
            major: nix::libc::major(metadata.rdev()).into(),
            minor: nix::libc::minor(metadata.rdev()).into(),
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
        });
    }
    Ok(())
}

/// The image's account files, read without leaving the image by a symbolic link.
pub fn accounts(rootfs: &Path) -> io::Result<Accounts> {
    let root = Root::open(rootfs).map_err(io::Error::other)?;
    let read = |path: &str| -> io::Result<String> {
        use std::io::Read;
        let file = match root.open_subpath(path, OpenFlags::O_RDONLY | OpenFlags::O_NONBLOCK) {
            Ok(file) => file,
            Err(error) => {
                return match error.kind() {
                    ErrorKind::OsError(Some(libc::ENOENT | libc::ENOTDIR)) => Ok(String::new()),
                    _ => Err(io::Error::other(error)),
                };
            }
        };
        let mut bytes = Vec::new();
        file.take(PASSWD_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Accounts { passwd: read("/etc/passwd")?, group: read("/etc/group")? })
}

/// Whether a path leads to the root itself, by the links that are in it.
pub fn is_root(rootfs: &Path, path: &Path) -> io::Result<bool> {
    let root = Root::open(rootfs).map_err(io::Error::other)?;
    let identity = |handle: &Handle| fstat(handle).map(|stat| (stat.st_dev, stat.st_ino));
    match root.resolve(path) {
        Ok(found) => Ok(identity(&found)? == identity(&root.resolve("/").map_err(io::Error::other)?)?),
        // What is not there is made there, and what cannot be resolved is not mounted.
        Err(_) => Ok(false),
    }
}

/// A container's working directory need not be in its image.
pub fn make_folder(rootfs: &Path, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let root = Root::open(rootfs).map_err(io::Error::other)?;
    root.mkdir_all(path, &fs::Permissions::from_mode(0o755)).map(drop).map_err(io::Error::other)
}
