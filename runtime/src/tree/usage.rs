//! How much of a disk a tree takes.

use std::{collections::HashSet, ffi::CString, io, os::fd::OwnedFd, path::Path};

use nix::{
    dir::Type,
    errno::Errno,
    fcntl::AtFlags,
    sys::stat::{FileStat, SFlag, fstat, fstatat, lstat},
};

use super::{Identity, entries, is_dots, open_above, open_below, open_root};

/// Folders of the way down that are open at a time; those further up are come back to by `..`. One that is open may move
/// about without anything being missed.
const OPEN_MAX: usize = 32;
const BLOCK_BYTES: u64 = 512;

/// Disk blocks of a file or of what is in a folder, in bytes: of each file once, whatever names it has, and of nothing that is
/// mounted there. What vanishes meanwhile does not count, nor does what is not there. Blocking.
pub fn usage_bytes(path: &Path) -> io::Result<u64> {
    match open_root(path) {
        Err(Errno::ENOENT) => Ok(0),
        Err(Errno::ENOTDIR) => Ok(blocks(&lstat(path)?)),
        root => Ok(measure(root?)?),
    }
}

/// A folder on the way down.
struct Level {
    identity: Identity,
    fd: Option<OwnedFd>,
    /// Those in it that are not measured yet.
    folders: Vec<CString>,
}

#[derive(Default)]
struct Sum {
    bytes: u64,
    /// Files with further names.
    linked: HashSet<(u64, u64)>,
}

fn measure(root: OwnedFd) -> nix::Result<u64> {
    let mut sum = Sum::default();
    let mut levels = vec![sum.read(root)?];
    while let Some(level) = levels.last_mut() {
        let fd = level.fd.as_ref().expect("the last level is open");
        if let Some(name) = level.folders.pop() {
            match open_below(fd, &name) {
                Ok(folder) => {
                    sum.bytes += blocks(&fstat(&folder)?);
                    levels.push(sum.read(folder)?);
                    // The root stays, to go on from whatever happens below.
                    if let Some(far) = levels.len().checked_sub(OPEN_MAX + 1).filter(|far| *far > 0) {
                        levels[far].fd = None;
                    }
                }
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => {}
                Err(error) => return Err(error),
            }
            continue;
        }
        let done = levels.pop().and_then(|level| level.fd);
        if let (Some(done), Some(Level { fd: fd @ None, identity, .. })) = (done, levels.last_mut()) {
            match open_above(&done, *identity) {
                Ok(above) => *fd = Some(above),
                Err(Errno::ESTALE | Errno::ENOENT | Errno::EXDEV) => levels.truncate(1),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(sum.bytes)
}

impl Sum {
    /// Counts the files in a folder.
    fn read(&mut self, folder: OwnedFd) -> nix::Result<Level> {
        let mut folders = Vec::new();
        for entry in entries(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_dots(name) {
                continue;
            }
            if entry.file_type() == Some(Type::Directory) {
                folders.push(name.to_owned());
                continue;
            }
            match fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR => {
                    folders.push(name.to_owned());
                }
                Ok(stat) => self.add(&stat),
                Err(Errno::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Level { identity: Identity::of(&folder)?, fd: Some(folder), folders })
    }

    fn add(&mut self, file: &FileStat) {
        if file.st_nlink == 1 || self.linked.insert((file.st_dev, file.st_ino)) {
            self.bytes += blocks(file);
        }
    }
}

fn blocks(stat: &FileStat) -> u64 {
    stat.st_blocks.unsigned_abs() * BLOCK_BYTES
}
