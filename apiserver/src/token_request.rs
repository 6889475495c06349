//! `serviceaccounts/<name>/token`: issuing tokens that are bound to an account and, if asked, to a pod, secret or node.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use http::StatusCode;
use kontiki_model::{Faults, Key, Status};
use kontiki_raft::Stored;
use serde_json::{Value, json};

use crate::{
    admission::{self, Operation},
    authn::{Claims, KubernetesClaims, Reference},
    authz, content,
    core::{Core, unreadable},
    failure::{self, Qualified},
    limits,
    negotiate::{Offer, negotiate},
    request::{ApiRequest, ApiResponse, ResourceRequest},
    rest,
};

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";

/// What the token is bound to besides its account.
#[derive(Default)]
struct Bound {
    node: Option<Reference>,
    pod: Option<Reference>,
    secret: Option<Reference>,
}

pub(crate) async fn issue(
    core: &Arc<Core>,
    route: &ResourceRequest,
    request: &ApiRequest,
) -> Result<ApiResponse, Status> {
    let form = negotiate(request, Offer::Posted)?;
    let mut body = content::typed_value(request, GROUP, "v1", KIND)?;
    let (namespace, name) = (route.namespace.as_deref().unwrap_or(""), route.name.as_deref().unwrap_or(""));
    body["kind"] = KIND.into();
    body["apiVersion"] = format!("{GROUP}/v1").into();
    let call = &rest::Call::new(core, route, request);
    rest::place_in(namespace, &mut body)?;
    let named = body["metadata"]["name"].as_str().unwrap_or_default();
    if !named.is_empty() && named != name {
        let mut faults = Faults::default();
        faults.invalid("metadata.name", named, "must match the service account name if specified");
        return Err(failure::invalid(Qualified { group: GROUP, resource: KIND }, name, &faults));
    }
    let warnings = admission::posted(call, Operation::Create, name, &mut body, false).await?;
    let account = existing(core, "serviceaccounts", namespace, name).await?;
    let spec = &body["spec"];
    authz::check_token(core, &request.identity, (namespace, name), spec)?;
    let lifetime_s = lifetime(spec)?;
    let mut audiences: Vec<String> =
        spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences.clone_from(&core.config.token_audiences);
    }
    let bound = bind(core, namespace, name, &spec["boundObjectRef"]).await?;
    let now = Utc::now();
    let expires = now.timestamp() + lifetime_s;
    let claims = Claims {
        aud: audiences.clone(),
        exp: expires,
        iat: now.timestamp(),
        iss: core.tokens.issuer().to_owned(),
        jti: uuid::Uuid::new_v4().to_string(),
        kubernetes: KubernetesClaims {
            namespace: namespace.to_owned(),
            node: bound.node,
            pod: bound.pod,
            secret: bound.secret,
            serviceaccount: reference(&account),
        },
        nbf: now.timestamp(),
        sub: format!("system:serviceaccount:{namespace}:{name}"),
    };
    let token = core.tokens.sign(&claims).map_err(failure::internal)?;
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let expiration = DateTime::from_timestamp(expires, 0).map(time).unwrap_or_default();
    let answer = json!({
        "kind": KIND,
        "apiVersion": format!("{GROUP}/v1"),
        "metadata": {"name": name, "namespace": namespace, "uid": account.head.uid, "creationTimestamp": time(now)},
        "spec": {"audiences": audiences, "expirationSeconds": lifetime_s, "boundObjectRef": spec["boundObjectRef"]},
        "status": {"token": token, "expirationTimestamp": expiration},
    });
    let mut response = rest::posted(form, StatusCode::CREATED, GROUP, &answer)?;
    warnings.iter().for_each(|warning| content::warn(&mut response, warning));
    Ok(response)
}

fn lifetime(spec: &Value) -> Result<i64, Status> {
    let asked = spec["expirationSeconds"].as_i64().unwrap_or(limits::TOKEN_LIFETIME_S_DEFAULT);
    let mut faults = Faults::default();
    if asked < limits::TOKEN_LIFETIME_S_MIN {
        faults.invalid("spec.expirationSeconds", asked, "may not specify a duration less than 10 minutes");
    }
    if asked > limits::TOKEN_LIFETIME_S_MAX {
        faults.invalid("spec.expirationSeconds", asked, "may not specify a duration larger than 2^32 seconds");
    }
    match faults.is_empty() {
        true => Ok(asked),
        false => Err(failure::invalid(Qualified { group: GROUP, resource: KIND }, "", &faults)),
    }
}

async fn bind(core: &Core, namespace: &str, account: &str, asked: &Value) -> Result<Bound, Status> {
    let mut bound = Bound::default();
    if asked.is_null() {
        return Ok(bound);
    }
    let text = |member: &str| asked[member].as_str().unwrap_or("");
    let (version, kind, name, uid) = (text("apiVersion"), text("kind"), text("name"), text("uid"));
    let resource = match (version, kind) {
        ("v1", "Pod") => "pods",
        ("v1", "Secret") => "secrets",
        ("v1", "Node") => "nodes",
        _ => {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let message = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(failure::bad_request(message));
        }
    };
    let object = existing(core, resource, if resource == "nodes" { "" } else { namespace }, name).await?;
    if !uid.is_empty() && uid != object.head.uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        );
        return Err(failure::conflict(Qualified { group: "", resource }, name, &why));
    }
    match resource {
        "pods" => {
            let pod: Value = serde_json::from_slice(&object.body).map_err(failure::internal)?;
            if pod["spec"]["serviceAccountName"] != account {
                let message = format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                );
                return Err(failure::bad_request(message));
            }
            let node = pod["spec"]["nodeName"].as_str().unwrap_or("");
            bound.node = core.stored(&Key::new("nodes", "", node))?.as_ref().map(reference);
            bound.pod = Some(reference(&object));
        }
        "secrets" => bound.secret = Some(reference(&object)),
        _ => bound.node = Some(reference(&object)),
    }
    Ok(bound)
}

fn reference(object: &Stored) -> Reference {
    Reference { name: object.key.name.clone(), uid: object.head.uid.clone() }
}

/// The object, or 404; a miss is believed only of a state that is not behind.
async fn existing(core: &Core, resource: &str, namespace: &str, name: &str) -> Result<Stored, Status> {
    let key = Key::new(resource, namespace, name);
    if let Some(found) = core.stored(&key)? {
        return Ok(found);
    }
    core.log.barrier().await.map_err(|error| unreadable(&error))?;
    core.stored(&key)?.ok_or_else(|| failure::not_found(Qualified { group: "", resource }, name))
}
