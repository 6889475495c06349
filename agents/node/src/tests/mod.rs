//! The agent as a whole, but for the machine below it: a Kubernetes API in memory above, a runtime in memory below.

#![allow(clippy::unwrap_used)]

mod api;
mod ended;
mod ephemeral;
mod lease;
mod pods;
mod resize;
mod runtime;
mod volumes;

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use kube::Client;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use self::{api::Api, runtime::FakeRuntime};
use crate::{
    config::{NodeConfig, NodeTls},
    events::Events,
    facts::Facts,
    node::{NodeContext, Pods},
    objects::ObjectCache,
    pods::Dispatcher,
    probes::Tally,
    pulled::PulledImages,
};

const NODE: &str = "here";
/// Longer than anything takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node with its API and its runtime; both outlive agents.
struct Cluster {
    api: Api,
    runtime: Arc<FakeRuntime>,
    state_dir: TempDir,
}

/// A running agent. Dropping it is as killing it.
struct Agent {
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    node: Arc<NodeContext>,
}

impl Agent {
    /// Waits until something holds on the machine that no API tells; it is looked at after each change on the node.
    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let mut news = self.node.pods.news();
        let held = async {
            while !holds() {
                news.changed().await.unwrap();
            }
        };
        assert!(tokio::time::timeout(PATIENCE, held).await.is_ok(), "never came to be: {what}");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.task.abort();
    }
}

impl Cluster {
    fn new() -> Cluster {
        Cluster { api: Api::default(), runtime: FakeRuntime::new(), state_dir: tempfile::tempdir().unwrap() }
    }

    fn start(&self) -> Agent {
        let cancel = CancellationToken::new();
        let client = Client::new(self.api.service(), "default");
        let config = Arc::new(self.config());
        let facts = Arc::new(Facts::read(self.state_dir.path()).unwrap());
        let recorder = kontiki_informer::Recorder::new(client.clone(), "kubelet", Some(NODE.into()));
        let all = kube::runtime::watcher::Config::default;
        let informer = kontiki_informer::Informer::start;
        let node = Arc::new(NodeContext {
            events: Events::start(recorder, cancel.clone()),
            objects: ObjectCache::new(client.clone()),
            services: informer(kube::Api::all(client.clone()), all(), vec![], cancel.clone()),
            nodes: kontiki_informer::Informer::start(kube::Api::all(client.clone()), all(), vec![], cancel.clone()),
            allocatable: facts.allocatable_text(),
            pods: Pods::new(facts.allocatable_text()),
            sysctls: Default::default(),
            probes: Tally::default(),
            images_changed: Arc::default(),
            pulled: Arc::new(PulledImages::open(self.state_dir.path()).unwrap()),
            client,
            config,
            containers: self.runtime.clone(),
            facts,
        });
        let task = tokio::spawn(Dispatcher::new(node.clone()).run(cancel.clone()));
        Agent { cancel, task, node }
    }

    fn config(&self) -> NodeConfig {
        NodeConfig {
            name: NODE.into(),
            address: Ipv4Addr::LOCALHOST.into(),
            host_pods_address: Ipv4Addr::new(10, 0, 0, 1).into(),
            kubelet_address: Ipv4Addr::LOCALHOST.into(),
            kubelet_port: 0,
            own_ports: vec![],
            allowed_unsafe_sysctls: vec![],
            pod_cidr: None,
            state_dir: self.state_dir.path().to_owned(),
            tls: NodeTls { client_ca: vec![], certificate: vec![], key: vec![] },
            cluster_dns: vec![],
            cluster_domain: "cluster.local".into(),
            api_host: "10.0.0.1".into(),
            api_port: 443,
            labels: Default::default(),
        }
    }

    /// Gives the node a pod with this spec.
    fn pod(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = NODE.into();
        self.api.create("pods", serde_json::json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec}));
    }

    /// Waits until the pod, `null` once it is gone, is as wanted.
    async fn until(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.api.until("pods", "n", name, wanted).await
    }
}

fn running(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running" && condition(pod, "Ready") == "True"
}

fn condition<'a>(pod: &'a Value, type_: &str) -> &'a str {
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == type_);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or("")
}
