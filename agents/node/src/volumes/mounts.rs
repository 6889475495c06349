//! What one container sees of its pod's volumes, and where.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{Container, Pod, Volume, VolumeMount};
use kontiki_runtime::{
    spec::{Mount, Propagation},
    tree,
};

use super::{
    place::{Place, unmount_below},
    subpath,
};
use crate::{env::expand, pod};

/// What the machine has for a pod's volumes.
#[derive(Clone, Copy)]
pub struct Mountable<'a> {
    pub place: &'a Place,
    /// Images that are volumes, by name of the volume.
    pub images: &'a BTreeMap<String, PathBuf>,
    /// A mount can be made read-only with all that is mounted below it.
    pub recursive_read_only: bool,
}

/// The mounts of one attempt; blocking, because a `subPath` is pinned by a mount of its own.
pub fn container_mounts(
    pod: &Pod,
    container: &Container,
    attempt: u32,
    variables: &BTreeMap<String, String>,
    mountable: Mountable<'_>,
) -> Result<Vec<Mount>, String> {
    let Mountable { place, images, recursive_read_only } = mountable;
    let spec = pod::spec(pod);
    let volumes = spec.volumes.unwrap_or_default();
    let mut mounts = Vec::new();
    for (index, wanted) in container.volume_mounts.iter().flatten().enumerate() {
        let volume = volumes
            .iter()
            .find(|volume| volume.name == wanted.name)
            .ok_or_else(|| format!("the pod has no volume {:?}", wanted.name))?;
        let root = source(volume, place, images)?;
        let source = match sub_path(wanted, variables)? {
            Some(path) => {
                let target = place.subpath(&container.name, attempt, index);
                subpath::pin(&root, &path, &target)?;
                target
            }
            None => root,
        };
        mounts.push(Mount {
            source,
            destination: absolute(&wanted.mount_path),
            read_only: wanted.read_only == Some(true) || is_read_only(volume),
            recursive_read_only: is_recursive(wanted, recursive_read_only)?,
            propagation: propagation(wanted.mount_propagation.as_deref()),
        });
    }
    Ok(mounts)
}

/// Undoes what `container_mounts` has pinned; blocking.
pub fn release_container(place: &Place, container: &str, attempt: u32) -> Result<(), String> {
    let folder = place.subpaths(container, attempt);
    if !folder.exists() {
        return Ok(());
    }
    unmount_below(&folder)?;
    tree::remove(&folder).map_err(|error| format!("removing {}: {error}", folder.display()))
}

fn source(volume: &Volume, place: &Place, images: &BTreeMap<String, PathBuf>) -> Result<PathBuf, String> {
    match (&volume.host_path, images.get(&volume.name)) {
        (Some(host), _) => Ok(PathBuf::from(&host.path)),
        (None, Some(image)) => Ok(image.clone()),
        (None, None) => place.volume(volume),
    }
}

/// Kubernetes mounts what comes from objects and images read-only, whatever the container asks.
fn is_read_only(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
        || volume.image.is_some()
}

fn is_recursive(wanted: &VolumeMount, able: bool) -> Result<bool, String> {
    match wanted.recursive_read_only.as_deref() {
        Some("Enabled") if !able => Err(format!(
            "failed to resolve recursive read-only mode: volume {:?} requested recursive read-only mode, but it is not \
             supported by the runtime",
            wanted.name
        )),
        Some("Enabled" | "IfPossible") => Ok(able),
        _ => Ok(false),
    }
}

fn absolute(path: &str) -> PathBuf {
    Path::new("/").join(path)
}

fn propagation(text: Option<&str>) -> Propagation {
    match text {
        Some("HostToContainer") => Propagation::HostToContainer,
        Some("Bidirectional") => Propagation::Bidirectional,
        _ => Propagation::Private,
    }
}

fn sub_path(wanted: &VolumeMount, variables: &BTreeMap<String, String>) -> Result<Option<String>, String> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let Some(expression) = given(&wanted.sub_path_expr) else { return Ok(given(&wanted.sub_path)) };
    let path = expand(&expression, variables);
    if path.contains("$(") {
        return Err(format!("subPathExpr {expression:?} names a variable that the container does not have"));
    }
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(format!("subPathExpr {expression:?} became {path:?}, which is not below the volume"));
    }
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_only_throughout_where_that_is_asked_and_possible() {
        let asked = |mode: Option<&str>, able: bool| {
            let wanted = VolumeMount {
                name: "v".into(),
                recursive_read_only: mode.map(str::to_owned),
                ..VolumeMount::default()
            };
            is_recursive(&wanted, able)
        };
        for (mode, able, expected) in [
            (None, true, false),
            (Some("Disabled"), true, false),
            (Some("IfPossible"), true, true),
            (Some("IfPossible"), false, false),
            (Some("Enabled"), true, true),
        ] {
            assert_eq!(asked(mode, able), Ok(expected), "{mode:?}");
        }
        let refused = "failed to resolve recursive read-only mode: volume \"v\" requested recursive read-only mode, \
                       but it is not supported by the runtime";
        assert_eq!(asked(Some("Enabled"), false), Err(refused.to_owned()));
    }
}
