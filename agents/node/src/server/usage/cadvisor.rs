//! The metrics that cAdvisor tells within the kubelet, as far as this runtime measures: of containers, pods and the machine, by the
//! names that dashboards and alerts ask for.

use std::fmt::Write;

use super::{
    exposition::{line, seconds},
    sample::{ContainerSample, Measured, PodSample, Sample},
};
use crate::clock::Millis;

struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Figures) -> Option<f64>,
}

/// In order of their names.
const FAMILIES: &[Family] = &[
    Family {
        name: "container_cpu_usage_seconds_total",
        kind: "counter",
        help: "Cumulative cpu time consumed in seconds.",
        value: |figures| Some(seconds(figures.cpu_nanoseconds)),
    },
    Family {
        name: "container_last_seen",
        kind: "gauge",
        help: "Last time a container was seen by the exporter",
        value: |figures| Some((figures.time_ms / 1000) as f64),
    },
    Family {
        name: "container_memory_usage_bytes",
        kind: "gauge",
        help: "Current memory usage in bytes, including all memory regardless of when it was accessed",
        value: |figures| Some(figures.memory as f64),
    },
    Family {
        name: "container_memory_working_set_bytes",
        kind: "gauge",
        help: "Current working set in bytes.",
        value: |figures| Some(figures.working_set as f64),
    },
    Family {
        name: "container_processes",
        kind: "gauge",
        help: "Number of processes running inside the container.",
        value: |figures| Some(figures.processes as f64),
    },
    Family {
        name: "container_start_time_seconds",
        kind: "gauge",
        help: "Start time of the container since unix epoch in seconds.",
        value: |figures| figures.started_s,
    },
];

/// Of one cgroup.
struct Figures {
    /// Container, id, image, name, namespace and pod; what there is none of is empty.
    labels: [(&'static str, String); 6],
    time_ms: Millis,
    started_s: Option<f64>,
    cpu_nanoseconds: u64,
    memory: u64,
    working_set: u64,
    processes: u64,
}

pub fn text(sample: &Sample) -> String {
    let mut all: Vec<Figures> = of_node(sample).into_iter().collect();
    for pod in &sample.pods {
        all.push(of_pod(pod));
        all.extend(pod.containers.iter().map(|container| of_container(pod, container)));
    }
    let mut text = String::new();
    for Family { name, kind, help, value } in FAMILIES {
        let of = |figures: &Figures| Some(line(name, &labels(name, figures), value(figures)?, Some(figures.time_ms)));
        let lines: Vec<String> = all.iter().filter_map(of).collect();
        if !lines.is_empty() {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{}", lines.join("\n"));
        }
    }
    if let Some(load) = &sample.load {
        let (name, help) = ("machine_memory_bytes", "Amount of memory installed on the machine.");
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {}", load.memory.total);
    }
    text
}

/// Figures of processors are told of all of them together.
fn labels(family: &str, figures: &Figures) -> String {
    let total = family.starts_with("container_cpu").then(|| ("cpu", "total".to_owned()));
    let mut labels: Vec<(&str, String)> = figures.labels.iter().cloned().chain(total).collect();
    labels.sort();
    let labels: Vec<String> = labels.into_iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", labels.join(","))
}

fn of_node(sample: &Sample) -> Option<Figures> {
    let load = sample.load.as_ref()?;
    Some(Figures {
        labels: named([String::new(), "/".to_owned(), String::new(), String::new(), String::new(), String::new()]),
        time_ms: sample.load_ms,
        started_s: Some(load.booted_s as f64),
        cpu_nanoseconds: load.cpu_nanoseconds,
        memory: load.memory.used(),
        working_set: load.memory.working_set(),
        processes: load.processes,
    })
}

fn of_pod(pod: &PodSample) -> Figures {
    let [namespace, name, uid] = identity(pod);
    let started = pod.pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let started_s = started.map(|time| time.0.as_millisecond() as f64 / 1000.0);
    let labels = named([String::new(), format!("/{uid}"), String::new(), String::new(), namespace, name]);
    measured(labels, started_s, &pod.whole)
}

fn of_container(pod: &PodSample, container: &ContainerSample) -> Figures {
    let [namespace, name, uid] = identity(pod);
    let ContainerSample { name: own, id, image, started, .. } = container;
    let started_s = started.as_ref().map(|time| time.0.as_millisecond() as f64 / 1000.0);
    let labels = named([own.clone(), format!("/{uid}/{id}"), image.clone(), format!("{uid}.{id}"), namespace, name]);
    measured(labels, started_s, &container.measured)
}

fn named(values: [String; 6]) -> [(&'static str, String); 6] {
    let [container, id, image, name, namespace, pod] = values;
    [("container", container), ("id", id), ("image", image), ("name", name), ("namespace", namespace), ("pod", pod)]
}

fn measured(labels: [(&'static str, String); 6], started_s: Option<f64>, measured: &Measured) -> Figures {
    let usage = &measured.usage;
    Figures {
        labels,
        time_ms: measured.time_ms,
        started_s,
        cpu_nanoseconds: usage.cpu_nanoseconds,
        memory: usage.memory_bytes,
        working_set: usage.memory_working_set_bytes,
        processes: usage.pids,
    }
}

fn identity(pod: &PodSample) -> [String; 3] {
    let metadata = &pod.pod.metadata;
    [&metadata.namespace, &metadata.name, &metadata.uid].map(|text| text.clone().unwrap_or_default())
}
