//! What all pods of a node share.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kontiki_informer::{Informer, ObjectKey};
use kube::Client;
use tokio::sync::Notify;

use crate::{
    config::NodeConfig, containers::SharedContainers, env, events::Events, facts::Facts, objects::ObjectCache,
};

pub struct NodeContext {
    pub config: Arc<NodeConfig>,
    pub client: Client,
    pub containers: SharedContainers,
    pub events: Events,
    pub objects: ObjectCache,
    pub services: Informer<Service>,
    pub nodes: Informer<Node>,
    pub facts: Arc<Facts>,
    pub allocatable: BTreeMap<String, String>,
    /// Every pod that is here, as its worker last saw it.
    pub pods: Pods,
    pub images_changed: Arc<Notify>,
}

impl NodeContext {
    pub fn labels(&self) -> Option<BTreeMap<String, String>> {
        let node = self.nodes.get(&ObjectKey::new("", &self.config.name))?;
        Some(node.metadata.labels.clone().unwrap_or_default())
    }

    /// Of the whole machine, in bytes.
    pub fn memory_capacity(&self) -> i64 {
        i64::try_from(self.facts.memory_bytes).unwrap_or(i64::MAX)
    }

    /// Variables that tell a pod of services, and of the API server even if that has none.
    pub fn service_variables(&self, pod: &Pod) -> BTreeMap<String, String> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
        let mut services = self.services.list(Some(&namespace));
        if namespace != "default" {
            services.extend(self.services.get(&ObjectKey::new("default", "kubernetes")));
        }
        let mut found = env::service_variables(services.iter().map(AsRef::as_ref), &namespace, links);
        if !found.contains_key("KUBERNETES_SERVICE_HOST") && !self.config.api_host.is_empty() {
            found.insert("KUBERNETES_SERVICE_HOST".to_owned(), self.config.api_host.clone());
            found.insert("KUBERNETES_SERVICE_PORT".to_owned(), self.config.api_port.to_string());
        }
        found
    }
}

/// The pods of this node with the status this node gives them, which may be newer than the API's.
#[derive(Default)]
pub struct Pods(Mutex<HashMap<String, Arc<Pod>>>);

impl Pods {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Pod>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn put(&self, uid: &str, pod: Arc<Pod>) {
        self.lock().insert(uid.to_owned(), pod);
    }

    pub fn remove(&self, uid: &str) {
        self.lock().remove(uid);
    }

    pub fn all(&self) -> Vec<Arc<Pod>> {
        self.lock().values().cloned().collect()
    }

    /// By namespace and name; by uid too if one is given.
    pub fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<Arc<Pod>> {
        let is = |pod: &&Arc<Pod>| {
            pod.metadata.namespace.as_deref() == Some(namespace)
                && pod.metadata.name.as_deref() == Some(name)
                && uid.is_none_or(|uid| pod.metadata.uid.as_deref() == Some(uid))
        };
        let pods = self.lock();
        // A pod that is going may share its name with the one that replaces it.
        let mut found: Vec<&Arc<Pod>> = pods.values().filter(is).collect();
        found.sort_by_key(|pod| pod.metadata.deletion_timestamp.is_some());
        found.first().map(|pod| (*pod).clone())
    }
}
