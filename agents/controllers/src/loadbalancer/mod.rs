//! Services of type LoadBalancer get addresses of the cluster's nodes, where each node's Service network serves them. One with a
//! `loadBalancerClass` is left to whoever serves that class.

mod assign;
mod taken;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::api::{
    core::v1::{LoadBalancerIngress, Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kontiki_informer::{Change, Informer, LISTENING, Note, ObjectKey, Queue, Recorder, reference};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use self::assign::{Cluster, MANAGER};
use crate::{
    ControllerError,
    context::{Context, OwnWrites, each, gone_is_fine, settled},
};

const COMPONENT: &str = "service-controller";

struct Controller {
    context: Context,
    services: Informer<Service>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    pods: Informer<Pod>,
    written: OwnWrites,
    recorder: Recorder,
    /// Services that wait, and that were told so.
    waiting: Mutex<BTreeSet<ObjectKey>>,
}

pub async fn run(context: Context) {
    // Addresses are shared out among all Services: there is one thing to look at.
    let queue: Queue<ObjectKey> = Queue::default();
    let all = || ObjectKey::new("", "all");
    let of_service = queue.clone();
    let services = context.informer::<Service>(vec![Box::new(move |change: &Change<Service>| {
        let concerned = |service: &Arc<Service>| assign::is_balanced(service) || !assign::told(service).is_empty();
        if change.old.iter().chain(&change.new).any(concerned) {
            of_service.add(all());
        }
    })]);
    let of_node = queue.clone();
    let nodes = context.informer::<Node>(vec![Box::new(move |change: &Change<Node>| {
        if change.old.as_deref().map(facts) != change.new.as_deref().map(facts) {
            of_node.add(all());
        }
    })]);
    let (of_slice, selecting) = (queue.clone(), services.clone());
    let slices = context.informer::<EndpointSlice>(vec![Box::new(move |change: &Change<EndpointSlice>| {
        let service = change.any().and_then(|slice| {
            let name = slice.labels().get(assign::SERVICE_LABEL)?;
            selecting.get(&ObjectKey::new(slice.namespace().unwrap_or_default(), name))
        });
        // Of others it does not matter where their endpoints are.
        if service.is_some_and(|service| assign::is_balanced(&service) && assign::stays_local(&service)) {
            of_slice.add(all());
        }
    })]);
    let of_pod = queue.clone();
    let pods = context.informer::<Pod>(vec![Box::new(move |change: &Change<Pod>| {
        let ports = |pod: Option<&Pod>| pod.map(taken::host_ports).unwrap_or_default();
        if ports(change.old.as_deref()) != ports(change.new.as_deref()) {
            of_pod.add(all());
        }
    })]);
    let synced =
        async { services.synced().await && nodes.synced().await && slices.synced().await && pods.synced().await };
    if !synced.await {
        return;
    }
    let recorder = context.recorder(COMPONENT);
    let (written, waiting) = (OwnWrites::default(), Mutex::default());
    let controller = Arc::new(Controller { context, services, nodes, slices, pods, written, recorder, waiting });
    let cancel = controller.context.cancel.clone();
    queue
        .drain(1, cancel, move |key| {
            let controller = controller.clone();
            async move { settled("loadbalancer", &key, controller.reconcile(&key).await) }
        })
        .await;
}

/// What of a node decides about its addresses.
fn facts(node: &Node) -> impl PartialEq + use<> {
    let status = node.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let ready: Vec<String> = conditions
        .into_iter()
        .filter(|condition| condition.type_ == "Ready")
        .map(|condition| condition.status)
        .collect();
    let agent = (status.node_info.map(|info| info.kubelet_version), status.runtime_handlers);
    let listening = node.annotations().get(LISTENING).cloned();
    (node.labels().clone(), status.addresses, ready, agent, listening, node.metadata.deletion_timestamp.clone())
}

impl Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        self.written.seen(key, &self.services).await;
        let services = self.services.list(None);
        let assignment = assign::assign(&Cluster {
            services: &services,
            nodes: &self.nodes.list(None),
            slices: &self.slices.list(None),
            pods: &self.pods.list(None),
        });
        self.forget_others(&assignment);
        each(services.iter().filter_map(|service| {
            let given = assignment.get(&ObjectKey::of(&**service));
            let concerned = given.is_some() || is_left_over(service);
            concerned.then(|| self.give(key, service, given.map_or(&[], Vec::as_slice)))
        }))
        .await
    }

    async fn give(
        &self,
        key: &ObjectKey,
        service: &Service,
        given: &[LoadBalancerIngress],
    ) -> Result<(), ControllerError> {
        if assign::told(service) != given {
            let (name, namespace) = (service.name_any(), service.namespace().unwrap_or_default());
            let api = self.context.api::<Service, _>(&namespace, service);
            let balancer = if given.is_empty() { json!({"ingress": null}) } else { json!({"ingress": given}) };
            let metadata = json!({"uid": service.uid(), "resourceVersion": service.resource_version()});
            let patch = json!({"metadata": metadata, "status": {"loadBalancer": balancer}});
            let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
            let patched = api.patch_status(&name, &parameters, &Patch::Merge(patch)).await;
            if let Some(service) = gone_is_fine(patched)? {
                self.written.note(key, &service);
            }
        } else if !given.is_empty() || !assign::is_balanced(service) {
            return Ok(());
        }
        self.tell(service, !given.is_empty()).await;
        Ok(())
    }

    /// Says what has come of a Service, once.
    async fn tell(&self, service: &Service, served: bool) {
        if !assign::is_balanced(service) || !self.is_news(ObjectKey::of(service), served) {
            return;
        }
        let note = match served {
            true => Note { warning: false, reason: "EnsuredLoadBalancer", message: "Ensured load balancer" },
            false => Note {
                warning: true,
                reason: "SyncLoadBalancerFailed",
                message: "Error syncing load balancer: no node has an address on which all ports are free",
            },
        };
        self.recorder.record(&reference(service), note).await;
    }

    /// Addresses that changed always are; that there are none is once.
    fn is_news(&self, service: ObjectKey, served: bool) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if served {
            waiting.remove(&service);
            return true;
        }
        waiting.insert(service)
    }

    fn forget_others(&self, assignment: &assign::Assignment) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|key| assignment.contains_key(key));
    }
}

/// It was balanced once, and still tells of the addresses.
fn is_left_over(service: &Service) -> bool {
    let balanced = service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"));
    !balanced && !assign::told(service).is_empty()
}
