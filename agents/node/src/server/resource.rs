//! `GET /metrics/resource`: what the node, its pods and their containers use, as metrics-server and `kubectl top` count it.

use std::sync::atomic::AtomicU64;

use http::Response;
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{
    backend::Backend,
    body::{self, Body},
    failure::{self, Refused},
    figures::running,
    host::HostUsage,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PodLabels {
    pod: String,
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ContainerLabels {
    container: String,
    pod: String,
    namespace: String,
}

type Seconds = Counter<f64, AtomicU64>;

#[derive(Default)]
struct Figures {
    node_cpu: Seconds,
    node_memory: Gauge,
    pod_cpu: Family<PodLabels, Seconds>,
    pod_memory: Family<PodLabels, Gauge>,
    container_cpu: Family<ContainerLabels, Seconds>,
    container_memory: Family<ContainerLabels, Gauge>,
    container_start: Family<ContainerLabels, Gauge<f64, AtomicU64>>,
    scrape_error: Gauge,
}

/// Measured when asked for. What cannot be measured is left out, and told to be so.
pub async fn resource(backend: &dyn Backend) -> Result<Response<Body>, Refused> {
    let figures = Figures::default();
    match HostUsage::measure() {
        Ok(host) => {
            figures.node_cpu.inc_by(host.cpu_seconds);
            figures.node_memory.set(whole(host.memory_working_set_bytes));
        }
        Err(error) => figures.fails(&error),
    }
    for pod in backend.pods() {
        figures.count(backend, &pod).await;
    }
    let mut text = String::new();
    encode(&mut text, &figures.registry()).map_err(|error| failure::internal(&error))?;
    Ok(body::full("application/openmetrics-text; version=1.0.0; charset=utf-8", text))
}

impl Figures {
    async fn count(&self, backend: &dyn Backend, pod: &Pod) {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        let labels = PodLabels { pod: name(&pod.metadata.name), namespace: name(&pod.metadata.namespace) };
        let mut measured = Vec::new();
        for (status, started, place) in running(backend, pod) {
            match backend.usage(pod, Some(&place)).await {
                Ok(usage) => measured.push((status.name.clone(), started, usage)),
                Err(error) => self.fails(&error),
            }
        }
        if measured.is_empty() {
            return;
        }
        match backend.usage(pod, None).await {
            Ok(usage) => {
                self.pod_cpu.get_or_create(&labels).inc_by(seconds(usage.cpu_nanoseconds));
                self.pod_memory.get_or_create(&labels).set(whole(usage.memory_working_set_bytes));
            }
            Err(error) => self.fails(&error),
        }
        let PodLabels { pod, namespace } = labels;
        for (container, started, usage) in measured {
            let labels = ContainerLabels { container, pod: pod.clone(), namespace: namespace.clone() };
            self.container_cpu.get_or_create(&labels).inc_by(seconds(usage.cpu_nanoseconds));
            self.container_memory.get_or_create(&labels).set(whole(usage.memory_working_set_bytes));
            if let Some(started) = started {
                self.container_start
                    .get_or_create(&labels)
                    .set(started.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64());
            }
        }
    }

    fn fails(&self, error: &dyn std::fmt::Display) {
        tracing::debug!(%error, "no figures");
        self.scrape_error.set(1);
    }

    fn registry(self) -> Registry {
        let mut registry = Registry::default();
        let used = |of: &str| format!("Time that the {of} has used of processors");
        let holds = |of: &str| format!("Memory of the {of} that could not be given back at once");
        registry.register("node_cpu_usage_seconds", used("node"), self.node_cpu);
        registry.register("node_memory_working_set_bytes", holds("node"), self.node_memory);
        registry.register("pod_cpu_usage_seconds", used("pod"), self.pod_cpu);
        registry.register("pod_memory_working_set_bytes", holds("pod"), self.pod_memory);
        registry.register("container_cpu_usage_seconds", used("container"), self.container_cpu);
        registry.register("container_memory_working_set_bytes", holds("container"), self.container_memory);
        registry.register("container_start_time_seconds", "When the container was started", self.container_start);
        registry.register("resource_scrape_error", "1 where something could not be measured", self.scrape_error);
        registry
    }
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
