//! `POST transactions`: many writes, all of them or none, as one entry of the log at consecutive revisions.
//!
//! Every operation is the request that it would be by itself: routed, authorized, defaulted, admitted and validated as that.
//! It sees what the operations before it do. An object is written once in a transaction.

mod body;
mod recorded;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use kontiki_kinds::{KindRef, Kinds};
use kontiki_model::{Cause, Status};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::{json, value::RawValue};

use self::{
    body::{ObjectMeta, ObjectReference, Preconditions, Transaction, TransactionOperation, TypeMeta},
    recorded::Recorded,
};
use super::{Asked, GROUP_VERSION, object::Object};
use crate::{
    authn::AUTHENTICATED,
    authz, content,
    core::Core,
    definitions, failure, limits,
    negotiate::{Form, Media},
    parts,
    request::{ApiRequest, ApiResponse, RequestBody, ResourceRequest},
    rest::{self, Effect, Failed, Operation, Operations, Verb},
    route::{RequestInfo, Target},
};

const KIND: &str = "Transaction";
const NAMESPACE: &str = "default";
const JSON: &str = "application/json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

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
    let recorded = Recorded::default();
    let answered = carry_out(&core, asked.request, &recorded).await;
    recorded.end(answered.as_ref().err());
    answered
}

async fn carry_out(core: &Arc<Core>, mut request: ApiRequest, recorded: &Recorded) -> Result<ApiResponse, Status> {
    // Who nobody knows may do none of it: nothing is read for them.
    if !request.identity.in_group(AUTHENTICATED) {
        let target = Target::Path(request.path.clone());
        return Err(authz::denied(&request.identity, "post", &target, ""));
    }
    let mut body = std::mem::replace(&mut request.body, RequestBody::Bytes(Bytes::new())).into_body();
    let bytes = match content::read(&mut body, limits::TRANSACTION_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(status) => {
            content::drain(body).await;
            return Err(status);
        }
    };
    let transaction = body::read(&request, &bytes)?;
    // Any other value is refused by the first verb that writes.
    let dry_run = request.query_value("dryRun") == Some("All");
    let asking = Asking { core, request: &request, transaction: &transaction, recorded };
    let ready = asking.prepare()?;
    let late = |index: usize, kinds: &Kinds| asking.operation(kinds, index);
    let operations = Operations { ready, late: &late };
    let mut done = rest::transact(core, &request, &operations, dry_run).await.map_err(told)?;
    if !dry_run && done.iter().any(|(kind, _)| kind.defines_kinds) {
        definitions::changed(core).await?;
    }
    for (kind, one) in &mut done {
        one.stored = rest::as_asked(core, kind, &one.stored).await;
    }
    let revision = done.iter().map(|(_, one)| one.stored.revision).max().unwrap_or_default();
    let outcomes = done.into_iter().enumerate().map(|(index, (kind, one))| {
        let deprecated = kind.deprecation.map(str::to_owned);
        let object = rest::json(&one.stored).map_err(failure::internal)?;
        recorded.done(index, one.effect, &object);
        Ok(Outcome {
            result: match one.effect {
                Effect::Created => "created",
                Effect::Updated => "configured",
                Effect::Unchanged => "unchanged",
                Effect::Deleted => "deleted",
            },
            warnings: one.warnings.into_iter().chain(deprecated).collect(),
            object,
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
fn told(failed: Failed) -> Status {
    let Failed { operation, mut status } = failed;
    if let Some((index, what)) = operation {
        blame(&mut status, index, &what);
    }
    status
}

/// Says which operation a failure is about.
fn blame(status: &mut Status, index: usize, what: &str) {
    let field = format!("operations[{index}]");
    status.message = format!("nothing was changed: {field} ({what}): {}", status.message);
    let cause = Cause { reason: "TransactionOperation".to_owned(), message: what.to_owned(), field };
    status.details.get_or_insert_default().causes.push(cause);
}

/// What a request asks for, and where that is recorded.
struct Asking<'a> {
    core: &'a Core,
    request: &'a ApiRequest,
    transaction: &'a Transaction,
    recorded: &'a Recorded,
}

impl Asking<'_> {
    /// The requests that the operations are, each of them allowed; none for those of kinds that a definition before them may define.
    fn prepare(&self) -> Result<Vec<Option<Operation>>, Status> {
        let kinds = self.core.kinds();
        let mut defines = false;
        let mut prepared = Vec::with_capacity(self.transaction.operations.len());
        for (index, Object(asks)) in self.transaction.operations.iter().enumerate() {
            let kind = kind_of(&kinds, asks);
            let is_late = defines && kind.as_ref().is_none_or(|kind| kind.custom.is_some());
            let ready = (!is_late).then(|| self.operation(&kinds, index));
            prepared.push(ready.transpose()?);
            defines |= asks.verb != Verb::Check && kind.is_some_and(|kind| kind.defines_kinds);
        }
        Ok(prepared)
    }

    fn operation(&self, kinds: &Kinds, index: usize) -> Result<Operation, Status> {
        let Object(asks) = &self.transaction.operations[index];
        self.read(kinds, index, asks).map_err(|mut status| {
            blame(&mut status, index, asks.verb.name());
            status
        })
    }

    fn read(&self, kinds: &Kinds, index: usize, asks: &TransactionOperation) -> Result<Operation, Status> {
        let place = place(kinds, asks, self.transaction.namespace.as_deref().unwrap_or(NAMESPACE))?;
        let (method, content_type, body) = content(asks)?;
        let value = HeaderValue::from_str(content_type)
            .map_err(|_| failure::bad_request(format!("patchType: {content_type:?} is no media type")))?;
        let mut headers = self.request.headers.clone();
        headers.insert(header::CONTENT_TYPE, value);
        let subresource = asks.subresource.as_deref().unwrap_or("");
        if !matches!((subresource, asks.verb), ("", _) | ("status", Verb::Patch | Verb::Update)) {
            let verb = asks.verb.name();
            return Err(failure::bad_request(format!("a transaction cannot {verb} the subresource {subresource:?}")));
        }
        let generated = asks.verb == Verb::Create;
        let name = (!generated).then_some(place.name.as_str());
        if name == Some("") {
            return Err(failure::bad_request("metadata.name: Required value"));
        }
        let asked = request_info(&method, &place, name, subresource)?;
        self.recorded.begin(index, || {
            let mut entry = parts::record(self.core, self.request, &asked)?;
            entry.sent(&headers, &body);
            Some(entry)
        });
        self.recorded.judged(index, |entry| parts::judge(self.core, self.request, &asked, entry))?;
        let mut route = resolve(kinds, &method, &asked)?;
        let may_create = match asks.verb {
            Verb::Apply => {
                let created = request_info(&Method::POST, &place, None, "")?;
                parts::judge(self.core, self.request, &created, None)
            }
            Verb::Check | Verb::Create | Verb::Delete | Verb::Patch | Verb::Update => Ok(()),
        };
        if generated {
            // For the messages, and to find out what is written twice.
            route.name = Some(place.name).filter(|name| !name.is_empty());
        }
        let outer = self.request;
        let request = ApiRequest {
            method,
            path: String::new(),
            raw_query: String::new(),
            query: outer.query.clone(),
            headers,
            body: RequestBody::Bytes(body),
            upgrade: None,
            identity: outer.identity.clone(),
            real: outer.real.clone(),
            from: outer.from,
            request_id: outer.request_id.clone(),
            at: None,
            is_present: false,
            seat: None,
            annotations: outer.annotations.clone(),
        };
        let Object(Preconditions { uid, resource_version }) = asks.preconditions.clone();
        Ok(Operation { verb: asks.verb, route, request, may_create, uid, resource_version })
    }
}

/// The kind that an operation is about, if there is one.
fn kind_of(kinds: &Kinds, asks: &TransactionOperation) -> Option<KindRef> {
    let (api_version, kind) = match (&asks.object, &asks.target) {
        (Some(object), _) => {
            let Object(TypeMeta { api_version, kind, .. }) = serde_json::from_str(object.get()).ok()?;
            (api_version, kind)
        }
        (None, Some(Object(target))) => (target.api_version.clone(), target.kind.clone()),
        (None, None) => return None,
    };
    let (group, version) = group_version(&api_version);
    kinds.by_gvk(group, version, &kind)
}

fn group_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// What the operation is about.
fn place(kinds: &Kinds, asks: &TransactionOperation, namespace: &str) -> Result<Place, Status> {
    let verb = asks.verb.name();
    let (api_version, kind, given, name) = match (asks.verb, &asks.object, &asks.target) {
        (Verb::Apply | Verb::Create | Verb::Update, Some(object), None) => {
            let Object(TypeMeta { api_version, kind, metadata }) = serde_json::from_str(object.get())
                .map_err(|error| failure::bad_request(format!("the object cannot be read: {error}")))?;
            let Object(ObjectMeta { namespace, name }) = metadata.unwrap_or_default();
            (api_version, kind, namespace, name.unwrap_or_default())
        }
        (Verb::Check | Verb::Delete | Verb::Patch, None, Some(target)) => {
            let Object(ObjectReference { api_version, kind, namespace, name }) = target;
            (api_version.clone(), kind.clone(), namespace.clone(), name.clone())
        }
        (Verb::Apply | Verb::Create | Verb::Update, ..) => {
            return Err(failure::bad_request(format!("{verb} takes an object, and no target")));
        }
        (Verb::Check | Verb::Delete | Verb::Patch, ..) => {
            return Err(failure::bad_request(format!("{verb} takes a target, and no object")));
        }
    };
    let (group, version) = group_version(&api_version);
    let kind = kinds.by_gvk(group, version, &kind).ok_or_else(|| {
        let message = format!("no matches for kind {kind:?} in version {api_version:?}");
        Status { message, ..failure::no_such_resource() }
    })?;
    let given = given.filter(|given| !given.is_empty()).unwrap_or_else(|| namespace.to_owned());
    let namespace = kind.namespaced.then_some(given);
    Ok(Place { kind, namespace, name })
}

/// How the operation goes over the wire by itself.
fn content(asks: &TransactionOperation) -> Result<(Method, &str, Bytes), Status> {
    let raw = |value: &Option<Box<RawValue>>, what: &str| {
        let text = value.as_ref().map(|value| Bytes::copy_from_slice(value.get().as_bytes()));
        text.ok_or_else(|| failure::bad_request(format!("{what}: Required value")))
    };
    let deletes = asks.propagation_policy.is_some() || asks.grace_period_seconds.is_some();
    if deletes && asks.verb != Verb::Delete
        || (asks.patch.is_some() || asks.patch_type.is_some()) && asks.verb != Verb::Patch
    {
        let verb = asks.verb.name();
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

/// A request to a place, as it would be by itself.
fn request_info(method: &Method, place: &Place, name: Option<&str>, subresource: &str) -> Result<RequestInfo, Status> {
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
    RequestInfo::read(method, &path, &[])
}

fn resolve(kinds: &Kinds, method: &Method, asked: &RequestInfo) -> Result<ResourceRequest, Status> {
    let Target::Resource(resource) = &asked.target else { return Err(failure::no_such_resource()) };
    let route = resource.resolve(kinds, asked.verb, method)?;
    // What is made of nothing, such as a review, and what is an act on another object, such as a Binding, is no object.
    if route.kind.computed.is_some() {
        return Err(failure::method_not_allowed());
    }
    Ok(route)
}
