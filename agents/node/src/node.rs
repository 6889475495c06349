//! What all pods of a node share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::{
    api::core::v1::{Node, Pod, Service},
    apimachinery::pkg::api::resource::Quantity,
};
use kontiki_informer::{Informer, ObjectKey};
use kube::Client;
use tokio::sync::{Notify, watch};

use crate::{
    allocation::Allocation,
    clock::Millis,
    config::NodeConfig,
    containers::SharedContainers,
    env,
    events::Events,
    facts::Facts,
    ledger::{Ledger, Standing},
    objects::ObjectCache,
    pressure,
    probes::Tally,
    pulled::PulledImages,
    sysctls::Sysctls,
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
    pub probes: Tally,
    pub images_changed: Arc<Notify>,
    pub pulled: Arc<PulledImages>,
    pub sysctls: Sysctls,
}

impl NodeContext {
    pub fn labels(&self) -> Option<BTreeMap<String, String>> {
        let node = self.nodes.get(&ObjectKey::new("", &self.config.name))?;
        Some(node.metadata.labels.clone().unwrap_or_default())
    }

    /// What the node is short of, as it has told the API.
    pub fn pressures(&self) -> Vec<&'static str> {
        let node = self.nodes.get(&ObjectKey::new("", &self.config.name));
        node.map(|node| pressure::told(&node)).unwrap_or_default()
    }

    /// What there is for pods: of the machine, and of what others have advertised in the Node's status.
    pub fn offered(&self) -> BTreeMap<String, String> {
        let node = self.nodes.get(&ObjectKey::new("", &self.config.name));
        let told = node.and_then(|node| node.status.as_ref()?.allocatable.clone()).unwrap_or_default();
        let told = told.into_iter().map(|(name, Quantity(amount))| (name, amount));
        told.chain(self.allocatable.clone()).collect()
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

/// The pods of this node with the status this node gives them, which may be newer than the API's, and what each has of the
/// node's resources.
pub struct Pods {
    ledger: Mutex<Ledger>,
    news: watch::Sender<()>,
}

impl Pods {
    pub fn new(allocatable: BTreeMap<String, String>) -> Pods {
        Pods { ledger: Mutex::new(Ledger::new(allocatable)), news: watch::Sender::new(()) }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Told after each change of what there is on this node: how a pod is, what was done for one, an orphan that is gone.
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    pub fn changed(&self) {
        self.news.send_replace(());
    }

    /// A pod that was let in, with what it has.
    pub fn admit(&self, uid: &str, pod: Arc<Pod>, allocation: Allocation) {
        self.lock().admit(uid, pod, allocation);
        self.changed();
    }

    pub fn show(&self, uid: &str, pod: Arc<Pod>) {
        // Who waits for news has news to tell too: what is none must not go round.
        if self.lock().show(uid, pod) {
            self.changed();
        }
    }

    pub fn remove(&self, uid: &str) {
        self.lock().remove(uid);
        self.changed();
    }

    pub fn ask(&self, uid: &str, pod: &Arc<Pod>, now_ms: Millis) -> Standing {
        self.lock().ask(uid, pod, now_ms)
    }

    pub fn standing(&self, uid: &str) -> Standing {
        self.lock().standing(uid)
    }

    pub fn all(&self) -> Vec<Arc<Pod>> {
        self.lock().pods().map(|(_, pod)| pod.clone()).collect()
    }

    /// Pods that have not ended, each with what is set aside for it.
    pub fn allocated(&self) -> Vec<Arc<Pod>> {
        self.lock().allocated()
    }

    /// By namespace and name; by uid too if one is given.
    pub fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<Arc<Pod>> {
        let is = |pod: &&Arc<Pod>| {
            pod.metadata.namespace.as_deref() == Some(namespace)
                && pod.metadata.name.as_deref() == Some(name)
                && uid.is_none_or(|uid| pod.metadata.uid.as_deref() == Some(uid))
        };
        let ledger = self.lock();
        // A pod that is going may share its name with the one that replaces it.
        let mut found: Vec<&Arc<Pod>> = ledger.pods().map(|(_, pod)| pod).filter(is).collect();
        found.sort_by_key(|pod| pod.metadata.deletion_timestamp.is_some());
        found.first().map(|pod| (*pod).clone())
    }
}
