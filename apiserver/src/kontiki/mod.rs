//! Kontiki's own API: `/apis/kontiki.dev/v1/<topic>/…`, one file per topic, one table of what there is.
//!
//! These are plain requests about the cluster and its log, not Kubernetes resources: `/apis` does not list the group (kubectl
//! would take its topics for objects), `/` names the paths. Each endpoint is authorized as a verb on a resource of group
//! `kontiki.dev` before it is called; no default role for people names one of them, so they are for administrators until a
//! role says otherwise.

pub(crate) mod at;
mod chain;
mod changes;
pub(crate) mod era;
mod events;
mod history;
pub(crate) mod horizon;
pub mod join;
mod limits;
mod members;
mod object;
pub mod records;
mod restore;
mod snapshot;
mod told;
mod transactions;
mod why;

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use http::Method;
use kontiki_model::{Revision, Status};

use crate::{
    authz::Question,
    core::Core,
    failure,
    request::{ApiRequest, ApiResponse},
    route::{RequestInfo, ResourceInfo, Target},
};

pub(crate) const GROUP: &str = "kontiki.dev";
pub(crate) const GROUP_VERSION: &str = "kontiki.dev/v1";
const PREFIX: &str = "/apis/kontiki.dev/v1/";

/// Everything there is, by path.
static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: "GET",
        path: "events",
        access: Access::Own,
        body: Body::Read,
        long: true,
        answer: |core, asked| events::answer(core, asked).boxed(),
    },
    Endpoint {
        method: "GET",
        path: "history/**",
        access: Access::Object("get"),
        body: Body::Read,
        long: false,
        answer: |core, asked| history::answer(core, asked).boxed(),
    },
    Endpoint {
        method: "POST",
        path: "restore",
        access: Access::To("create", "restores"),
        body: Body::Stream,
        long: true,
        answer: |core, asked| restore::answer(core, asked).boxed(),
    },
    Endpoint {
        method: "GET",
        path: "snapshot",
        access: Access::To("get", "snapshots"),
        body: Body::Read,
        long: true,
        answer: |core, asked| snapshot::answer(core, asked).boxed(),
    },
    Endpoint {
        method: "POST",
        path: "transactions",
        access: Access::Own,
        body: Body::Stream,
        long: false,
        answer: |core, asked| transactions::answer(core, asked).boxed(),
    },
    Endpoint {
        method: "GET",
        path: "why/**",
        access: Access::Object("get"),
        body: Body::Read,
        long: false,
        answer: |core, asked| why::answer(core, asked).boxed(),
    },
    join::JOIN,
    members::LIST,
    members::ADD,
    members::REMOVE,
    members::TRANSFER,
];

/// One method of one path.
pub(crate) struct Endpoint {
    pub method: &'static str,
    /// Below the group's version; `*` stands for one segment, a last `**` for all that follow (one at least).
    pub path: &'static str,
    pub access: Access,
    pub body: Body,
    /// Not bounded in time, counted as watches are; ends when the server stops.
    pub long: bool,
    pub answer: Answer,
}

pub(crate) type Answer = fn(Arc<Core>, Asked) -> BoxFuture<'static, Result<ApiResponse, Status>>;

/// What the caller must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The verb on the resource, in group `kontiki.dev`.
    To(&'static str, &'static str),
    /// The verb on what the API path behind the topic (`**`) names.
    Object(&'static str),
    /// The endpoint judges by itself: by a token of its own, or per object.
    Own,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Read completely, bounded as object requests are.
    Read,
    /// Handed over as it comes: no bound but the endpoint's own.
    Stream,
}

/// A request to an endpoint, authorized.
pub(crate) struct Asked {
    pub request: ApiRequest,
    /// The segments that stood for `*`, decoded.
    pub segments: Vec<String>,
    /// What stood for `**`, where access is that to an object.
    pub object: Option<ResourceInfo>,
}

impl Asked {
    /// The first revision that may be told of the object that is asked about.
    fn horizon(&self, core: &Core) -> Result<Revision, Status> {
        let Some(object) = self.object.clone() else { return Ok(0) };
        let (identity, target) = (&self.request.identity, Target::Resource(object));
        horizon::of(core, Question { identity, verb: "get", target: &target, field_selector: "" })
    }
}

/// The endpoint a request is for, or why there is none; told only to those who might have asked it.
pub(crate) struct Found {
    /// What authorization judges; `None` where the endpoint does.
    pub asks: Option<RequestInfo>,
    outcome: Result<(&'static Endpoint, Matched), Status>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Matched {
    segments: Vec<String>,
    rest: String,
    object: Option<ResourceInfo>,
}

/// The paths that endpoints have, for the list at `/`.
pub(crate) fn paths() -> Vec<String> {
    let mut paths: Vec<String> = ENDPOINTS.iter().map(|endpoint| format!("{PREFIX}{}", endpoint.path)).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// What a request below this group's version asks for; `None` for all other paths.
pub(crate) fn find(method: &Method, path: &str, generic: &RequestInfo) -> Option<Found> {
    let below = path.strip_prefix(PREFIX)?;
    Some(find_in(ENDPOINTS, method, below, generic))
}

fn find_in(endpoints: &'static [Endpoint], method: &Method, below: &str, generic: &RequestInfo) -> Found {
    let refused = |status: Status| Found { asks: Some(generic.clone()), outcome: Err(status) };
    let there: Vec<_> = endpoints.iter().filter_map(|one| Some((one, matches(one.path, below)?))).collect();
    if there.is_empty() {
        return refused(failure::no_such_resource());
    }
    let Some((endpoint, mut matched)) = there.into_iter().find(|(one, _)| *method == one.method) else {
        return refused(failure::method_not_allowed());
    };
    let asks = match endpoint.access {
        Access::Own => None,
        Access::To(verb, resource) => Some(RequestInfo { verb, target: Target::Resource(own(resource, &matched)) }),
        Access::Object(verb) => match object(verb, &matched.rest) {
            Ok(info) => {
                if let Target::Resource(object) = &info.target {
                    matched.object = Some(object.clone());
                }
                Some(info)
            }
            Err(status) => return refused(status),
        },
    };
    Found { asks, outcome: Ok((endpoint, matched)) }
}

fn own(resource: &str, matched: &Matched) -> ResourceInfo {
    ResourceInfo {
        group: GROUP.to_owned(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        name: matched.segments.first().cloned().unwrap_or_default(),
        ..ResourceInfo::default()
    }
}

/// The object that an API path names.
fn object(verb: &'static str, path: &str) -> Result<RequestInfo, Status> {
    let info = RequestInfo::read(&Method::GET, path, &[])?;
    match &info.target {
        Target::Resource(object) if object.named && object.subresource.is_empty() => Ok(RequestInfo { verb, ..info }),
        _ => Err(failure::bad_request(format!("{path} is not the API path of an object"))),
    }
}

/// Holds a path against a pattern.
fn matches(pattern: &str, path: &str) -> Option<Matched> {
    let mut matched = Matched::default();
    let mut left = path.trim_end_matches('/');
    for part in pattern.split('/') {
        if part == "**" {
            matched.rest = format!("/{left}");
            return (!left.is_empty()).then_some(matched);
        }
        let (segment, behind) = left.split_once('/').unwrap_or((left, ""));
        let decoded = percent_encoding::percent_decode_str(segment).decode_utf8().ok()?;
        match part {
            "*" if !decoded.is_empty() => matched.segments.push(decoded.into_owned()),
            literal if literal == decoded => {}
            _ => return None,
        }
        left = behind;
    }
    left.is_empty().then_some(matched)
}

impl Found {
    pub fn is_long(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|(endpoint, _)| endpoint.long)
    }

    pub fn passes_through(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|(endpoint, _)| endpoint.body == Body::Stream)
    }

    /// The topic, for figures: only what exists.
    pub fn topic(&self) -> Option<&'static str> {
        self.outcome.as_ref().ok()?.0.path.split('/').next()
    }

    pub async fn answer(self, core: &Arc<Core>, request: ApiRequest) -> Result<ApiResponse, Status> {
        let (endpoint, Matched { segments, object, .. }) = self.outcome?;
        (endpoint.answer)(core.clone(), Asked { request, segments, object }).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn nothing(_: Arc<Core>, _: Asked) -> BoxFuture<'static, Result<ApiResponse, Status>> {
        async { Err(failure::internal("never called")) }.boxed()
    }

    const fn endpoint(method: &'static str, path: &'static str, access: Access) -> Endpoint {
        Endpoint { method, path, access, body: Body::Read, long: false, answer: nothing }
    }

    static TABLE: &[Endpoint] = &[
        endpoint("GET", "members", Access::To("list", "members")),
        endpoint("DELETE", "members/*", Access::To("delete", "members")),
        endpoint("GET", "history/**", Access::Object("get")),
        endpoint("POST", "join", Access::Own),
    ];

    fn told(method: &str, below: &str) -> String {
        let method: Method = method.parse().unwrap();
        let generic = RequestInfo::read(&method, &format!("{PREFIX}{below}"), &[]).unwrap();
        let found = find_in(TABLE, &method, below, &generic);
        let asks = found.asks.map_or("nothing".to_owned(), |info| match info.target {
            Target::Resource(r) => {
                format!("{} {}/{} ns={} name={}", info.verb, r.group, r.resource, r.namespace, r.name)
            }
            Target::Path(path) => path,
        });
        let outcome =
            found.outcome.map_or_else(|status| status.code.to_string(), |(endpoint, _)| endpoint.path.to_owned());
        format!("{asks} -> {outcome}")
    }

    #[test]
    fn requests_find_their_endpoint_and_what_they_must_be_allowed() {
        let table = [
            ("GET", "members", "list kontiki.dev/members ns= name= -> members"),
            ("GET", "members/", "list kontiki.dev/members ns= name= -> members"),
            ("DELETE", "members/a%2Fb", "delete kontiki.dev/members ns= name=a/b -> members/*"),
            ("POST", "join", "nothing -> join"),
            ("PUT", "members", "update kontiki.dev/members ns= name= -> 405"),
            ("GET", "members/a", "get kontiki.dev/members ns= name=a -> 405"),
            ("GET", "nosuch", "list kontiki.dev/nosuch ns= name= -> 404"),
            ("GET", "history/api/v1/namespaces/n/pods/p", "get /pods ns=n name=p -> history/**"),
            (
                "GET",
                "history/apis/apps/v1/namespaces/n/deployments/d",
                "get apps/deployments ns=n name=d -> history/**",
            ),
            ("GET", "history/api/v1/namespaces/n/pods", "get kontiki.dev/history ns= name=api -> 400"),
            ("GET", "history", "list kontiki.dev/history ns= name= -> 404"),
        ];
        for (method, path, expected) in table {
            assert_eq!(told(method, path), expected, "{method} {path}");
        }
    }
}
