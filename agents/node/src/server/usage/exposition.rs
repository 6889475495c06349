//! The kubelet's resource metrics as Prometheus reads them, each with the time at which it was measured: whoever scales counts by
//! that, and prometheus-client writes none.

use std::fmt::Write;

use super::sample::{ContainerSample, Measured, PodSample, Sample};
use crate::{clock::Millis, load::Load};

struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    of: Of,
}

/// What the lines of a family are about.
enum Of {
    Containers(fn(&Measured) -> f64),
    ContainerStarts,
    Node(fn(&Load) -> f64),
    Pods(fn(&Measured) -> f64),
    Failures,
}

/// In order of their names.
const FAMILIES: &[Family] = &[
    Family {
        name: "container_cpu_usage_seconds_total",
        kind: "counter",
        help: "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        of: Of::Containers(cpu_seconds),
    },
    Family {
        name: "container_memory_working_set_bytes",
        kind: "gauge",
        help: "[STABLE] Current working set of the container in bytes",
        of: Of::Containers(working_set),
    },
    Family {
        name: "container_start_time_seconds",
        kind: "gauge",
        help: "[STABLE] Start time of the container since unix epoch in seconds",
        of: Of::ContainerStarts,
    },
    Family {
        name: "node_cpu_usage_seconds_total",
        kind: "counter",
        help: "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
        of: Of::Node(|load| seconds(load.cpu_nanoseconds)),
    },
    Family {
        name: "node_memory_working_set_bytes",
        kind: "gauge",
        help: "[STABLE] Current working set of the node in bytes",
        of: Of::Node(|load| load.memory.working_set() as f64),
    },
    Family {
        name: "node_swap_usage_bytes",
        kind: "gauge",
        help: "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems",
        of: Of::Node(|load| load.memory.swap_total.saturating_sub(load.memory.swap_free) as f64),
    },
    Family {
        name: "pod_cpu_usage_seconds_total",
        kind: "counter",
        help: "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
        of: Of::Pods(cpu_seconds),
    },
    Family {
        name: "pod_memory_working_set_bytes",
        kind: "gauge",
        help: "[STABLE] Current working set of the pod in bytes",
        of: Of::Pods(working_set),
    },
    Family {
        name: "resource_scrape_error",
        kind: "gauge",
        help: "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
        of: Of::Failures,
    },
    Family {
        name: "scrape_error",
        kind: "gauge",
        help: "[ALPHA] (Deprecated since 1.29.0) 1 if there was an error while getting container metrics, 0 otherwise",
        of: Of::Failures,
    },
];

pub fn text(sample: &Sample) -> String {
    let mut text = String::new();
    for Family { name, kind, help, of } in FAMILIES {
        let lines = lines(name, of, sample);
        if !lines.is_empty() {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{}", lines.join("\n"));
        }
    }
    text
}

fn lines(name: &str, of: &Of, sample: &Sample) -> Vec<String> {
    let containers = || sample.pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)));
    match of {
        Of::Containers(value) => containers()
            .map(|(pod, container)| {
                let measured = &container.measured;
                line(name, &of_container(pod, container), value(measured), Some(measured.time_ms))
            })
            .collect(),
        Of::ContainerStarts => containers()
            .filter_map(|(pod, container)| {
                let started = container.started.as_ref()?.0.as_millisecond() as f64 / 1000.0;
                Some(line(name, &of_container(pod, container), started, None))
            })
            .collect(),
        Of::Node(value) => sample.load.iter().map(|load| line(name, "", value(load), Some(sample.load_ms))).collect(),
        Of::Pods(value) => {
            let of_pod = |pod: &PodSample| {
                let labels = format!("{{{}}}", pod_labels(pod));
                line(name, &labels, value(&pod.whole), Some(pod.whole.time_ms))
            };
            sample.pods.iter().map(of_pod).collect()
        }
        Of::Failures => vec![line(name, "", f64::from(u8::from(sample.load.is_none())), None)],
    }
}

pub fn line(name: &str, labels: &str, value: f64, time_ms: Option<Millis>) -> String {
    match time_ms {
        Some(time_ms) => format!("{name}{labels} {value} {time_ms}"),
        None => format!("{name}{labels} {value}"),
    }
}

/// Names of Kubernetes hold nothing that would have to be escaped.
fn of_container(pod: &PodSample, container: &ContainerSample) -> String {
    format!("{{container=\"{}\",{}}}", container.name, pod_labels(pod))
}

fn pod_labels(pod: &PodSample) -> String {
    let metadata = &pod.pod.metadata;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("namespace=\"{}\",pod=\"{}\"", text(&metadata.namespace), text(&metadata.name))
}

fn cpu_seconds(measured: &Measured) -> f64 {
    seconds(measured.usage.cpu_nanoseconds)
}

fn working_set(measured: &Measured) -> f64 {
    measured.usage.memory_working_set_bytes as f64
}

pub fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}
