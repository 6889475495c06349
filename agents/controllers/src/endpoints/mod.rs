//! Endpoints and EndpointSlices: the addresses behind each Service, those of the pods that it selects, or those that users write.

mod mirror;
mod slices;
mod subsets;
mod trigger;
mod view;

use std::sync::Arc;

use k8s_openapi::{
    api::{
        core::v1::{Endpoints, Node, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kontiki_informer::{Change, Informer, ObjectKey, Queue};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams},
    core::PartialObjectMeta,
};

use crate::{
    ControllerError,
    context::{Context, OwnWrites, gone_is_fine, settled},
    pods,
};

const WORKERS: usize = 4;
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

struct Controller {
    context: Context,
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<PartialObjectMeta<Node>>,
    endpoints: Informer<Endpoints>,
    slices: Informer<EndpointSlice>,
    endpoints_written: OwnWrites,
    slices_written: OwnWrites,
    triggers: trigger::Triggers,
}

pub async fn run(context: Context) {
    let queue: Queue<ObjectKey> = Queue::default();
    let of_service = queue.clone();
    let services = context.informer::<Service>(vec![Box::new(move |change: &Change<Service>| {
        if let Some(service) = change.any() {
            of_service.add(ObjectKey::of(&**service));
        }
    })]);
    let (of_pod, selecting) = (queue.clone(), services.clone());
    let pods = context.informer::<Pod>(vec![Box::new(move |change: &Change<Pod>| {
        if change.old.as_ref().zip(change.new.as_ref()).is_some_and(|(old, new)| view::same_endpoint(old, new)) {
            return;
        }
        for pod in [&change.old, &change.new].into_iter().flatten() {
            for service in selecting.list(pod.namespace().as_deref()) {
                if view::selects(&service, pod) {
                    of_pod.add(ObjectKey::of(&*service));
                }
            }
        }
    })]);
    let (of_node, anywhere) = (queue.clone(), services.clone());
    let nodes =
        context.informer::<PartialObjectMeta<Node>>(vec![Box::new(move |change: &Change<PartialObjectMeta<Node>>| {
            let zone = |node: &Option<Arc<PartialObjectMeta<Node>>>| node.as_ref().and_then(|node| zone(node));
            if zone(&change.old) != zone(&change.new) {
                anywhere.list(None).iter().for_each(|service| of_node.add(ObjectKey::of(&**service)));
            }
        })]);
    let of_endpoints = queue.clone();
    let endpoints = context.informer::<Endpoints>(vec![Box::new(move |change: &Change<Endpoints>| {
        // Somebody else's change is put right.
        if let Some(endpoints) = change.any() {
            of_endpoints.add(ObjectKey::of(&**endpoints));
        }
    })]);
    let of_slice = queue.clone();
    let slices = context.informer::<EndpointSlice>(vec![Box::new(move |change: &Change<EndpointSlice>| {
        if let Some(slice) = change.any()
            && let Some(service) = slice.labels().get(SERVICE_LABEL)
        {
            of_slice.add(ObjectKey::new(slice.namespace().unwrap_or_default(), service));
        }
    })]);
    let written = async { endpoints.synced().await && slices.synced().await };
    if !(services.synced().await && pods.synced().await && nodes.synced().await && written.await) {
        return;
    }
    let (endpoints_written, slices_written) = (OwnWrites::default(), OwnWrites::default());
    let triggers = trigger::Triggers::default();
    let controller = Arc::new(Controller {
        context,
        services,
        pods,
        nodes,
        endpoints,
        slices,
        endpoints_written,
        slices_written,
        triggers,
    });
    let cancel = controller.context.cancel.clone();
    queue
        .drain(WORKERS, cancel, move |key| {
            let controller = controller.clone();
            async move { settled("endpoints", &key, controller.reconcile(&key).await) }
        })
        .await;
}

impl Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        self.endpoints_written.seen(key, &self.endpoints).await;
        self.slices_written.seen(key, &self.slices).await;
        let service = self.services.get(key);
        self.mirror(key, service.as_deref()).await?;
        // Endpoints of a deleted Service go with it: slices by owner reference, Endpoints here (they have none).
        let Some(service) = service else { return self.forget(key).await };
        if service.metadata.deletion_timestamp.is_some() || !view::has_selector(&service) {
            return Ok(());
        }
        let selected: Vec<Arc<Pod>> =
            self.pods.list(Some(&key.namespace)).into_iter().filter(|pod| view::selects(&service, pod)).collect();
        let mut found = view::endpoints(&service, &selected);
        for one in &mut found {
            let node = one.node.as_ref().and_then(|node| self.nodes.get(&ObjectKey::new("", node)));
            one.zone = node.and_then(|node| zone(&node));
        }
        let trigger = self.triggers.since_last_look(key, &service, &selected);
        let client = self.context.clients.caused_by(view::newest(&service, &selected).as_deref());
        let reaction = Reaction { client, trigger };
        self.write_endpoints(key, &reaction, &service, &found).await?;
        self.write_slices(key, &reaction, &service, &found).await
    }

    async fn forget(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        self.triggers.forget(key);
        let Some(endpoints) = self.endpoints.get(key) else { return Ok(()) };
        if !endpoints.labels().contains_key(subsets::MANAGED_BY) {
            return Ok(());
        }
        let api = self.context.api::<Endpoints, _>(&key.namespace, &*endpoints);
        gone_is_fine(api.delete(&key.name, &DeleteParams::default()).await)?;
        Ok(())
    }

    async fn write_endpoints(
        &self,
        key: &ObjectKey,
        reaction: &Reaction,
        service: &Service,
        found: &[view::Endpoint],
    ) -> Result<(), ControllerError> {
        let mut wanted = subsets::object(service, found);
        let api: Api<Endpoints> = Api::namespaced(reaction.client.clone(), &key.namespace);
        let written = match self.endpoints.get(key) {
            None => {
                trigger::note(&mut wanted.metadata, reaction.trigger.as_ref());
                api.create(&PostParams::default(), &wanted).await?
            }
            Some(old) if subsets::same(&old, &wanted) => return Ok(()),
            Some(old) => {
                let mut new = (*old).clone();
                new.subsets = wanted.subsets;
                new.metadata.labels = wanted.metadata.labels;
                trigger::note(&mut new.metadata, reaction.trigger.as_ref());
                api.replace(&key.name, &PostParams::default(), &new).await?
            }
        };
        self.endpoints_written.note(key, &written);
        Ok(())
    }

    async fn write_slices(
        &self,
        key: &ObjectKey,
        reaction: &Reaction,
        service: &Service,
        found: &[view::Endpoint],
    ) -> Result<(), ControllerError> {
        let mut changes = slices::plan(service, found, &self.slices_by(key, MANAGER));
        for change in &mut changes {
            match change {
                slices::Change::Create(slice) | slices::Change::Replace(slice) => {
                    trigger::note(&mut slice.metadata, reaction.trigger.as_ref());
                }
                slices::Change::Delete(_) => {}
            }
        }
        self.change_slices(key, &reaction.client, changes).await
    }

    /// Keeps slices of Endpoints that somebody wrote.
    async fn mirror(&self, key: &ObjectKey, service: Option<&Service>) -> Result<(), ControllerError> {
        let endpoints = self.endpoints.get(key);
        let mirrored = endpoints.as_deref().zip(service).filter(|(endpoints, service)| {
            service.metadata.deletion_timestamp.is_none() && mirror::is_mirrored(service, endpoints)
        });
        let told = mirrored.and_then(|(endpoints, _)| endpoints.resource_version());
        let client = self.context.clients.caused_by(told.as_deref());
        let changes = mirror::plan(mirrored.map(|(endpoints, _)| endpoints), &self.slices_by(key, mirror::MANAGER));
        self.change_slices(key, &client, changes).await
    }

    fn slices_by(&self, key: &ObjectKey, manager: &str) -> Vec<Arc<EndpointSlice>> {
        let mut slices = self.slices.list(Some(&key.namespace));
        slices.retain(|slice| {
            slice.labels().get(SERVICE_LABEL) == Some(&key.name)
                && slice.labels().get(MANAGED_BY).is_some_and(|by| by == manager)
                && slice.metadata.deletion_timestamp.is_none()
        });
        slices
    }

    async fn change_slices(
        &self,
        key: &ObjectKey,
        client: &Client,
        changes: Vec<slices::Change>,
    ) -> Result<(), ControllerError> {
        let api: Api<EndpointSlice> = Api::namespaced(client.clone(), &key.namespace);
        for change in changes {
            match change {
                slices::Change::Create(slice) => {
                    self.slices_written.note(key, &api.create(&PostParams::default(), &slice).await?);
                }
                slices::Change::Replace(slice) => {
                    let replaced = api.replace(&slice.name_any(), &PostParams::default(), &slice).await?;
                    self.slices_written.note(key, &replaced);
                }
                slices::Change::Delete(name) => {
                    gone_is_fine(api.delete(&name, &DeleteParams::default()).await)?;
                }
            }
        }
        Ok(())
    }
}

/// What a write reacts to.
struct Reaction {
    client: Client,
    /// When that happened, as far as it is known.
    trigger: Option<Time>,
}

fn zone(node: &PartialObjectMeta<Node>) -> Option<String> {
    node.labels().get(ZONE_LABEL).filter(|zone| !zone.is_empty()).cloned()
}

/// Whether a pod can be reached at all.
fn has_address(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).is_some_and(|ip| !ip.is_empty())
        && !pods::is_finished(pod)
}
