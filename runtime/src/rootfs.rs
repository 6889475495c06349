//! A container's root filesystem: overlayfs over an image's layers. Knows no images, only directories.
//!
//! ```text
//! <container>/rootfs     the mount point
//! <container>/upper      what the container writes
//! <container>/work       overlayfs' own
//! <container>/l/<n>      links to the layers, lowest first
//! <container>/empty      layers of nothing, where overlayfs wants more than there are
//! <container>/scratch    a tmpfs for upper and work where the state directory is itself on overlayfs
//! ```

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    thread,
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount as mount_syscall, umount2},
    sched::{CloneFlags, unshare},
    sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs},
    unistd::{Gid, Uid, chdir, chown},
};

use crate::{image::LAYERS_MAX, mountinfo, tree};

/// A failure to mount or unmount a root filesystem.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    #[error("layer {0} is missing in the image store: remove the image and import or pull it again")]
    LayerMissing(PathBuf),
    #[error("{0} layers are more than the {LAYERS_MAX} that overlayfs takes")]
    TooManyLayers(usize),
    #[error("mounting a root filesystem needs root: {0}")]
    NotRoot(io::Error),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> RootfsError {
    let what = what.into();
    move |source| RootfsError::Io { what, source }
}

/// Mounts the layers (lowest first, as `ImageStore::layer_paths` gives them) below the existing `container_dir` and returns
/// the root's path. The mount is always writable: mount points must be makeable in it, and a read-only root is the runtime
/// spec's `root.readonly`. What an earlier mount of the same container left is replaced. Blocking, a few milliseconds.
pub fn mount(layers: &[PathBuf], container_dir: &Path) -> Result<PathBuf, RootfsError> {
    mount_anew(layers, container_dir, mount_writable)
}

/// As [`mount`], but nobody can write to it, and nothing in it is executed.
pub fn mount_read_only(layers: &[PathBuf], container_dir: &Path) -> Result<PathBuf, RootfsError> {
    mount_anew(layers, container_dir, mount_layers)
}

/// Where the root is, once it is mounted.
pub fn root(container_dir: &Path) -> PathBuf {
    container_dir.join("rootfs")
}

/// Whether a root is mounted below the directory.
pub fn is_mounted(container_dir: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let root = device(&root(container_dir));
    root.is_some() && root != device(container_dir)
}

fn mount_anew(
    layers: &[PathBuf],
    container_dir: &Path,
    mount_new: fn(&[PathBuf], &Path) -> Result<PathBuf, RootfsError>,
) -> Result<PathBuf, RootfsError> {
    if layers.len() > LAYERS_MAX {
        return Err(RootfsError::TooManyLayers(layers.len()));
    }
    if let Some(missing) = layers.iter().find(|layer| !layer.is_dir()) {
        return Err(RootfsError::LayerMissing(missing.clone()));
    }
    unmount(container_dir)?;
    let result = mount_new(layers, container_dir);
    if result.is_err()
        && let Err(error) = unmount(container_dir)
    {
        tracing::warn!(%error, "leftovers of a failed mount");
    }
    result
}

fn mount_writable(layers: &[PathBuf], container_dir: &Path) -> Result<PathBuf, RootfsError> {
    let writable = writable_dir(container_dir)?;
    let upper = container_dir.join(&writable).join("upper");
    make_folder(&upper)?;
    make_folder(&container_dir.join(&writable).join("work"))?;
    // An image of no layers is an empty root.
    let lower = link_layers(layers, container_dir, 1)?;
    if let Some(top) = layers.last() {
        copy_root_attributes(top, &upper)?;
    }
    let writable = writable.display();
    let options = format!("lowerdir={lower},upperdir={writable}/upper,workdir={writable}/work");
    // `volatile`: what a container writes to its root dies with it, so unmounting need not sync a whole disk.
    mount_at(container_dir, MsFlags::empty(), vec![format!("{options},volatile"), options])
}

fn mount_layers(layers: &[PathBuf], container_dir: &Path) -> Result<PathBuf, RootfsError> {
    // Overlayfs without an upper directory is read-only, and wants two others.
    let lower = link_layers(layers, container_dir, 2)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_at(container_dir, flags, vec![format!("lowerdir={lower}")])
}

fn make_folder(folder: &Path) -> Result<(), RootfsError> {
    fs::create_dir_all(folder).map_err(failed(format!("making {}", folder.display())))
}

/// The layers as overlayfs' option names them, the highest first; empty ones make up the number that it wants.
/// Relative names: mount(2) takes 4096 bytes of options, full paths of some tens of layers are longer than that.
fn link_layers(layers: &[PathBuf], container_dir: &Path, least: usize) -> Result<String, RootfsError> {
    let links = container_dir.join("l");
    make_folder(&links)?;
    for (number, layer) in layers.iter().enumerate() {
        let layer = fs::canonicalize(layer).map_err(failed(format!("opening {}", layer.display())))?;
        symlink(layer, links.join(number.to_string())).map_err(failed("linking a layer"))?;
    }
    let mut lower: Vec<String> = (0..layers.len()).rev().map(|number| format!("l/{number}")).collect();
    for number in layers.len()..least {
        let name = format!("empty/{number}");
        make_folder(&container_dir.join(&name))?;
        lower.push(name);
    }
    Ok(lower.join(":"))
}

/// The folder of what the container writes, once its root is mounted.
pub fn upper(container_dir: &Path) -> PathBuf {
    let scratch = container_dir.join("scratch");
    let writable = if scratch.exists() { scratch } else { container_dir.to_owned() };
    writable.join("upper")
}

/// Mounts from a thread that has its own current directory, so that the process' is left alone. Options that this kernel does not know are left out by the next ones.
fn mount_at(container_dir: &Path, flags: MsFlags, options: Vec<String>) -> Result<PathBuf, RootfsError> {
    make_folder(&root(container_dir))?;
    let directory = container_dir.to_path_buf();
    let mounting = thread::Builder::new().name("mount-rootfs".into()).spawn(move || -> Result<(), Errno> {
        unshare(CloneFlags::CLONE_FS)?;
        chdir(&directory)?;
        let overlay =
            |options: &String| mount_syscall(Some("overlay"), "rootfs", Some("overlay"), flags, Some(options.as_str()));
        let unknown = |mounted: &Result<(), Errno>| *mounted == Err(Errno::EINVAL);
        let mut tried = options.iter().map(overlay);
        tried.find(|mounted| !unknown(mounted)).unwrap_or(Err(Errno::EINVAL))
    });
    let mounted = mounting.map_err(failed("starting a thread"))?.join().expect("the thread does not panic");
    mounted.map(|()| root(container_dir)).map_err(|errno| match errno {
        Errno::EPERM => RootfsError::NotRoot(errno.into()),
        _ => RootfsError::Io { what: format!("mounting {}/rootfs", container_dir.display()), source: errno.into() },
    })
}

/// Where upper and work may be, relative to the container's directory. Overlayfs refuses another overlay below them; a
/// tmpfs takes its place, and what containers write is in memory then.
fn writable_dir(container_dir: &Path) -> Result<PathBuf, RootfsError> {
    let filesystem = statfs(container_dir)
        .map_err(|e| RootfsError::Io { what: format!("opening {}", container_dir.display()), source: e.into() })?;
    if filesystem.filesystem_type() != OVERLAYFS_SUPER_MAGIC {
        return Ok(PathBuf::from("."));
    }
    tracing::warn!(path = %container_dir.display(), "state directory is on overlayfs: containers write to memory");
    let scratch = container_dir.join("scratch");
    fs::create_dir_all(&scratch).map_err(failed(format!("making {}", scratch.display())))?;
    mount_syscall(Some("tmpfs"), &scratch, Some("tmpfs"), MsFlags::MS_NODEV, Some("mode=0700")).map_err(|e| {
        RootfsError::Io { what: format!("mounting a tmpfs on {}", scratch.display()), source: e.into() }
    })?;
    Ok(PathBuf::from("scratch"))
}

/// The merged root has the upper directory's owner and mode: they should be the image's.
fn copy_root_attributes(top_layer: &Path, upper: &Path) -> Result<(), RootfsError> {
    let what = || format!("reading {}", top_layer.display());
    let metadata = fs::metadata(top_layer).map_err(failed(what()))?;
    chown(upper, Some(Uid::from_raw(metadata.uid())), Some(Gid::from_raw(metadata.gid())))
        .map_err(|e| RootfsError::Io { what: format!("chown of {}", upper.display()), source: e.into() })?;
    fs::set_permissions(upper, fs::Permissions::from_mode(metadata.mode() & 0o7777)).map_err(failed("chmod"))
}

/// Unmounts the root and removes everything `mount` made; what is not there is fine. Processes that still run in the root keep
/// it until they end. Blocking.
pub fn unmount(container_dir: &Path) -> Result<(), RootfsError> {
    for mount_point in ["rootfs", "scratch"] {
        detach(&container_dir.join(mount_point))?;
    }
    for folder in ["rootfs", "scratch", "upper", "work", "l", "empty"] {
        let path = container_dir.join(folder);
        tree::remove(&path).map_err(failed(format!("removing {}", path.display())))?;
    }
    Ok(())
}

/// Mounts that may be stacked on one point.
const STACKED_MAX: usize = 64;

fn detach(mount_point: &Path) -> Result<(), RootfsError> {
    for _ in 0..STACKED_MAX {
        match umount2(mount_point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // Not a mount point (any more), or never made.
            Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            // Without privileges nothing was mounted either.
            Err(Errno::EPERM) if !nix::unistd::geteuid().is_root() => return Ok(()),
            Err(errno) => {
                return Err(RootfsError::Io {
                    what: format!("unmounting {}", mount_point.display()),
                    source: errno.into(),
                });
            }
        }
    }
    Err(RootfsError::Io { what: format!("unmounting {}", mount_point.display()), source: Errno::EBUSY.into() })
}

/// Container directories below `root` whose root filesystem is mounted: after a restart, those of no known container are
/// leftovers, to be given to `unmount`.
pub fn mounted_below(root: &Path) -> Result<Vec<PathBuf>, RootfsError> {
    let root = fs::canonicalize(root).map_err(failed(format!("opening {}", root.display())))?;
    let mounts = mountinfo::read().map_err(failed("reading the mounts"))?;
    let mut found: Vec<PathBuf> = mounts
        .into_iter()
        .map(|mount| mount.mount_point)
        .filter(|path| {
            path.starts_with(&root) && path.file_name().is_some_and(|name| name == "rootfs" || name == "scratch")
        })
        .filter_map(|path| path.parent().map(Path::to_path_buf))
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests;
