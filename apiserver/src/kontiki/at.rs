//! `/at/<revision or RFC 3339 time>/…`: every read path of the API as it would have answered then.
//!
//! Objects are those of the past, and so are the kinds that definitions made then; who may see them is the present's business.
//! So a request below `/at/` is authorized as the same request without the prefix. Discovery and OpenAPI answer for a moment that
//! does not exist, too, as they do now: plain clients ask them on their way to an object, and it is there that they show a refusal.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use http::{HeaderName, HeaderValue, Method};
use kontiki_kinds::Kind;
use kontiki_model::{Revision, Status};
use kontiki_raft::ReadError;
use percent_encoding::percent_decode_str;

use super::{GROUP, GROUP_VERSION, era};
use crate::{
    core::{Core, unreadable},
    failure, health,
    registry::Registry,
    request::{ApiResponse, Past, number},
    reviews,
    route::{ResourceInfo, Target},
};

const PREFIX: &str = "/at/";
/// The revision whose state was told.
const REVISION: HeaderName = HeaderName::from_static("kontiki-revision");
/// What the documents that tell of kinds begin with.
const KINDS_TOLD: &[&str] = &["", "api", "apis", "openapi"];
/// Subresources that a node answers, or that hand out something new: none of it is kept.
const LIVE: &[&str] = &["attach", "exec", "log", "portforward", "proxy", "token"];

/// A moment of the past, as a client names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    Revision(Revision),
    Time { ms: i64, text: String },
}

/// The moment that a path begins with, and the path behind it; `None` for paths of the present.
pub fn split(path: &str) -> Option<(Result<Moment, Status>, String)> {
    let named = path.strip_prefix(PREFIX)?;
    let (moment, rest) = named.split_once('/').unwrap_or((named, ""));
    Some((Moment::read(moment), format!("/{rest}")))
}

impl Moment {
    /// A revision, or an RFC 3339 time.
    pub fn read(text: &str) -> Result<Self, Status> {
        let decoded = percent_decode_str(text).decode_utf8_lossy();
        if let Ok(time) = DateTime::parse_from_rfc3339(&decoded) {
            return Ok(Moment::Time { ms: time.timestamp_millis(), text: decoded.into_owned() });
        }
        match number(&decoded) {
            Some(revision) if revision > 0 => Ok(Moment::Revision(revision)),
            Some(_) | None => Err(failure::bad_request(format!(
                "{decoded:?} is no moment: a revision such as 123, or an RFC 3339 time such as 2026-01-31T12:00:00Z"
            ))),
        }
    }

    /// The revision of the moment, and its time.
    pub async fn past(&self, core: &Core) -> Result<Past, Status> {
        let revision = self.resolve(core).await?;
        let ms = match self {
            Moment::Time { ms, .. } => *ms,
            Moment::Revision(_) => core.log.time_of(revision).map_err(|error| unreadable(&error))?,
        };
        Ok(Past { revision, time: time(ms) })
    }

    /// The revision of the moment; a client may have learnt of it from another server that is ahead of this one.
    pub async fn resolve(&self, core: &Core) -> Result<Revision, Status> {
        let revision = match self {
            Moment::Revision(revision) => *revision,
            Moment::Time { ms, text } => {
                newest(core).await?;
                return core.log.revision_at(*ms).map_err(|error| match error {
                    ReadError::Compacted { floor, .. } => {
                        failure::expired(format!("{text} is no longer retained: history begins at revision {floor}"))
                    }
                    ahead @ ReadError::ClockAhead { .. } => failure::bad_request(format!("{text}: {ahead}")),
                    ReadError::Future { .. } => failure::bad_request(format!("{text} is in the future")),
                    error => unreadable(&error),
                });
            }
        };
        if revision > core.log.revision() {
            let newest = newest(core).await?;
            if revision > newest {
                let message = format!("revision {revision} is in the future: the newest is {newest}");
                return Err(failure::bad_request(message));
            }
        }
        Ok(revision)
    }
}

/// A time of the log.
pub fn time(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

/// What was acknowledged anywhere before this call is here now.
async fn newest(core: &Core) -> Result<Revision, Status> {
    core.log.barrier().await.map_err(|error| unreadable(&error))
}

/// Refuses what cannot be done in the past. Reviews write nothing: they say what holds, which is today's rules.
pub fn check(method: &Method, target: &Target) -> Result<(), Status> {
    if matches!(target, Target::Resource(resource) if reviews::find(resource).is_some()) {
        return Ok(());
    }
    if matches!(target, Target::Resource(resource) if resource.group == GROUP) {
        let message =
            format!("/apis/{GROUP_VERSION} tells of every revision by itself: it does not answer below {PREFIX}");
        return Err(failure::bad_request(message));
    }
    let refused = |why: String| Status { message: why, ..failure::method_not_allowed() };
    if !matches!(*method, Method::GET | Method::HEAD) {
        let why = format!("the past is read-only: {method} is not possible below {PREFIX}");
        return Err(refused(why));
    }
    match target {
        Target::Resource(ResourceInfo { subresource, .. }) if LIVE.contains(&subresource.as_str()) => {
            Err(refused(format!("{subresource} is not kept: there is none below {PREFIX}")))
        }
        Target::Resource(_) => Ok(()),
        Target::Path(path) => {
            let first = first_segment(path);
            let told = KINDS_TOLD.contains(&first) || first == "version" || health::ENDPOINTS.contains(&first);
            if told { Ok(()) } else { Err(failure::no_such_resource()) }
        }
    }
}

fn first_segment(path: &str) -> &str {
    path.split('/').find(|segment| !segment.is_empty()).unwrap_or_default()
}

/// What the documents tell of at a moment; of those that tell of no kinds the same now as then, and no past is read for them. A moment that is none is refused where there is nothing behind it: `/at/api` has forgotten it.
pub async fn documents(core: &Arc<Core>, moment: Result<Moment, Status>, path: &str) -> Result<Arc<Registry>, Status> {
    if !KINDS_TOLD.contains(&first_segment(path)) {
        return Ok(core.registry());
    }
    let moment = match moment {
        Err(status) if path == "/" => return Err(status),
        moment => moment,
    };
    let then = async { era::registry(core, moment?.resolve(core).await?).await };
    Ok(then.await.unwrap_or_else(|_: Status| core.registry()))
}

/// By which kinds a resource is told of at a revision. A watch goes on into the present: it is one of today's, if there is one.
pub async fn registry(
    core: &Arc<Core>,
    revision: Revision,
    resource: &ResourceInfo,
    verb: &str,
) -> Result<Arc<Registry>, Status> {
    let today = core.registry();
    let found = today.kinds.by_resource(&resource.group, &resource.version, &resource.resource);
    match found.is_some_and(|kind| kind.custom.is_none() || verb == "watch") {
        true => Ok(today),
        false => era::registry(core, revision).await,
    }
}

/// Refuses a revision that is no longer retained for a kind.
pub fn check_retained(core: &Core, kind: &Kind, revision: Revision) -> Result<(), Status> {
    let resource = kind.storage_resource();
    let floor = core.log.floor_of(&resource);
    if revision >= floor {
        return Ok(());
    }
    let message =
        format!("revision {revision} is no longer retained: the history of {resource} begins at revision {floor}");
    Err(failure::expired(message))
}

/// Says in the answer which revision it shows.
pub fn mark(response: &mut ApiResponse, revision: Revision) {
    response.headers_mut().insert(REVISION, HeaderValue::from(revision));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::route::RequestInfo;

    #[test]
    fn a_path_names_a_moment_and_what_is_asked_of_it() {
        let told = |path: &str| {
            split(path).map(|(moment, rest)| match moment {
                Ok(Moment::Revision(revision)) => format!("{revision} {rest}"),
                Ok(Moment::Time { ms, .. }) => format!("{ms}ms {rest}"),
                Err(status) => format!("{} {rest}", status.code),
            })
        };
        let table = [
            ("/api/v1/pods", None),
            ("/at", None),
            ("/at/", Some("400 /")),
            ("/at/+7/api", Some("400 /api")),
            ("/attach/1", None),
            ("/at/7", Some("7 /")),
            ("/at/7/", Some("7 /")),
            ("/at/7/api/v1/pods", Some("7 /api/v1/pods")),
            ("/at/7/at/8/api", Some("7 /at/8/api")),
            ("/at/1970-01-01T00:00:01Z/api", Some("1000ms /api")),
            ("/at/1970-01-01T01:00:00.5%2B01:00/api", Some("500ms /api")),
            ("/at/1970-01-01T01:00:00+01:00/api", Some("0ms /api")),
            ("/at/0/api", Some("400 /api")),
            ("/at/-1/api", Some("400 /api")),
            ("/at/yesterday/api", Some("400 /api")),
            ("/at/99999999999999999999/api", Some("400 /api")),
        ];
        for (path, expected) in table {
            assert_eq!(told(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn the_past_is_read_only_and_has_no_streams_of_nodes() {
        let table = [
            ("GET", "/api/v1/pods", 200),
            ("GET", "/api/v1/namespaces/a/pods/p/status", 200),
            ("GET", "/apis", 200),
            ("GET", "/", 200),
            ("GET", "/readyz/ping", 200),
            ("GET", "/openapi/v3", 200),
            ("GET", "/metrics", 404),
            ("GET", "/at/7/api", 404),
            ("GET", "/apis/kontiki.dev/v1/events", 400),
            ("GET", "/apis/kontiki.dev/v1/history/api/v1/namespaces/a/pods/p", 400),
            ("POST", "/apis/kontiki.dev/v1/transactions", 400),
            ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 200),
            ("POST", "/api/v1/namespaces/a/pods", 405),
            ("DELETE", "/api/v1/namespaces/a/pods/p", 405),
            ("GET", "/api/v1/namespaces/a/pods/p/log", 405),
            ("GET", "/api/v1/namespaces/a/pods/p/exec", 405),
            ("GET", "/api/v1/nodes/n/proxy/x", 405),
        ];
        for (method, path, code) in table {
            let method: Method = method.parse().unwrap();
            let info = RequestInfo::read(&method, path, &[]).unwrap();
            assert_eq!(
                check(&method, &info.target).map_or_else(|status| status.code, |()| 200),
                code,
                "{method} {path}"
            );
        }
    }
}
