//! Where a pod's files are on this machine, and how all of them go. Never follows a mount when it removes.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{ResourceRequirements, Volume};
use kontiki_runtime::{mountinfo, tree};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tracing::warn;

use crate::pod::PodId;

/// How the name of a file begins that an attempt may write its last words to.
const MESSAGE: &str = "termination-";

/// The folders of one pod below the node's state directory.
#[derive(Clone, Debug)]
pub struct Place {
    state_dir: PathBuf,
    id: PodId,
}

impl Place {
    pub fn new(state_dir: &Path, id: &PodId) -> Place {
        Place { state_dir: state_dir.to_owned(), id: id.clone() }
    }

    pub fn pod(&self) -> PathBuf {
        self.state_dir.join("pods").join(&self.id.uid)
    }

    pub fn volume(&self, volume: &Volume) -> Result<PathBuf, String> {
        let kind = if volume.empty_dir.is_some() {
            "empty-dir"
        } else if volume.config_map.is_some() {
            "configmap"
        } else if volume.secret.is_some() {
            "secret"
        } else if volume.downward_api.is_some() {
            "downward-api"
        } else if volume.projected.is_some() {
            "projected"
        } else {
            return Err(unsupported(volume));
        };
        Ok(self.pod().join("volumes").join(format!("kubernetes.io~{kind}")).join(&volume.name))
    }

    pub fn subpath(&self, container: &str, attempt: u32, index: usize) -> PathBuf {
        self.subpaths(container, attempt).join(index.to_string())
    }

    pub fn subpaths(&self, container: &str, attempt: u32) -> PathBuf {
        self.pod().join("volume-subpaths").join(format!("{container}-{attempt}"))
    }

    pub fn container(&self, container: &str) -> PathBuf {
        self.pod().join("containers").join(container)
    }

    pub fn termination_message(&self, container: &str, attempt: u32) -> PathBuf {
        self.container(container).join(format!("{MESSAGE}{attempt}"))
    }

    /// What the attempts of a container that are remembered have said last.
    pub fn termination_messages(&self, container: &str) -> io::Result<Vec<PathBuf>> {
        let Some(entries) = if_there(fs::read_dir(self.container(container)))? else { return Ok(Vec::new()) };
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        let message = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(MESSAGE.as_bytes()))
        };
        paths.filter(|path| path.as_ref().map_or(true, message)).collect()
    }

    /// Holds the image name that an attempt was started for.
    pub fn image_asked(&self, container: &str, attempt: u32) -> PathBuf {
        self.container(container).join(format!("image-{attempt}"))
    }

    /// Holds what an attempt may use, as the pod asked for it.
    pub fn resources(&self, container: &str, attempt: u32) -> PathBuf {
        self.container(container).join(format!("resources-{attempt}"))
    }

    /// Holds how often all containers of the pod had been restarted when an attempt began.
    pub fn round(&self, container: &str, attempt: u32) -> PathBuf {
        self.container(container).join(format!("round-{attempt}"))
    }

    /// What the last attempt of a container may use, where one was made.
    pub fn last_resources(&self, container: &str) -> io::Result<Option<ResourceRequirements>> {
        let Some(entries) = if_there(fs::read_dir(self.container(container)))? else { return Ok(None) };
        let mut last = None;
        for entry in entries {
            let name = entry?.file_name();
            let attempt = name.to_str().and_then(|name| name.strip_prefix("resources-")?.parse::<u32>().ok());
            last = last.max(attempt);
        }
        let Some(attempt) = last else { return Ok(None) };
        told(&self.resources(container, attempt), |text| serde_json::from_str(text).ok())
    }

    pub fn logs(&self) -> PathBuf {
        log_folder(&self.state_dir, &self.id)
    }

    pub fn log(&self, container: &str, attempt: u32) -> PathBuf {
        self.logs().join(container).join(format!("{attempt}.log"))
    }

    /// Something of the pod is still here.
    pub fn is_used(&self) -> bool {
        self.pod().exists()
    }
}

/// What a file of an attempt tells; nothing where there is none, or only the beginning of one from before the machine went down.
pub fn told<T>(file: &Path, read: impl Fn(&str) -> Option<T>) -> io::Result<Option<T>> {
    let Some(text) = if_there(fs::read_to_string(file))? else { return Ok(None) };
    let told = read(&text);
    if told.is_none() {
        warn!(file = %file.display(), "a file of an attempt is not whole");
    }
    Ok(told)
}

fn if_there<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// `<namespace>_<pod>_<uid>` below `logs`.
pub fn log_folder(state_dir: &Path, id: &PodId) -> PathBuf {
    state_dir.join("logs").join(format!("{}_{}_{}", id.namespace, id.name, id.uid))
}

fn unsupported(volume: &Volume) -> String {
    let kind = serde_json::to_value(volume)
        .ok()
        .and_then(|value| value.as_object()?.keys().find(|key| *key != "name").cloned())
        .unwrap_or_else(|| "none".to_owned());
    format!(
        "volume source {kind:?} is not supported on this node; it can mount configMap, downwardAPI, emptyDir, hostPath, \
         image, projected and secret"
    )
}

/// Makes a folder of exactly this mode and group. One that is there already keeps its own: it is used, and its users may have
/// changed them.
pub fn make_folder(path: &Path, mode: u32, group: Option<u32>) -> Result<(), String> {
    let made = || -> io::Result<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if path.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(parent)?;
        // It has its name only once it is as it should be, whenever this may be cut short.
        let new = parent.join([OsStr::new("."), name].into_iter().collect::<OsString>());
        match fs::create_dir(&new) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        chown(&new, None, group)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
        fs::rename(&new, path)
    };
    made().map_err(|error| format!("making {}: {error}", path.display()))
}

/// Mounts memory with a root of this mode and group, unless that was done already.
pub fn mount_tmpfs(path: &Path, bytes: Option<i64>, mode: u32, group: Option<u32>) -> Result<(), String> {
    make_folder(path, mode, None)?;
    if is_mount_point(path).map_err(|error| format!("reading {}: {error}", path.display()))? {
        return Ok(());
    }
    let mut options = format!("mode={mode:o}");
    if let Some(bytes) = bytes {
        options.push_str(&format!(",size={bytes}"));
    }
    if let Some(group) = group {
        options.push_str(&format!(",gid={group}"));
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options.as_str()))
        .map_err(|error| format!("mounting tmpfs at {}: {error}", path.display()))
}

fn is_mount_point(path: &Path) -> io::Result<bool> {
    Ok(mount_points_below(path)?.iter().any(|point| point == path))
}

/// Mount points at or below `root`, the deepest last.
fn mount_points_below(root: &Path) -> io::Result<Vec<PathBuf>> {
    let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let mounts = mountinfo::read()?;
    Ok(mounts.into_iter().map(|mount| mount.mount_point).filter(|point| point.starts_with(&root)).collect())
}

/// Unmounts everything at or below `root`, the latest first.
pub fn unmount_below(root: &Path) -> Result<(), String> {
    let points = mount_points_below(root).map_err(|error| format!("reading the mount table: {error}"))?;
    for point in points.iter().rev() {
        umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
            .map_err(|error| format!("unmounting {}: {error}", point.display()))?;
    }
    Ok(())
}

/// Removes the folder of a pod and every mount in it; blocking. Refuses while a mount is left.
pub fn remove_pod_folder(folder: &Path) -> Result<(), String> {
    if !folder.exists() {
        return Ok(());
    }
    unmount_below(folder)?;
    let left = mount_points_below(folder).map_err(|error| format!("reading the mount table: {error}"))?;
    if let Some(point) = left.first() {
        return Err(format!("{} is still mounted", point.display()));
    }
    tree::remove(folder).map_err(|error| format!("removing {}: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_is_not_there_tells_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let id = PodId { namespace: "n".into(), name: "p".into(), uid: "u".into() };
        let place = Place::new(scratch.path(), &id);
        let last = || place.last_resources("c").map(|resources| resources.map(|resources| resources.limits.is_some()));
        assert_eq!(last().unwrap(), None, "there is no folder");
        fs::create_dir_all(place.container("c")).unwrap();
        assert_eq!(last().unwrap(), None, "there is no file");
        fs::write(place.resources("c", 9), r#"{"limits": {"cpu": "1"}}"#).unwrap();
        assert_eq!(last().unwrap(), Some(true));
        fs::write(place.resources("c", 10), r#"{"limits""#).unwrap();
        assert_eq!(last().unwrap(), None, "the machine went down while it was written");
        fs::create_dir(place.resources("c", 11)).unwrap();
        assert!(last().is_err(), "it cannot be read");
    }

    #[test]
    fn an_unknown_source_is_named() {
        let volume: Volume =
            serde_json::from_value(serde_json::json!({"name": "v", "nfs": {"server": "s", "path": "/"}})).unwrap();
        assert!(unsupported(&volume).starts_with("volume source \"nfs\" is not supported on this node"));
    }
}
