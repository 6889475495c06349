//! The Node object: made when it is missing, its status kept true. Taints and other people's labels are left alone.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::{
        ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeFeatures,
        NodeRuntimeHandler, NodeRuntimeHandlerFeatures, NodeSpec, NodeStatus,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time},
};
use kontiki_informer::{LISTENING, Outage};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    core::ObjectMeta,
};
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::{
    clock::{self, Millis, api_time, millis},
    config::NodeConfig,
    containers::{Image, SharedContainers},
    facts::{Facts, Pressure},
    limits::{
        API_RETRY_FIRST, API_RETRY_MAX, IMAGES_IN_STATUS_MAX, NODE_STATUS_CHECK, NODE_STATUS_PERIOD, PRESSURE_HOLD_MS,
    },
    listening,
    retry::Retry,
    runtime_class::HANDLERS,
    status_patch::difference,
};

pub struct Registrar {
    pub client: Client,
    pub config: Arc<NodeConfig>,
    pub facts: Arc<Facts>,
    pub containers: SharedContainers,
    /// Where the kubelet API listens.
    pub port: u16,
    /// Rung when an image has come or gone.
    pub images_changed: Arc<Notify>,
}

impl Registrar {
    fn api(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    /// Makes the Node object or brings its labels and pod addresses up to date; tries until it works.
    pub async fn register(&self) -> Node {
        let mut retry = Retry::new(API_RETRY_FIRST, API_RETRY_MAX);
        let mut outage = Outage::new("cannot register the node", &self.config.name);
        loop {
            match self.try_register().await {
                Ok(node) => {
                    info!(node = self.config.name, "registered");
                    return node;
                }
                Err(error) => {
                    outage.failed(&error);
                    tokio::time::sleep(retry.next()).await;
                }
            }
        }
    }

    async fn try_register(&self) -> Result<Node, kube::Error> {
        let (labels, annotations) = (self.labels(), self.annotations().await);
        let Some(node) = self.api().get_opt(&self.config.name).await? else {
            let cidr = self.config.pod_cidr.clone();
            let node = Node {
                metadata: ObjectMeta {
                    name: Some(self.config.name.clone()),
                    labels: Some(labels),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                },
                spec: Some(NodeSpec {
                    pod_cidrs: cidr.clone().map(|cidr| vec![cidr]),
                    pod_cidr: cidr,
                    ..NodeSpec::default()
                }),
                status: Some(self.status(None, &[], Pressures::default())),
            };
            return self.api().create(&PostParams::default(), &node).await;
        };
        let without_cidr = node.spec.as_ref().is_none_or(|spec| spec.pod_cidr.is_none());
        let mut patch = serde_json::Map::new();
        let metadata = &node.metadata;
        if lacks(metadata.labels.as_ref(), &labels) || lacks(metadata.annotations.as_ref(), &annotations) {
            let metadata = serde_json::json!({"labels": labels, "annotations": annotations});
            patch.insert("metadata".to_owned(), metadata);
        }
        if let (true, Some(cidr)) = (without_cidr, &self.config.pod_cidr) {
            patch.insert("spec".to_owned(), serde_json::json!({"podCIDR": cidr, "podCIDRs": [cidr]}));
        }
        match patch.is_empty() {
            true => Ok(node),
            false => self.api().patch(&self.config.name, &PatchParams::default(), &Patch::Merge(&patch)).await,
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let architecture = &self.facts.info.architecture;
        let known = [
            ("kubernetes.io/hostname", self.config.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", architecture),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", architecture),
        ];
        let known = known.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        known.chain(self.config.labels.clone()).collect()
    }

    async fn annotations(&self) -> BTreeMap<String, String> {
        let address = self.config.address;
        let told = tokio::task::spawn_blocking(move || listening::told(address)).await.unwrap_or_else(|error| {
            warn!(%error, "cannot look at the machine's sockets");
            None
        });
        told.map(|ports| (LISTENING.to_owned(), ports)).into_iter().collect()
    }

    /// Keeps the status true for ever: told when it changes, and now and then when it does not.
    pub async fn keep_status(&self) {
        let mut retry = Retry::new(API_RETRY_FIRST, API_RETRY_MAX);
        let mut pressures = Pressures::default();
        let mut outage = Outage::new("cannot tell the node's status", &self.config.name);
        let mut told: Option<Millis> = None;
        loop {
            let state_dir = self.config.state_dir.clone();
            let now_ms = clock::now();
            match tokio::task::spawn_blocking(move || crate::facts::pressure(&state_dir)).await {
                Ok(seen) => pressures.learn(&seen, now_ms),
                Err(error) => warn!(%error, "cannot look at the machine's pressure"),
            }
            let due = told.is_none_or(|at| now_ms - at >= NODE_STATUS_PERIOD.as_millis() as Millis);
            let pause = match self.tell(pressures, due).await {
                Ok(sent) => {
                    retry.reset();
                    outage.over();
                    told = if sent { Some(now_ms) } else { told };
                    NODE_STATUS_CHECK
                }
                Err(error) => {
                    outage.failed(&error);
                    retry.next()
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.images_changed.notified() => {}
            }
        }
    }

    /// Whether the status was sent: when it is due, or differs from the API's in more than the time.
    async fn tell(&self, pressures: Pressures, due: bool) -> Result<bool, kube::Error> {
        let Some(node) = self.api().get_opt(&self.config.name).await? else {
            return self.try_register().await.map(|_| true);
        };
        let annotations = self.annotations().await;
        if lacks(node.metadata.annotations.as_ref(), &annotations) {
            let patch = serde_json::json!({"metadata": {"uid": node.metadata.uid, "annotations": annotations}});
            self.api().patch(&self.config.name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        }
        let images = match self.containers.images().await {
            Ok(images) => images,
            Err(error) => {
                warn!(%error, "cannot list images for the node's status");
                Vec::new()
            }
        };
        let old = node.status.clone().unwrap_or_default();
        let new = self.status(Some(&old), &images, pressures);
        if !due && without_heartbeats(&old) == without_heartbeats(&new) {
            return Ok(false);
        }
        let Some(status) = difference(&old, &new) else { return Ok(false) };
        let patch = serde_json::json!({"metadata": {"uid": node.metadata.uid}, "status": status});
        self.api().patch_status(&self.config.name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(true)
    }

    /// The default one has no name.
    fn runtime_handlers(&self) -> Vec<NodeRuntimeHandler> {
        let features = NodeRuntimeHandlerFeatures {
            recursive_read_only_mounts: Some(self.facts.recursive_read_only()),
            user_namespaces: Some(false),
        };
        let names = [None].into_iter().chain(HANDLERS.map(|name| Some(name.to_owned())));
        names.map(|name| NodeRuntimeHandler { name, features: Some(features.clone()) }).collect()
    }

    fn status(&self, old: Option<&NodeStatus>, images: &[Image], pressures: Pressures) -> NodeStatus {
        let address = |type_: &str, address: String| NodeAddress { type_: type_.to_owned(), address };
        NodeStatus {
            capacity: Some(advertised(old, self.facts.capacity())),
            allocatable: Some(advertised(old, self.facts.allocatable())),
            node_info: Some(self.facts.info.clone()),
            addresses: Some(vec![
                address("InternalIP", self.config.address.to_string()),
                address("Hostname", self.config.name.clone()),
            ]),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(self.port) }),
            }),
            conditions: Some(conditions(old, pressures, clock::now())),
            images: Some(container_images(images)),
            features: Some(NodeFeatures { supplemental_groups_policy: Some(true) }),
            runtime_handlers: Some(self.runtime_handlers()),
            ..old.cloned().unwrap_or_default()
        }
    }
}

fn lacks(known: Option<&BTreeMap<String, String>>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().any(|(key, value)| known.and_then(|known| known.get(key)) != Some(value))
}

/// The machine's own resources, and those that others have put into the capacity: there is as much of them for pods.
fn advertised(old: Option<&NodeStatus>, own: BTreeMap<String, Quantity>) -> BTreeMap<String, Quantity> {
    let known = old.and_then(|status| status.capacity.clone()).unwrap_or_default();
    known.into_iter().chain(own).collect()
}

/// When each pressure was last seen: it stays reported for a while, so that it does not flutter.
#[derive(Clone, Copy, Debug, Default)]
struct Pressures {
    memory_until: Millis,
    disk_until: Millis,
    pids_until: Millis,
}

impl Pressures {
    fn learn(&mut self, seen: &Pressure, now_ms: Millis) {
        for (until, seen) in [
            (&mut self.memory_until, seen.memory),
            (&mut self.disk_until, seen.disk),
            (&mut self.pids_until, seen.pids),
        ] {
            if seen {
                *until = now_ms + PRESSURE_HOLD_MS;
            }
        }
    }
}

fn conditions(old: Option<&NodeStatus>, pressures: Pressures, now_ms: Millis) -> Vec<NodeCondition> {
    let known = old.and_then(|status| status.conditions.clone()).unwrap_or_default();
    let condition = |type_: &str, holds: bool, reason: &str, message: &str| {
        let status = if holds { "True" } else { "False" };
        let before = known.iter().find(|condition| condition.type_ == type_ && condition.status == status);
        NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(api_time(now_ms)),
            last_transition_time: before
                .and_then(|condition| condition.last_transition_time.clone())
                .or_else(|| Some(api_time(now_ms))),
        }
    };
    let memory = pressures.memory_until > now_ms;
    let disk = pressures.disk_until > now_ms;
    let pids = pressures.pids_until > now_ms;
    let either = |holds: bool, yes: &'static str, no: &'static str| if holds { yes } else { no };
    let mut conditions = vec![
        condition(
            "MemoryPressure",
            memory,
            either(memory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory"),
            either(memory, "kubelet has insufficient memory available", "kubelet has sufficient memory available"),
        ),
        condition(
            "DiskPressure",
            disk,
            either(disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure"),
            either(disk, "kubelet has disk pressure", "kubelet has no disk pressure"),
        ),
        condition(
            "PIDPressure",
            pids,
            either(pids, "KubeletHasInsufficientPID", "KubeletHasSufficientPID"),
            either(pids, "kubelet has insufficient PID available", "kubelet has sufficient PID available"),
        ),
        condition("Ready", true, "KubeletReady", "kubelet is posting ready status"),
    ];
    let own: Vec<String> = conditions.iter().map(|condition| condition.type_.clone()).collect();
    conditions.extend(known.into_iter().filter(|condition| !own.contains(&condition.type_)));
    conditions
}

/// The largest first, as Kubernetes shows them to schedulers.
fn container_images(images: &[Image]) -> Vec<ContainerImage> {
    let mut images: Vec<&Image> = images.iter().collect();
    images.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then_with(|| a.id.cmp(&b.id)));
    let shown = images.into_iter().take(IMAGES_IN_STATUS_MAX);
    shown
        .map(|image| ContainerImage {
            names: Some(image.digests.iter().chain(&image.names).cloned().collect()),
            size_bytes: i64::try_from(image.size_bytes).ok(),
        })
        .collect()
}

fn without_heartbeats(status: &NodeStatus) -> NodeStatus {
    let mut status = status.clone();
    let never: Option<Time> = None;
    for condition in status.conditions.iter_mut().flatten() {
        condition.last_heartbeat_time.clone_from(&never);
        condition.last_transition_time = condition.last_transition_time.as_ref().map(|time| api_time(millis(time)));
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_advertise_stays_in_the_capacity_and_may_be_given_away() {
        let amounts = |list: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
            list.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect()
        };
        let capacity = Some(amounts(&[("cpu", "1"), ("example.com/foo", "3")]));
        let allocatable = Some(amounts(&[("cpu", "1"), ("example.com/gone", "1")]));
        let old = NodeStatus { capacity, allocatable, ..NodeStatus::default() };
        let told = advertised(Some(&old), amounts(&[("cpu", "2")]));
        assert_eq!(told, amounts(&[("cpu", "2"), ("example.com/foo", "3")]));
    }

    #[test]
    fn a_pressure_is_held_and_others_conditions_stay() {
        let mut pressures = Pressures::default();
        pressures.learn(&Pressure { disk: true, ..Pressure::default() }, 1_000);
        let old: NodeStatus = serde_json::from_value(serde_json::json!({"conditions": [
            {"type": "NetworkUnavailable", "status": "False"},
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}))
        .unwrap();
        let show = |now_ms| {
            let found = conditions(Some(&old), pressures, now_ms);
            found.iter().map(|c| format!("{}={}", c.type_, c.status)).collect::<Vec<_>>().join(" ")
        };
        let rest = "PIDPressure=False Ready=True NetworkUnavailable=False";
        assert_eq!(show(2_000), format!("MemoryPressure=False DiskPressure=True {rest}"));
        assert_eq!(show(1_000 + PRESSURE_HOLD_MS), format!("MemoryPressure=False DiskPressure=False {rest}"));
        let ready = conditions(Some(&old), pressures, 0).into_iter().find(|c| c.type_ == "Ready").unwrap();
        assert_eq!(ready.last_transition_time, old.conditions.unwrap()[1].last_transition_time);
    }
}
