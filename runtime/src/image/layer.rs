//! Unpacks one layer into a directory, as overlayfs wants it: whiteouts become devices 0/0, opaque directories an attribute.
//!
//! Nothing outside the directory is ever touched, whatever the archive holds: parents are opened with
//! `openat2(RESOLVE_IN_ROOT)`, so that links resolve as they would in the container, and the last component is never followed.

mod budget;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::File,
    io::Write,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::FileExt},
    },
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2},
    sys::{
        stat::{
            FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstatat, futimens, makedev,
            mkdirat, mknodat, utimensat,
        },
        time::TimeSpec,
    },
    unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat},
};
use xattr::FileExt as _;

pub use budget::Budget;

use super::{
    error::ImageError,
    tarball::{Entry, Kind, Source, TarReader},
};
use crate::tree;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// An xattr that the layer's author could use to steer overlayfs, or that belongs to this machine's policy.
const XATTRS_REFUSED: [&[u8]; 3] = [b"trusted.overlay.", b"user.overlay.", b"security.selinux"];

/// What a layer came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    pub bytes: u64,
    pub files: u64,
}

/// Unpacks the archive into the existing, empty directory. Blocking. Nothing is synced.
pub fn unpack<R: Source>(reader: &mut TarReader<R>, directory: &Path, budget: &Budget) -> Result<Unpacked, ImageError> {
    let root = nix::fcntl::open(directory, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(ImageError::sys(format!("opening {}", directory.display())))?;
    let total = Unpacked::default();
    let mut unpacker = Unpacker { root, budget, parent: None, directory_times: BTreeMap::new(), total };
    // Implied directories, and the root where the archive has no entry for it.
    unpacker.set_implied_mode()?;
    while let Some(entry) = reader.next_entry()? {
        unpacker.count()?;
        unpacker.entry(reader, &entry)?;
    }
    unpacker.finish()
}

struct Unpacker<'a> {
    root: OwnedFd,
    budget: &'a Budget,
    /// The directory of the entry before: archives go folder by folder.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Set at the end: every file made in a directory changes its time.
    directory_times: BTreeMap<PathBuf, TimeSpec>,
    total: Unpacked,
}

/// A step of unpacking one entry, for the error's text.
fn step<'a>(path: &'a Path, what: &'a str) -> impl FnOnce(Errno) -> ImageError + 'a {
    move |errno| match errno {
        Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG | Errno::EISDIR => {
            ImageError::BadEntry { path: path.display().to_string(), why: format!("{what}: {errno}") }
        }
        _ => ImageError::Io { what: format!("{what} {}", path.display()), source: errno.into() },
    }
}

impl Unpacker<'_> {
    /// One more file or directory, be it named or implied.
    fn count(&mut self) -> Result<(), ImageError> {
        self.budget.take_file()?;
        self.total.files += 1;
        Ok(())
    }

    fn set_implied_mode(&self) -> Result<(), ImageError> {
        let root = self.reopen(Path::new("."))?;
        fchmod(&root, Mode::from_bits_truncate(0o755)).map_err(step(Path::new("/"), "chmod"))
    }

    fn entry<R: Source>(&mut self, reader: &mut TarReader<R>, entry: &Entry) -> Result<(), ImageError> {
        let path = safe_path(&entry.path)?;
        let Some(name) = path.file_name().map(OsStr::to_os_string) else {
            // The root itself: `./`.
            if entry.kind == Kind::Directory {
                let root = File::from(self.reopen(Path::new("."))?);
                set_attributes(&root, entry, &path)?;
                self.directory_times.insert(PathBuf::new(), time(entry));
            }
            return Ok(());
        };
        let parent_path = path.parent().unwrap_or(Path::new("")).to_path_buf();
        self.open_parent(&parent_path, &path)?;
        if name.as_bytes().starts_with(WHITEOUT) {
            return self.whiteout(&parent_path, &name, &path);
        }
        match entry.kind {
            Kind::Directory => self.directory(entry, &name, path),
            Kind::File => self.file(reader, entry, &name, &path),
            Kind::HardLink => self.hard_link(entry, &name, &path),
            Kind::Symlink => self.symlink(entry, &name, &path),
            Kind::CharDevice { major, minor } => {
                self.node(entry, &name, &path, SFlag::S_IFCHR, makedev(major.into(), minor.into()))
            }
            Kind::BlockDevice { major, minor } => {
                self.node(entry, &name, &path, SFlag::S_IFBLK, makedev(major.into(), minor.into()))
            }
            Kind::Fifo => self.node(entry, &name, &path, SFlag::S_IFIFO, 0),
        }
    }

    fn parent_fd(&self) -> &OwnedFd {
        &self.parent.as_ref().expect("open_parent came first").1
    }

    /// Opens, and where it is missing makes, the directory an entry belongs into.
    fn open_parent(&mut self, parent: &Path, entry: &Path) -> Result<(), ImageError> {
        if self.parent.as_ref().is_some_and(|(path, _)| path == parent) {
            return Ok(());
        }
        let fd = match self.resolve(parent) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => self.make_parents(parent, entry)?,
            other => other.map_err(step(entry, "opening the parent of"))?,
        };
        self.parent = Some((parent.to_path_buf(), fd));
        Ok(())
    }

    /// Makes what is missing below the deepest ancestor that is there. Nothing new is a link that would have to be resolved.
    fn make_parents(&mut self, parent: &Path, entry: &Path) -> Result<OwnedFd, ImageError> {
        let names: Vec<&OsStr> = parent.components().map(Component::as_os_str).collect();
        let mut fd = self.resolve(Path::new("")).map_err(step(entry, "opening the root for"))?;
        let (mut there, mut missing) = (0, names.len());
        while missing - there > 1 {
            let middle = there.midpoint(missing);
            match self.resolve(&names[..middle].iter().collect::<PathBuf>()) {
                Ok(found) => (there, fd) = (middle, found),
                Err(Errno::ENOENT | Errno::ENOTDIR) => missing = middle,
                Err(errno) => return Err(step(entry, "opening the parent of")(errno)),
            }
        }
        for name in &names[there..] {
            self.count()?;
            make_directory(&fd, name).map_err(step(entry, "making the parent of"))?;
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            fd = openat(&fd, *name, flags, Mode::empty()).map_err(step(entry, "opening the parent of"))?;
        }
        Ok(fd)
    }

    fn resolve(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.root, path, how)
    }

    /// A directory below the root, readable: attributes cannot be set through `O_PATH`.
    fn reopen(&self, path: &Path) -> Result<OwnedFd, ImageError> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.root, path, how).map_err(step(path, "opening"))
    }

    fn directory(&mut self, entry: &Entry, name: &OsStr, path: PathBuf) -> Result<(), ImageError> {
        let replaced = make_directory(self.parent_fd(), name).map_err(step(&path, "making"))?;
        let fd = openat(
            self.parent_fd(),
            name,
            OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map_err(step(&path, "opening"))?;
        set_attributes(&File::from(fd), entry, &path)?;
        if replaced {
            self.forget_parent();
        }
        if !self.directory_times.contains_key(&path) {
            self.budget.take_directory(&path)?;
        }
        self.directory_times.insert(path, time(entry));
        Ok(())
    }

    fn file<R: Source>(
        &mut self,
        reader: &mut TarReader<R>,
        entry: &Entry,
        name: &OsStr,
        path: &Path,
    ) -> Result<(), ImageError> {
        self.make_room(name, path)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd =
            openat(self.parent_fd(), name, flags, Mode::from_bits_truncate(0o600)).map_err(step(path, "creating"))?;
        let mut file = File::from(fd);
        self.total.bytes += copy_data(reader, entry, &mut file, path, self.budget)?;
        set_attributes(&file, entry, path)?;
        let time = time(entry);
        futimens(&file, &time, &time).map_err(step(path, "setting the time of"))
    }

    fn hard_link(&mut self, entry: &Entry, name: &OsStr, path: &Path) -> Result<(), ImageError> {
        let target = safe_path(&entry.link)?;
        let missing = |_| ImageError::BadEntry {
            path: path.display().to_string(),
            why: format!("it is a hard link to {:?}, which is not in this layer", target.display()),
        };
        let target_name = target.file_name().ok_or(Errno::ENOENT).map_err(missing)?;
        let target_parent = self.resolve(target.parent().unwrap_or(Path::new(""))).map_err(missing)?;
        if target == path {
            return Ok(());
        }
        self.make_room(name, path)?;
        linkat(&target_parent, target_name, self.parent_fd(), name, AtFlags::empty()).map_err(|errno| match errno {
            Errno::ENOENT => missing(errno),
            _ => step(path, "linking")(errno),
        })
    }

    fn symlink(&mut self, entry: &Entry, name: &OsStr, path: &Path) -> Result<(), ImageError> {
        self.make_room(name, path)?;
        let target = OsStr::from_bytes(&entry.link);
        let fd = self.parent_fd();
        symlinkat(target, fd, name).map_err(step(path, "linking"))?;
        fchownat(
            fd,
            name,
            Some(Uid::from_raw(entry.uid)),
            Some(Gid::from_raw(entry.gid)),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )
        .map_err(|errno| owner(errno, path))?;
        set_xattrs(entry, path, |key, value| xattr::set(at(fd, name), key, value))?;
        let time = time(entry);
        utimensat(fd, name, &time, &time, UtimensatFlags::NoFollowSymlink).map_err(step(path, "setting the time of"))
    }

    fn node(&mut self, entry: &Entry, name: &OsStr, path: &Path, kind: SFlag, device: u64) -> Result<(), ImageError> {
        self.make_room(name, path)?;
        let fd = self.parent_fd();
        mknodat(fd, name, kind, Mode::from_bits_truncate(0o600), device).map_err(|errno| node_error(errno, path))?;
        fchownat(
            fd,
            name,
            Some(Uid::from_raw(entry.uid)),
            Some(Gid::from_raw(entry.gid)),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )
        .map_err(|errno| owner(errno, path))?;
        // Not a link: it was made just above, in a directory nobody else knows.
        fchmodat(fd, name, Mode::from_bits_truncate(entry.mode), FchmodatFlags::FollowSymlink)
            .map_err(step(path, "chmod"))?;
        set_xattrs(entry, path, |key, value| xattr::set(at(fd, name), key, value))?;
        let time = time(entry);
        utimensat(fd, name, &time, &time, UtimensatFlags::NoFollowSymlink).map_err(step(path, "setting the time of"))
    }

    fn whiteout(&mut self, parent: &Path, name: &OsStr, path: &Path) -> Result<(), ImageError> {
        if name.as_bytes() == OPAQUE {
            let directory = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            return set_opaque(&File::from(self.reopen(directory)?))
                .map_err(|source| overlay_xattr_error(source, path));
        }
        let hidden = OsStr::from_bytes(&name.as_bytes()[WHITEOUT.len()..]);
        if hidden.as_bytes().starts_with(WHITEOUT) {
            // AUFS' own book-keeping (`.wh..wh.plnk` and the like).
            return Ok(());
        }
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(ImageError::BadEntry {
                path: path.display().to_string(),
                why: "it is a whiteout of nothing".into(),
            });
        }
        match stat_at(self.parent_fd(), hidden) {
            // A whiteout hides the layers below only. What this layer has of that name already hides a file; a directory must not merge.
            Some(stat) if is_kind(&stat, SFlag::S_IFDIR) => {
                let directory = self.reopen(&parent.join(hidden))?;
                set_opaque(&File::from(directory)).map_err(|source| overlay_xattr_error(source, path))
            }
            Some(_) => Ok(()),
            None => mknodat(self.parent_fd(), hidden, SFlag::S_IFCHR, Mode::empty(), 0)
                .map_err(|errno| node_error(errno, path)),
        }
    }

    /// Removes what an entry of the same name left, as the later entry wins.
    fn make_room(&mut self, name: &OsStr, path: &Path) -> Result<(), ImageError> {
        let Some(stat) = stat_at(self.parent_fd(), name) else { return Ok(()) };
        if is_kind(&stat, SFlag::S_IFDIR) {
            tree::remove_at(self.parent_fd(), name).map_err(step(path, "replacing"))?;
            self.forget_times(path);
            self.forget_parent();
            let parent = path.parent().unwrap_or(Path::new("")).to_path_buf();
            return self.open_parent(&parent, path);
        }
        unlinkat(self.parent_fd(), name, UnlinkatFlags::NoRemoveDir).map_err(step(path, "replacing"))
    }

    /// Of a directory that is gone, and of those in it.
    fn forget_times(&mut self, path: &Path) {
        let from = self.directory_times.range(path.to_path_buf()..);
        let gone: Vec<PathBuf> = from.map(|(one, _)| one).take_while(|one| one.starts_with(path)).cloned().collect();
        gone.iter().for_each(|one| _ = self.directory_times.remove(one));
    }

    fn forget_parent(&mut self) {
        self.parent = None;
    }

    fn finish(self) -> Result<Unpacked, ImageError> {
        for (path, time) in &self.directory_times {
            let target = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            match self.reopen(target) {
                Ok(directory) => futimens(&directory, time, time).map_err(step(path, "setting the time of"))?,
                // A later entry took its place.
                Err(ImageError::BadEntry { .. }) => {}
                Err(ImageError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.total)
    }
}

/// Copies the entry's data, leaving the holes of a sparse file as holes. Gives the bytes written.
fn copy_data<R: Source>(
    reader: &mut TarReader<R>,
    entry: &Entry,
    file: &mut File,
    path: &Path,
    budget: &Budget,
) -> Result<u64, ImageError> {
    let write_error = |source| ImageError::Io { what: format!("writing {}", path.display()), source };
    budget.take_bytes(entry.data_bytes)?;
    let mut buffer = vec![0; usize::try_from(entry.data_bytes.clamp(1, 256 << 10)).expect("bounded")];
    let Some(segments) = &entry.sparse else {
        loop {
            match reader.read_data(&mut buffer)? {
                0 => return Ok(entry.data_bytes),
                n => file.write_all(&buffer[..n]).map_err(write_error)?,
            }
        }
    };
    for (offset, length) in segments {
        let mut done = 0;
        while done < *length {
            let want = buffer.len().min(usize::try_from(length - done).unwrap_or(usize::MAX));
            let n = reader.read_data(&mut buffer[..want])?;
            assert!(n > 0, "the sparse map was checked against the entry's size");
            file.write_all_at(&buffer[..n], offset + done).map_err(write_error)?;
            done += n as u64;
        }
    }
    file.set_len(entry.size).map_err(write_error)?;
    Ok(entry.data_bytes)
}

/// Owner before mode before attributes: changing the owner clears setuid and capabilities.
fn set_attributes(file: &File, entry: &Entry, path: &Path) -> Result<(), ImageError> {
    fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))).map_err(|errno| owner(errno, path))?;
    fchmod(file, Mode::from_bits_truncate(entry.mode)).map_err(step(path, "chmod"))?;
    set_xattrs(entry, path, |key, value| file.set_xattr(key, value))
}

fn set_xattrs(
    entry: &Entry,
    path: &Path,
    set: impl Fn(&OsStr, &[u8]) -> std::io::Result<()>,
) -> Result<(), ImageError> {
    for (key, value) in &entry.xattrs {
        if XATTRS_REFUSED.iter().any(|prefix| key.starts_with(prefix)) {
            continue;
        }
        let key = OsStr::from_bytes(key);
        match set(key, value) {
            Ok(()) => {}
            // As other runtimes do: user attributes are refused on links and devices, and by some filesystems altogether.
            Err(error) if error.raw_os_error() == Some(libc::ENOTSUP) => {
                tracing::debug!(path = %path.display(), xattr = %key.display(), "attribute not supported here");
            }
            Err(error) if error.raw_os_error() == Some(libc::EPERM) && entry.kind != Kind::File => {}
            Err(source) => {
                return Err(ImageError::Io {
                    what: format!("setting {} of {}", key.display(), path.display()),
                    source,
                });
            }
        }
    }
    Ok(())
}

fn set_opaque(directory: &File) -> std::io::Result<()> {
    directory.set_xattr(OPAQUE_XATTR, b"y")
}

/// Makes a directory, or keeps the one that is there; anything else in its place goes away. Says whether something did.
fn make_directory(parent: &OwnedFd, name: &OsStr) -> Result<bool, Errno> {
    let mode = Mode::from_bits_truncate(0o755);
    match mkdirat(parent, name, mode) {
        Err(Errno::EEXIST) => {}
        other => {
            other?;
            // The process' umask must not show in images.
            fchmodat(parent, name, mode, FchmodatFlags::FollowSymlink)?;
            return Ok(false);
        }
    }
    let stat = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if is_kind(&stat, SFlag::S_IFDIR) {
        return Ok(false);
    }
    unlinkat(parent, name, UnlinkatFlags::NoRemoveDir)?;
    mkdirat(parent, name, mode)?;
    fchmodat(parent, name, mode, FchmodatFlags::FollowSymlink)?;
    if is_kind(&stat, SFlag::S_IFCHR) && stat.st_rdev == 0 {
        // Deleted and made anew: what lies below it stays hidden.
        let directory = openat(
            parent,
            name,
            OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        set_opaque(&File::from(directory)).map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
    }
    Ok(true)
}

fn stat_at(parent: &OwnedFd, name: &OsStr) -> Option<FileStat> {
    fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()
}

fn is_kind(stat: &FileStat, kind: SFlag) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

/// The path of a name in an open directory, for calls that take paths only.
fn at(parent: &OwnedFd, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name)
}

fn time(entry: &Entry) -> TimeSpec {
    TimeSpec::new(entry.mtime.0, i64::from(entry.mtime.1))
}

/// The entry's path below the root: no leading `/`, no `.`; `..` is refused.
fn safe_path(bytes: &[u8]) -> Result<PathBuf, ImageError> {
    let bad = |why: &str| ImageError::BadEntry { path: String::from_utf8_lossy(bytes).into_owned(), why: why.into() };
    if bytes.contains(&0) {
        return Err(bad("its name holds a zero byte"));
    }
    if bytes.len() >= libc::PATH_MAX as usize {
        return Err(bad("its name is too long"));
    }
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(bytes)).components() {
        match component {
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => path.push(name),
            Component::ParentDir => return Err(bad("its path climbs with `..`, which layers must not")),
        }
    }
    Ok(path)
}

fn owner(errno: Errno, path: &Path) -> ImageError {
    match errno {
        Errno::EPERM => ImageError::NotRoot(std::io::Error::from(errno)),
        _ => step(path, "chown")(errno),
    }
}

/// Root may make devices, unless the filesystem is an overlay, which keeps 0/0 to itself.
fn node_error(errno: Errno, path: &Path) -> ImageError {
    match errno {
        Errno::EPERM if nix::unistd::geteuid().is_root() => ImageError::StoreOnOverlay(path.to_path_buf()),
        Errno::EPERM => ImageError::NotRoot(errno.into()),
        _ => step(path, "making")(errno),
    }
}

fn overlay_xattr_error(source: std::io::Error, path: &Path) -> ImageError {
    let errno = Errno::from_raw(source.raw_os_error().unwrap_or(libc::EIO));
    match errno {
        Errno::EPERM => node_error(errno, path),
        _ => ImageError::Io { what: format!("marking {} opaque", path.display()), source },
    }
}

#[cfg(test)]
mod tests;
