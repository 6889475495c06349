//! The metrics that cAdvisor tells within the kubelet, as far as this runtime measures: of containers, pods and the machine, by the
//! names that dashboards and alerts ask for.

use std::fmt::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kontiki_runtime::{
    Usage,
    podnet::{Counts, Traffic},
};

use super::{
    exposition::{line, seconds},
    sample::{ContainerSample, PodSample, Sample},
};
use crate::clock::Millis;

struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: Value,
}

enum Value {
    /// Of all processors together.
    Cpu(fn(&Usage) -> u64),
    /// Only of those whose cpu is limited.
    Throttling(fn(&Usage) -> f64),
    /// Of containers and pods, and where it is measured of the machine too.
    Amount(fn(&Usage) -> u64),
    OfPods(fn(&Usage) -> u64),
    Seen,
    Started,
    Received(fn(&Counts) -> u64),
    Sent(fn(&Counts) -> u64),
}

/// In order of their names.
const FAMILIES: &[Family] = &[
    counter(
        "container_cpu_cfs_periods_total",
        "Number of elapsed enforcement period intervals.",
        Value::Throttling(|used| used.throttling.periods as f64),
    ),
    counter(
        "container_cpu_cfs_throttled_periods_total",
        "Number of throttled period intervals.",
        Value::Throttling(|used| used.throttling.throttled_periods as f64),
    ),
    counter(
        "container_cpu_cfs_throttled_seconds_total",
        "Total time duration the container has been throttled.",
        Value::Throttling(|used| seconds(used.throttling.throttled_nanoseconds)),
    ),
    counter(
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed in seconds.",
        Value::Cpu(|used| used.cpu_nanoseconds),
    ),
    gauge("container_last_seen", "Last time a container was seen by the exporter", Value::Seen),
    gauge(
        "container_memory_cache",
        "Number of bytes of page cache memory.",
        Value::OfPods(|used| used.memory_cache_bytes),
    ),
    gauge("container_memory_rss", "Size of RSS in bytes.", Value::OfPods(|used| used.memory_rss_bytes)),
    gauge(
        "container_memory_usage_bytes",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        Value::Amount(|used| used.memory_bytes),
    ),
    gauge(
        "container_memory_working_set_bytes",
        "Current working set in bytes.",
        Value::Amount(|used| used.memory_working_set_bytes),
    ),
    counter(
        "container_network_receive_bytes_total",
        "Cumulative count of bytes received",
        Value::Received(|counts| counts.bytes),
    ),
    counter(
        "container_network_receive_errors_total",
        "Cumulative count of errors encountered while receiving",
        Value::Received(|counts| counts.errors),
    ),
    counter(
        "container_network_receive_packets_dropped_total",
        "Cumulative count of packets dropped while receiving",
        Value::Received(|counts| counts.dropped),
    ),
    counter(
        "container_network_receive_packets_total",
        "Cumulative count of packets received",
        Value::Received(|counts| counts.packets),
    ),
    counter(
        "container_network_transmit_bytes_total",
        "Cumulative count of bytes transmitted",
        Value::Sent(|counts| counts.bytes),
    ),
    counter(
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        Value::Sent(|counts| counts.errors),
    ),
    counter(
        "container_network_transmit_packets_dropped_total",
        "Cumulative count of packets dropped while transmitting",
        Value::Sent(|counts| counts.dropped),
    ),
    counter(
        "container_network_transmit_packets_total",
        "Cumulative count of packets transmitted",
        Value::Sent(|counts| counts.packets),
    ),
    gauge("container_processes", "Number of processes running inside the container.", Value::Amount(|used| used.pids)),
    gauge("container_start_time_seconds", "Start time of the container since unix epoch in seconds.", Value::Started),
];

const fn counter(name: &'static str, help: &'static str, value: Value) -> Family {
    Family { name, kind: "counter", help, value }
}

const fn gauge(name: &'static str, help: &'static str, value: Value) -> Family {
    Family { name, kind: "gauge", help, value }
}

/// Of one cgroup.
struct Figures {
    /// What there is none of is empty.
    labels: [(&'static str, String); 6],
    time_ms: Millis,
    started_s: Option<f64>,
    usage: Usage,
    is_machine: bool,
}

impl Figures {
    /// Labels besides the usual ones, and the value.
    fn of(&self, value: &Value) -> Option<(Option<(&'static str, &'static str)>, f64)> {
        let usage = &self.usage;
        let carried = |counts: fn(&Traffic) -> &Counts, of: &fn(&Counts) -> u64| {
            Some((Some(("interface", "eth0")), of(counts(usage.traffic.as_ref()?)) as f64))
        };
        match value {
            Value::Cpu(of) => Some((Some(("cpu", "total")), seconds(of(usage)))),
            Value::Throttling(of) => (usage.throttling.periods > 0).then(|| (None, of(usage))),
            Value::Amount(of) => Some((None, of(usage) as f64)),
            Value::OfPods(of) => (!self.is_machine).then(|| (None, of(usage) as f64)),
            Value::Seen => Some((None, (self.time_ms / 1000) as f64)),
            Value::Started => self.started_s.map(|started| (None, started)),
            Value::Received(of) => carried(|traffic| &traffic.received, of),
            Value::Sent(of) => carried(|traffic| &traffic.sent, of),
        }
    }

    fn line(&self, name: &str, value: &Value) -> Option<String> {
        let (extra, value) = self.of(value)?;
        let own = self.labels.iter().map(|(name, value)| (*name, value.as_str()));
        let mut labels: Vec<(&str, &str)> = own.chain(extra).collect();
        labels.sort_unstable();
        let labels: Vec<String> = labels.into_iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        Some(line(name, &format!("{{{}}}", labels.join(",")), value, Some(self.time_ms)))
    }
}

pub fn text(sample: &Sample) -> String {
    let mut all: Vec<Figures> = of_machine(sample).into_iter().collect();
    for pod in &sample.pods {
        all.push(of_pod(pod));
        all.extend(pod.containers.iter().map(|container| of_container(pod, container)));
    }
    let mut text = String::new();
    for Family { name, kind, help, value } in FAMILIES {
        let lines: Vec<String> = all.iter().filter_map(|figures| figures.line(name, value)).collect();
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

fn of_machine(sample: &Sample) -> Option<Figures> {
    let load = sample.load.as_ref()?;
    let usage = Usage {
        cpu_nanoseconds: load.cpu_nanoseconds,
        memory_bytes: load.memory.used(),
        memory_working_set_bytes: load.memory.working_set(),
        pids: load.processes,
        ..Usage::default()
    };
    let labels = named([String::new(), "/".to_owned(), String::new(), String::new(), String::new(), String::new()]);
    Some(Figures { labels, time_ms: sample.load_ms, started_s: Some(load.booted_s as f64), usage, is_machine: true })
}

fn of_pod(pod: &PodSample) -> Figures {
    let [namespace, name, uid] = identity(pod);
    let started = pod.pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    Figures {
        labels: named([String::new(), format!("/{uid}"), String::new(), String::new(), namespace, name]),
        time_ms: pod.whole.time_ms,
        started_s: started.map(unix),
        usage: pod.whole.usage,
        is_machine: false,
    }
}

fn of_container(pod: &PodSample, container: &ContainerSample) -> Figures {
    let [namespace, name, uid] = identity(pod);
    let ContainerSample { name: own, id, image, started, measured } = container;
    Figures {
        labels: named([own.clone(), format!("/{uid}/{id}"), image.clone(), format!("{uid}.{id}"), namespace, name]),
        time_ms: measured.time_ms,
        started_s: started.as_ref().map(unix),
        usage: measured.usage,
        is_machine: false,
    }
}

fn named(values: [String; 6]) -> [(&'static str, String); 6] {
    let [container, id, image, name, namespace, pod] = values;
    [("container", container), ("id", id), ("image", image), ("name", name), ("namespace", namespace), ("pod", pod)]
}

fn unix(time: &Time) -> f64 {
    time.0.as_millisecond() as f64 / 1000.0
}

fn identity(pod: &PodSample) -> [String; 3] {
    let metadata = &pod.pod.metadata;
    [&metadata.namespace, &metadata.name, &metadata.uid].map(|text| text.clone().unwrap_or_default())
}
