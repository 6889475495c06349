//! A pod's volumes on this machine: made before its containers, kept up to date while they run, removed after them.
//! Knows folders, mounts and the objects that fill them; nothing of containers but where they want what.

mod atomic;
mod file;
mod host_path;
mod mounts;
mod payload;
mod place;
mod subpath;

use std::{collections::BTreeMap, path::PathBuf};

use k8s_openapi::{
    api::core::v1::{EmptyDirVolumeSource, Pod, Volume},
    apimachinery::pkg::api::resource::Quantity,
};

use self::{atomic::Ownership, payload::Payload};
pub use self::{
    file::read as read_file,
    mounts::{Mountable, container_mounts, release_container},
    payload::{Sources, Token, TokenKey, expiring_at_ms, renew_at_ms, tokens_of},
    place::{Place, remove_pod_folder, told},
};
use crate::{quantity, spec::resources};

/// A volume that cannot be had (yet): which one, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeProblem {
    pub volume: String,
    pub message: String,
}

/// Makes or refreshes every volume of the pod; blocking.
pub fn prepare(pod: &Pod, place: &Place, sources: &Sources<'_>) -> Result<(), Vec<VolumeProblem>> {
    let spec = crate::pod::spec(pod);
    let fs_group = spec.security_context.as_ref().and_then(|context| context.fs_group);
    let ownership = Ownership { fs_group: fs_group.and_then(|group| u32::try_from(group).ok()) };
    let mut problems = Vec::new();
    for volume in spec.volumes.iter().flatten() {
        if let Err(message) = one(pod, volume, place, sources, ownership) {
            problems.push(VolumeProblem { volume: volume.name.clone(), message });
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn one(pod: &Pod, volume: &Volume, place: &Place, sources: &Sources<'_>, ownership: Ownership) -> Result<(), String> {
    if let Some(host) = &volume.host_path {
        return host_path::check(host.path.as_ref(), host.type_.as_deref().unwrap_or_default());
    }
    if volume.image.is_some() {
        // It is had, or cannot be, when a container that mounts it starts.
        return Ok(());
    }
    let folder = place.volume(volume)?;
    if let Some(empty) = &volume.empty_dir {
        let mode = ownership.root_mode(0o777);
        return match empty.medium.as_deref().unwrap_or_default() {
            "" => place::make_folder(&folder, mode, ownership.fs_group),
            "Memory" => place::mount_tmpfs(&folder, memory_limit(pod, empty, sources), mode, ownership.fs_group),
            medium => Err(format!("emptyDir medium {medium:?} is not supported on this node: use \"\" or \"Memory\"")),
        };
    }
    let payload: Payload = payload::of(pod, volume, sources)?;
    match payload.in_memory {
        true => place::mount_tmpfs(&folder, None, 0o755, None)?,
        false => place::make_folder(&folder, 0o755, None)?,
    }
    atomic::write(&folder, &payload.files, ownership).map_err(|error| format!("writing {}: {error}", folder.display()))
}

/// How much memory an `emptyDir` takes at the most: no more than it may, its pod may, and there is for pods.
fn memory_limit(pod: &Pod, empty: &EmptyDirVolumeSource, sources: &Sources<'_>) -> Option<i64> {
    let own = empty.size_limit.as_ref().map(|Quantity(text)| quantity::value(text));
    let of_pod = resources::of_pod(&crate::pod::spec(pod)).memory_bytes;
    let of_node = sources.allocatable.get("memory").map(|text| quantity::value(text));
    [own, of_pod, of_node].into_iter().flatten().filter(|limit| *limit > 0).min()
}

/// Names of the ConfigMaps and Secrets that a pod refers to anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    pub config_maps: std::collections::BTreeSet<String>,
    pub secrets: std::collections::BTreeSet<String>,
}

pub fn references(pod: &Pod) -> References {
    let spec = crate::pod::spec(pod);
    let mut found = References::default();
    for volume in spec.volumes.iter().flatten() {
        found.config_maps.extend(volume.config_map.iter().map(|map| map.name.clone()));
        found.secrets.extend(volume.secret.iter().filter_map(|secret| secret.secret_name.clone()));
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            found.config_maps.extend(source.config_map.iter().map(|map| map.name.clone()));
            found.secrets.extend(source.secret.iter().map(|secret| secret.name.clone()));
        }
    }
    for container in crate::pod::all_containers(&spec) {
        for source in container.env_from.iter().flatten() {
            found.config_maps.extend(source.config_map_ref.iter().map(|map| map.name.clone()));
            found.secrets.extend(source.secret_ref.iter().map(|secret| secret.name.clone()));
        }
        for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            found.config_maps.extend(source.config_map_key_ref.iter().map(|key| key.name.clone()));
            found.secrets.extend(source.secret_key_ref.iter().map(|key| key.name.clone()));
        }
    }
    found.secrets.extend(spec.image_pull_secrets.iter().flatten().map(|secret| secret.name.clone()));
    found.config_maps.retain(|name| !name.is_empty());
    found.secrets.retain(|name| !name.is_empty());
    found
}

/// Files of a volume: path below its root to content and mode.
pub type Files = BTreeMap<PathBuf, File>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub content: Vec<u8>,
    pub mode: u32,
    /// Whose it is, where that is not root.
    pub owner: Option<u32>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::env::Objects;

    struct Nothing;

    impl Objects for Nothing {
        fn config_map(&self, _: &str) -> Option<k8s_openapi::api::core::v1::ConfigMap> {
            None
        }

        fn secret(&self, _: &str) -> Option<k8s_openapi::api::core::v1::Secret> {
            None
        }
    }

    #[test]
    fn memory_of_a_volume_is_bounded_by_itself_its_pod_and_the_node() {
        const MI: i64 = 1 << 20;
        let allocatable = BTreeMap::from([("memory".to_owned(), "100Mi".to_owned())]);
        let (objects, tokens) = (Nothing, BTreeMap::new());
        let sources =
            Sources { objects: &objects, tokens: &tokens, allocatable: &allocatable, host_ip: "", pod_ip: "" };
        for (volume, limits, expected) in [
            (json!({}), Value::Null, 100 * MI),
            (json!({}), json!({"memory": "50Mi"}), 50 * MI),
            (json!({"sizeLimit": "20Mi"}), json!({"memory": "50Mi"}), 20 * MI),
            (json!({"sizeLimit": "90Mi"}), json!({"memory": "50Mi"}), 50 * MI),
            (json!({"sizeLimit": "0"}), json!({"memory": "1Gi"}), 100 * MI),
        ] {
            let container = json!({"name": "c", "resources": {"limits": limits}});
            let pod = serde_json::from_value(json!({"spec": {"containers": [container]}})).unwrap();
            let empty = serde_json::from_value(volume.clone()).unwrap();
            assert_eq!(memory_limit(&pod, &empty, &sources), Some(expected), "{volume} {limits}");
        }
    }

    #[test]
    fn a_volume_s_users_may_change_whose_it_is_and_who_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = tempfile::tempdir().unwrap();
        // Others than root may give to their own group only.
        let group = nix::unistd::getgid().as_raw();
        let (objects, tokens, allocatable) = (Nothing, BTreeMap::new(), BTreeMap::new());
        let sources =
            Sources { objects: &objects, tokens: &tokens, allocatable: &allocatable, host_ip: "", pod_ip: "" };
        for (context, expected) in [(json!({"fsGroup": group}), 0o2777), (json!({}), 0o777)] {
            let spec =
                json!({"containers": [], "securityContext": context, "volumes": [{"name": "e", "emptyDir": {}}]});
            let metadata = json!({"name": "p", "namespace": "n", "uid": expected.to_string()});
            let pod: Pod = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
            let place = Place::new(scratch.path(), &crate::pod::PodId::of(&pod));
            let folder = place.volume(&pod.spec.as_ref().unwrap().volumes.as_ref().unwrap()[0]).unwrap();
            let mode = || std::fs::metadata(&folder).unwrap().permissions().mode() & 0o7777;
            prepare(&pod, &place, &sources).unwrap();
            assert_eq!(mode(), expected);
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
            prepare(&pod, &place, &sources).unwrap();
            assert_eq!(mode(), 0o700);
        }
    }
}
