//! The API server: HTTP (warp), authentication, authorization, admission, verbs, discovery, OpenAPI, the watch protocol.
pub mod content;
pub mod failure;
pub mod limits;
pub mod negotiate;
pub mod request;
mod yaml;

pub use request::{ApiBody, ApiRequest, ApiResponse, Identity, RequestBody, ResourceRequest};
