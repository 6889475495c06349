//! Everything that is no resource: discovery, health, metrics, version, OpenAPI, the keys of tokens, the list of it all.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use kontiki_model::Status;
use serde_json::{Value, json};

use crate::{
    authn, content,
    core::Core,
    failure, fairness, health, kontiki, metrics,
    negotiate::{self, Form, Offer, negotiate},
    registry::Registry,
    request::{ApiRequest, ApiResponse},
    version,
};

const KEY_SET: &str = "application/jwk-set+json";
/// How long clients may keep what identifies the issuer of tokens.
const KEYS_CACHED: &str = "public, max-age=3600";

pub(crate) async fn answer(
    core: &Arc<Core>,
    registry: &Registry,
    path: &str,
    request: &ApiRequest,
) -> Result<ApiResponse, Status> {
    if path.contains("//") {
        return Ok(content::page_not_found());
    }
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let answer = match segments.as_slice() {
        [] => list(core, registry, request)?,
        ["api"] | ["apis"] | ["api", _] | ["apis", _] | ["apis", _, _] => {
            match registry.discovery().answer(core, &segments, request)? {
                Some(found) => found,
                None if matches!(*segments, ["api", _]) => return Err(failure::no_such_resource()),
                None if matches!(*segments, [_, group, _] if registry.discovery().knows(group)) => {
                    return Err(failure::no_such_resource());
                }
                None => return Ok(content::page_not_found()),
            }
        }
        ["version"] => document(request, &version::document())?,
        [endpoint, check @ ..] if health::ENDPOINTS.contains(endpoint) => {
            return Ok(health::answer(core, endpoint, &check.join("/"), request).await);
        }
        ["metrics"] => metrics(core, request)?,
        ["openapi", "v2"] => registry.openapi().v2(request)?,
        ["openapi", "v3"] => registry.openapi().index(),
        ["openapi", "v3", document @ ..] => match registry.openapi().v3(&document.join("/"), request)? {
            Some(found) => found,
            None => return Ok(content::page_not_found()),
        },
        ["debug", "api_priority_and_fairness", what] => match fairness::dump(&core.fairness, what, request) {
            Some(found) => found,
            None => return Ok(content::page_not_found()),
        },
        [".well-known", "openid-configuration"] if discoverable(core) => issuer(core, request)?,
        ["openid", "v1", "jwks"] if discoverable(core) => keys(core, request)?,
        _ => return Ok(content::page_not_found()),
    };
    match request.method {
        Method::GET | Method::HEAD => Ok(answer),
        _ => Err(failure::method_not_allowed()),
    }
}

fn list(core: &Core, registry: &Registry, request: &ApiRequest) -> Result<ApiResponse, Status> {
    let mut paths = match discoverable(core) {
        true => ["/.well-known/openid-configuration", "/openid/v1/jwks"].map(str::to_owned).to_vec(),
        false => Vec::new(),
    };
    paths.extend(registry.discovery().paths());
    paths.extend(health::paths());
    paths.extend(kontiki::paths());
    paths.extend(["/metrics", "/openapi/v2", "/openapi/v3"].map(str::to_owned));
    paths.extend(registry.openapi().documents().map(|name| format!("/openapi/v3/{name}")));
    paths.push("/version".to_owned());
    paths.sort();
    document(request, &json!({"paths": paths}))
}

fn document(request: &ApiRequest, value: &Value) -> Result<ApiResponse, Status> {
    content::answer_value(StatusCode::OK, negotiate(request, Offer::Document)?, value)
}

/// In OpenMetrics' text for whoever prefers it, else in the older format.
fn metrics(core: &Core, request: &ApiRequest) -> Result<ApiResponse, Status> {
    let text = core.metrics.expose(&core.log, &core.kinds()).map_err(failure::internal)?;
    Ok(match negotiate::preferred(&request.headers, &["text/plain", "application/openmetrics-text"]) {
        Some(1) => {
            content::response(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text)
        }
        Some(_) | None => {
            content::response(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics::plain::of(&text))
        }
    })
}

/// Whether others can find out about the keys of service account tokens: only of an issuer that one can ask at all.
fn discoverable(core: &Core) -> bool {
    authn::is_discoverable(core.tokens.issuer())
}

/// OpenID Connect discovery: where the keys of service account tokens are.
fn issuer(core: &Core, request: &ApiRequest) -> Result<ApiResponse, Status> {
    let offered = &["application/json"];
    if !negotiate::accepts(&request.headers, offered) {
        return Err(failure::not_representable(offered));
    }
    let own = || format!("https://{}/openid/v1/jwks", core.config.advertised());
    let value = json!({
        "issuer": core.tokens.issuer(),
        "jwks_uri": core.config.token_keys_uri.clone().unwrap_or_else(own),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": core.tokens.algorithms(),
    });
    Ok(cached(content::answer_value(StatusCode::OK, Form::JSON, &value)?))
}

fn keys(core: &Core, request: &ApiRequest) -> Result<ApiResponse, Status> {
    if !negotiate::accepts(&request.headers, &[KEY_SET]) {
        return Err(failure::not_representable(&[KEY_SET]));
    }
    Ok(cached(content::response(StatusCode::OK, KEY_SET, core.tokens.key_set().to_string())))
}

fn cached(mut response: ApiResponse) -> ApiResponse {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(KEYS_CACHED));
    response
}
