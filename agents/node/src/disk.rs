//! What a pod has on the node's disk, measured when it is asked for. Who may have how much is decided elsewhere.

use std::{collections::BTreeMap, path::PathBuf};

use k8s_openapi::api::core::v1::{Pod, Volume};

use crate::{
    containers::{Refusal, RefusalKind, SharedContainers},
    pod,
    spec::container_name,
    volumes::{Place, usage_bytes},
};

/// Bytes of a pod on the node's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// By volume: those that take the node's own disk.
    pub volumes: BTreeMap<String, u64>,
    pub containers: BTreeMap<String, ContainerBytes>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerBytes {
    /// What it wrote to its root filesystem.
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
        self.volumes.values().sum::<u64>() + self.containers.values().map(|container| container.sum()).sum::<u64>()
    }
}

/// What is to be measured.
pub struct Measure {
    /// Names and folders.
    volumes: Vec<(String, PathBuf)>,
    containers: Vec<Layer>,
    sandbox: String,
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
        }
    }

    pub async fn run(self, runtime: &SharedContainers) -> Result<Written, Refusal> {
        let Measure { volumes, containers, sandbox } = self;
        let mut layers = Vec::with_capacity(containers.len());
        for layer in containers {
            let root = match runtime.written(&sandbox, &layer.id).await {
                Err(refusal) if refusal.kind == RefusalKind::NotFound => 0,
                answer => answer?,
            };
            layers.push((layer, root));
        }
        let sum = move || Written {
            volumes: volumes.into_iter().map(|(name, folder)| (name, usage_bytes(&folder))).collect(),
            containers: layers
                .into_iter()
                .map(|(layer, root)| (layer.name, ContainerBytes { root, logs: usage_bytes(&layer.logs) }))
                .collect(),
        };
        tokio::task::spawn_blocking(sum).await.map_err(|error| Refusal::other(error.to_string()))
    }
}

/// Volumes that take the node's own disk.
pub fn is_on_disk(volume: &Volume) -> bool {
    let empty = volume.empty_dir.as_ref();
    volume.config_map.is_some() || empty.is_some_and(|empty| empty.medium.as_deref().unwrap_or_default().is_empty())
}
