//! Files that change all at once: each version in a folder of its own, `..data` points to the current one, and what
//! users see are links through it. A reader sees the old version or the new one, never both.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Component, Path, PathBuf},
};

use k8s_openapi::jiff::Timestamp;
use kontiki_runtime::tree;

use super::{File, Files};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

#[derive(Clone, Copy, Debug, Default)]
pub struct Ownership {
    /// The pod's `fsGroup`: owns the files, and may read them.
    pub fs_group: Option<u32>,
}

impl Ownership {
    /// The mode of a volume's root: what is made in it is the group's as well.
    pub fn root_mode(self, mode: u32) -> u32 {
        self.fs_group.map_or(mode, |_| mode | 0o2070)
    }
}

/// Makes `folder` hold exactly `files`; does nothing if it already does.
pub fn write(folder: &Path, files: &Files, ownership: Ownership) -> io::Result<()> {
    for path in files.keys() {
        if !path.components().all(|part| matches!(part, Component::Normal(_))) || path.starts_with(DATA) {
            return Err(io::Error::other(format!("{} is no path below the volume", path.display())));
        }
    }
    let current = fs::read_link(folder.join(DATA)).ok();
    if let Some(current) = &current
        && holds(&folder.join(current), files)
    {
        return links(folder, files);
    }
    let version = new_version(folder)?;
    let version_folder = folder.join(&version);
    fill(&version_folder, files, ownership)?;
    let new = folder.join(DATA_NEW);
    if fs::symlink_metadata(&new).is_ok() {
        fs::remove_file(&new)?;
    }
    symlink(&version, &new)?;
    fs::rename(&new, folder.join(DATA))?;
    links(folder, files)?;
    own_root(folder, ownership)?;
    remove_old(folder, &version)
}

fn new_version(folder: &Path) -> io::Result<PathBuf> {
    let stamp = Timestamp::now();
    let name = format!("..{}.{}", stamp.strftime("%Y_%m_%d_%H_%M_%S"), stamp.subsec_nanosecond());
    fs::create_dir(folder.join(&name))?;
    fs::set_permissions(folder.join(&name), fs::Permissions::from_mode(0o755))?;
    Ok(name.into())
}

fn fill(folder: &Path, files: &Files, ownership: Ownership) -> io::Result<()> {
    for (path, File { content, mode, owner }) in files {
        let target = folder.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, content)?;
        // A group that owns a file must be able to read it.
        let mode = if ownership.fs_group.is_some() { mode | 0o440 } else { *mode };
        fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
        if owner.is_some() || ownership.fs_group.is_some() {
            chown(&target, *owner, ownership.fs_group)?;
        }
    }
    Ok(())
}

/// The version's files are `files`, content and all.
fn holds(version: &Path, files: &Files) -> bool {
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        let Ok(entries) = fs::read_dir(version.join(&below)) else { return false };
        for entry in entries.flatten() {
            let path = below.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(_) => drop(found.insert(path)),
                Err(_) => return false,
            }
        }
    }
    found.len() == files.len()
        && files.iter().all(|(path, file)| {
            found.contains(path) && fs::read(version.join(path)).is_ok_and(|content| content == file.content)
        })
}

/// The names users see: one link for each first part of a path.
fn links(folder: &Path, files: &Files) -> io::Result<()> {
    let wanted: BTreeSet<OsString> =
        files.keys().filter_map(|path| path.iter().next()).map(|part| part.to_owned()).collect();
    for name in &wanted {
        let link = folder.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        // Only what was made here goes: a subPath that the volume does not have is a folder beside the links.
        let path = folder.join(&name);
        let is_link = fs::read_link(&path).is_ok_and(|to| to.starts_with(DATA));
        if is_link && !wanted.contains(&name) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn remove_old(folder: &Path, current: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("..") && name != current.as_os_str() && entry.file_type()?.is_dir() {
            tree::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Gives a volume's root to the pod's group.
fn own_root(folder: &Path, ownership: Ownership) -> io::Result<()> {
    let Some(group) = ownership.fs_group else { return Ok(()) };
    chown(folder, None, Some(group))?;
    let mode = fs::metadata(folder)?.permissions().mode() & 0o7777;
    fs::set_permissions(folder, fs::Permissions::from_mode(ownership.root_mode(mode)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter()
            .map(|(path, content)| {
                (path.into(), File { content: content.as_bytes().to_vec(), mode: 0o644, owner: None })
            })
            .collect()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names.retain(|name| !name.starts_with("..2"));
        names
    }

    #[test]
    fn versions_replace_each_other_as_a_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        write(folder, &files(&[("a", "1"), ("dir/b", "2")]), Ownership::default()).unwrap();
        assert_eq!(names(folder), ["..data", "a", "dir"]);
        assert_eq!(fs::read_to_string(folder.join("dir/b")).unwrap(), "2");
        let first = fs::read_link(folder.join("..data")).unwrap();
        write(folder, &files(&[("a", "1"), ("dir/b", "2")]), Ownership::default()).unwrap();
        assert_eq!(fs::read_link(folder.join("..data")).unwrap(), first, "nothing new, nothing written");
        write(folder, &files(&[("a", "changed"), ("c", "3")]), Ownership::default()).unwrap();
        assert_eq!(names(folder), ["..data", "a", "c"]);
        assert_eq!(fs::read_to_string(folder.join("a")).unwrap(), "changed");
        assert!(!folder.join(first).exists(), "the old version is gone");
    }

    #[test]
    fn files_have_their_modes_and_the_group_may_read_them() {
        let scratch = tempfile::tempdir().unwrap();
        let file = |mode| File { content: Vec::new(), mode, owner: None };
        let files: Files =
            [("token".into(), file(0o600)), ("open".into(), file(0o644)), ("own".into(), file(0o400))].into();
        let modes = |ownership: Ownership| {
            let folder = scratch.path().join(format!("{:?}", ownership.fs_group));
            fs::create_dir(&folder).unwrap();
            write(&folder, &files, ownership).unwrap();
            ["token", "open", "own"].map(|name| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o7777)
        };
        assert_eq!(modes(Ownership::default()), [0o600, 0o644, 0o400]);
        // Root may give to any group; others may give to their own.
        let group = nix::unistd::getgid().as_raw();
        assert_eq!(modes(Ownership { fs_group: Some(group) }), [0o640, 0o644, 0o440]);
    }

    #[test]
    fn what_others_made_in_the_volume_neither_goes_nor_hinders() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        write(folder, &files(&[("a", "1")]), Ownership::default()).unwrap();
        fs::create_dir(folder.join("app.conf")).unwrap();
        fs::create_dir(folder.join("z")).unwrap();
        write(folder, &files(&[("b", "2"), ("z", "3")]), Ownership::default()).unwrap();
        assert_eq!(names(folder), ["..data", "app.conf", "b", "z"]);
        assert_eq!(fs::read_to_string(folder.join("b")).unwrap(), "2");
    }

    #[test]
    fn no_path_leads_out() {
        let scratch = tempfile::tempdir().unwrap();
        for path in ["../a", "/a", "..data/a"] {
            assert!(write(scratch.path(), &files(&[(path, "")]), Ownership::default()).is_err(), "{path}");
        }
    }
}
