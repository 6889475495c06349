//! What there is on this node, for people and for monitoring: pods, metrics, use of resources.

use std::sync::Arc;

use chrono::{SecondsFormat, Utc};
use http::{Response, StatusCode};
use k8s_openapi::{
    api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kontiki_runtime::Usage;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use serde_json::{Value, json};

use super::{
    backend::{Backend, Place},
    body::{self, Body},
    failure::{self, Refused},
    host::HostUsage,
};
use crate::containers::Refusal;

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
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| failure::internal(&error))?;
    Ok(body::full("application/openmetrics-text; version=1.0.0; charset=utf-8", text))
}

fn container_statuses(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten()
}

/// The containers of a pod that run, since when, and where.
pub fn running(backend: &dyn Backend, pod: &Pod) -> Vec<(ContainerStatus, Option<Timestamp>, Place)> {
    let statuses = pod.status.iter().flat_map(container_statuses).filter_map(|status| {
        let running = status.state.as_ref()?.running.as_ref()?;
        let place = backend.place(pod, status.container_id.as_deref()?)?;
        Some((status.clone(), running.started_at.as_ref().map(|time| time.0), place))
    });
    statuses.collect()
}

fn state_name(state: Option<&ContainerState>) -> &'static str {
    match state {
        Some(ContainerState { running: Some(_), .. }) => "running",
        Some(ContainerState { terminated: Some(_), .. }) => "exited",
        Some(_) | None => "waiting",
    }
}

/// `stats.alpha1.Summary`, of the pods and containers that run. What cannot be measured is left out.
pub async fn summary(backend: &dyn Backend) -> Response<Body> {
    let mut pods = Vec::new();
    for pod in backend.pods() {
        if let Some(stats) = pod_stats(backend, &pod).await {
            pods.push(stats);
        }
    }
    body::json(StatusCode::OK, &json!({ "node": node_stats(backend.node_name()), "pods": pods }))
}

fn node_stats(name: &str) -> Value {
    let time = now();
    match HostUsage::measure() {
        Ok(host) => json!({
            "nodeName": name,
            "cpu": { "time": time, "usageCoreNanoSeconds": (host.cpu_seconds * 1e9) as u64 },
            "memory": {
                "time": time,
                "availableBytes": host.memory_available_bytes,
                "usageBytes": host.memory_bytes,
                "workingSetBytes": host.memory_working_set_bytes,
            },
        }),
        Err(error) => {
            tracing::debug!(%error, "no figures");
            json!({ "nodeName": name })
        }
    }
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}

async fn pod_stats(backend: &dyn Backend, pod: &Pod) -> Option<Value> {
    let whole = measured(backend.usage(pod, None).await)?;
    let mut containers = Vec::new();
    for (status, started, place) in running(backend, pod) {
        if let Some(mut stats) = measured(backend.usage(pod, Some(&place)).await) {
            stats["name"] = json!(status.name);
            stats["startTime"] = json!(started.map(Time));
            containers.push(stats);
        }
    }
    let mut stats = whole;
    let metadata = &pod.metadata;
    stats["podRef"] = json!({ "name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid });
    stats["startTime"] = json!(pod.status.as_ref().and_then(|status| status.start_time.as_ref()));
    stats["containers"] = json!(containers);
    Some(stats)
}

fn measured(usage: Result<Usage, Refusal>) -> Option<Value> {
    match usage {
        Ok(usage) => {
            let time = now();
            Some(json!({
                "cpu": { "time": time, "usageCoreNanoSeconds": usage.cpu_nanoseconds },
                "memory": {
                    "time": time,
                    "usageBytes": usage.memory_bytes,
                    "workingSetBytes": usage.memory_working_set_bytes,
                },
                "process_stats": { "process_count": usage.pids },
            }))
        }
        Err(error) => {
            tracing::debug!(%error, "no figures");
            None
        }
    }
}
