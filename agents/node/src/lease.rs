//! The node's heartbeat: a Lease in `kube-node-lease`, renewed while the agent lives. It is owned by the Node, which may be deleted
//! and registered anew at any time: a Lease that named the Node of before would be garbage as soon as it is made.

use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::Node,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference},
    jiff::Timestamp,
};
use kontiki_informer::Outage;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    core::ObjectMeta,
};

use crate::{
    limits::{API_RETRY_FIRST, API_RETRY_MAX, LEASE_DURATION_S, LEASE_PERIOD},
    retry::Retry,
};

const NAMESPACE: &str = "kube-node-lease";

/// Renews the lease of the node `name` for ever.
pub async fn keep(client: Client, name: &str) {
    let mut retry = Retry::new(API_RETRY_FIRST, API_RETRY_MAX);
    let mut outage = Outage::new("cannot renew the node's lease", name);
    loop {
        match renew(&client, name).await {
            Ok(()) => {
                retry.reset();
                outage.over();
                tokio::time::sleep(LEASE_PERIOD).await;
            }
            Err(error) => {
                outage.failed(&error);
                tokio::time::sleep(retry.next()).await;
            }
        }
    }
}

/// Renews the lease, or makes it for the Node as it is now; without one there is nothing to keep alive.
pub async fn renew(client: &Client, name: &str) -> Result<(), kube::Error> {
    let api: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let now = MicroTime(Timestamp::now());
    let patch = serde_json::json!({"spec": {
        "holderIdentity": name, "leaseDurationSeconds": LEASE_DURATION_S, "renewTime": now}});
    match api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        answer => return answer.map(drop),
    }
    let Some(node) = Api::<Node>::all(client.clone()).get_opt(name).await? else { return Ok(()) };
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.to_owned(),
        uid: node.metadata.uid.unwrap_or_default(),
        ..OwnerReference::default()
    };
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.to_owned()),
            lease_duration_seconds: Some(LEASE_DURATION_S),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    };
    match api.create(&PostParams::default(), &lease).await {
        // Somebody else made it meanwhile: the next renewal finds it.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        answer => answer.map(drop),
    }
}
