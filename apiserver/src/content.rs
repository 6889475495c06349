//! Bodies: reading them within their bound, turning YAML into JSON and back, writing answers in the negotiated form.

use std::io::Write as _;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use kontiki_model::Status;
use kontiki_schema::{DecodeError, Document, EncodeError, Source};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    failure, limits,
    negotiate::{self, Form, Media},
    request::{ApiBody, ApiRequest, ApiResponse},
    yaml,
};

/// Content types of an object in a request.
pub const OBJECT_TYPES: &[&str] = &[JSON, YAML, PROTOBUF];
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Marks an answer that was written here, and shares its bytes. A stream may know its length too, but is never waited for.
#[derive(Clone)]
struct Whole(Bytes);

/// The size of a body that is in memory: it may be compressed, and is sent in one piece.
pub(crate) fn size_in_memory(response: &ApiResponse) -> Option<u64> {
    response.extensions().get::<Whole>()?;
    response.body().size_hint().exact()
}

/// A body that is in memory, shared.
pub(crate) fn bytes_in_memory(response: &ApiResponse) -> Option<Bytes> {
    size_in_memory(response)?;
    response.extensions().get::<Whole>().map(|Whole(bytes)| bytes.clone())
}

pub fn full(bytes: impl Into<Bytes>) -> ApiBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub fn empty() -> ApiBody {
    full(Bytes::new())
}

/// Reads a body completely, up to a bound.
pub async fn read(body: &mut ApiBody, limit: usize) -> Result<Bytes, Status> {
    if body.size_hint().lower() > limit as u64 {
        return Err(failure::too_large(limit));
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(failure::too_large(limit)),
        Err(error) => Err(failure::bad_request(format!("the body of the request broke off: {error}"))),
    }
}

/// Drops what a refused request still sends, within bounds: a client that is cut off while it sends may never read the
/// answer. A body that goes on, or breaks off, costs its connection.
pub async fn drain(mut body: ApiBody) {
    let reading = async {
        let mut left = limits::DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            left = match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(left) => left,
                None => return,
            };
        }
    };
    if tokio::time::timeout(limits::DRAIN_TIME_MAX, reading).await.is_err() {
        tracing::debug!("a refused request went on sending");
    }
}

/// Why a body is no document.
#[derive(Debug)]
pub enum Unreadable {
    /// Its content type is none of [`OBJECT_TYPES`].
    Media,
    /// It is not the JSON that it says it is.
    Json(DecodeError),
    /// It is not the YAML or protobuf that it says it is.
    Other(DecodeError),
}

/// The body of a request as a tree, in any of the forms an object has. An absent content type means JSON.
pub fn document(request: &ApiRequest) -> Result<Document, Unreadable> {
    let bytes = request.body.bytes();
    match media_type(&request.headers) {
        "" | JSON => kontiki_schema::decode_json(bytes).map_err(Unreadable::Json),
        YAML => kontiki_schema::decode_yaml(bytes).map_err(Unreadable::Other),
        PROTOBUF => {
            let object = kontiki_schema::builtin().decode_protobuf(bytes).map_err(Unreadable::Other)?;
            Ok(Document { value: object.value, duplicates: Vec::new() })
        }
        _ => Err(Unreadable::Media),
    }
}

/// The body of a small request as a tree, whatever its content type; 415 for what has no form of an object.
pub fn json_value(request: &ApiRequest) -> Result<Value, Status> {
    match document(request) {
        Ok(document) => Ok(document.value),
        Err(Unreadable::Media) => Err(failure::unsupported_media(OBJECT_TYPES)),
        Err(Unreadable::Json(error) | Unreadable::Other(error)) => Err(failure::bad_request(error.to_string())),
    }
}

/// As [`json_value`], checked against a built-in type and without the fields it does not have. The body may leave out
/// its kind and version, but not be another one.
pub fn typed_value(request: &ApiRequest, group: &str, version: &str, kind: &str) -> Result<Value, Status> {
    let table = kontiki_schema::builtin();
    let found = table.lookup_gvk(group, version, kind);
    let type_id = found.ok_or_else(|| failure::internal(format!("the schema has no {group}/{version} {kind}")))?;
    let mut value = json_value(request)?;
    let api_version = format!("{group}/{version}");
    let is =
        |member: &str, wanted: &str| value[member].as_str().is_none_or(|given| given.is_empty() || given == wanted);
    if !value.is_object() || !is("kind", kind) || !is("apiVersion", &api_version) {
        return Err(failure::bad_request(format!("the object provided is unrecognized (must be of type {kind})")));
    }
    let refused = |error: &dyn std::fmt::Display| {
        failure::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {error}"))
    };
    table.check(type_id, &value).map_err(|error| refused(&error))?;
    table.prune(type_id, &mut value);
    Ok(value)
}

/// A body as a tree, whatever it is written in. `None` where that is no form of an object, or it is not well-formed.
pub(crate) fn tree(media: &str, bytes: &[u8]) -> Option<Value> {
    match media {
        "" | JSON => serde_json::from_slice(bytes).ok(),
        YAML | "application/apply-patch+yaml" => kontiki_schema::decode_yaml(bytes).ok().map(|document| document.value),
        PROTOBUF => kontiki_schema::builtin().decode_protobuf(bytes).ok().map(|object| object.value),
        media if media.ends_with("+json") => serde_json::from_slice(bytes).ok(),
        _ => None,
    }
}

/// The content type without its parameters, as written.
pub fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim()
}

/// Answers with compact JSON text, as [`kontiki_schema::json`] writes it, in the negotiated form.
pub fn answer(code: StatusCode, form: Form, json: Bytes) -> Result<ApiResponse, Status> {
    let bytes = match form.media {
        Media::Json { pretty: false } => json,
        Media::Protobuf => protobuf(&Source::parse(&json).map_err(failure::internal)?)?.into(),
        Media::Json { pretty: true } | Media::Yaml => {
            let value: Value = serde_json::from_slice(&json).map_err(failure::internal)?;
            return answer_value(code, form, &value);
        }
    };
    Ok(response(code, form.media.content_type(), bytes))
}

/// Answers with a document in the negotiated form.
pub fn answer_value(code: StatusCode, form: Form, value: &Value) -> Result<ApiResponse, Status> {
    let bytes = match form.media {
        Media::Json { pretty } => json_text(value, pretty)?,
        Media::Yaml => yaml::text(value).map_err(failure::internal)?.into_bytes(),
        Media::Protobuf => protobuf(&Source::of(value))?,
    };
    Ok(response(code, form.media.content_type(), bytes))
}

/// An object in protobuf; 406 where its type has no such form.
pub fn protobuf(object: &Source<'_>) -> Result<Vec<u8>, Status> {
    kontiki_schema::builtin().encode_protobuf(object).map_err(unwritable)
}

pub fn unwritable(error: EncodeError) -> Status {
    match error {
        EncodeError::NoProtobuf(_) => failure::not_acceptable_because(error.to_string()),
        EncodeError::Unfit { .. } => failure::internal(error),
    }
}

fn json_text(value: &Value, pretty: bool) -> Result<Vec<u8>, Status> {
    let text = match pretty {
        true => kontiki_schema::json::pretty(value),
        false => kontiki_schema::json::text(value),
    };
    let mut text = text.map_err(failure::internal)?;
    // Go's encoder ends a document, its indenter does not.
    if !pretty {
        text.push(b'\n');
    }
    Ok(text)
}

pub fn text(code: StatusCode, text: impl Into<Bytes>) -> ApiResponse {
    response(code, "text/plain; charset=utf-8", text)
}

/// A strong entity tag of these bytes.
pub fn etag(bytes: &[u8]) -> HeaderValue {
    let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect();
    HeaderValue::from_str(&format!("\"{hash}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether the client has this version already (`If-None-Match`).
pub fn is_current(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let (Some(known), Ok(etag)) = (headers.get(header::IF_NONE_MATCH), etag.to_str()) else { return false };
    known.to_str().is_ok_and(|known| known.split(',').any(|one| matches!(one.trim(), "*") || one.trim() == etag))
}

pub fn not_modified() -> ApiResponse {
    let mut response = http::Response::new(empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

/// What a path answers that is no path at all.
pub fn page_not_found() -> ApiResponse {
    let mut response = text(StatusCode::NOT_FOUND, "404 page not found\n");
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

pub fn response(code: StatusCode, content_type: &str, body: impl Into<Bytes>) -> ApiResponse {
    let bytes = body.into();
    let mut response = http::Response::new(full(bytes.clone()));
    *response.status_mut() = code;
    response.extensions_mut().insert(Whole(bytes));
    if let Ok(value) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

/// A failure as the client will see it, in the form it accepts.
pub fn failed(headers: &HeaderMap, pretty: bool, status: &Status) -> ApiResponse {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let value = status_value(status);
    let form = negotiate::failure_form(headers, pretty);
    let mut response = answer_value(code, form, &value).unwrap_or_else(|_| text(code, status.message.clone()));
    status.warnings.iter().for_each(|warning| warn(&mut response, warning));
    if let Some(seconds) = status.details.as_ref().and_then(|details| details.retry_after_seconds) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The `metav1.Status` object of a failure.
pub fn status_value(status: &Status) -> Value {
    let mut value = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": status.message,
    });
    if !status.reason.is_empty() {
        value["reason"] = json!(status.reason);
    }
    if let Some(details) = &status.details {
        value["details"] = serde_json::to_value(details).unwrap_or_else(|_| json!({}));
    }
    value["code"] = json!(status.code);
    value
}

/// Adds a `Warning` header as Kubernetes writes it; none that is there already, and no more than a bound.
pub fn warn(response: &mut ApiResponse, message: &str) {
    let told = response.headers().get_all(header::WARNING).iter();
    let told: usize = told.map(|value| String::from_utf8_lossy(value.as_bytes()).chars().count()).sum();
    let length = match told + message.chars().count() > limits::WARNINGS_CHARS_MAX {
        true if told >= limits::WARNINGS_CHARS_MAX => return,
        true => limits::WARNING_CHARS_CUT,
        false => usize::MAX,
    };
    let mut quoted = String::with_capacity(message.len());
    for character in message.chars().take(length).filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    let known = |response: &ApiResponse, value: &HeaderValue| {
        response.headers().get_all(header::WARNING).iter().any(|one| one == value)
    };
    match HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
        Ok(value) if !known(response, &value) => _ = response.headers_mut().append(header::WARNING, value),
        Ok(_) | Err(_) => {}
    }
}

/// Compresses a large buffered answer where the client accepts it, as Kubernetes without regard for weights. Streams are
/// left alone.
pub async fn compress(accept_encoding: Option<&str>, response: ApiResponse) -> ApiResponse {
    let accepted = accept_encoding.is_some_and(|accepted| accepted.split(',').any(|one| one.trim() == "gzip"));
    let large = size_in_memory(&response).is_some_and(|size| size >= limits::GZIP_BYTES_MIN as u64);
    if !accepted || !large || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(collected) = body.collect().await else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "the answer broke off");
    };
    let plain = collected.to_bytes();
    let source = plain.clone();
    let packed = tokio::task::spawn_blocking(move || gzip(&source)).await;
    let Ok(Ok(packed)) = packed else { return ApiResponse::from_parts(parts, full(plain)) };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    let packed = Bytes::from(packed);
    parts.extensions.insert(Whole(packed.clone()));
    ApiResponse::from_parts(parts, full(packed))
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 4), flate2::Compression::new(4));
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_failure_is_told_as_kubernetes_tells_it() {
        let of = failure::Qualified { group: "apps", resource: "deployments" };
        let told = status_value(&failure::not_found(of, "x")).to_string();
        assert_eq!(
            told,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"deployments.apps \"x\" not found","reason":"NotFound","details":{"name":"x","group":"apps","kind":"deployments"},"code":404}"#
        );
        let told = status_value(&failure::unauthorized()).to_string();
        assert_eq!(
            told,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}"#
        );
    }

    #[test]
    fn warnings_are_quoted() {
        let mut response = text(StatusCode::OK, "");
        warn(&mut response, "unknown field \"spec.x\"");
        let value = response.headers().get(header::WARNING).unwrap();
        assert_eq!(value, "299 - \"unknown field \\\"spec.x\\\"\"");
    }

    #[test]
    fn warnings_are_told_once_and_within_bounds() {
        let mut response = text(StatusCode::OK, "");
        for _ in 0..2 {
            warn(&mut response, "once");
        }
        assert_eq!(response.headers().get_all(header::WARNING).iter().count(), 1);
        for number in 0..100 {
            warn(&mut response, &format!("{number} {}", "x".repeat(limits::WARNINGS_CHARS_MAX)));
        }
        let lengths: Vec<usize> = response.headers().get_all(header::WARNING).iter().map(HeaderValue::len).collect();
        assert!(
            lengths.iter().sum::<usize>() < limits::WARNINGS_CHARS_MAX + 2 * limits::WARNING_CHARS_CUT,
            "{lengths:?}"
        );
        assert!(lengths.len() > 10 && lengths.iter().all(|length| *length < limits::WARNING_CHARS_CUT + 16));
    }
}
