//! `POST transactions`: many writes, all of them or none, as one entry of the log at consecutive revisions.
//!
//! Every operation is the request that it would be by itself: routed, authorized, defaulted, admitted and validated as that.
//! It sees what the operations before it do. An object is written once in a transaction.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use kontiki_kinds::KindRef;
use kontiki_model::{Cause, Status};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{Asked, GROUP_VERSION};
use crate::{
    authn::AUTHENTICATED,
    authz::{self, Question},
    content,
    core::Core,
    failure, limits,
    negotiate::{Form, Media},
    request::{ApiRequest, ApiResponse, RequestBody, ResourceRequest},
    rest::{self, Effect, Failed, Operation, Verb},
    route::{RequestInfo, Target},
};

const KIND: &str = "Transaction";
const NAMESPACE: &str = "default";
const JSON: &str = "application/json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Transaction {
    kind: String,
    api_version: String,
    /// Where objects go that name none.
    #[serde(default)]
    namespace: Option<String>,
    operations: Vec<Asks>,
}

/// One operation as it comes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Asks {
    verb: Verb,
    /// apply, create, update: the object.
    object: Option<Box<RawValue>>,
    /// check, delete, patch: which one.
    target: Option<Reference>,
    /// update, patch: `status`.
    #[serde(default)]
    subresource: Option<String>,
    patch: Option<Box<RawValue>>,
    /// The media type of a PATCH; absent, a strategic merge patch.
    patch_type: Option<String>,
    #[serde(default)]
    preconditions: Preconditions,
    propagation_policy: Option<String>,
    grace_period_seconds: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Reference {
    api_version: String,
    kind: String,
    #[serde(default)]
    namespace: Option<String>,
    name: String,
}

/// What an object says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Option<Names>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Names {
    namespace: Option<String>,
    name: Option<String>,
}

/// What became of one object.
#[derive(Serialize)]
struct Outcome {
    /// `created`, `configured`, `unchanged` or `deleted`.
    result: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    object: Box<RawValue>,
}

/// A place in the API: a kind, a namespace, a name.
struct Place {
    kind: KindRef,
    namespace: Option<String>,
    name: String,
}

pub async fn answer(core: Arc<Core>, asked: Asked) -> Result<ApiResponse, Status> {
    let Asked { mut request, .. } = asked;
    // Who nobody knows may do none of it: nothing is read for them.
    if !request.identity.in_group(AUTHENTICATED) {
        let target = Target::Path(request.path.clone());
        return Err(authz::denied(&request.identity, "post", &target, ""));
    }
    let body = std::mem::replace(&mut request.body, RequestBody::Bytes(Bytes::new()));
    let bytes = content::read(&mut body.into_body(), limits::TRANSACTION_BYTES_MAX).await?;
    let transaction = read(&request, &bytes)?;
    // Any other value is refused by the first verb that writes.
    let dry_run = request.query_value("dryRun") == Some("All");
    let operations = prepare(&core, &request, transaction)?;
    let written = rest::transact(&core, &request, &operations, dry_run).await;
    let mut written = written.map_err(|failed| told(failed, &operations))?;
    for (one, operation) in written.iter_mut().zip(&operations) {
        one.stored = rest::as_asked(&core, &operation.route.kind, &one.stored).await;
    }
    let revision = written.iter().map(|one| one.stored.revision).max().unwrap_or_default();
    let outcomes = written.into_iter().zip(&operations).map(|(one, operation)| {
        let deprecated = operation.route.kind.deprecation.map(str::to_owned);
        Ok(Outcome {
            result: match one.effect {
                Effect::Created => "created",
                Effect::Updated => "configured",
                Effect::Unchanged => "unchanged",
                Effect::Deleted => "deleted",
            },
            warnings: one.warnings.into_iter().chain(deprecated).collect(),
            object: rest::json(&one.stored).map_err(failure::internal)?,
        })
    });
    let outcomes = outcomes.collect::<Result<Vec<_>, Status>>()?;
    let metadata = if dry_run { json!({}) } else { json!({"resourceVersion": revision.to_string()}) };
    let text = kontiki_schema::json::text(&Answer {
        kind: "TransactionResult",
        api_version: GROUP_VERSION,
        metadata,
        status: "Success",
        results: outcomes,
    });
    let form = Form { media: Media::Json { pretty: request.query_flag("pretty") }, ..Form::JSON };
    content::answer(StatusCode::OK, form, text.map_err(failure::internal)?.into())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    kind: &'static str,
    api_version: &'static str,
    metadata: serde_json::Value,
    status: &'static str,
    results: Vec<Outcome>,
}

/// The failure of the whole, which is that of one operation.
fn told(failed: Failed, operations: &[Operation]) -> Status {
    let Failed { operation, mut status } = failed;
    let Some((index, operation)) = operation.and_then(|index| Some((index, operations.get(index)?))) else {
        return status;
    };
    let route = &operation.route;
    let name = route.name.as_deref().unwrap_or("");
    let verb = format!("{:?}", operation.verb).to_lowercase();
    let what = format!("{verb} {} {name}", route.kind.singular);
    blame(&mut status, index, what.trim_end());
    status
}

/// Says which operation a failure is about.
fn blame(status: &mut Status, index: usize, what: &str) {
    let field = format!("operations[{index}]");
    status.message = format!("nothing was changed: {field} ({what}): {}", status.message);
    let cause = Cause { reason: "TransactionOperation".to_owned(), message: what.to_owned(), field };
    status.details.get_or_insert_default().causes.push(cause);
}

fn read(request: &ApiRequest, bytes: &[u8]) -> Result<Transaction, Status> {
    let refused = |error: &dyn std::fmt::Display| {
        failure::bad_request(format!("{KIND} in version \"v1\" cannot be handled as a {KIND}: {error}"))
    };
    let transaction: Transaction = match content::media_type(&request.headers) {
        "" | JSON => serde_json::from_slice(bytes).map_err(|error| refused(&error))?,
        "application/yaml" => {
            let document = kontiki_schema::decode_yaml(bytes).map_err(|error| refused(&error))?;
            serde_json::from_str(&document.value.to_string()).map_err(|error| refused(&error))?
        }
        _ => return Err(failure::unsupported_media(&[JSON, "application/yaml"])),
    };
    if transaction.kind != KIND || transaction.api_version != GROUP_VERSION {
        return Err(refused(&format!("the body must be a {KIND} of {GROUP_VERSION}")));
    }
    match transaction.operations.len() {
        0 => Err(refused(&"operations: Required value")),
        many if many > limits::TRANSACTION_OPERATIONS_MAX => Err(failure::too_many_operations(format!(
            "the transaction has {many} operations; the limit is {}",
            limits::TRANSACTION_OPERATIONS_MAX
        ))),
        _ => Ok(transaction),
    }
}

/// The requests that the operations are, each of them allowed.
fn prepare(core: &Core, request: &ApiRequest, transaction: Transaction) -> Result<Vec<Operation>, Status> {
    let namespace = transaction.namespace.as_deref().unwrap_or(NAMESPACE);
    let mut operations = Vec::with_capacity(transaction.operations.len());
    let mut written: HashMap<(&'static str, &'static str, Option<String>, String), usize> = HashMap::new();
    for (index, asks) in transaction.operations.into_iter().enumerate() {
        let verb = asks.verb;
        let operation = operation(core, request, namespace, asks).map_err(|mut status| {
            blame(&mut status, index, &format!("{verb:?}").to_lowercase());
            status
        })?;
        let ResourceRequest { kind, namespace, name, .. } = &operation.route;
        if let (true, Some(name)) = (verb != Verb::Check, name) {
            let place = (kind.group, kind.resource, namespace.clone(), name.clone());
            if let Some(first) = written.insert(place, index) {
                let message = format!(
                    "operations[{index}] and operations[{first}] both write {} {name:?}; a transaction writes an object once",
                    kind.singular
                );
                return Err(failure::bad_request(message));
            }
        }
        operations.push(operation);
    }
    Ok(operations)
}

fn operation(core: &Core, request: &ApiRequest, namespace: &str, asks: Asks) -> Result<Operation, Status> {
    let place = place(core, &asks, namespace)?;
    let (method, content_type, body) = content(&asks)?;
    let mut request = ApiRequest {
        method,
        path: String::new(),
        raw_query: String::new(),
        query: request.query.clone(),
        headers: {
            let mut headers = request.headers.clone();
            let value = HeaderValue::from_str(content_type)
                .map_err(|_| failure::bad_request(format!("patchType: {content_type:?} is no media type")))?;
            headers.insert(header::CONTENT_TYPE, value);
            headers
        },
        body: RequestBody::Bytes(body),
        upgrade: None,
        identity: request.identity.clone(),
        from: request.from,
        request_id: request.request_id.clone(),
        at: None,
        is_present: false,
        seat: None,
        annotations: request.annotations.clone(),
    };
    let subresource = asks.subresource.as_deref().unwrap_or("");
    if !matches!((subresource, asks.verb), ("", _) | ("status", Verb::Patch | Verb::Update)) {
        return Err(failure::bad_request(format!(
            "a transaction cannot {:?} the subresource {subresource:?}",
            asks.verb
        )));
    }
    let generated = asks.verb == Verb::Create;
    let name = (!generated).then_some(place.name.as_str());
    if name == Some("") {
        return Err(failure::bad_request("metadata.name: Required value"));
    }
    let mut route = allowed(core, &request, &place, name, subresource)?;
    let may_create = match asks.verb {
        Verb::Apply => {
            let method = std::mem::replace(&mut request.method, Method::POST);
            let created = allowed(core, &request, &place, None, "").map(drop);
            request.method = method;
            created
        }
        Verb::Check | Verb::Create | Verb::Delete | Verb::Patch | Verb::Update => Ok(()),
    };
    if generated {
        // For the messages, and to find out what is written twice.
        route.name = Some(place.name).filter(|name| !name.is_empty());
    }
    let Preconditions { uid, resource_version } = asks.preconditions;
    Ok(Operation { verb: asks.verb, route, request, may_create, uid, resource_version })
}

/// What the operation is about.
fn place(core: &Core, asks: &Asks, namespace: &str) -> Result<Place, Status> {
    let verb = format!("{:?}", asks.verb).to_lowercase();
    let (api_version, kind, given, name) = match (asks.verb, &asks.object, &asks.target) {
        (Verb::Apply | Verb::Create | Verb::Update, Some(object), None) => {
            let header: Header = serde_json::from_str(object.get())
                .map_err(|error| failure::bad_request(format!("the object cannot be read: {error}")))?;
            let Names { namespace, name } = header.metadata.unwrap_or_default();
            (header.api_version, header.kind, namespace, name.unwrap_or_default())
        }
        (Verb::Check | Verb::Delete | Verb::Patch, None, Some(target)) => {
            let Reference { api_version, kind, namespace, name } = target;
            (api_version.clone(), kind.clone(), namespace.clone(), name.clone())
        }
        (Verb::Apply | Verb::Create | Verb::Update, ..) => {
            return Err(failure::bad_request(format!("{verb} takes an object, and no target")));
        }
        (Verb::Check | Verb::Delete | Verb::Patch, ..) => {
            return Err(failure::bad_request(format!("{verb} takes a target, and no object")));
        }
    };
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let found = core.kinds().by_gvk(group, version, &kind);
    let kind = found.ok_or_else(|| {
        let mut status = failure::no_such_resource();
        status.message = format!("no matches for kind {kind:?} in version {api_version:?}");
        status
    })?;
    let given = given.filter(|given| !given.is_empty()).unwrap_or_else(|| namespace.to_owned());
    let namespace = kind.namespaced.then_some(given);
    Ok(Place { kind, namespace, name })
}

/// How the operation goes over the wire by itself.
fn content(asks: &Asks) -> Result<(Method, &str, Bytes), Status> {
    let raw = |value: &Option<Box<RawValue>>, what: &str| {
        let text = value.as_ref().map(|value| Bytes::copy_from_slice(value.get().as_bytes()));
        text.ok_or_else(|| failure::bad_request(format!("{what}: Required value")))
    };
    let deletes = asks.propagation_policy.is_some() || asks.grace_period_seconds.is_some();
    if deletes && asks.verb != Verb::Delete
        || (asks.patch.is_some() || asks.patch_type.is_some()) && asks.verb != Verb::Patch
    {
        let verb = format!("{:?}", asks.verb).to_lowercase();
        return Err(failure::bad_request(format!("{verb} takes neither a patch nor options of a deletion")));
    }
    Ok(match asks.verb {
        Verb::Apply => (Method::PATCH, JSON, raw(&asks.object, "object")?),
        Verb::Check => (Method::GET, JSON, Bytes::new()),
        Verb::Create => (Method::POST, JSON, raw(&asks.object, "object")?),
        Verb::Delete => {
            let mut options = json!({});
            if let Some(policy) = &asks.propagation_policy {
                options["propagationPolicy"] = policy.as_str().into();
            }
            if let Some(seconds) = asks.grace_period_seconds {
                options["gracePeriodSeconds"] = seconds.into();
            }
            (Method::DELETE, JSON, options.to_string().into())
        }
        Verb::Patch => (Method::PATCH, asks.patch_type.as_deref().unwrap_or(STRATEGIC), raw(&asks.patch, "patch")?),
        Verb::Update => (Method::PUT, JSON, raw(&asks.object, "object")?),
    })
}

/// The route of a request to a place, if its author may go there.
fn allowed(
    core: &Core,
    request: &ApiRequest,
    place: &Place,
    name: Option<&str>,
    subresource: &str,
) -> Result<ResourceRequest, Status> {
    let kind = &place.kind;
    let mut path = match kind.group {
        "" => format!("/api/{}", kind.version),
        group => format!("/apis/{group}/{}", kind.version),
    };
    let mut go = |segment: &str| {
        path.push('/');
        path.extend(utf8_percent_encode(segment, NON_ALPHANUMERIC));
    };
    if let Some(namespace) = &place.namespace {
        go("namespaces");
        go(namespace);
    }
    [kind.resource]
        .into_iter()
        .chain(name)
        .chain([subresource].into_iter().filter(|one| !one.is_empty()))
        .for_each(&mut go);
    let RequestInfo { verb, target } = RequestInfo::read(&request.method, &path, &[])?;
    let question = Question { identity: &request.identity, verb, target: &target, field_selector: "" };
    authz::authorize(core, question)?;
    let Target::Resource(resource) = &target else { return Err(failure::no_such_resource()) };
    let route = resource.resolve(&core.kinds(), verb, &request.method)?;
    Ok(route)
}
