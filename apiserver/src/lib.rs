//! The API server: HTTP (warp), authentication, authorization, admission, verbs, discovery, OpenAPI, the watch protocol.
mod authn;
mod authz;
mod config;
pub mod content;
mod core;
pub mod failure;
pub mod limits;
mod metrics;
pub mod negotiate;
pub mod pki;
pub mod proxy;
pub mod request;
pub mod rest;
mod route;
mod server;

pub use authn::TokenSigner;
pub use config::{CidrError, Config, Ipv4Cidr};
pub use core::Core;
pub use request::{ApiBody, ApiRequest, ApiResponse, Identity, RequestBody, ResourceRequest};
pub use server::StartError;
