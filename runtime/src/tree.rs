//! Trees of files that strangers have made: removed, or measured, however deep they are. A folder is opened in the one that
//! holds it and never by its path, so that no path is too long, and no link, mount or folder that moves meanwhile leads out of
//! the tree. Neither takes stack, and both take few descriptors.

mod removal;
mod usage;

use std::{ffi::CStr, os::fd::OwnedFd, path::Path};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::fstat,
};

pub(crate) use self::removal::remove_at;
pub use self::{removal::remove, usage::usage_bytes};

/// What a folder is known by when it is come back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(folder: &OwnedFd) -> nix::Result<Identity> {
        fstat(folder).map(|stat| Identity { device: stat.st_dev, inode: stat.st_ino })
    }
}

/// Opens the folder that is the root of a tree; its own place may be reached by links.
fn open_root(path: &Path) -> nix::Result<OwnedFd> {
    openat2(AT_FDCWD, path, OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC))
}

/// Opens a folder in another; fails for links, and with `EXDEV` for what is mounted there.
fn open_below(folder: &OwnedFd, name: &CStr) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(folder, name, how)
}

/// Opens the folder that holds this one, which must be the one that was come from.
fn open_above(folder: &OwnedFd, expected: Identity) -> nix::Result<OwnedFd> {
    let above = open_below(folder, c"..")?;
    match Identity::of(&above)? == expected {
        true => Ok(above),
        false => Err(Errno::ESTALE),
    }
}

/// What is in a folder that was just opened.
fn entries(folder: &OwnedFd) -> nix::Result<Dir> {
    let own = folder.try_clone().map_err(|error| error.raw_os_error().map_or(Errno::EMFILE, Errno::from_raw))?;
    Dir::from_fd(own)
}

fn is_dots(name: &CStr) -> bool {
    name == c"." || name == c".."
}
