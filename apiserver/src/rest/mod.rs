//! The generic store: every verb on every kind, over the kinds' declarations. Knows no kind by name, no socket, no user's
//! rights (the request was authorized before it came here).
//!
//! A read is: pick, splice the revision in, send. A write is: decode, default, admit, validate, seal, propose; and again on
//! fresh state when another write came first.

mod apply;
mod bundle;
mod call;
pub(crate) mod claims;
mod computed;
pub(crate) mod conversion;
mod create;
mod decode;
pub(crate) mod definition;
mod delete;
mod deletion;
mod frames;
mod limits;
mod naming;
pub(crate) mod object;
mod options;
mod owners;
pub(crate) mod ownership;
mod patch;
pub(crate) mod plan;
mod pools;
mod put;
mod read;
mod render;
mod selection;
mod server_side_apply;
pub(crate) mod store;
mod subresource;
mod token;
mod transaction;
mod turns;
pub(crate) mod update;
mod view;
mod watch;

use std::{borrow::Cow, sync::Arc};

use futures::FutureExt as _;
use kontiki_kinds::{Kind, kind::Computed};
use kontiki_model::Status;
use kontiki_raft::Stored;

use crate::{
    Core, content, definitions, failure,
    request::{ApiRequest, ApiResponse, ResourceRequest},
};
use limits::DEFINITION_ATTEMPTS_MAX;
use update::Rules;

pub(crate) use call::Call;
pub(crate) use decode::place_in;
pub(crate) use frames::Frames;
pub(crate) use naming::suffix;
pub(crate) use object::json;
pub(crate) use options::delete_options;
pub(crate) use plan::{Change, Effect};
pub(crate) use pools::Ranges;
pub(crate) use render::posted;
pub(crate) use store::{Refusal, read_failed};
pub(crate) use subresource::scale;
pub(crate) use transaction::{Failed, Operation, Operations, Verb, transact};
pub(crate) use turns::Turns;
pub(crate) use view::View;
pub(crate) use watch::lifetime;

/// Answers one request that was routed to a kind.
pub async fn handle(core: &Arc<Core>, route: ResourceRequest, request: ApiRequest) -> Result<ApiResponse, Status> {
    let kind = route.kind.clone();
    let writes = !matches!(route.verb, "get" | "list" | "watch");
    let mut response = match kind.custom {
        Some(_) if writes => of_custom(core, route, request).boxed().await?,
        Some(_) | None => dispatch(core, route, request).await?,
    };
    if kind.defines_kinds && writes {
        definitions::changed(core).boxed().await?;
    }
    if let Some(warning) = kind.deprecation {
        content::warn(&mut response, warning);
    }
    Ok(response)
}

/// A write of a custom object, whose kind may become another meanwhile: then it is read and judged anew, as one of that.
async fn of_custom(
    core: &Arc<Core>,
    mut route: ResourceRequest,
    mut request: ApiRequest,
) -> Result<ApiResponse, Status> {
    for _ in 1..DEFINITION_ATTEMPTS_MAX {
        let Some(again) = request.repeated() else { break };
        match dispatch(core, route.clone(), request).await {
            Err(status) if status == failure::definition_changed() => {}
            answered => return answered,
        }
        definitions::refresh_apart(core).await?;
        let Kind { group, version, resource, .. } = *route.kind;
        route.kind = core.kinds().by_resource(group, version, resource).ok_or_else(failure::no_such_resource)?;
        request = again;
    }
    dispatch(core, route, request).await
}

pub(crate) async fn dispatch(
    core: &Arc<Core>,
    route: ResourceRequest,
    request: ApiRequest,
) -> Result<ApiResponse, Status> {
    if let Some(name) = &route.subresource {
        let found = route.kind.subresources.iter().copied().find(|one| one.name() == name);
        let subresource = found.ok_or_else(failure::no_such_resource)?;
        return subresource::handle(core, &route, request, subresource).boxed().await;
    }
    let call = &Call::new(core, &route, &request);
    if let Some(computed) = route.kind.computed {
        return match (computed, route.verb) {
            (Computed::Components, "get") => computed::get(call, computed).boxed().await,
            (Computed::Components, "list") => computed::list(call, computed).boxed().await,
            (Computed::PodBinding, "create") => subresource::bind_posted(call).boxed().await,
            (Computed::Components | Computed::PodBinding, _) => Err(failure::method_not_allowed()),
        };
    }
    let answering = match route.verb {
        "get" => read::get(call).boxed(),
        "list" => read::list(call).boxed(),
        "watch" => watch::watch(call).boxed(),
        "create" => create::create(call).boxed(),
        "update" => put::put(call, Rules::Main).boxed(),
        "patch" => patch::patch(call, Rules::Main).boxed(),
        "delete" => delete::delete(call).boxed(),
        "deletecollection" => delete::delete_collection(call).boxed(),
        _ => return Err(failure::method_not_allowed()),
    };
    answering.await
}

/// Deletes all objects of a kind, in all namespaces.
pub(crate) async fn empty(core: &Arc<Core>, route: ResourceRequest, request: ApiRequest) -> Result<(), Status> {
    delete::empty(&Call::new(core, &route, &request)).await
}

/// A written object in the form that its author asked for. It is written already: what cannot be converted is told as it is stored.
pub(crate) async fn as_asked(core: &Core, kind: &Kind, stored: &Stored) -> Stored {
    conversion::told(core, kind, stored).await.map_or_else(|_| stored.clone(), Cow::into_owned)
}

/// The time as objects carry it.
pub(crate) fn now_text() -> String {
    call::time_text(call::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever serves requests spawns them: that this compiles is the test.
    #[expect(dead_code, clippy::manual_async_fn)]
    fn a_request_can_be_answered_on_any_thread(
        core: Arc<Core>,
        route: ResourceRequest,
        request: ApiRequest,
    ) -> impl Future<Output = Result<ApiResponse, Status>> + Send + 'static {
        async move { handle(&core, route, request).await }
    }
}
