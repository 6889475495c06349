//! What a sandbox is given from outside libcontainer: root filesystems, networks, shared memory.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};

use crate::error::RuntimeError;

/// Mounts the image as the container's own root filesystem; returns where.
pub fn mount_rootfs(image: &str, folder: &Path) -> Result<PathBuf, RuntimeError> {
    let (upper, work, merged) = (folder.join("upper"), folder.join("work"), folder.join("rootfs"));
    for folder in [&upper, &work, &merged] {
        super::record::make_folder(folder)?;
    }
    let options = format!("lowerdir={image},upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|error| RuntimeError::RootFs(error.to_string()))?;
    Ok(merged)
}

pub fn unmount_rootfs(folder: &Path) -> Result<(), RuntimeError> {
    unmount(&folder.join("rootfs"))
}

pub async fn create_network(_id: &str, _address: Ipv4Addr) -> Result<PathBuf, RuntimeError> {
    Err(RuntimeError::Network("not there yet".into()))
}

pub async fn destroy_network(_id: &str) -> Result<(), RuntimeError> {
    Ok(())
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
pub fn remove_folder(path: &Path) -> Result<(), RuntimeError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RuntimeError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
