//! What is served, as the documents describe it: one route for each kind, for what is below it, and for each review.

use std::sync::OnceLock;

use kontiki_kinds::{KINDS, Kind, Subresource};
use kontiki_schema::openapi::RouteInfo;

use crate::reviews::REVIEWS;

/// Of the built-in kinds and the reviews.
pub fn builtin() -> &'static [RouteInfo<'static>] {
    static ROUTES: OnceLock<Vec<RouteInfo<'static>>> = OnceLock::new();
    ROUTES.get_or_init(|| {
        let kinds = KINDS.iter().flat_map(|kind| of(kind));
        kinds
            .chain(REVIEWS.iter().map(|review| RouteInfo {
                group: review.group,
                version: "v1",
                resource: review.resource,
                kind: review.kind,
                namespaced: review.namespaced,
                subresource: None,
                type_name: review.type_name,
                verbs: &["create"],
                connect: false,
                custom: false,
                query: &[],
            }))
            .collect()
    })
}

/// Of one kind and what is below it.
pub fn of(kind: &Kind) -> impl Iterator<Item = RouteInfo<'static>> {
    let own = of_kind(kind);
    let below = kind.subresources.iter().map(move |subresource| of_subresource(own, *subresource));
    std::iter::once(own).chain(below)
}

fn of_kind(kind: &Kind) -> RouteInfo<'static> {
    RouteInfo {
        group: kind.group,
        version: kind.version,
        resource: kind.resource,
        kind: kind.kind,
        namespaced: kind.namespaced,
        subresource: None,
        type_name: kind.type_name,
        verbs: kind.verbs,
        connect: false,
        custom: kind.custom.is_some(),
        query: &[],
    }
}

fn of_subresource(own: RouteInfo<'static>, subresource: Subresource) -> RouteInfo<'static> {
    const STREAMS: &[&str] = &["container", "stderr", "stdin", "stdout", "tty"];
    const EXEC: &[&str] = &["command", "container", "stderr", "stdin", "stdout", "tty"];
    const LOG: &[&str] = &[
        "container",
        "follow",
        "insecureSkipTLSVerifyBackend",
        "limitBytes",
        "previous",
        "sinceSeconds",
        "stream",
        "tailLines",
        "timestamps",
    ];
    let (type_name, connect, query): (&str, bool, &[&str]) = match subresource {
        Subresource::Attach => ("core.v1.PodAttachOptions", true, STREAMS),
        Subresource::Binding => ("core.v1.Binding", false, &[]),
        Subresource::Eviction => ("policy.v1.Eviction", false, &[]),
        Subresource::Exec => ("core.v1.PodExecOptions", true, EXEC),
        Subresource::Approval
        | Subresource::EphemeralContainers
        | Subresource::Finalize
        | Subresource::Resize
        | Subresource::Status => (own.type_name, false, &[]),
        Subresource::Log => (own.type_name, false, LOG),
        Subresource::NodeProxy => ("core.v1.NodeProxyOptions", true, &["path"]),
        Subresource::PodProxy => ("core.v1.PodProxyOptions", true, &["path"]),
        Subresource::PortForward => ("core.v1.PodPortForwardOptions", true, &["ports"]),
        Subresource::Scale => ("autoscaling.v1.Scale", false, &[]),
        Subresource::ServiceProxy => ("core.v1.ServiceProxyOptions", true, &["path"]),
        Subresource::Token => ("authentication.v1.TokenRequest", false, &[]),
    };
    let verbs = subresource.verbs();
    RouteInfo { subresource: Some(subresource.name()), type_name, verbs, connect, query, ..own }
}
