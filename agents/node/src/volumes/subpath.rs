//! `subPath`: a part of a volume, opened so that no symbolic link leads out of it, and pinned by a bind mount, so that
//! what was checked is what the container gets even if somebody changes the volume meanwhile.

use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Component, Path},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2},
    mount::{MsFlags, mount},
    sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat},
};

/// Makes `target` show `path` below `volume`, which is made if it is not there, with the mode of the volume's root: whoever may
/// write to the one may write to the other.
pub fn pin(volume: &Path, path: &str, target: &Path) -> Result<(), String> {
    let shown = |error: &dyn std::fmt::Display| format!("failed to prepare subPath {path:?}: {error}");
    let opened = open(volume, Path::new(path)).map_err(|error| match error {
        Errno::EXDEV | Errno::ELOOP => shown(&"it leads out of its volume"),
        Errno::EROFS => shown(&"it is not there, and its volume is read-only"),
        other => shown(&other),
    })?;
    let is_folder = fstat(&opened)
        .map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
        .map_err(|error| shown(&error))?;
    let made = || -> io::Result<()> {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        match is_folder {
            true => fs::create_dir_all(target),
            false => fs::File::create(target).map(drop),
        }
    };
    made().map_err(|error| shown(&error))?;
    let source = format!("/proc/self/fd/{}", opened.as_raw_fd());
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source.as_str()), target, None::<&str>, flags, None::<&str>).map_err(|error| shown(&error))
}

/// Opens `path` below `volume`; the kernel refuses what would leave it.
fn open(volume: &Path, path: &Path) -> Result<OwnedFd, Errno> {
    let how = |flags: OFlag| {
        let beneath = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(beneath)
    };
    let anywhere = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC);
    let root = openat2(AT_FDCWD, volume, anywhere)?;
    match openat2(&root, path, how(OFlag::O_PATH)) {
        Err(Errno::ENOENT) => {}
        found => return found,
    }
    let mode = Mode::from_bits_truncate(fstat(&root)?.st_mode);
    let mut folder = root;
    for part in path.components() {
        let Component::Normal(part) = part else {
            if part == Component::CurDir {
                continue;
            }
            return Err(Errno::EXDEV);
        };
        let part = Path::new(part);
        folder = match openat2(&folder, part, how(OFlag::O_PATH)) {
            Err(Errno::ENOENT) => {
                match mkdirat(&folder, part, mode) {
                    Ok(()) => {
                        let made = openat2(&folder, part, how(OFlag::O_RDONLY | OFlag::O_DIRECTORY))?;
                        // The umask has taken from the mode that it was made with.
                        fchmod(&made, mode)?;
                        made
                    }
                    Err(Errno::EEXIST) => openat2(&folder, part, how(OFlag::O_PATH))?,
                    Err(error) => return Err(error),
                }
            }
            found => found?,
        };
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_inside_are_followed_and_links_out_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        let volume = scratch.path().join("volume");
        fs::create_dir_all(volume.join("real/deep")).unwrap();
        fs::write(volume.join("file"), "x").unwrap();
        std::os::unix::fs::symlink("real", volume.join("inside")).unwrap();
        std::os::unix::fs::symlink("/etc", volume.join("outside")).unwrap();
        std::os::unix::fs::symlink("../..", volume.join("above")).unwrap();
        for (path, good) in [
            ("real/deep", true),
            ("inside/deep", true),
            ("file", true),
            ("new/folder", true),
            ("outside", false),
            ("outside/passwd", false),
            ("above", false),
            ("../x", false),
        ] {
            assert_eq!(open(&volume, Path::new(path)).is_ok(), good, "{path}");
        }
        assert!(volume.join("new/folder").is_dir());
    }

    #[test]
    fn what_is_made_may_be_written_to_by_whoever_may_write_to_the_volume() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for wanted in [0o777, 0o2777, 0o750] {
            let volume = scratch.path().join(format!("{wanted:o}"));
            fs::create_dir(&volume).unwrap();
            fs::set_permissions(&volume, fs::Permissions::from_mode(wanted)).unwrap();
            open(&volume, Path::new("new/folder")).unwrap();
            for made in ["new", "new/folder"] {
                assert_eq!(mode(&volume.join(made)), wanted, "{made} in {wanted:o}");
            }
        }
    }
}
