//! The objects that every cluster has from its first second: four namespaces, what kinds declare, roles and bindings, the range
//! of Service addresses, and the Service that is its servers.
//!
//! They are written through the same door as everybody's, and only where they are missing or say something else.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, header};
use kontiki_kinds::{KINDS, Kind, by_resource};
use kontiki_model::{Key, Status};
use serde_json::{Value, json};

use crate::{
    authn::{AUTHENTICATED, MASTERS},
    authz,
    core::Core,
    failure, kubernetes_service, limits,
    request::{ApiRequest, Identity, RequestBody, ResourceRequest},
    rest,
};

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];
const HTTPS_PORT: u16 = 443;
/// "true" where the server keeps an object's spec, "false" where its owner does.
const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// The objects that say where the servers are and what they give out: nobody else's word counts, nor that of the past.
pub(crate) fn own_objects() -> [Key; 4] {
    let own = |group, resource| key(group, resource, "default", "kubernetes");
    let range = key("networking.k8s.io", "servicecidrs", "", "kubernetes");
    [own("", "services"), own("", "endpoints"), own("discovery.k8s.io", "endpointslices"), range]
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

/// Brings back what somebody deleted, and puts right what must say what it says, for as long as this server leads.
pub(crate) async fn keep(core: Arc<Core>) {
    let keeping = async {
        let mut leadership = core.log.leadership();
        while leadership.wait_for(|now| now.leader).await.is_ok() {
            if let Err(status) = restore(&core).await {
                tracing::warn!(code = status.code, message = status.message, "not all of the first objects are there");
            }
            tokio::time::sleep(limits::FIRST_OBJECTS_INTERVAL).await;
        }
    };
    core.stopping.run_until_cancelled(keeping).await;
}

pub(crate) async fn restore(core: &Arc<Core>) -> Result<(), Status> {
    first_objects(core).await?;
    for kind in KINDS {
        for object in
            (kind.initial)().into_iter().filter(|object| object["metadata"]["annotations"][AUTOUPDATE] == "true")
        {
            correct(core, kind, "", &object).await?;
        }
    }
    let services = by_resource("", "v1", "services").ok_or_else(failure::no_such_resource)?;
    let service = service(core);
    let ports = json!({"metadata": service["metadata"], "spec": {"ports": service["spec"]["ports"]}});
    correct(core, services, "default", &ports).await
}

async fn once(core: &Arc<Core>) -> Result<(), Status> {
    core.log.barrier().await.map_err(|error| crate::core::unreadable(&error))?;
    first_objects(core).await?;
    authz::reconcile_defaults(core).await?;
    kubernetes_service::first(core).await
}

async fn first_objects(core: &Arc<Core>) -> Result<(), Status> {
    for name in NAMESPACES {
        ensure(core, "", "namespaces", "", namespace(name)).await?;
    }
    // All at once, so that they share the log's syncs.
    let all = KINDS.iter().flat_map(|kind| (kind.initial)().into_iter().map(move |object| initial(core, kind, object)));
    futures::future::try_join_all(all).await?;
    let ranges = by_resource("networking.k8s.io", "v1", "servicecidrs").ok_or_else(failure::no_such_resource)?;
    initial(core, ranges, service_range(core)).await?;
    ensure(core, "", "services", "default", service(core)).await
}

/// Creates an object where it is missing, and gives it its status where it has none.
async fn initial(core: &Arc<Core>, kind: &'static Kind, mut object: Value) -> Result<(), Status> {
    object["kind"] = kind.kind.into();
    object["apiVersion"] = kind.group_version().into();
    let status = object.as_object_mut().and_then(|members| members.shift_remove("status"));
    ensure(core, kind.group, kind.resource, "", object.clone()).await?;
    let Some(status) = status else { return Ok(()) };
    let name = object["metadata"]["name"].as_str().unwrap_or("").to_owned();
    let Some(stored) = core.stored(&key(kind.group, kind.resource, "", &name))? else { return Ok(()) };
    let stored: Value = serde_json::from_slice(&stored.body).map_err(failure::internal)?;
    if stored["status"].as_object().is_some_and(|members| !members.is_empty()) {
        return Ok(());
    }
    object["status"] = status;
    let write = Write { kind, namespace: "", name: Some(&name), subresource: Some("status") };
    write.carry_out(core, &object).await
}

/// Addresses are given out by the server itself; here is what it gives out.
fn service_range(core: &Core) -> Value {
    let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    json!({
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": [core.config.service_cidr.to_string()]},
        "status": {"conditions": [{
            "type": "Ready",
            "status": "True",
            "lastTransitionTime": now,
            "reason": "",
            "message": "Kubernetes default Service CIDR is ready",
        }]},
    })
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
pub(crate) async fn ensure(
    core: &Arc<Core>,
    group: &str,
    resource: &str,
    namespace: &str,
    object: Value,
) -> Result<(), Status> {
    let name = object["metadata"]["name"].as_str().unwrap_or("");
    if core.stored(&key(group, resource, namespace, name))?.is_some() {
        return Ok(());
    }
    let kind = by_resource(group, "v1", resource).ok_or_else(failure::no_such_resource)?;
    match (Write { kind, namespace, name: None, subresource: None }).carry_out(core, &object).await {
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
    let kind = by_resource(group, "v1", resource).ok_or_else(failure::no_such_resource)?;
    Write { kind, namespace: "default", name: Some(name), subresource: None }.carry_out(core, &object).await
}

/// Puts members of an object's spec right that say something else, unless its annotation says that they are its owner's.
async fn correct(core: &Arc<Core>, kind: &'static Kind, namespace: &str, wanted: &Value) -> Result<(), Status> {
    let name = wanted["metadata"]["name"].as_str().unwrap_or("");
    let Some(stored) = core.stored(&key(kind.group, kind.resource, namespace, name))? else { return Ok(()) };
    let mut object: Value = serde_json::from_slice(&stored.body).map_err(failure::internal)?;
    if object["metadata"]["annotations"][AUTOUPDATE] == "false" || says(&object["spec"], &wanted["spec"]) {
        return Ok(());
    }
    for (member, value) in wanted["spec"].as_object().into_iter().flatten() {
        object["spec"][member] = value.clone();
    }
    object["metadata"]["resourceVersion"] = json!(stored.revision.to_string());
    let write = Write { kind, namespace, name: Some(name), subresource: None };
    match write.carry_out(core, &object).await {
        // Somebody else was faster: it is looked at again.
        Err(status) if matches!(status.code, 404 | 409) => Ok(()),
        outcome => outcome,
    }
}

/// Whether a value has all that is wanted; it may have more, defaults above all.
fn says(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Object(members), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| members.get(name).is_some_and(|value| says(value, wanted)))
        }
        (Value::Array(items), Value::Array(wanted)) => {
            items.len() == wanted.len() && items.iter().zip(wanted).all(|(item, wanted)| says(item, wanted))
        }
        (value, wanted) => value == wanted,
    }
}

fn key(group: &str, resource: &str, namespace: &str, name: &str) -> Key {
    let resource = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
    Key::new(resource, namespace, name)
}

/// One write as this server itself.
pub(crate) struct Write<'a> {
    pub kind: &'static Kind,
    pub namespace: &'a str,
    pub name: Option<&'a str>,
    pub subresource: Option<&'a str>,
}

impl Write<'_> {
    /// A create, or with a name an update.
    pub async fn carry_out(&self, core: &Arc<Core>, object: &Value) -> Result<(), Status> {
        let verb = if self.name.is_some() { "update" } else { "create" };
        self.ask(core, verb, object).await
    }

    /// A delete, with these options.
    pub async fn remove(&self, core: &Arc<Core>, options: &Value) -> Result<(), Status> {
        self.ask(core, "delete", options).await
    }

    async fn ask(&self, core: &Arc<Core>, verb: &'static str, body: &Value) -> Result<(), Status> {
        let request = own_request(Method::POST, body.to_string());
        let route = ResourceRequest {
            kind: self.kind.into(),
            namespace: Some(self.namespace.to_owned()).filter(|_| self.kind.namespaced),
            name: self.name.map(str::to_owned),
            subresource: self.subresource.map(str::to_owned),
            rest: String::new(),
            verb,
        };
        rest::handle(core, route, request).boxed().await.map(drop)
    }
}

/// A request of this server to itself.
pub(crate) fn own_request(method: Method, body: String) -> ApiRequest {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("kontiki-apiserver"));
    ApiRequest {
        method,
        path: String::new(),
        raw_query: String::new(),
        query: Vec::new(),
        headers,
        body: RequestBody::Bytes(Bytes::from(body)),
        upgrade: None,
        identity: Identity {
            user: Identity::THIS_SERVER.to_owned(),
            groups: vec![MASTERS.to_owned(), AUTHENTICATED.to_owned()],
            ..Identity::default()
        },
        real: None,
        from: None,
        request_id: uuid::Uuid::new_v4().to_string(),
        at: None,
        is_present: false,
        seat: None,
        annotations: None,
    }
}
