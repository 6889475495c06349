//! What a pod has on the node's disk, measured when it is asked for. Who may have how much is decided elsewhere.

use std::{collections::BTreeMap, io, path::PathBuf};

use k8s_openapi::api::core::v1::{Pod, Volume};
use kontiki_runtime::tree::usage_bytes;

use crate::{
    containers::{Refusal, RefusalKind, SharedContainers},
    host_files, pod,
    spec::container_name,
    volumes::Place,
};

/// Bytes of a pod on the node's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// By volume: those that take the node's own disk.
    pub volumes: BTreeMap<String, u64>,
    pub containers: BTreeMap<String, ContainerBytes>,
    /// Its hosts file and the like, which all containers may write to.
    pub host_files: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerBytes {
    /// What it wrote to its root filesystem, and as its last words.
    pub root: u64,
    pub logs: u64,
}

impl ContainerBytes {
    pub fn sum(self) -> u64 {
        self.root + self.logs
    }
}

impl Written {
    pub fn sum(&self) -> u64 {
        let containers: u64 = self.containers.values().map(|container| container.sum()).sum();
        self.volumes.values().sum::<u64>() + containers + self.host_files
    }
}

/// What is to be measured.
pub struct Measure {
    /// Names and folders.
    volumes: Vec<(String, PathBuf)>,
    containers: Vec<Layer>,
    sandbox: String,
    place: Place,
}

struct Layer {
    name: String,
    /// The runtime's name.
    id: String,
    logs: PathBuf,
}

impl Measure {
    /// `attempts` are names of containers with the number of what runs, or ran last, of each.
    pub fn new<'a>(
        pod: &Pod,
        place: &Place,
        sandbox: &str,
        attempts: impl IntoIterator<Item = (&'a str, u32)>,
    ) -> Measure {
        let spec = pod::spec(pod);
        let on_disk = spec.volumes.iter().flatten().filter(|volume| is_on_disk(volume));
        let layers = attempts.into_iter().map(|(name, attempt)| Layer {
            name: name.to_owned(),
            id: container_name(name, attempt),
            logs: place.logs().join(name),
        });
        Measure {
            volumes: on_disk.filter_map(|volume| Some((volume.name.clone(), place.volume(volume).ok()?))).collect(),
            containers: layers.collect(),
            sandbox: sandbox.to_owned(),
            place: place.clone(),
        }
    }

    pub async fn run(self, runtime: &SharedContainers) -> Result<Written, Refusal> {
        let Measure { volumes, containers, sandbox, place } = self;
        let mut layers = Vec::with_capacity(containers.len());
        for layer in containers {
            let root = match runtime.written(&sandbox, &layer.id).await {
                Err(refusal) if refusal.kind == RefusalKind::NotFound => 0,
                answer => answer?,
            };
            layers.push((layer, root));
        }
        let sum = move || -> io::Result<Written> {
            let of_volume = |(name, folder): (String, PathBuf)| Ok((name, usage_bytes(&folder)?));
            let of_container = |(layer, root): (Layer, u64)| {
                let messages = sum_of(place.termination_messages(&layer.name)?)?;
                Ok((layer.name, ContainerBytes { root: root + messages, logs: usage_bytes(&layer.logs)? }))
            };
            Ok(Written {
                volumes: volumes.into_iter().map(of_volume).collect::<io::Result<_>>()?,
                containers: layers.into_iter().map(of_container).collect::<io::Result<_>>()?,
                host_files: sum_of(host_files::paths(&place.pod()))?,
            })
        };
        let sum = tokio::task::spawn_blocking(sum).await.map_err(io::Error::other).flatten();
        sum.map_err(|error| Refusal::other(format!("measuring what the pod has written: {error}")))
    }
}

fn sum_of(paths: impl IntoIterator<Item = PathBuf>) -> io::Result<u64> {
    paths.into_iter().map(|path| usage_bytes(&path)).sum()
}

/// Volumes that take the node's own disk.
pub fn is_on_disk(volume: &Volume) -> bool {
    let empty = volume.empty_dir.as_ref();
    volume.config_map.is_some() || empty.is_some_and(|empty| empty.medium.as_deref().unwrap_or_default().is_empty())
}
