//! One file of a volume, read for the node itself: no link leads out of the volume, and nothing but a file is opened.

use std::{fs::File, io::Read, path::Path};

use nix::{
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::{SFlag, fstat},
};

use crate::limits::ENV_FILE_BYTES_MAX;

pub fn read(volume: &Path, path: &str) -> Result<String, String> {
    let shown = |error: &dyn std::fmt::Display| format!("reading {path:?}: {error}");
    let root = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC);
    let root = openat2(AT_FDCWD, volume, root).map_err(|error| shown(&error))?;
    // A pipe that nobody writes to must hold up nobody.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let inside = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let opened = openat2(&root, path, OpenHow::new().flags(flags).resolve(inside)).map_err(|error| shown(&error))?;
    let kind = fstat(&opened).map_err(|error| shown(&error))?.st_mode;
    if SFlag::from_bits_truncate(kind) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(shown(&"it is no file"));
    }
    let mut text = String::new();
    let read = File::from(opened).take(ENV_FILE_BYTES_MAX + 1).read_to_string(&mut text);
    match read.map_err(|error| shown(&error))? as u64 {
        0..=ENV_FILE_BYTES_MAX => Ok(text),
        _ => Err(shown(&"it is too long")),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_file_is_read_within_its_volume() {
        let scratch = tempfile::tempdir().unwrap();
        let volume = scratch.path().join("volume");
        fs::create_dir_all(volume.join("folder")).unwrap();
        fs::write(scratch.path().join("secret"), "outside").unwrap();
        fs::write(volume.join("secret"), "inside").unwrap();
        symlink("../../secret", volume.join("folder/above")).unwrap();
        symlink("/secret", volume.join("absolute")).unwrap();
        nix::unistd::mkfifo(&volume.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::write(volume.join("long"), vec![b'x'; ENV_FILE_BYTES_MAX as usize + 1]).unwrap();
        for (path, expected) in [
            ("secret", Some("inside")),
            ("folder/above", Some("inside")),
            ("absolute", Some("inside")),
            ("missing", None),
            ("folder", None),
            ("pipe", None),
            ("long", None),
        ] {
            assert_eq!(read(&volume, path).ok().as_deref(), expected, "{path}");
        }
    }
}
