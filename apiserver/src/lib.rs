//! The API server: HTTP (warp), authentication, authorization, admission, verbs, discovery, OpenAPI, the watch protocol.
//!
//! A request comes in through `serve` (TLS, warp) or `in_process`, and takes the same way from there: `handler`
//! authenticates it (`authn`), reads what it asks for (`route`), authorizes it (`authz`) and hands it to [`rest`], to
//! `reviews`, or to `paths`. Answers are written by [`content`], failures worded in [`failure`]. [`Core`] is what all share.
mod admission;
mod aggregation;
pub mod audit;
mod authn;
mod authz;
mod bootstrap;
mod config;
pub mod content;
mod core;
mod definitions;
mod discovery;
mod document;
pub mod encryption;
pub mod failure;
mod fairness;
mod follow;
mod handler;
mod health;
mod in_process;
mod kontiki;
mod kubernetes_service;
pub mod limits;
mod metrics;
pub mod negotiate;
mod openapi;
mod parts;
mod paths;
pub mod peers;
pub mod pki;
mod present;
pub mod proxy;
mod registry;
pub mod request;
pub mod rest;
mod reviews;
mod route;
mod serve;
mod server;
mod services;
pub mod sockets;
mod streaming;
mod token_request;
mod version;
mod webhook;
mod websocket;
mod yaml;

pub use admission::{AdmissionConfig, AdmissionConfigError};
pub use authn::{AuthenticationError, AuthenticationSource, OidcFlags, TokenSigner};
pub use config::{CidrError, Config, Ipv4Cidr};
pub use core::Core;
pub use definitions::keep as keep_definitions;
pub use in_process::InProcess;
pub use kontiki::join;
pub use kontiki::records;
pub use request::{ApiBody, ApiRequest, ApiResponse, Identity, Past, RequestBody, ResourceRequest};
pub use server::{ApiServer, StartError};
