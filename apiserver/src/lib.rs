//! The API server: HTTP (warp), authentication, authorization, admission, verbs, discovery, OpenAPI, the watch protocol.
pub mod request;

pub use request::{ApiBody, ApiRequest, ApiResponse, Identity, ResourceRequest};
