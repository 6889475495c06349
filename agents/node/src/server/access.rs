//! Whom the node's API answers. The cluster's servers and masters, by their certificates, about everything. About figures also whoever
//! shows a token that the API server knows, if it lets its holder get them: so it is with the kubelet, and whoever scales asks so.

use http::{HeaderMap, header};

use super::{
    backend::Backend,
    failure::{self, Refused},
    route::Route,
    tls::{self, Caller},
    verdicts::Verdicts,
};

/// What the API server makes of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Unknown,
    /// Its holder may not get this.
    Refused {
        user: String,
    },
    Allowed,
}

pub async fn decide(
    backend: &dyn Backend,
    verdicts: &Verdicts,
    caller: Option<&Caller>,
    headers: &HeaderMap,
    route: Option<&Route>,
) -> Result<(), Refused> {
    let (None, Some(token), Some(subresource)) = (caller, token(headers), route.and_then(figures)) else {
        return tls::authorize(caller);
    };
    match verdicts.of(backend, token, subresource).await? {
        Verdict::Allowed => Ok(()),
        Verdict::Refused { user } => Err(failure::may_not_get(&user, backend.node_name(), subresource)),
        Verdict::Unknown => Err(failure::unauthorized()),
    }
}

/// The subresource of the node that is asked for, where that is figures.
fn figures(route: &Route) -> Option<&'static str> {
    match route {
        Route::Metrics | Route::Resource | Route::Cadvisor | Route::Probes => Some("metrics"),
        Route::Summary => Some("stats"),
        Route::Health
        | Route::Pods
        | Route::ListImages
        | Route::ImportImage
        | Route::RemoveImage
        | Route::Logs(_)
        | Route::Exec(_)
        | Route::Attach(_)
        | Route::PortForward(_) => None,
    }
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
