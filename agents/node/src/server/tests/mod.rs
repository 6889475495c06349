//! The whole server, in process, over real TLS.
#![allow(clippy::unwrap_used)]

mod certificates;
mod client;
pub mod fake;
mod requests;
mod spdy;
mod websocket;
