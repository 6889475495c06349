//! What is served below an object: its status and scale, the edits that have their own verb, and the ways to its node.

mod backend;
mod binding;
mod condition;
mod connection;
mod eviction;
mod finalize;
mod named;
mod node;
mod refusal;
pub(crate) mod scale;

use std::sync::Arc;

use kontiki_kinds::Subresource;
use kontiki_model::Status;

pub use binding::bind_posted;

use super::{Call, Rules, patch, put, read};
use crate::{
    Core, failure,
    request::{ApiRequest, ApiResponse, ResourceRequest},
};

pub async fn handle(
    core: &Arc<Core>,
    route: &ResourceRequest,
    request: ApiRequest,
    subresource: Subresource,
) -> Result<ApiResponse, Status> {
    if !subresource.is_proxy() && !subresource.verbs().contains(&route.verb) {
        return Err(failure::method_not_allowed());
    }
    match subresource {
        Subresource::Attach
        | Subresource::Exec
        | Subresource::Log
        | Subresource::NodeProxy
        | Subresource::PortForward => return node::forward(core, route, request, subresource).await,
        Subresource::PodProxy | Subresource::ServiceProxy => {
            return backend::forward(core, route, request, subresource).await;
        }
        Subresource::Approval
        | Subresource::EphemeralContainers
        | Subresource::Binding
        | Subresource::Eviction
        | Subresource::Finalize
        | Subresource::Resize
        | Subresource::Scale
        | Subresource::Status
        | Subresource::Token => {}
    }
    let call = &Call::new(core, route, &request);
    let rules = Rules::of(subresource);
    match (subresource, route.verb) {
        (
            Subresource::Approval | Subresource::EphemeralContainers | Subresource::Resize | Subresource::Status,
            verb @ ("get" | "update" | "patch"),
        ) => match verb {
            "get" => read::get(call).await,
            "update" => put::put(call, rules).await,
            _ => patch::patch(call, rules).await,
        },
        (Subresource::Scale, "get") => scale::get(call).await,
        (Subresource::Scale, "update") => scale::put(call).await,
        (Subresource::Scale, "patch") => scale::patch(call).await,
        (Subresource::Binding, "create") => binding::bind(call).await,
        (Subresource::Eviction, "create") => eviction::evict(call).await,
        (Subresource::Finalize, "update") => finalize::finalize(call).await,
        _ => Err(failure::method_not_allowed()),
    }
}
