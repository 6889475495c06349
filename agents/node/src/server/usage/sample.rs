//! One look at what the machine, its pods and their containers use.

use std::sync::Arc;

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time};
use kontiki_runtime::Usage;

use crate::{
    clock::{self, Millis},
    containers::Refusal,
    load::Load,
    server::{
        backend::{Backend, Place},
        figures::container_statuses,
    },
};

pub struct Sample {
    /// `None` if the kernel did not tell.
    pub load: Option<Load>,
    pub load_ms: Millis,
    /// Those that run.
    pub pods: Vec<PodSample>,
}

pub struct PodSample {
    pub pod: Arc<Pod>,
    pub whole: Measured,
    /// Those that run.
    pub containers: Vec<ContainerSample>,
}

pub struct ContainerSample {
    pub name: String,
    /// The runtime's name.
    pub id: String,
    pub image: String,
    pub started: Option<Time>,
    pub measured: Measured,
}

pub struct Measured {
    pub time_ms: Millis,
    pub usage: Usage,
}

impl Sample {
    pub async fn take(backend: &dyn Backend) -> Sample {
        let load_ms = clock::now();
        let load = known(backend.load());
        let mut pods = Vec::new();
        for pod in backend.pods() {
            let Some(whole) = measure(backend, &pod, None).await else { continue };
            let containers = containers(backend, &pod).await;
            pods.push(PodSample { pod, whole, containers });
        }
        Sample { load, load_ms, pods }
    }
}

async fn containers(backend: &dyn Backend, pod: &Pod) -> Vec<ContainerSample> {
    let mut found = Vec::new();
    for status in pod.status.iter().flat_map(container_statuses) {
        let Some(running) = status.state.as_ref().and_then(|state| state.running.as_ref()) else { continue };
        let Some(place) = status.container_id.as_deref().and_then(|id| backend.place(pod, id)) else { continue };
        if let Some(measured) = measure(backend, pod, Some(&place)).await {
            let (name, image, started) = (status.name.clone(), status.image.clone(), running.started_at.clone());
            found.push(ContainerSample { name, id: place.container, image, started, measured });
        }
    }
    found
}

async fn measure(backend: &dyn Backend, pod: &Pod, place: Option<&Place>) -> Option<Measured> {
    let time_ms = clock::now();
    let usage = known(backend.usage(pod, place).await)?;
    Some(Measured { time_ms, usage })
}

fn known<T>(answer: Result<T, Refusal>) -> Option<T> {
    match answer {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::debug!(%error, "no figures");
            None
        }
    }
}
