//! Bodies of answers: whole, or as they come.

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use serde::Serialize;

use super::failure;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

pub fn full(content_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync();
    with_type(content_type, body)
}

pub fn text(text: impl Into<Bytes>) -> Response<Body> {
    full("text/plain; charset=utf-8", text)
}

pub fn json(code: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut response = full("application/json", bytes);
            *response.status_mut() = code;
            response
        }
        Err(error) => failure::response(&failure::internal(&error)),
    }
}

pub fn empty() -> Body {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that is pulled piece by piece, and dropped when the client is gone.
pub fn streamed<E: Into<BoxError> + 'static>(
    content_type: &'static str,
    pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
) -> Response<Body> {
    with_type(content_type, StreamBody::new(pieces.map_ok(Frame::data).map_err(Into::into)).boxed_unsync())
}

fn with_type(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
