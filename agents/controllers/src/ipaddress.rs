//! The IPAddresses of Services kept in step with them. The API server makes and removes them with what holds them; here is put right
//! what came about otherwise: a record that somebody removed, or one whose Service is gone or has another address.

use k8s_openapi::api::{core::v1::Service, networking::v1::IPAddress};
use kontiki_informer::{Change, Informer, ObjectKey, Queue};
use kontiki_kinds::{Holder, Pool, by_resource};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};

use crate::{
    ControllerError,
    context::{Context, gone_is_fine, settled},
};

const WORKERS: usize = 2;
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";

#[derive(Clone)]
struct Controller {
    context: Context,
    services: Informer<Service>,
    addresses: Informer<IPAddress>,
}

pub async fn run(context: Context) {
    // By address: a Service that changes has its old and its new ones looked at.
    let queue: Queue<ObjectKey> = Queue::default();
    let of_service = queue.clone();
    let services = context.informer::<Service>(vec![Box::new(move |change: &Change<Service>| {
        let both = change.old.iter().chain(&change.new);
        let addresses: Vec<&String> = both.flat_map(|service| held(service)).collect();
        let moved = change.old.as_ref().map(|old| held(old).collect::<Vec<_>>())
            != change.new.as_ref().map(|new| held(new).collect::<Vec<_>>());
        if moved {
            addresses.into_iter().for_each(|address| of_service.add(ObjectKey::new("", address)));
        }
    })]);
    let of_address = queue.clone();
    let addresses = context.informer::<IPAddress>(vec![Box::new(move |change: &Change<IPAddress>| {
        for address in change.old.iter().chain(&change.new) {
            of_address.add(ObjectKey::of(&**address));
        }
    })]);
    if !services.synced().await || !addresses.synced().await {
        return;
    }
    let controller = Controller { context, services, addresses };
    let cancel = controller.context.cancel.clone();
    queue
        .drain(WORKERS, cancel, move |key| {
            let controller = controller.clone();
            async move { settled("ipaddress", &key, controller.reconcile(&key).await) }
        })
        .await;
}

/// The addresses that a Service holds.
fn held(service: &Service) -> impl Iterator<Item = &String> {
    let addresses = service.spec.iter().flat_map(|spec| spec.cluster_ips.iter().flatten());
    addresses.filter(|address| !address.is_empty() && *address != "None")
}

/// The Service that a record of the allocator tells of; `None` for what others made.
fn holder(address: &IPAddress) -> Option<ObjectKey> {
    let parent = &address.spec.parent_ref;
    let ours = address.labels().get(MANAGED_BY).is_some_and(|by| by == ALLOCATOR);
    let of_service = parent.resource == "services" && parent.group.as_deref().unwrap_or("").is_empty();
    (ours && of_service).then(|| ObjectKey::new(parent.namespace.clone().unwrap_or_default(), parent.name.clone()))
}

impl Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        let holds = |service: &Service| held(service).any(|address| *address == key.name);
        match self.addresses.get(key) {
            Some(address) => {
                let Some(service) = holder(&address) else { return Ok(()) };
                if self.services.get(&service).is_some_and(|service| holds(&service)) {
                    return Ok(());
                }
                let api: Api<Service> = Api::namespaced(self.context.clients.plain(), &service.namespace);
                // Of the API itself: the copy may be behind the address.
                match api.get_opt(&service.name).await? {
                    Some(service) if holds(&service) => Ok(()),
                    Some(_) | None => self.remove(&address).await,
                }
            }
            None => {
                let all = self.services.list(None);
                let Some(service) = all.iter().find(|service| holds(service)) else { return Ok(()) };
                let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
                // Of the API itself: a Service goes together with its record, and the copy may still show it.
                let api: Api<Service> = Api::namespaced(self.context.clients.plain(), &namespace);
                match api.get_opt(&name).await? {
                    Some(service) if holds(&service) => self.make(key, &service).await,
                    Some(_) | None => Ok(()),
                }
            }
        }
    }

    async fn remove(&self, address: &IPAddress) -> Result<(), ControllerError> {
        let preconditions = Preconditions { uid: address.uid(), resource_version: address.resource_version() };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let client = self.context.clients.caused_by(address.resource_version().as_deref());
        gone_is_fine(Api::<IPAddress>::all(client).delete(&address.name_any(), &parameters).await)?;
        Ok(())
    }

    async fn make(&self, key: &ObjectKey, service: &Service) -> Result<(), ControllerError> {
        let client = self.context.clients.caused_by(service.resource_version().as_deref());
        let api: Api<IPAddress> = Api::all(client);
        // The copy of one kind may be ahead of the other's, and what one command made comes in two pieces.
        if api.get_opt(&key.name).await?.is_some() {
            return Ok(());
        }
        let (Some(ledger), Some(kind)) = (Pool::ClusterIp.ledger(), by_resource("", "v1", "services")) else {
            return Ok(());
        };
        let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
        let record = (ledger.recorded)(&key.name, &Holder { kind, namespace: &namespace, name: &name });
        api.create(&PostParams::default(), &serde_json::from_value(record)?).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_the_allocators_records_of_services_are_looked_after() {
        let address = |by: &str, parent: Value| -> IPAddress {
            let metadata = json!({"name": "10.96.0.7", "labels": {MANAGED_BY: by}});
            serde_json::from_value(json!({"metadata": metadata, "spec": {"parentRef": parent}})).unwrap()
        };
        let service = json!({"group": "", "resource": "services", "namespace": "n", "name": "s"});
        assert_eq!(holder(&address(ALLOCATOR, service.clone())), Some(ObjectKey::new("n", "s")));
        assert_eq!(holder(&address("somebody", service)), None);
        let gateway =
            json!({"group": "gateway.networking.k8s.io", "resource": "gateways", "namespace": "n", "name": "s"});
        assert_eq!(holder(&address(ALLOCATOR, gateway)), None);
    }

    #[test]
    fn headless_services_hold_nothing() {
        let service = |addresses: Value| -> Service {
            serde_json::from_value(json!({"metadata": {}, "spec": {"clusterIPs": addresses}})).unwrap()
        };
        assert_eq!(held(&service(json!(["None"]))).count(), 0);
        assert_eq!(held(&service(json!(["10.96.0.7"]))).collect::<Vec<_>>(), ["10.96.0.7"]);
    }
}
