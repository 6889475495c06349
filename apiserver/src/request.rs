//! One request on its way through the server: what the HTTP layer hands to the handlers, and what they give back.

use bytes::Bytes;
use http::{HeaderMap, Method};

/// A response body: a buffer or a stream.
pub type ApiBody = http_body_util::combinators::UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;
pub type ApiResponse = http::Response<ApiBody>;

/// Who is asking, after authentication (and impersonation).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub user: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: Vec<(String, Vec<String>)>,
    /// Raft term an in-process controller was started in; its writes are fenced by it.
    pub term: Option<u64>,
}

/// A decoded request; the body is read and bounded.
#[derive(Clone, Debug)]
pub struct ApiRequest {
    pub method: Method,
    pub path: String,
    /// Query parameters in order, percent-decoded.
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub identity: Identity,
    pub request_id: String,
}

/// A request below `/api/v1` or `/apis/<group>/<version>` for a known kind.
#[derive(Clone)]
pub struct ResourceRequest {
    pub kind: &'static kontiki_kinds::Kind,
    pub namespace: Option<String>,
    pub name: Option<String>,
    /// As in the URL: `status`, `scale`, `log`.
    pub subresource: Option<String>,
    /// Kubernetes' request verb: get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: &'static str,
}
