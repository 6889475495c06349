//! Service addresses on a node, and the ways to other nodes' pods: follows Services, EndpointSlices, the node's pods and the
//! nodes, programs nftables and routes.
//! Knows no containers and no API server of its own; whoever runs the pods gives them links named `kt…`.
//!
//! A pure core in two steps, objects to [`model::View`] and view to [`ruleset::Ruleset`]; the difference of two rulesets is one
//! nft script, which libnftables applies as one transaction.

mod conntrack;
mod health;
mod model;
mod nft;
mod routes;
mod rules;
mod ruleset;
mod run;

#[cfg(test)]
mod traffic_tests;

pub use nft::NftError;
pub use routes::RouteError;
pub use run::{NetworkError, cleanup, run};
