//! Removes a tree, the deepest first.

use std::{
    collections::VecDeque,
    ffi::{CStr, CString, OsStr},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use nix::{
    dir::OwningIter,
    errno::Errno,
    unistd::{UnlinkatFlags, unlinkat},
};

use super::{Identity, entries, is_dots, open_above, open_below, open_root};

/// Folders of the way down that are open at a time, two descriptors each; those further up are come back to by `..`.
const OPEN_MAX: usize = 16;

/// Removes a file, or a folder with all that is in it; what is not there is fine. Of a link it removes the link. Fails with
/// `EXDEV` or `EBUSY` where something is mounted. Blocking.
pub fn remove(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let removed = match open_root(parent) {
        Err(Errno::ENOENT) => Ok(()),
        parent => parent.and_then(|parent| remove_at(&parent, name)),
    };
    Ok(removed?)
}

/// As [`remove`], of a name in an open folder.
pub(crate) fn remove_at(parent: &OwnedFd, name: &OsStr) -> nix::Result<()> {
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    if unlink(parent, &name)? {
        return Ok(());
    }
    match open_below(parent, &name) {
        Err(Errno::ENOENT) => Ok(()),
        folder => {
            empty(folder?)?;
            remove_folder(parent, &name)
        }
    }
}

/// A folder on the way down.
struct Folder {
    fd: OwnedFd,
    entries: OwningIter,
    /// In the one above.
    name: CString,
}

impl Folder {
    fn read(fd: OwnedFd, name: CString) -> nix::Result<Folder> {
        Ok(Folder { entries: entries(&fd)?.into_iter(), fd, name })
    }

    /// Removes what can go at once, up to the first folder that has something in it.
    fn remove_entries(&mut self) -> nix::Result<Option<CString>> {
        for entry in self.entries.by_ref() {
            let entry = entry?;
            let name = entry.file_name();
            if !is_dots(name) && !unlink(&self.fd, name)? {
                return Ok(Some(name.to_owned()));
            }
        }
        Ok(None)
    }
}

fn empty(root: OwnedFd) -> nix::Result<()> {
    let mut above: Vec<Identity> = Vec::new();
    let mut open = VecDeque::from([Folder::read(root, CString::default())?]);
    while let Some(mut folder) = open.pop_back() {
        if let Some(name) = folder.remove_entries()? {
            let below = open_below(&folder.fd, &name);
            open.push_back(folder);
            match below {
                Err(Errno::ENOENT) => {}
                below => open.push_back(Folder::read(below?, name)?),
            }
            if open.len() > OPEN_MAX
                && let Some(far) = open.pop_front()
            {
                above.push(Identity::of(&far.fd)?);
            }
        } else if let Some(parent) = open.back() {
            remove_folder(&parent.fd, &folder.name)?;
        } else if let Some(identity) = above.pop() {
            // Read anew, it has the emptied one among what can go at once.
            open.push_back(Folder::read(open_above(&folder.fd, identity)?, CString::default())?);
        }
    }
    Ok(())
}

/// Whether the name is gone; it is not if it is that of a folder with something in it.
fn unlink(folder: &OwnedFd, name: &CStr) -> nix::Result<bool> {
    match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(true),
        Err(Errno::EISDIR) => {}
        Err(error) => return Err(error),
    }
    match remove_folder(folder, name) {
        Ok(()) => Ok(true),
        Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove_folder(parent: impl AsFd, name: &CStr) -> nix::Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        removed => removed,
    }
}
