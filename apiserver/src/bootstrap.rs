//! The objects that every cluster has from its first second: four namespaces, and the Service that is its servers.
//!
//! They are written through the same door as everybody's, and only where they are missing or say something else.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, header};
use kontiki_kinds::by_resource;
use kontiki_model::{Key, Status};
use serde_json::{Value, json};

use crate::{
    authn::{AUTHENTICATED, MASTERS},
    core::Core,
    failure, kubernetes_service, limits,
    request::{ApiRequest, Identity, RequestBody, ResourceRequest},
    rest,
};

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];
const HTTPS_PORT: u16 = 443;

/// The objects that say where the servers are: nobody else's word counts, nor that of the past.
pub(crate) fn own_objects() -> [Key; 3] {
    let own = |group, resource| key(group, resource, "default", "kubernetes");
    [own("", "services"), own("", "endpoints"), own("discovery.k8s.io", "endpointslices")]
}

/// Makes them, trying again until it works or the server stops.
pub(crate) async fn run(core: Arc<Core>) {
    let attempts = async {
        while let Err(status) = once(&core).await {
            tracing::warn!(code = status.code, message = status.message, "first objects not made yet");
            tokio::time::sleep(limits::BOOTSTRAP_PAUSE).await;
        }
        core.set_bootstrapped();
        tracing::info!("API server ready");
    };
    core.stopping.run_until_cancelled(attempts).await;
}

async fn once(core: &Arc<Core>) -> Result<(), Status> {
    core.log.barrier().await.map_err(|error| crate::core::unreadable(&error))?;
    for name in NAMESPACES {
        ensure(core, "", "namespaces", "", namespace(name)).await?;
    }
    ensure(core, "", "services", "default", service(core)).await?;
    kubernetes_service::first(core).await
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn service(core: &Core) -> Value {
    let address = core.config.kubernetes_service().to_string();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "protocol": "TCP", "port": HTTPS_PORT, "targetPort": core.config.listen.port()}],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
    })
}

/// Creates the object where it is missing.
async fn ensure(core: &Arc<Core>, group: &str, resource: &str, namespace: &str, object: Value) -> Result<(), Status> {
    let name = object["metadata"]["name"].as_str().unwrap_or("");
    if core.stored(&key(group, resource, namespace, name))?.is_some() {
        return Ok(());
    }
    match write(core, group, resource, namespace, None, &object).await {
        Err(status) if status.reason == "AlreadyExists" => Ok(()),
        other => other,
    }
}

/// Creates the object in `default`, or corrects these members of it.
pub(crate) async fn settle(
    core: &Arc<Core>,
    group: &str,
    resource: &str,
    wanted: Value,
    members: &[&str],
) -> Result<(), Status> {
    let name = wanted["metadata"]["name"].as_str().unwrap_or("");
    let Some(stored) = core.stored(&key(group, resource, "default", name))? else {
        return ensure(core, group, resource, "default", wanted).await;
    };
    let mut object: Value = serde_json::from_slice(&stored.body).map_err(failure::internal)?;
    if members.iter().all(|member| object[member] == wanted[member]) {
        return Ok(());
    }
    for member in members {
        object[*member] = wanted[*member].clone();
    }
    object["metadata"]["resourceVersion"] = json!(stored.revision.to_string());
    write(core, group, resource, "default", Some(name), &object).await
}

fn key(group: &str, resource: &str, namespace: &str, name: &str) -> Key {
    let resource = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
    Key::new(resource, namespace, name)
}

/// One write as this server itself: a create, or with a name an update.
async fn write(
    core: &Arc<Core>,
    group: &str,
    resource: &str,
    namespace: &str,
    name: Option<&str>,
    object: &Value,
) -> Result<(), Status> {
    let kind = by_resource(group, "v1", resource).ok_or_else(failure::no_such_resource)?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("kontiki-apiserver"));
    let (method, verb) = if name.is_some() { (Method::PUT, "update") } else { (Method::POST, "create") };
    let request = ApiRequest {
        method,
        path: String::new(),
        raw_query: String::new(),
        query: Vec::new(),
        headers,
        body: RequestBody::Bytes(Bytes::from(object.to_string())),
        upgrade: None,
        identity: Identity {
            user: "system:apiserver".to_owned(),
            groups: vec![MASTERS.to_owned(), AUTHENTICATED.to_owned()],
            ..Identity::default()
        },
        request_id: uuid::Uuid::new_v4().to_string(),
        at: None,
    };
    let route = ResourceRequest {
        kind: kind.into(),
        namespace: Some(namespace.to_owned()).filter(|_| kind.namespaced),
        name: name.map(str::to_owned),
        subresource: None,
        rest: String::new(),
        verb,
    };
    rest::handle(core, route, request).boxed().await.map(drop)
}
