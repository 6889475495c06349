//! One request on its way through the server: what the HTTP layer hands to the handlers, and what they give back.
//!
//! The HTTP layer has authenticated, routed and authorized it; the handlers never see a socket.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, Method, header};
use hyper::upgrade::OnUpgrade;
use kontiki_model::{Revision, Status};

use crate::{audit::Annotations, authn::MASTERS, failure, fairness::Seat};

/// The revision that a write reacts to.
const CAUSE: header::HeaderName = header::HeaderName::from_static("kontiki-cause");

/// A body that breaks off.
///
/// A type of its own, not a boxed `dyn Error`: a future that holds one of those behind hyper's `Into` bounds cannot be
/// proven `Send` for every lifetime.
#[derive(Debug, thiserror::Error)]
#[error("the body broke off")]
pub struct BodyError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// A body on its way, in or out: a buffer or a stream.
pub type ApiBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BodyError>;
pub type ApiResponse = http::Response<ApiBody>;

/// Marks an answer without an end, which may keep its connection for itself.
#[derive(Clone, Copy)]
pub(crate) struct Endless;

/// Who is asking, after authentication (and impersonation).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub user: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: Vec<(String, Vec<String>)>,
    /// Who really asks, where they act as somebody else.
    pub impersonator: Option<String>,
    /// Raft term an in-process controller was started in; its writes are fenced by it.
    pub term: Option<u64>,
}

/// A request's body.
///
/// Object requests are read completely, bounded by [`crate::limits::REQUEST_BODY_BYTES_MAX`], before a handler sees
/// them. Requests that pass through to a node agent keep their stream: it has no bound and is never buffered.
pub enum RequestBody {
    Bytes(Bytes),
    /// Taken by value, never locked: the mutex is there so that a request can be shared between threads.
    Stream(Mutex<ApiBody>),
}

/// An authenticated request.
pub struct ApiRequest {
    pub method: Method,
    /// As received, still percent-encoded.
    pub path: String,
    /// The query string as received, without the question mark.
    pub raw_query: String,
    /// Query parameters in order, percent-decoded.
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: RequestBody,
    /// Set when the client asked to switch protocols and the connection can.
    pub upgrade: Option<OnUpgrade>,
    pub identity: Identity,
    /// Who makes it, where that is somebody else.
    pub real: Option<Arc<Identity>>,
    /// From where it came, if over a network.
    pub from: Option<IpAddr>,
    /// `Audit-Id` of the answer.
    pub request_id: String,
    /// The moment whose state is asked for: a path below `/at/`.
    pub at: Option<Past>,
    /// This server was found to know all that was acknowledged before the request came.
    pub is_present: bool,
    /// Its place among the requests in work; absent for what the server asks itself.
    pub seat: Option<Arc<Seat>>,
    /// Where it is recorded: what is to be said about it there.
    pub annotations: Option<Arc<Annotations>>,
}

/// A moment of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    pub revision: Revision,
    /// The moment that was named, or when the revision came to be.
    pub time: DateTime<Utc>,
}

/// A request below `/api/v1` or `/apis/<group>/<version>` for a known kind.
#[derive(Clone)]
pub struct ResourceRequest {
    pub kind: kontiki_kinds::KindRef,
    pub namespace: Option<String>,
    pub name: Option<String>,
    /// As in the URL: `status`, `scale`, `log`; what follows it in the path of `…/proxy/<path>` is in `rest`.
    pub subresource: Option<String>,
    /// The path behind the subresource, with its leading slash, still percent-encoded: `…/proxy/images` gives `/images`.
    pub rest: String,
    /// Kubernetes' request verb: get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: &'static str,
}

impl BodyError {
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        BodyError(cause.into())
    }
}

impl Identity {
    /// The user that this server itself writes as.
    pub const THIS_SERVER: &str = "system:apiserver";

    /// Whether this is the server itself, or whoever may do all that it may. A name alone says nothing: others may be called so.
    pub fn is_this_server(&self) -> bool {
        self.user == Identity::THIS_SERVER && self.in_group(MASTERS)
    }

    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|one| one == group)
    }
}

impl RequestBody {
    pub fn stream(body: ApiBody) -> Self {
        RequestBody::Stream(Mutex::new(body))
    }

    /// The body, to be passed on.
    pub fn into_body(self) -> ApiBody {
        match self {
            RequestBody::Bytes(bytes) => crate::content::full(bytes),
            RequestBody::Stream(body) => body.into_inner().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// The whole body, where it was read; a stream counts as empty.
    pub fn bytes(&self) -> &Bytes {
        static NOTHING: Bytes = Bytes::new();
        match self {
            RequestBody::Bytes(bytes) => bytes,
            RequestBody::Stream(_) => &NOTHING,
        }
    }
}

/// A boolean query parameter's value as Kubernetes reads it: all but `0` and `false`, in whatever letters (Python says `False`).
pub(crate) fn is_true(value: &str) -> bool {
    value != "0" && !value.eq_ignore_ascii_case("false")
}

/// A number as it stands in a request: digits and nothing else.
pub(crate) fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl ApiRequest {
    /// The same request once more; one whose body is passed on as it comes cannot be repeated.
    pub(crate) fn repeated(&self) -> Option<Self> {
        let RequestBody::Bytes(body) = &self.body else { return None };
        Some(ApiRequest {
            method: self.method.clone(),
            path: self.path.clone(),
            raw_query: self.raw_query.clone(),
            query: self.query.clone(),
            headers: self.headers.clone(),
            body: RequestBody::Bytes(body.clone()),
            upgrade: None,
            identity: self.identity.clone(),
            real: self.real.clone(),
            from: self.from,
            request_id: self.request_id.clone(),
            at: self.at,
            is_present: self.is_present,
            seat: self.seat.clone(),
            annotations: self.annotations.clone(),
        })
    }

    /// The first value of a query parameter.
    pub fn query_value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A boolean query parameter; false if absent.
    pub fn query_flag(&self, name: &str) -> bool {
        self.query_value(name).is_some_and(is_true)
    }

    /// A header as text; a value that is not visible ASCII counts as absent.
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Says something about this request where it is recorded.
    pub fn annotate(&self, key: &str, value: impl Into<String>) {
        if let Some(annotations) = &self.annotations {
            annotations.add(key, value);
        }
    }

    pub fn user_agent(&self) -> &str {
        self.header(header::USER_AGENT).unwrap_or("")
    }

    /// The same request as a reaction to a revision.
    pub(crate) fn caused_by(mut self, revision: Option<Revision>) -> Self {
        if let Some(revision) = revision {
            self.headers.insert(CAUSE, revision.into());
        }
        self
    }

    /// The revision this write reacts to, from the `Kontiki-Cause` header.
    pub fn cause(&self) -> Result<Option<Revision>, Status> {
        let Some(value) = self.headers.get(CAUSE) else { return Ok(None) };
        let revision = value.to_str().ok().and_then(number);
        let refused = || failure::bad_request(format!("the Kontiki-Cause header is not a revision: {value:?}"));
        revision.map(Some).ok_or_else(refused)
    }
}
