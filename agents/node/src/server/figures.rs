//! What there is on this node, for people and for monitoring: pods, and how many in which state.

use std::sync::Arc;

use http::{Response, StatusCode};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use serde_json::json;

use super::{
    backend::Backend,
    body::{self, Body},
    failure::{self, Refused},
};

pub fn pods(backend: &dyn Backend) -> Response<Body> {
    let pods = backend.pods();
    let items: Vec<&Pod> = pods.iter().map(Arc::as_ref).collect();
    body::json(StatusCode::OK, &json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items }))
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    container_state: &'static str,
}

/// Counted when asked for: the pods' statuses are the truth.
pub fn metrics(backend: &dyn Backend) -> Result<Response<Body>, Refused> {
    let (phases, states) = (Family::<PhaseLabels, Gauge>::default(), Family::<StateLabels, Gauge>::default());
    let running = Gauge::<i64>::default();
    for state in ["running", "waiting", "exited"] {
        states.get_or_create(&StateLabels { container_state: state }).set(0);
    }
    for pod in backend.pods() {
        let Some(status) = &pod.status else { continue };
        let phase = status.phase.clone().unwrap_or_else(|| "Pending".to_owned());
        if phase == "Running" {
            running.inc();
        }
        phases.get_or_create(&PhaseLabels { phase }).inc();
        for container in container_statuses(status) {
            let container_state = state_name(container.state.as_ref());
            states.get_or_create(&StateLabels { container_state }).inc();
        }
    }
    let mut registry = Registry::default();
    registry.register("kubelet_running_pods", "Pods that run", running);
    registry.register("kubelet_running_containers", "Containers by state", states);
    registry.register("kontiki_node_pods", "Pods bound to this node by phase", phases);
    exposed(&registry)
}

/// `/metrics/probes`.
pub fn probes(backend: &dyn Backend) -> Result<Response<Body>, Refused> {
    let mut registry = Registry::default();
    backend.probes().register(&mut registry);
    exposed(&registry)
}

fn exposed(registry: &Registry) -> Result<Response<Body>, Refused> {
    let mut text = String::new();
    encode(&mut text, registry).map_err(|error| failure::internal(&error))?;
    Ok(body::full("application/openmetrics-text; version=1.0.0; charset=utf-8", text))
}

pub fn container_statuses(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten()
}

fn state_name(state: Option<&ContainerState>) -> &'static str {
    match state {
        Some(ContainerState { running: Some(_), .. }) => "running",
        Some(ContainerState { terminated: Some(_), .. }) => "exited",
        Some(_) | None => "waiting",
    }
}
