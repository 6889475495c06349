//! What pods and the machine use, in the forms that the kubelet has for it: a summary, metrics that are read every few seconds by
//! whoever scales, and cAdvisor's metrics.

mod cadvisor;
mod exposition;
mod sample;

use http::{Response, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use self::sample::{ContainerSample, Measured, PodSample, Sample};
use super::{
    backend::Backend,
    body::{self, Body},
    query::Query,
};
use crate::{
    clock::api_time,
    disk::{ContainerBytes, Written},
    load::{Disk, Load},
};

/// `/metrics/resource`.
pub async fn metrics(backend: &dyn Backend) -> Response<Body> {
    let sample = Sample::take(backend).await;
    body::full(PROMETHEUS, exposition::text(&sample))
}

/// `/metrics/cadvisor`.
pub async fn cadvisor(backend: &dyn Backend) -> Response<Body> {
    let sample = Sample::take(backend).await;
    body::full(PROMETHEUS, cadvisor::text(&sample))
}

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `stats.alpha1.Summary`, of the pods and containers that run. What cannot be measured is left out; what is on disk too
/// where only cpu and memory are asked for.
pub async fn summary(backend: &dyn Backend, query: Option<&str>) -> Response<Body> {
    let with_disk = !Query::parse(query).flag("only_cpu_and_memory");
    let sample = Sample::take(backend).await;
    let mut pods = Vec::new();
    for pod in &sample.pods {
        let written = match with_disk {
            true => backend.written(&pod.pod).await.ok(),
            false => None,
        };
        pods.push(pod_stats(pod, sample.load.as_ref(), written.as_ref()));
    }
    let node = node_stats(backend.node_name(), &sample, with_disk);
    body::json(StatusCode::OK, &json!({ "node": node, "pods": pods }))
}

fn node_stats(name: &str, sample: &Sample, with_disk: bool) -> Value {
    let mut node = json!({ "nodeName": name });
    let Some(load) = &sample.load else { return node };
    let (time, memory) = (api_time(sample.load_ms), load.memory);
    node["startTime"] = json!(api_time(load.booted_s * 1000));
    node["cpu"] = json!({ "time": time, "usageCoreNanoSeconds": load.cpu_nanoseconds });
    node["memory"] = json!({
        "time": time,
        "availableBytes": memory.available,
        "usageBytes": memory.used(),
        "workingSetBytes": memory.working_set(),
    });
    node["swap"] = json!({
        "time": time,
        "swapAvailableBytes": memory.swap_free,
        "swapUsageBytes": memory.swap_total.saturating_sub(memory.swap_free),
    });
    node["rlimit"] = json!({ "time": time, "maxpid": load.processes_max, "curproc": load.processes });
    if with_disk {
        // Images, pods and what containers write are on one filesystem.
        let filesystem = filesystem(&time, &load.disk, load.disk.used);
        node["fs"] = filesystem.clone();
        node["runtime"] = json!({ "imageFs": filesystem, "containerFs": filesystem });
    }
    node
}

fn pod_stats(sample: &PodSample, load: Option<&Load>, written: Option<&Written>) -> Value {
    let metadata = &sample.pod.metadata;
    let mut stats = measured(&sample.whole);
    stats["podRef"] = json!({ "name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid });
    stats["startTime"] = json!(sample.pod.status.as_ref().and_then(|status| status.start_time.as_ref()));
    stats["process_stats"] = json!({ "process_count": sample.whole.usage.pids });
    let disk = load.map(|load| &load.disk).zip(written);
    let of_container = |container: &ContainerSample| {
        let bytes = disk.and_then(|(disk, written)| Some((disk, *written.containers.get(&container.name)?)));
        container_stats(container, bytes)
    };
    stats["containers"] = sample.containers.iter().map(of_container).collect();
    if let Some((disk, written)) = disk {
        let time = api_time(sample.whole.time_ms);
        stats["ephemeral-storage"] = filesystem(&time, disk, written.sum());
        let volume = |(name, bytes): (&String, &u64)| {
            let mut volume = filesystem(&time, disk, *bytes);
            volume["name"] = json!(name);
            volume
        };
        stats["volume"] = written.volumes.iter().map(volume).collect();
    }
    stats
}

fn container_stats(container: &ContainerSample, bytes: Option<(&Disk, ContainerBytes)>) -> Value {
    let mut stats = measured(&container.measured);
    stats["name"] = json!(container.name);
    stats["startTime"] = json!(container.started);
    if let Some((disk, ContainerBytes { root, logs })) = bytes {
        let time = api_time(container.measured.time_ms);
        stats["rootfs"] = filesystem(&time, disk, root);
        stats["logs"] = filesystem(&time, disk, logs);
    }
    stats
}

fn measured(measured: &Measured) -> Value {
    let (time, usage) = (api_time(measured.time_ms), &measured.usage);
    json!({
        "cpu": { "time": time, "usageCoreNanoSeconds": usage.cpu_nanoseconds },
        "memory": {
            "time": time,
            "usageBytes": usage.memory_bytes,
            "workingSetBytes": usage.memory_working_set_bytes,
        },
    })
}

fn filesystem(time: &Time, disk: &Disk, used: u64) -> Value {
    json!({
        "time": time,
        "availableBytes": disk.available,
        "capacityBytes": disk.bytes,
        "usedBytes": used,
        "inodesFree": disk.inodes_free,
        "inodes": disk.inodes,
    })
}
