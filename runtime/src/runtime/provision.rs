//! Mounts that a sandbox and its containers are given: root filesystems of images, shared memory.

use std::{
    io,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};

use crate::{
    error::RuntimeError,
    image::{ImageError, ImageInfo, ImageStore},
    rootfs, tree,
};

/// The image that a container spec names.
pub async fn image(images: &ImageStore, id: &str) -> Result<ImageInfo, RuntimeError> {
    match images.resolve(id).await? {
        Some(image) => Ok(image),
        None => Err(ImageError::NotFound(id.to_owned()).into()),
    }
}

/// Mounts an image as a container's own root filesystem; returns where. Its folder is there already.
pub async fn mount_rootfs(layers: Vec<PathBuf>, folder: &Path) -> Result<PathBuf, RuntimeError> {
    let folder = folder.to_owned();
    let mounted = tokio::task::spawn_blocking(move || rootfs::mount(&layers, &folder)).await;
    Ok(mounted.expect("mounting does not panic")?)
}

/// Mounts an image that nobody writes to; returns where. Its folder is there already.
pub async fn mount_read_only(layers: Vec<PathBuf>, folder: &Path) -> Result<PathBuf, RuntimeError> {
    let folder = folder.to_owned();
    let mounted = tokio::task::spawn_blocking(move || rootfs::mount_read_only(&layers, &folder)).await;
    Ok(mounted.expect("mounting does not panic")?)
}

pub async fn unmount_rootfs(folder: &Path) -> Result<(), RuntimeError> {
    let folder = folder.to_owned();
    let unmounted = tokio::task::spawn_blocking(move || rootfs::unmount(&folder)).await;
    Ok(unmounted.expect("unmounting does not panic")?)
}

/// Shared memory of the sandbox, bound into every container.
pub fn mount_shared_memory(path: &Path, bytes: u64) -> Result<(), RuntimeError> {
    super::record::make_folder(path)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("shm"), path, Some("tmpfs"), flags, Some(format!("mode=1777,size={bytes}").as_str()))
        .map_err(io::Error::from)
        .map_err(RuntimeError::io("mount shared memory", path))
}

/// Unmounts `path`; nothing mounted there is fine.
pub fn unmount(path: &Path) -> Result<(), RuntimeError> {
    match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(error) => Err(RuntimeError::io("unmount", path)(error.into())),
    }
}

/// Removes a folder that nothing is mounted in any more.
pub async fn remove_folder(path: &Path) -> Result<(), RuntimeError> {
    let folder = path.to_owned();
    let removed = tokio::task::spawn_blocking(move || tree::remove(&folder)).await;
    removed.expect("removing does not panic").map_err(RuntimeError::io("remove", path))
}
